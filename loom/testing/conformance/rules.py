"""The six rules at the top of ``loom/storage/repository.py``, each with tests named for it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from loom.errors import StoreError
from loom.storage.records import (
    Arrival,
    Effects,
    EventRecord,
    LogRecord,
    Message,
    NewRun,
    RunRecord,
    Transition,
)
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.scene import (
    ACCEPTED,
    ALICE,
    BOB,
    COMPLETED,
    LEASE,
    LOST,
    NOW,
    RUNNING,
    SECOND,
    WRITTEN,
    Scene,
    answer,
    consuming,
    event,
    following,
    held_by,
    message,
    run_lease,
    turn,
)


@dataclass(frozen=True)
class RichTurn:
    """A turn with every kind of effect, on its own run and on another."""

    scene: Scene
    run: RunRecord
    other: RunRecord
    started: NewRun
    transition: Transition

    async def assert_whole(self) -> None:
        repository, key = self.scene.repository, self.run.run_key
        assert (await self.scene.look(self.run)).sequence == 3
        assert [event.sequence for event in await repository.read_history(key)] == [1, 2, 3]
        assert [line.message for line in await repository.read_logs(key)] == ["logged"]
        assert [task.activity_id for task in await repository.list_tasks(key)] == [1, 2]
        assert await self.scene.inbox_of(self.run) == []
        [received] = await self.scene.inbox_of(self.other)
        assert received.message_id == "to another"
        started = self.started
        assert await repository.find_run(started.workflow_id, started.run_id) is not None
        assert await repository.find_answer(self.run.run_id, "answered") == answer("answered")

    async def assert_absent(self) -> None:
        repository, key = self.scene.repository, self.run.run_key
        assert (await self.scene.look(self.run)).sequence == 1
        assert [event.sequence for event in await repository.read_history(key)] == [1]
        assert list(await repository.read_logs(key)) == []
        assert list(await repository.list_tasks(key)) == []
        [unconsumed] = await self.scene.inbox_of(self.run)
        assert unconsumed.message_id == "consumed"
        assert await self.scene.inbox_of(self.other) == []
        assert await repository.find_run(self.started.workflow_id) is None
        assert await repository.find_answer(self.run.run_id, "answered") is None


async def rich_turn(scene: Scene) -> RichTurn:
    """One that is ready to be written."""
    other, run = await scene.start_waiting(), await scene.start()
    await scene.send(message(run, "consumed"))
    task, started = await scene.claim_run(run), scene.new_run()
    effects = Effects(
        RUNNING,
        NOW,
        events=following(run, 2),
        tasks=[scene.task(1), scene.task(2)],
        starts=[started],
        messages=[message(other, "to another")],
        answers=[answer("answered")],
        logs=[LogRecord(1, NOW, "INFO", "logged")],
        wake_at=NOW + SECOND,
    )
    return RichTurn(scene, run, other, started, turn(task, effects, consumed_through=1))


def malformed(transition: Transition) -> Transition:
    """The same turn, of which no store can write all: two events share a sequence."""
    events = transition.effects.events
    return replace(transition, effects=replace(transition.effects, events=[*events, events[-1]]))


class RulesConformance(Conformance):
    """The six rules that everything above the port relies on."""

    # 1. A transition is all or nothing, its effects on other runs included.

    async def test_rule_1_a_written_transition_is_written_whole(self, scene: Scene) -> None:
        rich = await rich_turn(scene)
        assert await scene.write(rich.transition) == [WRITTEN]
        await rich.assert_whole()

    async def test_rule_1_a_lost_transition_leaves_nothing_behind(self, scene: Scene) -> None:
        rich = await rich_turn(scene)
        lost = replace(rich.transition, token=rich.transition.token + 1)
        assert await scene.write(lost) == [LOST]
        await rich.assert_absent()

    async def test_rule_1_a_refused_transition_leaves_nothing_behind(self, scene: Scene) -> None:
        rich = await rich_turn(scene)
        with pytest.raises(StoreError):
            await scene.write(malformed(rich.transition))
        await rich.assert_absent()

    # 2. The fence is the lease token and the expected sequence, and harms no neighbour.

    async def test_rule_2_a_token_that_has_been_outgrown_is_lost(self, scene: Scene) -> None:
        task = await scene.start_claimed(ALICE)
        await scene.claim_run(task.run, BOB, now=NOW + LEASE)
        assert await scene.write(turn(task)) == [LOST]
        assert (await scene.look(task.run)).sequence == task.run.sequence

    async def test_rule_2_a_sequence_that_has_been_passed_is_lost(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        kept = Effects(RUNNING, NOW, events=following(task.run), lease_expires_at=NOW + LEASE)
        assert await scene.write(turn(task, kept)) == [WRITTEN]
        assert await scene.write(turn(task)) == [LOST]
        assert (await scene.look(task.run)).sequence == task.run.sequence + 1

    async def test_rule_2_a_sequence_that_is_not_reached_yet_is_lost(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        ahead = replace(task, run=replace(task.run, sequence=task.run.sequence + 1))
        assert await scene.write(turn(ahead)) == [LOST]
        assert await scene.write(turn(task)) == [WRITTEN]

    async def test_rule_2_a_lost_turn_harms_no_neighbour(self, scene: Scene) -> None:
        tasks = [await scene.start_claimed() for _ in range(5)]
        batch = [turn(task) for task in tasks]
        batch[1] = replace(batch[1], token=batch[1].token + 1)
        batch[3] = replace(batch[3], expected_sequence=7)
        assert await scene.write(*batch) == [WRITTEN, LOST, WRITTEN, LOST, WRITTEN]
        sequences = [(await scene.look(task.run)).sequence for task in tasks]
        assert sequences == [2, 1, 2, 1, 2]

    # 3. An exception means that the outcome is unknown for the whole batch.

    async def test_rule_3_after_an_exception_every_turn_is_whole_or_absent(
        self, scene: Scene
    ) -> None:
        riches = [await rich_turn(scene) for _ in range(3)]
        first, poisoned, last = (rich.transition for rich in riches)
        with pytest.raises(StoreError):
            await scene.write(first, malformed(poisoned), last)
        await riches[1].assert_absent()
        for rich in (riches[0], riches[2]):
            written = (await scene.look(rich.run)).sequence > rich.run.sequence
            await (rich.assert_whole() if written else rich.assert_absent())

    async def test_rule_3_a_batch_that_failed_can_be_written_one_by_one(self, scene: Scene) -> None:
        riches = [await rich_turn(scene) for _ in range(3)]
        first, poisoned, last = (rich.transition for rich in riches)
        with pytest.raises(StoreError):
            await scene.write(first, malformed(poisoned), last)
        # LOST is what a turn says that had been written after all.
        for transition in (first, poisoned, last):
            await scene.write(transition)
        for rich in riches:
            await rich.assert_whole()

    # 4. Message ids are chosen by the sender; delivery is idempotent.

    async def test_rule_4_a_message_sent_again_is_delivered_once(self, scene: Scene) -> None:
        run = await scene.start()
        once, other = message(run, "once"), message(run, "other")
        assert await scene.send(once, other, once) == [ACCEPTED] * 3
        assert await scene.send(once) == [ACCEPTED]
        assert [got.message_id for got in await scene.inbox_of(run)] == ["once", "other"]

    async def test_rule_4_a_message_sent_again_after_it_was_consumed_is_not_delivered(
        self, scene: Scene
    ) -> None:
        run = await scene.start()
        await scene.send(message(run, "once"))
        assert await scene.write(consuming(await scene.claim_run(run))) == [WRITTEN]
        assert await scene.send(message(run, "once")) == [ACCEPTED]
        assert await scene.claim(BOB) == []
        assert await scene.inbox_of(run) == []

    async def test_rule_4_a_message_from_a_run_is_as_idempotent(self, scene: Scene) -> None:
        target = await scene.start_waiting()
        for _ in range(2):
            task = await scene.start_claimed()
            effects = Effects(
                COMPLETED, NOW, events=following(task.run), messages=[message(target, "once")]
            )
            assert await scene.write(turn(task, effects)) == [WRITTEN]
        assert [got.message_id for got in await scene.inbox_of(target)] == ["once"]

    # 5. ``now`` is an argument. Clocks decide liveness, never safety.

    @pytest.mark.parametrize("now", [1_000 * SECOND, NOW, 4 * NOW])
    async def test_rule_5_only_the_given_time_counts(self, scene: Scene, now: int) -> None:
        run = await scene.start(due_at=now)
        assert await scene.claim(ALICE, now - 1) == []
        [task] = await scene.claim(ALICE, now)
        assert task.run.run_id == run.run_id
        assert await scene.claim(BOB, now + LEASE - 1) == []
        assert len(await scene.claim(BOB, now + LEASE)) == 1

    async def test_rule_5_a_lease_that_ran_out_unclaimed_still_writes(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        much_later = NOW + 1000 * LEASE
        effects = Effects(RUNNING, much_later, events=following(task.run))
        assert await scene.write(turn(task, effects)) == [WRITTEN]

    async def test_rule_5_a_zombie_is_lost_however_its_clock_stands(self, scene: Scene) -> None:
        zombie = await scene.start_claimed(ALICE)
        await scene.claim_run(zombie.run, BOB, now=NOW + LEASE)
        early = Effects(RUNNING, NOW, events=following(zombie.run), lease_expires_at=9 * NOW)
        assert await scene.write(turn(zombie, early)) == [LOST]
        held = held_by(zombie)
        lost = await scene.repository.extend_leases(held, ALICE, 9 * NOW)
        assert list(lost.runs) == [run_lease(zombie)]

    # 6. Payloads are opaque bytes, and types opaque names.

    @pytest.mark.parametrize(
        "payload",
        [None, b"", b"\x00", b"\xff\xfe", bytes(range(256)), b"\x00\xff" * 500_000],
        ids=["none", "empty", "nul", "not utf-8", "every byte", "a megabyte"],
    )
    async def test_rule_6_payloads_come_back_as_they_went(
        self, scene: Scene, payload: bytes | None
    ) -> None:
        attributes = payload or b""
        stored = EventRecord(1, "A TYPE NOBODY KNOWS", 99, NOW, attributes, payload)
        new = scene.new_run(effects=Effects(RUNNING, NOW, events=[stored]))
        [started] = await scene.repository.start_runs([new])
        carried = Arrival("ANOTHER ONE", 98, attributes, payload)
        await scene.send(Message(new.workflow_id, "message", carried))
        assert list(await scene.repository.read_history(started.run.run_key)) == [stored]
        [received] = await scene.inbox_of(started.run)
        assert received.arrival == carried

    async def test_rule_6_an_activity_carries_payloads_as_they_are(self, scene: Scene) -> None:
        every_byte = bytes(range(256))
        task = await scene.start_claimed()
        asked = replace(event(2), attributes=every_byte, payload=every_byte)
        effects = Effects(RUNNING, NOW, events=[asked], tasks=[scene.task()])
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        assert (await scene.claim_activity()).scheduled == asked
