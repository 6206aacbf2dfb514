"""Starting, finding, listing and deleting runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loom.identifiers import MAX_ID_LENGTH, new_id
from loom.storage.records import Effects, LogRecord, Message, RunFilter, RunRecord, StartOutcome
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.scene import (
    ALICE,
    BOB,
    COMPLETED,
    KIND,
    LEASE,
    LOST,
    NOW,
    RUNNING,
    SECOND,
    WRITTEN,
    Scene,
    arrival,
    closing,
    event,
    following,
    message,
    turn,
)


class RunsConformance(Conformance):
    """A run from its start to its deletion."""

    # Starting

    async def test_a_started_run_is_found_as_it_was_started(self, scene: Scene) -> None:
        new = scene.new_run(due_at=NOW + SECOND)
        [outcome] = await scene.repository.start_runs([new])
        assert outcome.created
        assert outcome.run == RunRecord(
            run_key=outcome.run.run_key,
            workflow_id=new.workflow_id,
            run_id=new.run_id,
            name=KIND[0],
            version=KIND[1],
            queue=scene.queue,
            status=RUNNING,
            sequence=1,
            created_at=NOW,
            updated_at=NOW,
            wake_at=NOW + SECOND,
            due_at=NOW + SECOND,
        )
        assert await scene.repository.find_run(new.workflow_id, new.run_id) == outcome.run
        assert list(await scene.repository.read_history(outcome.run.run_key)) == [event(1)]

    async def test_a_run_is_born_with_what_it_sends_to_itself(self, scene: Scene) -> None:
        """A run that is started for any worker: nobody has taken a turn, and it is due at once."""
        new = scene.new_run()
        start = Message(new.workflow_id, "start", arrival(b"input"), run_id=new.run_id)
        new = replace(new, effects=Effects(RUNNING, NOW, messages=[start]))
        [outcome] = await scene.repository.start_runs([new])
        assert (outcome.created, outcome.run.sequence) == (True, 0)
        [task] = await scene.claim(BOB)
        assert [(m.position, m.message_id, m.arrival) for m in task.messages] == [
            (1, "start", start.arrival)
        ]
        assert await scene.repository.start_runs([new]) == [
            StartOutcome(task.run, created=True, repeated=True)
        ]

    async def test_a_run_started_by_a_worker_is_born_leased_to_it(self, scene: Scene) -> None:
        effects = Effects(RUNNING, NOW, events=[event(1), event(2)], lease_expires_at=NOW + LEASE)
        new = scene.new_run(effects=effects, owner=ALICE)
        [outcome] = await scene.repository.start_runs([new])
        assert (outcome.run.lease_owner, outcome.run.lease_expires_at) == (ALICE, NOW + LEASE)
        assert await scene.claim(BOB) == []
        task = await scene.claim_run(outcome.run, ALICE)
        assert (task.token, task.run.sequence) == (1, 2)
        assert await scene.write(turn(task)) == [WRITTEN]

    async def test_a_run_started_by_a_worker_may_be_given_back_at_birth(self, scene: Scene) -> None:
        effects = Effects(RUNNING, NOW, events=[event(1), event(2)], wake_at=NOW + SECOND)
        await scene.repository.start_runs([scene.new_run(effects=effects, owner=ALICE)])
        assert await scene.claim(BOB, NOW) == []
        [task] = await scene.claim(BOB, NOW + SECOND)
        assert task.token > 1

    async def test_a_run_may_be_over_at_its_start(self, scene: Scene) -> None:
        effects = Effects(COMPLETED, NOW, events=[event(1), event(2)])
        new = scene.new_run(effects=effects, owner=ALICE)
        [outcome] = await scene.repository.start_runs([new])
        assert (outcome.run.status, outcome.run.closed_at) == (COMPLETED, NOW)
        assert outcome.run.lease_owner is None
        assert await scene.claim(BOB, NOW + 10 * LEASE) == []

    async def test_the_first_turn_is_written_whole(self, scene: Scene) -> None:
        other = await scene.start_waiting()
        effects = Effects(
            RUNNING,
            NOW,
            events=[event(1), event(2)],
            tasks=[scene.task()],
            messages=[message(other, "from the first turn")],
            logs=[LogRecord(1, NOW, "INFO", "born")],
            lease_expires_at=NOW + LEASE,
        )
        new = scene.new_run(effects=effects, owner=ALICE)
        [outcome] = await scene.repository.start_runs([new])
        assert list(await scene.repository.read_logs(outcome.run.run_key)) == list(effects.logs)
        assert (await scene.claim_activity(BOB)).scheduled == event(2)
        assert [got.message_id for got in await scene.inbox_of(other)] == ["from the first turn"]

    async def test_a_start_tried_again_finds_its_own_run(self, scene: Scene) -> None:
        new = scene.new_run()
        [first] = await scene.repository.start_runs([new])
        [again] = await scene.repository.start_runs([new])
        assert again == replace(first, repeated=True)
        assert len(await scene.repository.read_history(first.run.run_key)) == 1

    async def test_a_start_tried_again_finds_its_own_run_though_it_moved_on(
        self, scene: Scene
    ) -> None:
        new = scene.new_run()
        [first] = await scene.repository.start_runs([new])
        await scene.write(closing(await scene.claim_run(first.run)))
        [again] = await scene.repository.start_runs([new])
        assert again.created
        assert again.run == await scene.look(first.run)
        assert again.run.status is COMPLETED

    async def test_a_run_id_belongs_to_one_run_of_whatever_workflow(self, scene: Scene) -> None:
        new = scene.new_run()
        [first] = await scene.repository.start_runs([new])
        [again] = await scene.repository.start_runs([replace(new, workflow_id=new_id())])
        assert again == replace(first, repeated=True)

    async def test_an_open_workflow_id_is_not_started_twice(self, scene: Scene) -> None:
        first = await scene.start()
        [second] = await scene.repository.start_runs([scene.new_run(first.workflow_id)])
        assert not second.created
        assert second.run == first

    async def test_a_refused_start_leaves_nothing_behind(self, scene: Scene) -> None:
        first, other = await scene.start(), await scene.start_waiting()
        effects = Effects(RUNNING, NOW, events=[event(1)], messages=[message(other, "refused")])
        refused = scene.new_run(first.workflow_id, effects)
        await scene.repository.start_runs([refused])
        assert await scene.inbox_of(other) == []
        assert await scene.repository.find_run(first.workflow_id, refused.run_id) is None

    async def test_a_closed_workflow_id_can_be_started_again(self, scene: Scene) -> None:
        old = await scene.start_closed()
        new = await scene.start(old.workflow_id)
        assert await scene.repository.find_run(old.workflow_id) == new
        assert await scene.repository.find_run(old.workflow_id, old.run_id) == old

    async def test_outcomes_of_starts_come_in_order(self, scene: Scene) -> None:
        taken = await scene.start()
        news = [scene.new_run(), scene.new_run(taken.workflow_id), scene.new_run()]
        twin = scene.new_run(news[0].workflow_id)
        outcomes = await scene.repository.start_runs([*news, twin, news[2]])
        assert [outcome.created for outcome in outcomes] == [True, False, True, False, True]
        run_ids = [outcome.run.run_id for outcome in outcomes]
        wanted = [news[0].run_id, taken.run_id, news[2].run_id, news[0].run_id, news[2].run_id]
        assert run_ids == wanted

    @pytest.mark.parametrize(
        "workflow_id",
        ["x", "a b'c\"d%e_f\\g:h;--", "Ærø/☃/𝄞", "i" * MAX_ID_LENGTH],
        ids=["short", "punctuation", "unicode", "longest"],
    )
    async def test_any_text_can_be_a_workflow_id(self, scene: Scene, workflow_id: str) -> None:
        unique = (new_id() + workflow_id)[-MAX_ID_LENGTH:]
        run = await scene.start(unique)
        assert (await scene.claim_run(run)).run.workflow_id == unique

    # Finding and listing

    async def test_an_unknown_run_is_not_found(self, scene: Scene) -> None:
        run = await scene.start()
        assert await scene.repository.find_run(new_id()) is None
        assert await scene.repository.find_run(run.workflow_id, new_id()) is None

    async def test_runs_are_listed_newest_first(self, scene: Scene) -> None:
        kind = (new_id(), "1")
        runs = [await scene.start(kind=kind) for _ in range(4)]
        listed = await scene.repository.list_runs(RunFilter(name=kind[0]))
        assert list(listed) == runs[::-1]

    async def test_a_list_of_runs_is_read_in_pages(self, scene: Scene) -> None:
        kind = (new_id(), "1")
        runs = [await scene.start(kind=kind) for _ in range(5)]
        where, pages = RunFilter(name=kind[0], limit=2), []
        while page := await scene.repository.list_runs(where):
            pages.append(list(page))
            where = replace(where, before=page[-1].run_key)
        assert pages == [runs[:2:-1], runs[2:0:-1], runs[:1]]

    async def test_runs_are_listed_by_status_name_and_workflow_id(self, scene: Scene) -> None:
        name = new_id()
        one, two = [await scene.start(kind=(name, "1")) for _ in range(2)]
        await scene.start()
        await scene.write(closing(await scene.claim_run(one)))
        one = await scene.look(one)
        list_runs = scene.repository.list_runs
        assert list(await list_runs(RunFilter(name=name, status=COMPLETED))) == [one]
        assert list(await list_runs(RunFilter(name=name, status=RUNNING))) == [two]
        assert list(await list_runs(RunFilter(name=name, is_open=True))) == [two]
        assert list(await list_runs(RunFilter(name=name, is_open=False))) == [one]
        assert list(await list_runs(RunFilter(workflow_id=one.workflow_id))) == [one]
        assert list(await list_runs(RunFilter(name=name, workflow_id=new_id()))) == []

    async def test_history_is_read_in_pages(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        effects = Effects(RUNNING, NOW, events=following(task.run, 9))
        await scene.write(turn(task, effects))
        read, key = scene.repository.read_history, task.run.run_key
        assert list(await read(key)) == [event(sequence) for sequence in range(1, 11)]
        assert list(await read(key, after=3, limit=4)) == [event(n) for n in (4, 5, 6, 7)]
        assert list(await read(key, after=10)) == []

    async def test_the_beginnings_of_histories_are_read_together(self, scene: Scene) -> None:
        long, short = await scene.start_claimed(), await scene.start_claimed()
        untouched = await scene.start()
        for task, count in ((long, 9), (short, 2)):
            effects = Effects(RUNNING, NOW, events=following(task.run, count))
            assert await scene.write(turn(task, effects)) == [WRITTEN]
        keys = [task.run.run_key for task in (short, long)] + [untouched.run_key]
        beginnings = await scene.repository.read_beginnings(keys, through=4)
        lengths = [short.run.sequence + 2, 4, untouched.sequence]
        expected = [[event(n) for n in range(1, length + 1)] for length in lengths]
        assert [list(beginning) for beginning in beginnings] == expected
        assert list(await scene.repository.read_beginnings([], through=4)) == []

    async def test_logs_are_read_in_pages(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        lines = [LogRecord(n, NOW + n, "INFO", f"line {n} \N{SNOWMAN}") for n in range(1, 6)]
        await scene.write(turn(task, Effects(RUNNING, NOW, logs=lines)))
        read, key = scene.repository.read_logs, task.run.run_key
        assert list(await read(key)) == lines
        assert list(await read(key, after=2, limit=2)) == lines[2:4]

    # When a run is due to anybody

    async def test_a_run_tells_when_any_worker_may_take_it(self, scene: Scene) -> None:
        waiting = await scene.start_waiting()
        assert waiting.due_at is None
        await scene.send(message(waiting, "one"), now=NOW + SECOND)
        assert (await scene.look(waiting)).due_at == NOW + SECOND
        task = await scene.claim_run(waiting, BOB, NOW + SECOND)
        assert task.run.due_at == NOW + SECOND + LEASE
        # Its holder is given this one, and nobody else before the lease ends.
        await scene.send(message(waiting, "two"), now=NOW + 2 * SECOND)
        assert (await scene.look(waiting)).due_at == NOW + SECOND + LEASE
        await scene.write(closing(task))
        assert (await scene.look(waiting)).due_at is None

    # Deleting

    async def test_a_deleted_run_is_gone_with_all_that_was_its(self, scene: Scene) -> None:
        run = await scene.start_closed()
        assert await scene.repository.delete_runs([run.run_key]) == 1
        assert await scene.repository.find_run(run.workflow_id) is None
        assert list(await scene.repository.read_history(run.run_key)) == []
        assert await scene.repository.delete_runs([run.run_key]) == 0

    async def test_open_runs_are_not_deleted(self, scene: Scene) -> None:
        opened, closed = await scene.start(), await scene.start_closed()
        assert await scene.repository.delete_runs([opened.run_key, closed.run_key]) == 1
        assert await scene.look(opened) == opened
        assert len(await scene.claim()) == 1

    async def test_after_a_deletion_the_newest_run_left_is_found(self, scene: Scene) -> None:
        old = await scene.start_closed()
        newer = await scene.start_closed(old.workflow_id)
        await scene.repository.delete_runs([newer.run_key])
        assert await scene.repository.find_run(old.workflow_id) == old

    async def test_a_key_is_never_used_again(self, scene: Scene) -> None:
        """Else whoever still held the deleted run could write to the new one."""
        gone = await scene.start_claimed()
        await scene.write(closing(gone))
        await scene.repository.delete_runs([gone.run.run_key])
        new = await scene.start_claimed(BOB)
        assert new.run.run_key != gone.run.run_key
        assert await scene.write(turn(gone)) == [LOST]

    async def test_an_empty_batch_does_nothing(self, scene: Scene) -> None:
        repository = scene.repository
        assert list(await repository.start_runs([])) == []
        assert list(await repository.send_messages([], NOW)) == []
        assert list(await repository.write_transitions([])) == []
        assert list(await repository.complete_activity_tasks([])) == []
        assert await repository.delete_runs([]) == 0
