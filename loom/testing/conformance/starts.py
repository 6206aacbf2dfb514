"""Runs that turns start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loom.identifiers import WorkflowId
from loom.storage.records import Effects, Message, NewRun, RunRecord, Transition, WorkflowTask
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.concurrency import ROUNDS, both, together
from loom.testing.conformance.scene import (
    ALICE,
    BOB,
    COMPLETED,
    LEASE,
    LOST,
    NOW,
    RUNNING,
    WRITTEN,
    Scene,
    arrival,
    closing,
    event,
    following,
    message,
    turn,
)


def child_of(scene: Scene, run: RunRecord, workflow_id: WorkflowId | None = None) -> NewRun:
    """A run for any worker to take, which ``run`` is told of when it cannot be started."""
    new = scene.new_run(workflow_id)
    start = Message(new.workflow_id, "start", arrival(b"input"), run_id=new.run_id)
    refused = Message(run.workflow_id, f"refused {new.run_id}", arrival(), run_id=run.run_id)
    effects = Effects(RUNNING, NOW, messages=[start])
    return replace(new, effects=effects, on_conflict=[refused])


def starting(task: WorkflowTask, *news: NewRun, messages: Sequence[Message] = ()) -> Transition:
    """A turn that starts these runs and gives its own back."""
    effects = Effects(RUNNING, NOW, events=following(task.run), starts=news, messages=messages)
    return turn(task, effects)


async def is_there(scene: Scene, new: NewRun) -> bool:
    return await scene.repository.find_run(new.workflow_id, new.run_id) is not None


async def ids_in_inbox(scene: Scene, run: RunRecord) -> list[str]:
    return [got.message_id for got in await scene.inbox_of(run)]


class StartsConformance(Conformance):
    """Runs that are started together with a turn of another."""

    async def test_a_turn_may_start_runs(self, scene: Scene) -> None:
        parent = await scene.start_claimed()
        news = [child_of(scene, parent.run) for _ in range(3)]
        assert await scene.write(starting(parent, *news)) == [WRITTEN]
        tasks = await scene.claim(BOB)
        assert {task.run.run_id for task in tasks} == {new.run_id for new in news}
        for task in tasks:
            assert [(got.position, got.message_id) for got in task.messages] == [(1, "start")]
        assert await ids_in_inbox(scene, parent.run) == []

    async def test_a_turn_may_start_a_thousand_runs(self, scene: Scene) -> None:
        parent = await scene.start_claimed()
        news = [child_of(scene, parent.run) for _ in range(1_000)]
        assert await scene.write(starting(parent, *news)) == [WRITTEN]
        claimed = {task.run.run_id for task in await scene.claim(BOB)}
        assert claimed == {new.run_id for new in news}

    async def test_a_lost_turn_starts_nothing(self, scene: Scene) -> None:
        parent, taken = await scene.start_claimed(), await scene.start_waiting()
        news = child_of(scene, parent.run), child_of(scene, parent.run, taken.workflow_id)
        lost = replace(starting(parent, *news), token=parent.token + 1)
        assert await scene.write(lost) == [LOST]
        assert not any([await is_there(scene, new) for new in news])
        assert await ids_in_inbox(scene, parent.run) == []

    async def test_a_turn_written_again_starts_nothing_twice(self, scene: Scene) -> None:
        parent = await scene.start_claimed()
        new = child_of(scene, parent.run)
        kept = Effects(RUNNING, NOW, starts=[new], lease_expires_at=NOW + LEASE)
        for _ in range(2):
            assert await scene.write(turn(parent, kept)) == [WRITTEN]
        assert len(await scene.claim(BOB)) == 1
        assert await ids_in_inbox(scene, parent.run) == []

    async def test_a_run_started_again_after_its_end_stays_ended(self, scene: Scene) -> None:
        parent = await scene.start_claimed()
        new = child_of(scene, parent.run)
        kept = Effects(RUNNING, NOW, starts=[new], lease_expires_at=NOW + LEASE)
        await scene.write(turn(parent, kept))
        [child] = await scene.claim(BOB)
        await scene.write(closing(child))
        assert await scene.write(turn(parent, kept)) == [WRITTEN]
        assert await scene.claim(BOB) == []
        assert await ids_in_inbox(scene, parent.run) == []

    async def test_a_taken_workflow_id_is_reported_instead(self, scene: Scene) -> None:
        parent, taken = await scene.start_claimed(), await scene.start_waiting()
        refused = child_of(scene, parent.run, taken.workflow_id)
        fine = child_of(scene, parent.run)
        assert await scene.write(starting(parent, refused, fine)) == [WRITTEN]
        assert [await is_there(scene, new) for new in (refused, fine)] == [False, True]
        assert await ids_in_inbox(scene, taken) == []
        assert await ids_in_inbox(scene, parent.run) == [f"refused {refused.run_id}"]

    async def test_a_refused_start_wakes_the_turn_that_asked_for_it(self, scene: Scene) -> None:
        parent, taken = await scene.start_claimed(), await scene.start_waiting()
        await scene.write(starting(parent, child_of(scene, parent.run, taken.workflow_id)))
        [again] = await scene.claim(BOB)
        assert again.run.run_id == parent.run.run_id
        assert len(again.messages) == 1

    async def test_one_of_several_starts_of_a_workflow_id_is_made(self, scene: Scene) -> None:
        parents = [await scene.start_claimed() for _ in range(4)]
        news = [child_of(scene, parent.run, "same" + scene.queue) for parent in parents]
        turns = [starting(*pair) for pair in zip(parents, news, strict=True)]
        assert await scene.write(*turns) == [WRITTEN] * 4
        assert sum([await is_there(scene, new) for new in news]) == 1
        for parent, new in zip(parents, news, strict=True):
            told = [] if await is_there(scene, new) else [f"refused {new.run_id}"]
            assert await ids_in_inbox(scene, parent.run) == told

    async def test_a_turn_may_talk_to_what_it_starts(self, scene: Scene) -> None:
        parent = await scene.start_claimed()
        new = child_of(scene, parent.run)
        sent = Message(new.workflow_id, "hello", arrival(), run_id=new.run_id)
        assert await scene.write(starting(parent, new, messages=[sent])) == [WRITTEN]
        [task] = await scene.claim(BOB)
        assert [got.message_id for got in task.messages] == ["start", "hello"]

    async def test_a_workflow_id_given_up_by_a_turn_is_free_for_what_it_starts(
        self, scene: Scene
    ) -> None:
        parent = await scene.start_claimed()
        new = child_of(scene, parent.run, parent.run.workflow_id)
        last = Effects(COMPLETED, NOW, events=following(parent.run), starts=[new])
        assert await scene.write(turn(parent, last)) == [WRITTEN]
        found = await scene.repository.find_run(parent.run.workflow_id)
        assert found is not None
        assert (found.run_id, found.continued_from) == (new.run_id, None)

    async def test_a_first_turn_may_start_runs(self, scene: Scene) -> None:
        parent = scene.new_run()
        record = replace(await scene.start(), workflow_id=parent.workflow_id, run_id=parent.run_id)
        new = child_of(scene, record)
        effects = Effects(RUNNING, NOW, events=[event(1)], starts=[new])
        for _ in range(2):
            [outcome] = await scene.repository.start_runs([replace(parent, effects=effects)])
            assert outcome.created
        assert await is_there(scene, new)

    async def test_a_first_turn_that_is_refused_starts_nothing(self, scene: Scene) -> None:
        taken = await scene.start_waiting()
        new = child_of(scene, taken)
        effects = Effects(RUNNING, NOW, events=[event(1)], starts=[new])
        refused = scene.new_run(taken.workflow_id, effects, owner=ALICE)
        [outcome] = await scene.repository.start_runs([refused])
        assert not outcome.created
        assert not await is_there(scene, new)

    async def test_a_refused_start_may_leave_a_message_instead(self, scene: Scene) -> None:
        """As a start that brings a signal does for the run that is there."""
        run = await scene.start_waiting()
        instead = message(run, "instead")
        refused = replace(scene.new_run(run.workflow_id), on_conflict=[instead])
        for _ in range(2):
            [outcome] = await scene.repository.start_runs([refused])
            assert (outcome.created, outcome.run.run_id) == (False, run.run_id)
        assert await ids_in_inbox(scene, run) == ["instead"]

    async def test_a_message_of_a_refused_start_may_be_for_a_run_that_has_closed(
        self, scene: Scene
    ) -> None:
        """As a child's whose parent is no more is: nobody is told, and the start is refused."""
        closed = await scene.start_closed()
        [started] = await scene.repository.start_runs([scene.new_run(closed.workflow_id)])
        run = started.run
        instead = replace(message(closed, "instead"), run_id=closed.run_id)
        refused = replace(scene.new_run(run.workflow_id), on_conflict=[instead])
        [outcome] = await scene.repository.start_runs([refused])
        assert (outcome.created, outcome.run.run_id) == (False, run.run_id)
        assert await ids_in_inbox(scene, run) == []

    async def test_a_start_that_succeeds_leaves_no_message(self, scene: Scene) -> None:
        new = scene.new_run()
        instead = Message(new.workflow_id, "instead", arrival())
        [outcome] = await scene.repository.start_runs([replace(new, on_conflict=[instead])])
        assert outcome.created
        assert await ids_in_inbox(scene, outcome.run) == []

    # At once

    async def test_turns_that_start_the_same_ids_do_not_lock_each_other_out(
        self, scene: Scene
    ) -> None:
        parents = [await scene.start_claimed() for _ in range(4)]
        for number in range(ROUNDS):
            ids = [f"{scene.queue}/{number}/{n}" for n in range(40)]
            turns = []
            for n, parent in enumerate(parents):
                order = ids if n % 2 else ids[::-1]
                news = [child_of(scene, parent.run, workflow_id) for workflow_id in order]
                kept = Effects(RUNNING, NOW, starts=news, lease_expires_at=NOW + LEASE)
                turns.append(turn(parent, kept))
            client = scene.repository.start_runs([scene.new_run(one) for one in ids[::2]])
            outcomes, _ = await both(together(*(scene.write(one) for one in turns)), client)
            assert outcomes == [[WRITTEN]] * 4
            for workflow_id in ids:
                assert await scene.repository.find_run(workflow_id) is not None
        told = [len(await scene.inbox_of(parent.run)) for parent in parents]
        started_by_turns = 4 * 40 * ROUNDS - sum(told)
        assert 20 * ROUNDS <= started_by_turns <= 40 * ROUNDS
