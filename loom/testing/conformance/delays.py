"""Runs that begin later than they are created."""

from __future__ import annotations

from dataclasses import replace

from loom.identifiers import Micros
from loom.storage.records import Effects, Message, NewRun, RunRecord
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.scene import (
    ALICE,
    BLOCKED,
    BOB,
    LEASE,
    NOW,
    RUNNING,
    SECOND,
    WRITTEN,
    Scene,
    arrival,
    consuming,
    event,
    following,
    held_by,
    message,
    turn,
)

LATER: Micros = NOW + 1000 * LEASE


def delayed(scene: Scene) -> NewRun:
    """A run for any worker, that begins later."""
    new = scene.new_run()
    start = Message(new.workflow_id, "start", arrival(b"input"), run_id=new.run_id)
    effects = Effects(RUNNING, NOW, messages=[start])
    return replace(new, effects=effects, start_at=LATER, deadline=LATER + LEASE)


async def start_delayed(scene: Scene) -> RunRecord:
    [outcome] = await scene.repository.start_runs([delayed(scene)])
    return outcome.run


class DelaysConformance(Conformance):
    """Nothing makes a run due before its start; who claims it by its key has it all the same."""

    async def test_a_delayed_run_is_due_at_its_start_and_not_before(self, scene: Scene) -> None:
        run = await start_delayed(scene)
        assert (run.start_at, run.deadline, run.due_at) == (LATER, LATER + LEASE, LATER)
        assert await scene.look(run) == run
        assert await scene.claim(ALICE, LATER - 1) == []
        [task] = await scene.claim(ALICE, LATER)
        assert [got.message_id for got in task.messages] == ["start"]

    async def test_a_claim_knows_when_a_delayed_run_begins(self, scene: Scene) -> None:
        await start_delayed(scene)
        claimed = await scene.repository.claim_workflow_tasks(scene.workflow_claim())
        assert claimed.next_due_at in (None, LATER)

    async def test_messages_do_not_begin_a_delayed_run(self, scene: Scene) -> None:
        run = await start_delayed(scene)
        await scene.send(message(run, "early"), message(run, "soon"))
        assert await scene.claim(ALICE, LATER - 1) == []
        [task] = await scene.claim(ALICE, LATER)
        assert [got.message_id for got in task.messages] == ["start", "early", "soon"]

    async def test_an_urgent_message_makes_a_delayed_run_due_at_once(self, scene: Scene) -> None:
        run = await start_delayed(scene)
        await scene.send(message(run, "early"), replace(message(run, "now"), urgent=True))
        [task] = await scene.claim(ALICE, NOW)
        assert [got.message_id for got in task.messages] == ["start", "early", "now"]
        await scene.repository.release_leases(held_by(task), NOW + SECOND)
        assert await scene.claim(ALICE, LATER - 1) == []

    async def test_a_delayed_run_is_had_before_by_its_key(self, scene: Scene) -> None:
        run = await start_delayed(scene)
        task = await scene.claim_run(run, BOB)
        assert [got.message_id for got in task.messages] == ["start"]
        assert await scene.write(consuming(task)) == [WRITTEN]

    async def test_a_delayed_run_that_is_given_back_still_waits(self, scene: Scene) -> None:
        run = await start_delayed(scene)
        task = await scene.claim_run(run, BOB)
        await scene.repository.release_leases(held_by(task), NOW + SECOND)
        await scene.send(message(run, "early"), now=NOW + SECOND)
        assert await scene.claim(ALICE, LATER - 1) == []
        assert len(await scene.claim(ALICE, LATER)) == 1

    async def test_a_delayed_run_that_was_blocked_is_tried_again_when_it_said(
        self, scene: Scene
    ) -> None:
        run = await start_delayed(scene)
        [task] = await scene.claim(ALICE, LATER)
        blocked = Effects(BLOCKED, LATER, wake_at=LATER + LEASE, blocked_reason="why")
        assert await scene.write(turn(task, blocked)) == [WRITTEN]
        assert await scene.claim(BOB, LATER + LEASE - 1) == []
        assert [got.run.run_id for got in await scene.claim(BOB, LATER + LEASE)] == [run.run_id]

    async def test_once_it_has_begun_messages_make_it_due_at_once(self, scene: Scene) -> None:
        run = await start_delayed(scene)
        [task] = await scene.claim(ALICE, LATER)
        assert await scene.write(consuming(task)) == [WRITTEN]
        assert await scene.claim(BOB, LATER + LEASE) == []
        await scene.send(message(run, "late"), now=LATER + LEASE)
        assert len(await scene.claim(BOB, LATER + LEASE)) == 1

    async def test_a_timer_of_a_run_is_its_own_affair_before_its_start(self, scene: Scene) -> None:
        effects = Effects(RUNNING, NOW, events=[event(1)], wake_at=NOW + SECOND)
        new = replace(scene.new_run(effects=effects), start_at=LATER)
        await scene.repository.start_runs([new])
        [task] = await scene.claim(ALICE, NOW + SECOND)
        waits = Effects(RUNNING, NOW + SECOND, events=following(task.run), wake_at=LATER + 1)
        assert await scene.write(turn(task, waits)) == [WRITTEN]
        assert await scene.claim(ALICE, LATER) == []
