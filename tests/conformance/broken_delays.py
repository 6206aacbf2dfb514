"""Stores that cannot wait for a run to begin."""

from __future__ import annotations

from dataclasses import replace

from loom.identifiers import Micros
from loom.storage.records import (
    Leases,
    Message,
    NewRun,
    SendOutcome,
    StartOutcome,
    Transition,
    WriteOutcome,
)
from tests.conformance.broken_stores import Broken


class DelaysAreForgotten(Broken):
    caught_by = "test_a_delayed_run_is_due_at_its_start_and_not_before"

    def _start(self, new: NewRun) -> StartOutcome:
        return super()._start(replace(new, start_at=None))


class MessagesBeginDelayedRuns(Broken):
    caught_by = "test_messages_do_not_begin_a_delayed_run"

    def _send(self, message: Message, now: Micros) -> SendOutcome:
        outcome = super()._send(message, now)
        run = self._find(message.workflow_id, message.run_id)
        if run is not None and run.record.start_at:
            run.due_at = now
        return outcome


class NothingIsUrgent(Broken):
    caught_by = "test_an_urgent_message_makes_a_delayed_run_due_at_once"

    def _send(self, message: Message, now: Micros) -> SendOutcome:
        return super()._send(replace(message, urgent=False), now)


class DelayedRunsAreDueWhenGivenBack(Broken):
    caught_by = "test_a_delayed_run_that_is_given_back_still_waits"

    async def release_leases(self, leases: Leases, now: Micros) -> None:
        await super().release_leases(leases, now)
        for lease in leases.runs:
            self._runs[lease.run_key].due_at = now


class BegunRunsWaitForTheirStart(Broken):
    caught_by = "test_a_delayed_run_that_was_blocked_is_tried_again_when_it_said"

    def _write(self, transition: Transition) -> WriteOutcome:
        outcome = super()._write(transition)
        run = self._runs[transition.run_key]
        if run.record.start_at:
            run.due_at = run.record.start_at
        return outcome
