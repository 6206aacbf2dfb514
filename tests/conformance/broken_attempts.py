"""Stores that get heartbeats, parked attempts or late beginnings wrong."""

from __future__ import annotations

from dataclasses import replace

from loom.identifiers import END_OF_TIME, Micros
from loom.storage.records import (
    ActivityClaim,
    ActivityCompletion,
    ActivityTasks,
    Heartbeat,
    Leases,
    WriteOutcome,
)
from tests.conformance.broken_stores import Broken


class FailuresSentAgainCountAgain(Broken):
    caught_by = "test_an_attempt_fails_once"

    def _complete(self, completion: ActivityCompletion) -> WriteOutcome:
        task = self._runs[completion.run_key].tasks.get(completion.activity_id)
        if task is not None and task.token == completion.token and completion.retry_at:
            task.lease_owner = "anybody"
        return super()._complete(completion)


class HeartbeatsAreNotFenced(Broken):
    caught_by = "test_the_heartbeat_of_an_attempt_that_was_overtaken_is_lost"

    def _record_heartbeat(self, heartbeat: Heartbeat) -> WriteOutcome:
        task = self._runs[heartbeat.run_key].tasks.get(heartbeat.activity_id)
        return super()._record_heartbeat(replace(heartbeat, token=task.token if task else 0))


class HeartbeatsAreForgotten(Broken):
    caught_by = "test_what_a_heartbeat_brings_is_given_to_the_next_attempt"

    async def claim_activity_tasks(self, claim: ActivityClaim) -> ActivityTasks:
        found = await super().claim_activity_tasks(claim)
        return replace(found, tasks=[replace(task, details=None) for task in found.tasks])


class HeartbeatsWithoutDetailsEraseThem(Broken):
    caught_by = "test_a_heartbeat_without_details_keeps_the_last_ones"

    def _record_heartbeat(self, heartbeat: Heartbeat) -> WriteOutcome:
        self._runs[heartbeat.run_key].tasks[heartbeat.activity_id].details = None
        return super()._record_heartbeat(heartbeat)


class HeartbeatsKeepLeases(Broken):
    caught_by = "test_a_heartbeat_does_not_extend_a_lease"

    def _record_heartbeat(self, heartbeat: Heartbeat) -> WriteOutcome:
        task = self._runs[heartbeat.run_key].tasks[heartbeat.activity_id]
        task.lease_expires_at = heartbeat.retry_at
        return super()._record_heartbeat(heartbeat)


class OneLostHeartbeatLosesTheBatch(Broken):
    caught_by = "test_a_lost_heartbeat_harms_no_neighbour"

    def _record_heartbeat(self, heartbeat: Heartbeat) -> WriteOutcome:
        outcome = super()._record_heartbeat(heartbeat)
        if outcome is WriteOutcome.LOST:
            for task in self._runs[heartbeat.run_key].tasks.values():
                task.details = None
        return outcome


class FailuresDropTheirDetails(Broken):
    caught_by = "test_a_failed_attempt_may_leave_details"

    def _complete(self, completion: ActivityCompletion) -> WriteOutcome:
        return super()._complete(replace(completion, details=None))


class ParkedAttemptsKeepTheirLease(Broken):
    caught_by = "test_a_parked_attempt_is_held_by_nobody_and_claimed_when_it_says"

    def _complete(self, completion: ActivityCompletion) -> WriteOutcome:
        if completion.parked_until is None:
            return super()._complete(completion)
        return WriteOutcome.WRITTEN


class ParkedAttemptsCountAsFailed(Broken):
    caught_by = "test_a_parked_attempt_is_held_by_nobody_and_claimed_when_it_says"

    def _complete(self, completion: ActivityCompletion) -> WriteOutcome:
        return super()._complete(replace(completion, parked_until=None))


class TheEndOfAParkedAttemptIsAnAttempt(Broken):
    caught_by = "test_the_attempt_after_a_parked_one_is_an_ordinary_one"

    async def claim_activity_tasks(self, claim: ActivityClaim) -> ActivityTasks:
        parked = {
            (run.record.run_key, key)
            for run in self._runs.values()
            for key, task in run.tasks.items()
            if task.parked_until is not None
        }
        found = await super().claim_activity_tasks(claim)
        for task in found.tasks:
            if (task.run_key, task.activity_id) in parked:
                self._runs[task.run_key].tasks[task.activity_id].attempt += 1
        return found


class ParkedAttemptsAreForgottenByTheirClaim(Broken):
    caught_by = "test_the_end_of_a_parked_attempt_is_claimed_again_when_its_claimer_is_gone"
    arguments = {"is_released": False}

    async def claim_activity_tasks(self, claim: ActivityClaim) -> ActivityTasks:
        found = await super().claim_activity_tasks(claim)
        for task in found.tasks:
            self._runs[task.run_key].tasks[task.activity_id].parked_until = None
        return found


class GivingAParkedAttemptBackTakesItBack(Broken):
    caught_by = "test_the_end_of_a_parked_attempt_is_claimed_again_when_its_claimer_is_gone"
    arguments = {"is_released": True}

    async def release_leases(self, leases: Leases, now: Micros) -> None:
        held = [task for lease in leases.tasks if (task := self._held_task(lease))]
        await super().release_leases(leases, now)
        for task in held:
            if task.parked_until is not None:
                task.attempt -= 1


class ParkedAttemptsAreOutlivedByTheirToken(Broken):
    caught_by = "test_a_parked_attempt_that_was_claimed_is_over"

    async def claim_activity_tasks(self, claim: ActivityClaim) -> ActivityTasks:
        found = await super().claim_activity_tasks(claim)
        for claimed in found.tasks:
            if claimed.parked_until is not None:
                self._runs[claimed.run_key].tasks[claimed.activity_id].token -= 1
        return found


class ParkedAttemptsDoNotHear(Broken):
    caught_by = "test_heartbeats_put_the_end_of_a_parked_attempt_off"

    def _record_heartbeat(self, heartbeat: Heartbeat) -> WriteOutcome:
        return super()._record_heartbeat(replace(heartbeat, retry_at=None))


class ParkedAttemptsAreReleased(Broken):
    caught_by = "test_a_parked_attempt_has_no_lease_to_extend_or_release"

    async def release_leases(self, leases: Leases, now: int) -> None:
        for lease in leases.tasks:
            self._runs[lease.run_key].tasks[lease.activity_id].lease_owner = "anybody"
        await super().release_leases(leases, now)


class LateBeginningsAreAllowed(Broken):
    caught_by = "test_nobody_is_the_first_to_claim_a_task_from_its_start_by"
    arguments = {"late": 0}

    async def claim_activity_tasks(self, claim: ActivityClaim) -> ActivityTasks:
        for run in self._runs.values():
            for task in run.tasks.values():
                if task.start_by is not None:
                    task.start_by += 1
        return await super().claim_activity_tasks(claim)


class LateRetriesAreForbidden(Broken):
    caught_by = "test_a_task_that_was_claimed_in_time_is_claimed_again_at_any_time"

    async def claim_activity_tasks(self, claim: ActivityClaim) -> ActivityTasks:
        for run in self._runs.values():
            for task in run.tasks.values():
                task.start_by = task.new.start_by
        return await super().claim_activity_tasks(claim)


class WhatNobodyMayBeginIsDueForever(Broken):
    caught_by = "test_what_nobody_may_begin_is_not_announced_as_due"

    async def claim_activity_tasks(self, claim: ActivityClaim) -> ActivityTasks:
        found = await super().claim_activity_tasks(claim)
        due = [task.due_at for run in self._runs.values() for task in run.tasks.values()]
        return replace(found, next_due_at=min(due, default=END_OF_TIME))
