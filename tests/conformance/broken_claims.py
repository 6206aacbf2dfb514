"""Stores that get claims, leases, activities or starts wrong, or what happens at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from loom.identifiers import Micros, RunKey, WorkerId
from loom.storage.memory_state import StoredRun, StoredTask
from loom.storage.records import (
    ActivityClaim,
    ActivityCompletion,
    ActivityTasks,
    Leases,
    Message,
    NewRun,
    RunLease,
    SendOutcome,
    StartOutcome,
    TaskLease,
    WorkflowClaim,
    WorkflowTasks,
    WriteOutcome,
)
from tests.conformance.broken_stores import Broken

# --- claims and leases ---------------------------------------------------------------------------


class LeasesAreNotHeeded(Broken):
    caught_by = "test_a_leased_run_is_left_until_its_lease_runs_out"

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        for run in self._runs.values():
            run.due_at = claim.now
            run.record = replace(run.record, lease_expires_at=claim.now)
        return await super().claim_workflow_tasks(claim)


class MessagesGiveRunsToAnybody(Broken):
    caught_by = "test_a_message_to_a_leased_run_waits_for_its_owner"

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        for run in self._runs.values():
            if run.inbox:
                run.free(claim.now)
        return await super().claim_workflow_tasks(claim)


class OwnersAreNotGivenTheirMessages(Broken):
    caught_by = "test_a_message_to_a_leased_run_waits_for_its_owner"

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        for run in self._runs.values():
            if run.record.lease_owner is not None:
                run.due_at = run.record.lease_expires_at
        return await super().claim_workflow_tasks(claim)


class TokensDoNotGrow(Broken):
    caught_by = "test_rule_2_a_token_that_has_been_outgrown_is_lost"

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        found = await super().claim_workflow_tasks(claim)
        for run in self._runs.values():
            run.token = 1
        return replace(found, tasks=[replace(task, token=1) for task in found.tasks])


class ClaimsGoByTheWallClock(Broken):
    caught_by = "test_rule_5_only_the_given_time_counts"
    arguments = {"now": 4_000_000_000_000_000}

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        return await super().claim_workflow_tasks(replace(claim, now=await self.current_time()))


class ClaimsShowAnOldCopy(Broken):
    caught_by = "test_a_claim_brings_the_run_as_it_was_last_written"

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[RunKey, int] = {}

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        found = await super().claim_workflow_tasks(claim)
        for task in found.tasks:
            self._seen.setdefault(task.run.run_key, task.run.sequence)
        old = [replace(t.run, sequence=self._seen[t.run.run_key]) for t in found.tasks]
        pairs = zip(found.tasks, old, strict=True)
        return replace(found, tasks=[replace(task, run=run) for task, run in pairs])


class EmptyDefinitionsMatchAll(Broken):
    caught_by = "test_a_claim_without_definitions_takes_nothing"

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        kinds = [(run.record.name, run.record.version) for run in self._runs.values()]
        return await super().claim_workflow_tasks(
            replace(claim, definitions=claim.definitions or kinds)
        )


class ReleasedRunsLoseTheirTimer(Broken):
    caught_by = "test_a_released_run_is_due_when_its_timer_is"

    async def release_leases(self, leases: Leases, now: Micros) -> None:
        await super().release_leases(leases, now)
        for lease in leases.runs:
            self._runs[lease.run_key].due_at = None


class ReleasingFreesTheNextOwner(Broken):
    caught_by = "test_releasing_a_lost_lease_does_not_free_the_new_one"

    def _held_run(self, lease: RunLease) -> StoredRun | None:
        return self._runs.get(lease.run_key)


class ReleasedAttemptsCount(Broken):
    caught_by = "test_a_released_task_takes_its_attempt_back"

    async def release_leases(self, leases: Leases, now: Micros) -> None:
        await super().release_leases(leases, now)
        for lease in leases.tasks:
            self._runs[lease.run_key].tasks[lease.activity_id].attempt += 1


class LeasesThatRanOutAreLost(Broken):
    caught_by = "test_a_lease_that_ran_out_unclaimed_can_be_extended"

    async def extend_leases(self, leases: Leases, owner: WorkerId, expires_at: Micros) -> Leases:
        now = await self.current_time()
        for run in self._runs.values():
            if run.record.lease_expires_at is not None and run.record.lease_expires_at <= now:
                run.free(run.record.lease_expires_at)
        return await super().extend_leases(leases, owner, expires_at)


# --- activities ----------------------------------------------------------------------------------


class AttemptsAreNotFenced(Broken):
    caught_by = "test_an_attempt_that_was_overtaken_is_lost"

    def _complete(self, completion: ActivityCompletion) -> WriteOutcome:
        task = self._runs[completion.run_key].tasks.get(completion.activity_id)
        return super()._complete(replace(completion, token=task.token if task else 0))


class CompletedTasksStay(Broken):
    caught_by = "test_an_attempt_ends_once"

    def _complete(self, completion: ActivityCompletion) -> WriteOutcome:
        run = self._runs[completion.run_key]
        tasks = dict(run.tasks)
        outcome = super()._complete(completion)
        run.tasks = tasks
        return outcome


class TasksBornLeasedAreFree(Broken):
    caught_by = "test_a_task_can_be_born_leased"

    async def claim_activity_tasks(self, claim: ActivityClaim) -> ActivityTasks:
        for task in self._tasks():
            if task.new.leased and task.attempt == 1:
                task.free(task.new.available_at)
        return await super().claim_activity_tasks(claim)

    def _tasks(self) -> list[StoredTask]:
        return [task for run in self._runs.values() for task in run.tasks.values()]


class TaskLeasesAreNotExtended(Broken):
    caught_by = "test_an_extended_task_lease_holds_until_its_new_end"

    def _held_task(self, lease: TaskLease) -> StoredTask | None:
        task = super()._held_task(lease)
        return task and replace(task)


# --- runs ----------------------------------------------------------------------------------------


class OpenRunsAreDeleted(Broken):
    caught_by = "test_open_runs_are_not_deleted"

    async def delete_runs(self, run_keys: Sequence[RunKey]) -> int:
        return len([self._runs.pop(key) for key in run_keys if key in self._runs])


class KeysAreUsedAgain(Broken):
    caught_by = "test_a_key_is_never_used_again"

    async def delete_runs(self, run_keys: Sequence[RunKey]) -> int:
        deleted = await super().delete_runs(run_keys)
        self._last_key = max(self._runs, default=0)
        return deleted


class RefusedStartsSendMessages(Broken):
    caught_by = "test_a_refused_start_leaves_nothing_behind"

    def _start(self, new: NewRun) -> StartOutcome:
        self._send_all(new.effects.messages, new.effects.recorded_at)
        return super()._start(new)


# --- at once -------------------------------------------------------------------------------------


class StartsLookFirstAndInsertLater(Broken):
    caught_by = "test_concurrent_starts_of_one_workflow_id_make_one_run"

    async def start_runs(self, runs: Sequence[NewRun]) -> Sequence[StartOutcome]:
        free = [self._find(new.workflow_id, None) is None for new in runs]
        await asyncio.sleep(0)
        outcomes = []
        for new, is_free in zip(runs, free, strict=True):
            hidden = self._runs
            self._runs = {} if is_free else hidden
            outcomes.append(self._start(new))
            self._runs = hidden | self._runs
        return outcomes


class SendersNumberTheirOwnMessages(Broken):
    caught_by = "test_concurrent_senders_leave_no_gap_and_keep_their_order"

    async def send_messages(
        self, messages: Sequence[Message], now: Micros
    ) -> Sequence[SendOutcome]:
        runs = [self._find(message.workflow_id, message.run_id) for message in messages]
        positions = [run.last_position for run in runs if run is not None]
        outcomes = await super().send_messages(messages, now)
        for run, position in zip([run for run in runs if run is not None], positions, strict=True):
            run.inbox[-1] = replace(run.inbox[-1], position=position + 1)
        return outcomes


class ClaimsLookFirstAndLeaseLater(Broken):
    caught_by = "test_concurrent_claimers_get_disjoint_work"

    async def claim_workflow_tasks(self, claim: WorkflowClaim) -> WorkflowTasks:
        before = {key: run.due_at for key, run in self._runs.items()}
        await asyncio.sleep(0)
        for key, due_at in before.items():
            if due_at is not None and due_at <= claim.now:
                self._runs[key].free(due_at)
        return await super().claim_workflow_tasks(claim)
