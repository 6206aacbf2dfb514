"""Stores that do not tell what their owners were lost of from what only happened to be there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loom.identifiers import Micros, WorkerId
from loom.storage.memory_state import StoredRun
from loom.storage.records import (
    Leases,
    Transition,
    WorkflowClaim,
    WorkflowTask,
    WorkflowTasks,
    WriteOutcome,
)
from tests.conformance.broken_stores import Broken


def count(run: StoredRun, lost_owners: int) -> None:
    run.record = replace(run.record, lost_owners=lost_owners)


class NoOwnerIsEverLost(Broken):
    caught_by = "test_a_run_that_is_taken_over_counts_the_owner_that_was_lost"
    arguments = {"alone": False}

    def _lease(self, run: StoredRun, claim: WorkflowClaim) -> WorkflowTask:
        task = super()._lease(run, claim)
        count(run, 0)
        return replace(task, run=run.shown)


class NobodyIsToldThatAnOwnerWasLost(Broken):
    caught_by = "test_a_run_that_is_taken_over_counts_the_owner_that_was_lost"
    arguments = {"alone": True}

    def _lease(self, run: StoredRun, claim: WorkflowClaim) -> WorkflowTask:
        return replace(super()._lease(run, claim), owner_lost=False)


class OwnersAreLostToThemselves(Broken):
    caught_by = "test_an_owner_that_claims_its_own_run_again_was_not_lost"
    arguments = {"alone": False}

    def _lease(self, run: StoredRun, claim: WorkflowClaim) -> WorkflowTask:
        was_held = run.record.lease_owner is not None
        before = run.record.lost_owners
        task = super()._lease(run, claim)
        count(run, before + was_held)
        return replace(task, run=run.shown, owner_lost=was_held)


class TurnsDoNotCountAnew(Broken):
    caught_by = "test_a_turn_shows_that_its_owner_lives"
    arguments = {"keeps": True}

    def _write(self, transition: Transition) -> WriteOutcome:
        before = self._runs[transition.run_key].record.lost_owners
        outcome = super()._write(transition)
        count(self._runs[transition.run_key], before)
        return outcome


class BlockedRunsCountAnew(Broken):
    caught_by = "test_a_run_that_is_set_apart_keeps_its_count"

    def _write(self, transition: Transition) -> WriteOutcome:
        outcome = super()._write(transition)
        count(self._runs[transition.run_key], 0)
        return outcome


class GivingBackCountsOn(Broken):
    caught_by = "test_a_run_that_is_given_back_has_lost_no_owner"

    async def release_leases(self, leases: Leases, now: Micros) -> None:
        before = {lease.run_key: self._runs[lease.run_key] for lease in leases.runs}
        counts = {key: run.record.lost_owners for key, run in before.items()}
        await super().release_leases(leases, now)
        for key, lost_owners in counts.items():
            count(self._runs[key], lost_owners)


class ExtendingCountsAnew(Broken):
    caught_by = "test_extending_its_lease_shows_nothing_of_a_run"

    async def extend_leases(self, leases: Leases, owner: WorkerId, expires_at: Micros) -> Leases:
        for lease in leases.runs:
            count(self._runs[lease.run_key], 0)
        return await super().extend_leases(leases, owner, expires_at)


class SuspectsAreTakenTogether(Broken):
    caught_by = "test_runs_of_several_lost_owners_are_taken_one_by_one"

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        one = await super().claim_workflow_tasks(claim)
        if claim.run_key is not None:
            return one
        return WorkflowTasks([*one.tasks, *(await super().claim_workflow_tasks(claim)).tasks])


class SuspectsAreTakenAlone(Broken):
    caught_by = "test_others_are_taken_beside_a_run_of_lost_owners"

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        is_alone = any(run.record.lost_owners for run in self._runs.values())
        return await super().claim_workflow_tasks(replace(claim, limit=1) if is_alone else claim)


class SuspectsAreTakenUnasked(Broken):
    caught_by = "test_a_claim_may_leave_runs_of_lost_owners_alone"

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        return await super().claim_workflow_tasks(replace(claim, suspects=True))


class NewWorkersTrySuspects(Broken):
    caught_by = "test_new_workers_do_not_try_what_was_set_apart_for_its_owners"

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        if claim.blocked_before and claim.run_key is None:
            for run in self._runs.values():
                count(run, 0)
        return await super().claim_workflow_tasks(claim)


class SuspectsComeLast(Broken):
    caught_by = "test_many_others_do_not_keep_a_run_of_lost_owners_from_being_taken"

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        if claim.run_key is None and self._others(claim):
            claim = replace(claim, suspects=False)
        return await super().claim_workflow_tasks(claim)

    def _others(self, claim: WorkflowClaim) -> Sequence[StoredRun]:
        due = [run for run in self._runs.values() if run.due_at and run.due_at <= claim.now]
        return [run for run in due if not run.record.lost_owners and not run.record.lease_owner]
