"""Runs whose owners were lost: how that is counted, and that they are not taken together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loom.history.status import RunStatus
from loom.storage.records import Effects, RunRecord, WorkflowClaim, WorkflowTask
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.scene import (
    ALICE,
    BLOCKED,
    BOB,
    LEASE,
    NOW,
    RUNNING,
    WRITTEN,
    Scene,
    closing,
    following,
    held_by,
    message,
    turn,
)

LATER = NOW + 5 * LEASE


async def take(scene: Scene, claim: WorkflowClaim) -> list[WorkflowTask]:
    return list((await scene.repository.claim_workflow_tasks(claim)).tasks)


def keys_of(tasks: list[WorkflowTask]) -> list[int]:
    return [task.run.run_key for task in tasks]


async def suspect(scene: Scene) -> WorkflowTask:
    """A run that was taken over by Bob, of which Alice was lost."""
    run = await scene.start()
    await scene.claim_run(run, ALICE)
    return await scene.claim_run(run, BOB, NOW + LEASE)


async def suspects(scene: Scene, count: int) -> list[RunRecord]:
    """Runs of which Alice and Bob were lost, by their keys; due to be taken over ``LATER``."""
    return [(await suspect(scene)).run for _ in range(count)]


class SuspectsConformance(Conformance):
    """Owners that are lost with a run are counted, until one of them is not."""

    # How they are counted

    @pytest.mark.parametrize("alone", [True, False])
    async def test_a_run_that_is_taken_over_counts_the_owner_that_was_lost(
        self, scene: Scene, alone: bool
    ) -> None:
        run = await scene.start()
        for number, owner in enumerate(["alice", "bob", "carol", "dave"]):
            now = NOW + number * LEASE
            if alone:
                task = await scene.claim_run(run, owner, now)
            else:
                [task] = await scene.claim(owner, now)
            assert (task.run.lost_owners, task.owner_lost) == (number, number > 0)
            assert await scene.look(run) == task.run

    @pytest.mark.parametrize("alone", [True, False])
    async def test_an_owner_that_claims_its_own_run_again_was_not_lost(
        self, scene: Scene, alone: bool
    ) -> None:
        run = await scene.start()
        await scene.claim_run(run, ALICE)
        if alone:
            task = await scene.claim_run(run, ALICE, LATER)
        else:
            [task] = await scene.claim(ALICE, LATER)
        assert (task.run.lost_owners, task.owner_lost) == (0, False)

    @pytest.mark.parametrize("keeps", [True, False])
    async def test_a_turn_shows_that_its_owner_lives(self, scene: Scene, keeps: bool) -> None:
        task = await suspect(scene)
        until = LATER if keeps else None
        effects = Effects(RUNNING, NOW, events=following(task.run), lease_expires_at=until)
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        assert (await scene.look(task.run)).lost_owners == 0

    async def test_a_turn_that_reaches_others_shows_that_its_owner_lives(
        self, scene: Scene
    ) -> None:
        task, other = await suspect(scene), await scene.start()
        effects = Effects(RUNNING, NOW, messages=[message(other, "hello")])
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        assert (await scene.look(task.run)).lost_owners == 0

    async def test_a_run_that_is_given_back_has_lost_no_owner(self, scene: Scene) -> None:
        task = await suspect(scene)
        await scene.repository.release_leases(held_by(task), LATER)
        assert (await scene.look(task.run)).lost_owners == 0
        assert not (await scene.claim_run(task.run, ALICE, LATER)).owner_lost

    async def test_extending_its_lease_shows_nothing_of_a_run(self, scene: Scene) -> None:
        task = await suspect(scene)
        await scene.repository.extend_leases(held_by(task), BOB, LATER)
        assert (await scene.look(task.run)).lost_owners == 1

    async def test_a_run_that_is_set_apart_keeps_its_count(self, scene: Scene) -> None:
        task = await suspect(scene)
        effects = Effects(BLOCKED, NOW, wake_at=LATER, blocked_reason="it may be what ends them")
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        [again] = await scene.claim(ALICE, LATER)
        assert (again.run.lost_owners, again.owner_lost) == (1, False)
        assert await scene.write(turn(again)) == [WRITTEN]
        assert (await scene.look(task.run)).lost_owners == 0

    async def test_a_run_that_has_ended_has_lost_no_owner(self, scene: Scene) -> None:
        task = await suspect(scene)
        assert await scene.write(closing(task)) == [WRITTEN]
        assert (await scene.look(task.run)).lost_owners == 0

    # How they are taken

    async def test_runs_of_one_lost_owner_are_taken_over_together(self, scene: Scene) -> None:
        runs = [(await scene.start_claimed(ALICE)).run for _ in range(5)]
        taken = await scene.claim(BOB, NOW + LEASE)
        assert sorted(keys_of(taken)) == [run.run_key for run in runs]
        assert all(task.owner_lost and task.run.lost_owners == 1 for task in taken)

    async def test_runs_of_several_lost_owners_are_taken_one_by_one(self, scene: Scene) -> None:
        runs = await suspects(scene, 3)
        claims = [await scene.claim(ALICE, LATER) for _ in range(4)]
        assert [keys_of(tasks) for tasks in claims] == [[run.run_key] for run in runs] + [[]]

    async def test_others_are_taken_beside_a_run_of_lost_owners(self, scene: Scene) -> None:
        [first, _] = await suspects(scene, 2)
        others = [await scene.start() for _ in range(3)]
        taken = keys_of(await scene.claim(ALICE, LATER))
        assert sorted(taken) == sorted([first.run_key, *(run.run_key for run in others)])

    async def test_many_others_do_not_keep_a_run_of_lost_owners_from_being_taken(
        self, scene: Scene
    ) -> None:
        [first] = await suspects(scene, 1)
        others = [await scene.start(due_at=NOW) for _ in range(3)]
        # At first it is only among those that are due last.
        claim = replace(scene.workflow_claim(ALICE, LATER), limit=2)
        taken = [keys_of(await take(scene, claim)) for _ in range(2)]
        assert first.run_key in taken[0] + taken[1]
        assert sorted(taken[0] + taken[1]) == sorted(
            [first.run_key, *(run.run_key for run in others)]
        )

    async def test_a_claim_may_leave_runs_of_lost_owners_alone(self, scene: Scene) -> None:
        [first] = await suspects(scene, 1)
        other = await scene.start()
        claim = replace(scene.workflow_claim(ALICE, LATER), suspects=False)
        found = await scene.repository.claim_workflow_tasks(claim)
        assert keys_of(list(found.tasks)) == [other.run_key]
        hint = (await scene.repository.claim_workflow_tasks(claim)).next_due_at
        assert hint in (None, LATER + LEASE)
        assert keys_of(await scene.claim(ALICE, LATER)) == [first.run_key]

    async def test_new_workers_do_not_try_what_was_set_apart_for_its_owners(
        self, scene: Scene
    ) -> None:
        task = await suspect(scene)
        effects = Effects(BLOCKED, NOW, wake_at=LATER, blocked_reason="it may be what ends them")
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        claim = replace(scene.workflow_claim(ALICE, LATER - 1), blocked_before=LATER)
        assert await take(scene, claim) == []
        assert (await scene.look(task.run)).status is RunStatus.BLOCKED
        assert keys_of(await scene.claim(ALICE, LATER)) == [task.run.run_key]
