"""Stores that get turns or messages wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loom.errors import StoreError
from loom.identifiers import MessageId, Micros, RunId
from loom.storage.memory_state import StoredRun
from loom.storage.records import (
    Answer,
    Message,
    SendOutcome,
    Transition,
    WriteOutcome,
)
from tests.conformance.broken_stores import Broken

WRITTEN, LOST = WriteOutcome.WRITTEN, WriteOutcome.LOST

# --- turns ---------------------------------------------------------------------------------------


class TokenIsNoFence(Broken):
    caught_by = "test_rule_2_a_token_that_has_been_outgrown_is_lost"

    def _fence_holds(self, run: StoredRun, transition: Transition) -> bool:
        return run.is_open and run.record.sequence == transition.expected_sequence


class SequenceIsNoFence(Broken):
    caught_by = "test_rule_2_a_sequence_that_has_been_passed_is_lost"

    def _fence_holds(self, run: StoredRun, transition: Transition) -> bool:
        if not run.is_open or run.token != transition.token:
            return False
        # As an INSERT would number the events itself.
        run.record = replace(run.record, sequence=transition.expected_sequence)
        del run.events[transition.expected_sequence :]
        return True


class ClockIsAFence(Broken):
    caught_by = "test_rule_5_a_lease_that_ran_out_unclaimed_still_writes"

    def _fence_holds(self, run: StoredRun, transition: Transition) -> bool:
        expires_at = run.record.lease_expires_at
        ran_out = expires_at is not None and expires_at <= transition.effects.recorded_at
        return not ran_out and super()._fence_holds(run, transition)


class ClosedRunsGoOn(Broken):
    caught_by = "test_a_closed_run_has_no_more_turns"

    def _fence_holds(self, run: StoredRun, transition: Transition) -> bool:
        fence = (transition.token, transition.expected_sequence)
        return (run.token, run.record.sequence) == fence


class MessagesLeaveBeforeTheFence(Broken):
    caught_by = "test_rule_1_a_lost_transition_leaves_nothing_behind"

    def _write(self, transition: Transition) -> WriteOutcome:
        self._send_all(transition.effects.messages, transition.effects.recorded_at)
        return super()._write(transition)


class MessagesToOthersAreForgotten(Broken):
    caught_by = "test_rule_1_a_written_transition_is_written_whole"

    def _write(self, transition: Transition) -> WriteOutcome:
        return super()._write(replace(transition, effects=replace(transition.effects, messages=())))


class RefusedTurnsAreHalfWritten(Broken):
    caught_by = "test_rule_1_a_refused_transition_leaves_nothing_behind"

    def _write(self, transition: Transition) -> WriteOutcome:
        run = self._runs[transition.run_key]
        run.consume(through=transition.consumed_through or 0)
        return super()._write(transition)


class MessagesWaitForTheWholeBatch(Broken):
    caught_by = "test_rule_3_after_an_exception_every_turn_is_whole_or_absent"

    async def write_transitions(self, transitions: Sequence[Transition]) -> Sequence[WriteOutcome]:
        silent = [replace(t, effects=replace(t.effects, messages=())) for t in transitions]
        outcomes = await super().write_transitions(silent)
        for transition, outcome in zip(transitions, outcomes, strict=True):
            if outcome is WRITTEN:
                self._send_all(transition.effects.messages, transition.effects.recorded_at)
        return outcomes


class OneLostTurnLosesTheBatch(Broken):
    caught_by = "test_rule_2_a_lost_turn_harms_no_neighbour"

    async def write_transitions(self, transitions: Sequence[Transition]) -> Sequence[WriteOutcome]:
        runs = [self._runs[transition.run_key] for transition in transitions]
        pairs = zip(runs, transitions, strict=True)
        if not all(self._fence_holds(run, transition) for run, transition in pairs):
            return [LOST] * len(transitions)
        return await super().write_transitions(transitions)


class ConsumedMessagesStay(Broken):
    caught_by = "test_rule_1_a_written_transition_is_written_whole"

    def _write(self, transition: Transition) -> WriteOutcome:
        return super()._write(replace(transition, consumed_through=None))


class ConsumingTakesTheLateOnesToo(Broken):
    caught_by = "test_a_message_that_comes_after_the_consumed_ones_makes_the_run_due"

    def _write(self, transition: Transition) -> WriteOutcome:
        everything = None if transition.consumed_through is None else 1_000_000
        return super()._write(replace(transition, consumed_through=everything))


class GivingBackForgetsLateMessages(Broken):
    caught_by = "test_a_message_that_comes_before_the_run_is_given_back_makes_it_due"

    def _write(self, transition: Transition) -> WriteOutcome:
        outcome = super()._write(transition)
        run = self._runs.get(transition.run_key)
        if run is not None and run.record.lease_owner is None:
            run.due_at = run.record.wake_at
        return outcome


class BlockedRunsAreDueForever(Broken):
    caught_by = "test_a_blocked_run_without_a_wake_up_waits"

    def _write(self, transition: Transition) -> WriteOutcome:
        outcome = super()._write(transition)
        run = self._runs[transition.run_key]
        if run.inbox and run.record.lease_owner is None:
            run.due_at = transition.effects.recorded_at
        return outcome


class ClosingLeavesTasksBehind(Broken):
    caught_by = "test_closing_drops_tasks_inbox_and_lease"

    def _write(self, transition: Transition) -> WriteOutcome:
        run = self._runs[transition.run_key]
        tasks = run.tasks
        outcome = super()._write(transition)
        run.tasks = run.tasks or tasks
        return outcome


# --- messages ------------------------------------------------------------------------------------


class EverySendIsDelivered(Broken):
    caught_by = "test_rule_4_a_message_sent_again_is_delivered_once"

    def _send(self, message: Message, now: Micros) -> SendOutcome:
        run = self._find(message.workflow_id, message.run_id)
        if run is None or not run.is_open:
            return super()._send(message, now)
        run.receive(message.message_id, message.arrival, now)
        return SendOutcome.ACCEPTED


class ConsumedMessagesAreForgotten(Broken):
    caught_by = "test_rule_4_a_message_sent_again_after_it_was_consumed_is_not_delivered"

    def _send(self, message: Message, now: Micros) -> SendOutcome:
        run = self._find(message.workflow_id, message.run_id)
        if run is not None:
            run.events = [replace(event, message_id=None) for event in run.events]
        return super()._send(message, now)


class MessageIdsAreSharedByAllRuns(Broken):
    caught_by = "test_the_same_id_may_go_to_several_runs"

    def _send(self, message: Message, now: Micros) -> SendOutcome:
        if any(run.has_taken(message.message_id) for run in self._runs.values()):
            return SendOutcome.ACCEPTED
        return super()._send(message, now)


class MessagesComeInAnyOrder(Broken):
    caught_by = "test_messages_are_delivered_in_the_order_of_sending"

    def _send_all(self, messages: Sequence[Message], now: Micros) -> Sequence[SendOutcome]:
        return super()._send_all(messages[::-1], now)[::-1]


class MessagesWakeNobody(Broken):
    caught_by = "test_a_message_makes_a_waiting_run_due"

    def _send(self, message: Message, now: Micros) -> SendOutcome:
        run = self._find(message.workflow_id, message.run_id)
        due_at = run.due_at if run is not None else None
        outcome = super()._send(message, now)
        if run is not None:
            run.due_at = due_at
        return outcome


class MessagesPutRunsOff(Broken):
    caught_by = "test_a_message_never_makes_a_run_due_later"

    def _send(self, message: Message, now: Micros) -> SendOutcome:
        outcome = super()._send(message, now)
        if run := self._find(message.workflow_id, message.run_id):
            run.due_at = now
        return outcome


class PayloadsAreText(Broken):
    caught_by = "test_rule_6_payloads_come_back_as_they_went"
    arguments = {"payload": b"\xff\xfe"}

    def _send(self, message: Message, now: Micros) -> SendOutcome:
        payload = (message.arrival.payload or b"").decode(errors="replace").encode()
        return super()._send(
            replace(message, arrival=replace(message.arrival, payload=payload)), now
        )


# --- answers -------------------------------------------------------------------------------------


class AnswersAreForgotten(Broken):
    caught_by = "test_rule_1_a_written_transition_is_written_whole"

    def _write(self, transition: Transition) -> WriteOutcome:
        return super()._write(replace(transition, effects=replace(transition.effects, answers=())))


class AnswersLeaveBeforeTheFence(Broken):
    caught_by = "test_the_answer_of_a_lost_turn_is_lost_with_it"

    def _write(self, transition: Transition) -> WriteOutcome:
        given = {answer.message_id: answer for answer in transition.effects.answers}
        outcome = super()._write(transition)
        self._runs[transition.run_key].answers |= given
        return outcome


class AnsweredMessagesComeAgain(Broken):
    caught_by = "test_a_message_that_was_answered_is_not_delivered_again"

    def _send(self, message: Message, now: Micros) -> SendOutcome:
        run = self._find(message.workflow_id, message.run_id)
        answers = {} if run is None else run.answers
        if run is not None:
            run.answers = {}
        outcome = super()._send(message, now)
        if run is not None:
            run.answers = answers
        return outcome


class AnswersOfAllRunsMeet(Broken):
    caught_by = "test_an_answer_is_found_once_its_turn_is_written"

    async def find_answer(self, chain: RunId, message_id: MessageId) -> Answer | None:
        runs = self._runs.values()
        return next((r.answers[message_id] for r in runs if message_id in r.answers), None)


class ALaterAnswerReplacesTheFirst(Broken):
    caught_by = "test_the_first_answer_to_a_message_is_kept"

    def _write(self, transition: Transition) -> WriteOutcome:
        for answer in transition.effects.answers:
            self._runs[transition.run_key].answers.pop(answer.message_id, None)
        return super()._write(transition)


class ASecondAnswerIsAnError(Broken):
    caught_by = "test_a_turn_that_only_answers_may_be_written_again"

    def _write(self, transition: Transition) -> WriteOutcome:
        run = self._runs[transition.run_key]
        if any(answer.message_id in run.answers for answer in transition.effects.answers):
            raise StoreError("that message has been answered")
        return super()._write(transition)


class ClosingDropsAnswers(Broken):
    caught_by = "test_answers_outlive_the_end_of_their_run"

    def _write(self, transition: Transition) -> WriteOutcome:
        outcome = super()._write(transition)
        run = self._runs[transition.run_key]
        if not run.is_open:
            run.answers = {}
        return outcome


class AnswersEndWithTheirRun(Broken):
    caught_by = "test_an_answer_of_one_run_of_a_chain_is_that_of_the_chain"

    async def find_answer(self, chain: RunId, message_id: MessageId) -> Answer | None:
        runs = (run for run in self._runs.values() if run.record.run_id == chain)
        return next((r.answers[message_id] for r in runs if message_id in r.answers), None)
