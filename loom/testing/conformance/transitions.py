"""Turns of runs beyond what the rules say of them."""

from __future__ import annotations

from dataclasses import replace

from loom.identifiers import new_id
from loom.storage.records import Effects, LogRecord, Message
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.scene import (
    ALICE,
    BLOCKED,
    BOB,
    COMPLETED,
    FAILED,
    LEASE,
    LOST,
    NOW,
    RUNNING,
    SECOND,
    WRITTEN,
    Scene,
    arrival,
    closing,
    completion,
    consuming,
    event,
    following,
    held_by,
    message,
    turn,
)


class TransitionsConformance(Conformance):
    """What a turn changes, and what it leaves alone."""

    async def test_a_turn_moves_its_run_on(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        later = NOW + SECOND
        effects = Effects(RUNNING, later, events=following(task.run, 3), wake_at=9 * NOW)
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        assert await scene.look(task.run) == replace(
            task.run,
            sequence=4,
            updated_at=later,
            wake_at=9 * NOW,
            lease_owner=None,
            lease_expires_at=None,
            due_at=9 * NOW,
        )

    async def test_a_turn_may_keep_the_run(self, scene: Scene) -> None:
        task = await scene.start_claimed(ALICE)
        until = NOW + 5 * LEASE
        effects = Effects(RUNNING, NOW, events=following(task.run), lease_expires_at=until)
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        run = await scene.look(task.run)
        assert (run.lease_owner, run.lease_expires_at) == (ALICE, until)
        assert await scene.claim(BOB, until - 1) == []
        assert await scene.write(turn(replace(task, run=run))) == [WRITTEN]

    async def test_a_turn_that_does_not_say_whose_it_is_keeps_the_run_for_its_holder(
        self, scene: Scene
    ) -> None:
        task, until = await scene.start_claimed(ALICE), NOW + 5 * LEASE
        effects = Effects(
            RUNNING,
            NOW,
            events=following(task.run),
            tasks=[replace(scene.task(), leased=True)],
            lease_expires_at=until,
            task_lease_expires_at=until,
        )
        assert await scene.write(replace(turn(task, effects), owner="")) == [WRITTEN]
        assert (await scene.look(task.run)).lease_owner == ALICE
        [begun] = await scene.repository.list_tasks(task.run.run_key)
        assert begun.lease_owner == ALICE

    async def test_a_turn_may_have_no_events(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        assert await scene.write(turn(task, Effects(RUNNING, NOW + SECOND))) == [WRITTEN]
        run = await scene.look(task.run)
        assert (run.sequence, run.updated_at) == (1, NOW + SECOND)

    async def test_a_turn_may_be_long(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        events = following(task.run, 2_000)
        assert await scene.write(turn(task, Effects(RUNNING, NOW, events=events))) == [WRITTEN]
        read = await scene.repository.read_history(task.run.run_key, after=1, limit=5_000)
        assert list(read) == events

    async def test_the_reason_of_a_block_is_kept_until_it_is_over(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        effects = Effects(BLOCKED, NOW, wake_at=NOW + SECOND, blocked_reason="other code")
        await scene.write(turn(task, effects))
        run = await scene.look(task.run)
        assert (run.status, run.blocked_reason) == (BLOCKED, "other code")
        await scene.write(turn(await scene.claim_run(run)))
        run = await scene.look(run)
        assert (run.status, run.blocked_reason) == (RUNNING, None)

    async def test_logs_are_kept_in_order(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        lines = [LogRecord(n, NOW, "INFO", f"line {n}") for n in range(1, 5)]
        kept = Effects(RUNNING, NOW, logs=lines[:2], lease_expires_at=NOW + LEASE)
        await scene.write(turn(task, kept))
        await scene.write(turn(task, Effects(RUNNING, NOW, logs=lines[2:])))
        assert list(await scene.repository.read_logs(task.run.run_key)) == lines

    async def test_finished_tasks_go_and_others_stay(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(*(scene.task(number) for number in (1, 2, 3)))
        task = await scene.claim_run(run)
        fourth = replace(scene.task(4), sequence=3)
        effects = Effects(
            RUNNING, NOW, events=following(run), tasks=[fourth], finished_tasks=[1, 3, 77]
        )
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        left = await scene.repository.list_tasks(run.run_key)
        assert [pending.activity_id for pending in left] == [2, 4]

    # Several turns in one batch

    async def test_two_turns_of_a_run_in_one_batch_follow_each_other(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        kept = Effects(RUNNING, NOW, events=[event(2)], lease_expires_at=NOW + LEASE)
        first = turn(task, kept)
        second = replace(turn(task, Effects(RUNNING, NOW, events=[event(3)])), expected_sequence=2)
        assert await scene.write(first, second) == [WRITTEN, WRITTEN]
        read = await scene.repository.read_history(task.run.run_key)
        assert list(read) == [event(1), event(2), event(3)]

    async def test_a_turn_that_is_twice_in_a_batch_is_written_once(self, scene: Scene) -> None:
        task, neighbour = await scene.start_claimed(), await scene.start_claimed()
        batch = [turn(task), turn(neighbour), turn(task)]
        assert await scene.write(*batch) == [WRITTEN, WRITTEN, LOST]
        assert (await scene.look(task.run)).sequence == 2

    async def test_messages_of_a_batch_arrive_in_its_order(self, scene: Scene) -> None:
        target = await scene.start_waiting()
        batch = []
        for number in range(5):
            task = await scene.start_claimed()
            sent = [message(target, f"{number}{part}") for part in "ab"]
            batch.append(turn(task, Effects(RUNNING, NOW, messages=sent)))
        await scene.write(*batch)
        inbox = await scene.inbox_of(target)
        assert [got.message_id for got in inbox] == [
            f"{n}{part}" for n in range(5) for part in "ab"
        ]
        assert [got.position for got in inbox] == list(range(1, 11))

    async def test_runs_of_one_batch_may_message_each_other(self, scene: Scene) -> None:
        one, two = await scene.start_claimed(), await scene.start_claimed()
        to_two = Effects(RUNNING, NOW, messages=[message(two.run, "from one")])
        to_one = Effects(RUNNING, NOW, messages=[message(one.run, "from two")])
        assert await scene.write(turn(one, to_two), turn(two, to_one)) == [WRITTEN, WRITTEN]
        assert {task.run.run_id for task in await scene.claim(BOB)} == {
            one.run.run_id,
            two.run.run_id,
        }

    # Messages to other runs

    async def test_a_message_that_finds_no_open_run_is_dropped(self, scene: Scene) -> None:
        closed, task = await scene.start_closed(), await scene.start_claimed()
        lost = [message(closed, "m"), Message(new_id(), "m", arrival())]
        effects = Effects(RUNNING, NOW, events=following(task.run), messages=lost)
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        assert (await scene.look(closed)) == closed

    async def test_a_run_may_message_itself(self, scene: Scene) -> None:
        run = await scene.start()
        await scene.send(message(run, "consumed"))
        task = await scene.claim_run(run)
        effects = Effects(RUNNING, NOW, events=following(run), messages=[message(run, "to itself")])
        assert await scene.write(turn(task, effects, consumed_through=1)) == [WRITTEN]
        [again] = await scene.claim(BOB)
        assert [(got.position, got.message_id) for got in again.messages] == [(2, "to itself")]

    # The last turn

    async def test_closing_records_when_and_how(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        effects = Effects(FAILED, NOW + SECOND, events=following(task.run))
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        run = await scene.look(task.run)
        assert (run.status, run.closed_at, run.sequence) == (FAILED, NOW + SECOND, 2)

    async def test_closing_drops_tasks_inbox_and_lease(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task(1), scene.task(2))
        [running, _] = await scene.claim_activities()
        task = await scene.claim_run(run)
        await scene.send(message(run, "too late"))
        until = NOW + LEASE
        effects = Effects(
            COMPLETED, NOW, events=following(run), tasks=[scene.task(3)], lease_expires_at=until
        )
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        assert list(await scene.repository.list_tasks(run.run_key)) == []
        assert await scene.complete(completion(running)) == [LOST]
        assert (await scene.look(run)).lease_owner is None
        held = held_by(task)
        assert (await scene.repository.extend_leases(held, ALICE, until)).runs
        assert await scene.claim(BOB, NOW + 10 * LEASE) == []
        assert await scene.claim_activities(BOB, NOW + 10 * LEASE) == []

    async def test_a_closed_run_has_no_more_turns(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        assert await scene.write(closing(task)) == [WRITTEN]
        closed = await scene.look(task.run)
        assert await scene.write(turn(replace(task, run=closed))) == [LOST]
        assert await scene.look(closed) == closed

    async def test_consuming_and_closing_leaves_the_consumed_message_known(
        self, scene: Scene
    ) -> None:
        run = await scene.start()
        await scene.send(message(run, "last"))
        transition = consuming(await scene.claim_run(run))
        over = replace(transition.effects, status=COMPLETED)
        assert await scene.write(replace(transition, effects=over)) == [WRITTEN]
        [last] = await scene.repository.read_history(run.run_key, after=1)
        assert last.message_id == "last"
