"""Messages: their order, their addresses, and that each is delivered once."""

from __future__ import annotations

from dataclasses import replace

from loom.identifiers import new_id
from loom.storage.records import Effects, InboxRecord, Message
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.scene import (
    ACCEPTED,
    ALICE,
    BOB,
    CLOSED,
    LEASE,
    NOT_FOUND,
    NOW,
    RUNNING,
    SECOND,
    WRITTEN,
    Scene,
    arrival,
    closing,
    consuming,
    event,
    following,
    held_by,
    message,
    turn,
)


def ids(inbox: list[InboxRecord]) -> list[str]:
    return [received.message_id for received in inbox]


class InboxConformance(Conformance):
    """What is sent arrives, in order and once."""

    # Order

    async def test_messages_are_delivered_in_the_order_of_sending(self, scene: Scene) -> None:
        run = await scene.start()
        sent = [message(run, f"m{n}", b"%d" % n) for n in range(1, 151)]
        await scene.send(*sent[:70])
        await scene.send(sent[70])
        await scene.send(*sent[71:])
        wanted = [InboxRecord(n, m.message_id, m.arrival) for n, m in enumerate(sent, start=1)]
        assert await scene.inbox_of(run) == wanted

    async def test_positions_count_on_after_messages_were_consumed(self, scene: Scene) -> None:
        run = await scene.start()
        await scene.send(message(run, "a"), message(run, "b"))
        await scene.write(consuming(await scene.claim_run(run)))
        await scene.send(message(run, "c"))
        [received] = await scene.inbox_of(run)
        assert (received.position, received.message_id) == (3, "c")

    async def test_a_message_sent_again_leaves_no_gap(self, scene: Scene) -> None:
        run = await scene.start()
        await scene.send(message(run, "a"), message(run, "a"), message(run, "b"))
        assert [got.position for got in await scene.inbox_of(run)] == [1, 2]

    async def test_what_is_not_consumed_stays_in_order(self, scene: Scene) -> None:
        run = await scene.start()
        await scene.send(*(message(run, name) for name in "abcd"))
        await scene.write(consuming(await scene.claim_run(run), count=2))
        assert ids(await scene.inbox_of(run)) == ["c", "d"]

    # Once

    async def test_the_first_message_of_an_id_is_the_one_delivered(self, scene: Scene) -> None:
        run = await scene.start()
        await scene.send(message(run, "same", b"first"))
        await scene.send(message(run, "same", b"second"))
        [received] = await scene.inbox_of(run)
        assert received.arrival == arrival(b"first")

    async def test_the_same_id_may_go_to_several_runs(self, scene: Scene) -> None:
        runs = [await scene.start() for _ in range(3)]
        await scene.send(*(message(run, "same") for run in runs))
        for run in runs:
            assert ids(await scene.inbox_of(run)) == ["same"]

    async def test_a_message_that_only_history_knows_is_not_delivered(self, scene: Scene) -> None:
        """What the run's own worker handed it never was in the inbox."""
        task = await scene.start_claimed()
        events = [event(2, message_id="handed over")]
        await scene.write(turn(task, Effects(RUNNING, NOW, events=events)))
        assert await scene.send(message(task.run, "handed over")) == [ACCEPTED]
        assert await scene.inbox_of(task.run) == []

    async def test_a_message_that_was_consumed_stays_accepted_when_its_run_closes(
        self, scene: Scene
    ) -> None:
        run = await scene.start()
        await scene.send(message(run, "consumed"))
        await scene.write(consuming(await scene.claim_run(run)))
        await scene.write(closing(await scene.claim_run(run)))
        again = replace(message(run, "consumed"), run_id=run.run_id)
        assert await scene.send(again, message(run, "consumed")) == [ACCEPTED, ACCEPTED]

    async def test_a_message_that_was_dropped_at_the_close_is_not_accepted(
        self, scene: Scene
    ) -> None:
        task = await scene.start_claimed()
        await scene.send(message(task.run, "late"))
        await scene.write(closing(task))
        assert await scene.send(message(task.run, "late")) == [CLOSED]

    # Addresses

    async def test_a_workflow_id_addresses_its_open_run(self, scene: Scene) -> None:
        old = await scene.start_closed()
        new = await scene.start(old.workflow_id)
        assert await scene.send(message(old, "m")) == [ACCEPTED]
        assert ids(await scene.inbox_of(new)) == ["m"]

    async def test_a_run_id_addresses_that_run_alone(self, scene: Scene) -> None:
        old = await scene.start_closed()
        new = await scene.start(old.workflow_id)
        to_old = replace(message(old, "to old"), run_id=old.run_id)
        to_new = replace(message(new, "to new"), run_id=new.run_id)
        assert await scene.send(to_old, to_new) == [CLOSED, ACCEPTED]
        assert ids(await scene.inbox_of(new)) == ["to new"]

    async def test_a_closed_workflow_takes_no_messages(self, scene: Scene) -> None:
        run = await scene.start_closed()
        assert await scene.send(message(run, "m")) == [CLOSED]

    async def test_nobody_is_not_found(self, scene: Scene) -> None:
        run = await scene.start()
        nobody = Message(new_id(), "m", arrival())
        other_run = replace(message(run, "m"), run_id=new_id())
        assert await scene.send(nobody, other_run) == [NOT_FOUND, NOT_FOUND]
        assert await scene.inbox_of(run) == []

    async def test_outcomes_of_messages_come_in_order(self, scene: Scene) -> None:
        opened, closed = await scene.start(), await scene.start_closed()
        batch = [message(run, "m") for run in (closed, opened, closed, opened)]
        batch.insert(2, Message(new_id(), "m", arrival()))
        assert await scene.send(*batch) == [CLOSED, ACCEPTED, NOT_FOUND, CLOSED, ACCEPTED]

    # Waking up

    async def test_a_message_makes_a_waiting_run_due(self, scene: Scene) -> None:
        forever, later = await scene.start_waiting(), await scene.start_waiting(wake_at=9 * NOW)
        assert await scene.claim(BOB) == []
        await scene.send(message(forever, "m"), message(later, "m"))
        woken = await scene.claim(BOB)
        assert {task.run.run_id for task in woken} == {forever.run_id, later.run_id}
        assert all(ids(list(task.messages)) == ["m"] for task in woken)

    async def test_a_message_never_makes_a_run_due_later(self, scene: Scene) -> None:
        run = await scene.start(due_at=NOW)
        await scene.send(message(run, "by a clock that is ahead"), now=NOW + LEASE)
        assert len(await scene.claim(BOB, NOW)) == 1

    async def test_a_message_to_a_leased_run_waits_for_its_owner(self, scene: Scene) -> None:
        task = await scene.start_claimed(ALICE)
        await scene.send(message(task.run, "m"))
        assert await scene.claim(BOB) == []
        [again] = await scene.claim(ALICE)
        assert (again.token, ids(list(again.messages))) == (task.token, ["m"])

    async def test_a_message_to_a_leased_run_outlives_its_owner(self, scene: Scene) -> None:
        task = await scene.start_claimed(ALICE)
        await scene.send(message(task.run, "m"))
        [again] = await scene.claim(BOB, NOW + LEASE)
        assert again.token > task.token
        assert ids(list(again.messages)) == ["m"]

    async def test_a_message_that_comes_before_the_run_is_given_back_makes_it_due(
        self, scene: Scene
    ) -> None:
        task = await scene.start_claimed(ALICE)
        await scene.send(message(task.run, "late"))
        effects = Effects(RUNNING, NOW, events=following(task.run), wake_at=9 * NOW)
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        [again] = await scene.claim(BOB, NOW)
        assert ids(list(again.messages)) == ["late"]

    async def test_a_message_that_comes_after_the_consumed_ones_makes_the_run_due(
        self, scene: Scene
    ) -> None:
        run = await scene.start()
        await scene.send(message(run, "early"))
        task = await scene.claim_run(run)
        await scene.send(message(run, "late"))
        assert await scene.write(consuming(task)) == [WRITTEN]
        [again] = await scene.claim(BOB, NOW)
        assert ids(list(again.messages)) == ["late"]

    async def test_a_message_that_comes_before_the_lease_is_released_makes_the_run_due(
        self, scene: Scene
    ) -> None:
        task = await scene.claim_run(await scene.start_waiting(wake_at=NOW + SECOND))
        await scene.send(message(task.run, "late"))
        await scene.repository.release_leases(held_by(task), NOW)
        [again] = await scene.claim(BOB, NOW)
        assert ids(list(again.messages)) == ["late"]

    async def test_a_message_from_another_run_makes_a_run_due(self, scene: Scene) -> None:
        target, task = await scene.start_waiting(), await scene.start_claimed()
        effects = Effects(RUNNING, NOW, events=following(task.run), messages=[message(target, "m")])
        await scene.write(turn(task, effects))
        [woken] = await scene.claim(BOB)
        assert woken.run.run_id == target.run_id
