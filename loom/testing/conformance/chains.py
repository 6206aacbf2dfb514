"""Runs that continue others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loom.errors import StoreError
from loom.identifiers import new_id
from loom.storage.records import Effects, NewRun, RunRecord, Transition, WorkflowTask
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.concurrency import ROUNDS, both, together
from loom.testing.conformance.scene import (
    ACCEPTED,
    ALICE,
    BOB,
    CLOSED,
    COMPLETED,
    LEASE,
    LOST,
    NOT_FOUND,
    NOW,
    RUNNING,
    WRITTEN,
    Scene,
    arrival,
    closing,
    completion,
    consuming,
    event,
    message,
    turn,
)
from loom.testing.conformance.starts import child_of, ids_in_inbox, is_there, starting


def successor_of(scene: Scene, run: RunRecord) -> NewRun:
    """The run that continues another."""
    new = child_of(scene, run, run.workflow_id)
    return replace(new, on_conflict=(), continues=run.run_id)


def continuing(task: WorkflowTask, new: NewRun, *, consume: int = 0) -> Transition:
    """The last turn of a run that another continues, with so many messages taken."""
    inbox = task.messages[:consume]
    first = task.run.sequence + 1
    events = [event(first + n, message_id=got.message_id) for n, got in enumerate(inbox)]
    events.append(event(first + len(events)))
    effects = Effects(COMPLETED, NOW, events=events, starts=[new])
    return turn(task, effects, consumed_through=inbox[-1].position if inbox else None)


async def continue_run(scene: Scene, run: RunRecord, *, consume: int = 0) -> RunRecord:
    """Let another run continue this one."""
    new = successor_of(scene, run)
    task = await scene.claim_run(run)
    assert await scene.write(continuing(task, new, consume=consume)) == [WRITTEN]
    found = await scene.repository.find_run(new.workflow_id, new.run_id)
    assert found is not None
    return found


class ChainsConformance(Conformance):
    """Runs of one workflow id, each the continuation of the one before."""

    async def test_a_run_that_continues_another_says_so(self, scene: Scene) -> None:
        first = await scene.start()
        second = await continue_run(scene, first)
        third = await continue_run(scene, second)
        assert (first.continued_from, first.first_run_id) == (None, None)
        assert (second.continued_from, second.first_run_id) == (first.run_id, first.run_id)
        assert (third.continued_from, third.first_run_id) == (second.run_id, first.run_id)
        assert await scene.repository.find_run(first.workflow_id) == third

    async def test_only_a_run_that_ends_can_be_continued(self, scene: Scene) -> None:
        task, other = await scene.start_claimed(), await scene.start_closed()
        for run in (task.run, other):
            with pytest.raises(StoreError):
                await scene.write(starting(task, successor_of(scene, run)))
        assert (await scene.look(task.run)).sequence == 1

    async def test_what_a_run_leaves_unread_goes_to_the_one_that_continues_it(
        self, scene: Scene
    ) -> None:
        run = await scene.start()
        await scene.send(*(message(run, f"{n}", b"payload %d" % n) for n in range(4)))
        second = await continue_run(scene, run, consume=2)
        inbox = await scene.inbox_of(second)
        assert [(got.position, got.message_id) for got in inbox] == [
            (1, "start"),
            (2, "2"),
            (3, "3"),
        ]
        assert inbox[1].arrival == arrival(b"payload 2")

    async def test_the_outcome_of_an_activity_stays_with_its_run(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task(7))
        await scene.send(message(run, "left"))
        assert await scene.complete(completion(await scene.claim_activity())) == [WRITTEN]
        second = await continue_run(scene, run)
        assert await ids_in_inbox(scene, second) == ["start", "left"]

    async def test_a_run_with_an_inherited_inbox_goes_on_like_any(self, scene: Scene) -> None:
        run = await scene.start()
        await scene.send(message(run, "left"))
        second = await continue_run(scene, run)
        [task] = await scene.claim(BOB)
        assert await scene.write(consuming(task, 1)) == [WRITTEN]
        await scene.send(message(run, "new"))
        assert await ids_in_inbox(scene, second) == ["left", "new"]

    @pytest.mark.parametrize("length", [2, 3])
    async def test_messages_for_a_chains_first_run_reach_the_open_one_when_that_is_deleted(
        self, scene: Scene, length: int
    ) -> None:
        first = last = await scene.start()
        closed = []
        for _ in range(length - 1):
            closed.append(last.run_key)
            last = await continue_run(scene, last)
        assert await scene.repository.delete_runs(closed) == length - 1
        exact = replace(message(first, "late"), run_id=first.run_id)
        assert await scene.send(exact, exact) == [ACCEPTED, ACCEPTED]
        assert await ids_in_inbox(scene, last) == ["start", "late"]
        other = replace(exact, workflow_id=new_id())
        assert await scene.send(other) == [NOT_FOUND]

    async def test_messages_for_the_deleted_first_run_of_a_chain_that_has_ended_find_it_closed(
        self, scene: Scene
    ) -> None:
        first = await scene.start()
        second = await continue_run(scene, first)
        await scene.write(closing(await scene.claim_run(second)))
        await scene.start(first.workflow_id)
        await scene.repository.delete_runs([first.run_key])
        exact = replace(message(first, "late"), run_id=first.run_id)
        assert await scene.send(exact) == [CLOSED]

    async def test_messages_for_a_run_of_a_chain_reach_the_open_one(self, scene: Scene) -> None:
        first = await scene.start()
        second = await continue_run(scene, first)
        third = await continue_run(scene, second)
        for number, run in enumerate((first, second, third)):
            exact = replace(message(run, f"{number}"), run_id=run.run_id)
            assert await scene.send(exact) == [ACCEPTED]
        assert await scene.send(message(first, "any")) == [ACCEPTED]
        assert await ids_in_inbox(scene, third) == ["start", "0", "1", "2", "any"]

    async def test_a_turn_reaches_the_open_run_of_a_chain(self, scene: Scene) -> None:
        first = await scene.start()
        second = await continue_run(scene, first)
        other = await scene.start_claimed()
        exact = replace(message(first, "m"), run_id=first.run_id)
        assert await scene.write(starting(other, messages=[exact])) == [WRITTEN]
        assert await ids_in_inbox(scene, second) == ["start", "m"]

    async def test_messages_for_a_run_of_another_chain_do_not(self, scene: Scene) -> None:
        old = await scene.start_closed()
        await continue_run(scene, await scene.start(old.workflow_id))
        exact = replace(message(old, "m"), run_id=old.run_id)
        assert await scene.send(exact) == [CLOSED]

    async def test_a_message_is_delivered_once_in_a_chain(self, scene: Scene) -> None:
        first = await scene.start()
        await scene.send(message(first, "taken"), message(first, "left"))
        second = await continue_run(scene, first, consume=1)
        third = await continue_run(scene, second)
        again = [message(first, "taken"), message(first, "left")]
        exact = [replace(one, run_id=first.run_id) for one in again]
        assert await scene.send(*again, *exact) == [ACCEPTED] * 4
        assert await ids_in_inbox(scene, third) == ["start", "left"]

    async def test_a_chain_that_has_ended_takes_no_more_messages(self, scene: Scene) -> None:
        first = await scene.start()
        await scene.send(message(first, "taken"))
        second = await continue_run(scene, first, consume=1)
        await scene.write(closing(await scene.claim_run(second)))
        for run_id in (None, first.run_id, second.run_id):
            assert await scene.send(replace(message(first, "m"), run_id=run_id)) == [CLOSED]
            again = replace(message(first, "taken"), run_id=run_id)
            assert await scene.send(again) == [ACCEPTED]

    async def test_a_message_in_the_same_batch_reaches_the_run_that_continues(
        self, scene: Scene
    ) -> None:
        task, other = await scene.start_claimed(), await scene.start_claimed()
        await scene.send(message(task.run, "known"))
        new = successor_of(scene, task.run)
        exact = replace(message(task.run, "m"), run_id=task.run.run_id)
        sent = [exact, message(task.run, "n"), message(task.run, "known")]
        task = await scene.claim_run(task.run)
        batch = continuing(task, new, consume=1), starting(other, messages=sent)
        assert await scene.write(*batch) == [WRITTEN, WRITTEN]
        found = await scene.repository.find_run(new.workflow_id)
        assert found is not None
        assert await ids_in_inbox(scene, found) == ["start", "m", "n"]

    async def test_a_run_may_be_continued_at_its_birth(self, scene: Scene) -> None:
        new = scene.new_run(owner=ALICE)
        second = replace(scene.new_run(new.workflow_id), continues=new.run_id)
        over = Effects(COMPLETED, NOW, events=[event(1)], starts=[second])
        for _ in range(2):
            [outcome] = await scene.repository.start_runs([replace(new, effects=over)])
            assert (outcome.created, outcome.run.status) == (True, COMPLETED)
        found = await scene.repository.find_run(new.workflow_id)
        assert found is not None
        assert (found.run_id, found.first_run_id) == (second.run_id, new.run_id)

    async def test_a_stale_owner_continues_nothing(self, scene: Scene) -> None:
        zombie = await scene.start_claimed(ALICE)
        task = await scene.claim_run(zombie.run, BOB, now=NOW + LEASE)
        late, new = successor_of(scene, zombie.run), successor_of(scene, zombie.run)
        assert await scene.write(continuing(task, new), continuing(zombie, late)) == [WRITTEN, LOST]
        assert [await is_there(scene, one) for one in (new, late)] == [True, False]

    # At once

    async def test_a_start_that_races_a_continuation_finds_an_open_run(self, scene: Scene) -> None:
        run = await scene.start()
        for _ in range(ROUNDS):
            task = await scene.claim_run(run)
            new = successor_of(scene, run)
            written, [outcome] = await both(
                scene.write(continuing(task, new)),
                scene.repository.start_runs([scene.new_run(run.workflow_id)]),
            )
            assert written == [WRITTEN]
            assert not outcome.created
            run = await scene.look(replace(run, run_id=new.run_id))

    async def test_continuing_and_starting_the_same_ids_do_not_lock_each_other_out(
        self, scene: Scene
    ) -> None:
        runs = [await scene.start(f"{scene.queue}/{name}") for name in "bd"]
        parent = await scene.start_claimed()
        for number in range(ROUNDS):
            tasks = [await scene.claim_run(run) for run in runs]
            nexts = [successor_of(scene, run) for run in runs]
            ids = [f"{scene.queue}/a{number}", runs[0].workflow_id]
            ids += [f"{scene.queue}/c{number}", runs[1].workflow_id]
            news = [child_of(scene, parent.run, workflow_id) for workflow_id in ids]
            kept = Effects(RUNNING, NOW, starts=news, lease_expires_at=NOW + LEASE)
            extra = child_of(scene, runs[0], ids[2])
            first = continuing(tasks[0], nexts[0])
            first = replace(first, effects=replace(first.effects, starts=[nexts[0], extra]))
            (continued, started), clients = await both(
                together(
                    scene.write(continuing(tasks[1], nexts[1]), first),
                    scene.write(turn(parent, kept)),
                ),
                scene.repository.start_runs([scene.new_run(one) for one in reversed(ids)]),
            )
            assert (continued, started) == ([WRITTEN, WRITTEN], [WRITTEN])
            assert [clients[n].created for n in (0, 2)] == [False, False]
            runs = [
                await scene.look(replace(r, run_id=n.run_id))
                for r, n in zip(runs, nexts, strict=True)
            ]

    async def test_a_message_that_races_a_continuation_reaches_the_chain(
        self, scene: Scene
    ) -> None:
        first = run = await scene.start()
        received: list[str] = []
        for number in range(ROUNDS):
            task = await scene.claim_run(run)
            received += [got.message_id for got in task.messages]
            new = successor_of(scene, run)
            exact = replace(message(first, f"exact {number}"), run_id=first.run_id)
            written, *sent = await together(
                scene.write(continuing(task, new, consume=len(task.messages))),
                scene.send(message(first, f"any {number}")),
                scene.send(exact),
            )
            assert (written, sent) == ([WRITTEN], [[ACCEPTED], [ACCEPTED]])
            run = await scene.look(replace(run, run_id=new.run_id))
        received += await ids_in_inbox(scene, run)
        wanted = [f"{kind} {number}" for kind in ("any", "exact") for number in range(ROUNDS)]
        assert sorted(one for one in received if one != "start") == sorted(wanted)
