"""Starts that are refused after the end of an earlier run, and starts that are repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace

import pytest

from loom.history.status import RunStatus
from loom.identifiers import WorkflowId, new_id
from loom.storage.records import Effects, NewRun
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.chains import successor_of
from loom.testing.conformance.scene import (
    ALICE,
    COMPLETED,
    FAILED,
    NOW,
    RUNNING,
    WRITTEN,
    Scene,
    closing,
    event,
    following,
    message,
    turn,
)

ANY_END = frozenset(status for status in RunStatus if not status.is_open)


def particular(
    scene: Scene,
    workflow_id: WorkflowId,
    refused_after: Collection[RunStatus] = ANY_END,
    status: RunStatus = RUNNING,
) -> NewRun:
    """A run that is refused after some ends; its first turn is taken with it."""
    effects = Effects(status, NOW, events=[event(1)])
    new = scene.new_run(workflow_id, effects, owner=ALICE)
    return replace(new, refused_after=refused_after)


async def start_ended(scene: Scene, workflow_id: WorkflowId, status: RunStatus) -> None:
    """A run that has ended so."""
    task = await scene.start_claimed(workflow_id=workflow_id)
    ended = Effects(status, NOW, events=following(task.run))
    assert await scene.write(turn(task, ended)) == [WRITTEN]


class RefusalsConformance(Conformance):
    """What stands in the way of a start besides an open run."""

    @pytest.mark.parametrize("ended", [COMPLETED, FAILED])
    async def test_a_start_is_refused_after_the_ends_that_it_names(
        self, scene: Scene, ended: RunStatus
    ) -> None:
        await start_ended(scene, name := new_id(), ended)
        old = await scene.repository.find_run(name)
        new = particular(scene, name, {COMPLETED})
        [outcome] = await scene.repository.start_runs([new])
        assert outcome.created is (ended is FAILED)
        assert outcome.run.run_id == new.run_id or outcome.run == old

    async def test_a_start_is_not_refused_where_there_was_none(self, scene: Scene) -> None:
        new = particular(scene, new_id())
        [outcome] = await scene.repository.start_runs([new])
        assert (outcome.created, outcome.repeated) == (True, False)

    async def test_only_the_newest_run_can_refuse_a_start(self, scene: Scene) -> None:
        await start_ended(scene, name := new_id(), COMPLETED)
        await start_ended(scene, name, FAILED)
        [outcome] = await scene.repository.start_runs([particular(scene, name, {COMPLETED})])
        assert outcome.created

    async def test_an_open_run_is_in_the_way_before_any_that_has_ended(self, scene: Scene) -> None:
        await start_ended(scene, name := new_id(), COMPLETED)
        standing = await scene.start(name)
        [outcome] = await scene.repository.start_runs([particular(scene, name)])
        assert (outcome.created, outcome.run) == (False, standing)

    async def test_a_start_refused_after_an_end_leaves_nothing_behind(self, scene: Scene) -> None:
        other = await scene.start_waiting()
        await start_ended(scene, name := new_id(), COMPLETED)
        said = [message(other, "refused")]
        effects = Effects(RUNNING, NOW, events=[event(1)], messages=said, tags={"stage": "new"})
        refused = replace(particular(scene, name), effects=effects, on_conflict=said)
        [outcome] = await scene.repository.start_runs([refused])
        assert not outcome.created
        assert await scene.inbox_of(other) == []
        assert await scene.repository.find_run(name, refused.run_id) is None

    async def test_starts_of_one_batch_are_refused_after_the_ends_of_others(
        self, scene: Scene
    ) -> None:
        name = new_id()
        batch = [particular(scene, name, status=COMPLETED) for _ in range(3)]
        outcomes = await scene.repository.start_runs(batch)
        assert [outcome.created for outcome in outcomes] == [True, False, False]
        assert {outcome.run.run_id for outcome in outcomes} == {batch[0].run_id}

    @pytest.mark.parametrize("status", [RUNNING, COMPLETED])
    async def test_of_many_starts_at_once_one_is_let_through(
        self, scene: Scene, status: RunStatus
    ) -> None:
        """Runs that are over with their first turn included, which never stand in an index of
        open ones."""
        name = new_id()
        starts = [particular(scene, name, status=status) for _ in range(8)]
        calls = (scene.repository.start_runs([new]) for new in starts)
        outcomes = [outcome for [outcome] in await asyncio.gather(*calls)]
        [created] = [outcome.run.run_id for outcome in outcomes if outcome.created]
        assert {outcome.run.run_id for outcome in outcomes} == {created}

    async def test_a_start_is_not_repeated_whose_message_the_newest_run_has_taken(
        self, scene: Scene
    ) -> None:
        name = new_id()
        for run_of in ("first", "second"):
            task = await scene.start_claimed(workflow_id=name)
            heard = [event(task.run.sequence + 1, message_id=run_of)]
            await scene.write(turn(task, Effects(COMPLETED, NOW, events=heard)))
        newest = await scene.repository.find_run(name)
        new = replace(particular(scene, name), unless_heard="second")
        [outcome] = await scene.repository.start_runs([new])
        assert (outcome.created, outcome.repeated, outcome.run) == (False, True, newest)
        # What an earlier one has taken, and one of another id, is nothing to the newest.
        other = particular(scene, new_id(), ())
        for unheard in (replace(other, unless_heard="second"), particular(scene, name, ())):
            [outcome] = await scene.repository.start_runs([replace(unheard, unless_heard="first")])
            assert outcome.created

    async def test_a_start_is_not_repeated_whose_message_any_run_of_the_chain_has_taken(
        self, scene: Scene
    ) -> None:
        task = await scene.start_claimed()
        heard = [event(task.run.sequence + 1, message_id="heard")]
        successor = successor_of(scene, task.run)
        effects = Effects(RunStatus.CONTINUED_AS_NEW, NOW, events=heard, starts=[successor])
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        [last] = await scene.claim()
        await scene.write(closing(last))
        new = replace(particular(scene, task.run.workflow_id, ()), unless_heard="heard")
        [outcome] = await scene.repository.start_runs([new])
        assert (outcome.created, outcome.repeated) == (False, True)
        assert outcome.run.run_id == successor.run_id

    @pytest.mark.parametrize("status", [RUNNING, COMPLETED])
    async def test_of_many_starts_with_one_message_at_once_one_is_let_through(
        self, scene: Scene, status: RunStatus
    ) -> None:
        name, heard = new_id(), [event(1, message_id="heard")]
        starts = [particular(scene, name, (), status) for _ in range(8)]
        calls = (
            scene.repository.start_runs(
                [replace(new, effects=Effects(status, NOW, events=heard), unless_heard="heard")]
            )
            for new in starts
        )
        outcomes = [outcome for [outcome] in await asyncio.gather(*calls)]
        assert sum(outcome.created for outcome in outcomes) == 1
        assert len({outcome.run.run_id for outcome in outcomes}) == 1

    # Repeated starts

    async def test_a_start_that_was_there_already_is_told_from_the_first(
        self, scene: Scene
    ) -> None:
        new = particular(scene, new_id())
        [first] = await scene.repository.start_runs([new])
        [again] = await scene.repository.start_runs([new])
        assert [(o.created, o.repeated) for o in (first, again)] == [(True, False), (True, True)]

    async def test_of_equal_starts_in_one_batch_one_is_the_first(self, scene: Scene) -> None:
        new = particular(scene, new_id())
        outcomes = await scene.repository.start_runs([new, particular(scene, new_id()), new])
        assert [outcome.repeated for outcome in outcomes] == [False, False, True]
        assert all(outcome.created for outcome in outcomes)

    async def test_of_equal_starts_at_once_one_is_the_first(self, scene: Scene) -> None:
        new = particular(scene, new_id(), refused_after=(), status=COMPLETED)
        calls = (scene.repository.start_runs([new]) for _ in range(8))
        outcomes = [outcome for [outcome] in await asyncio.gather(*calls)]
        assert all(outcome.created for outcome in outcomes)
        assert sorted(outcome.repeated for outcome in outcomes) == [False] + [True] * 7
