"""Stores that get wrong what turns start and what continues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loom.identifiers import Micros, RunKey
from loom.storage.memory_state import StoredRun
from loom.storage.records import (
    Effects,
    Message,
    NewRun,
    SendOutcome,
    StartOutcome,
    Transition,
    WriteOutcome,
)
from tests.conformance.broken_stores import Broken

# --- starts --------------------------------------------------------------------------------------


class StartsComeBeforeTheFence(Broken):
    caught_by = "test_a_lost_turn_starts_nothing"

    def _write(self, transition: Transition) -> WriteOutcome:
        for new in transition.effects.starts:
            self._start(new)
        return super()._write(transition)


class StartsAreForgotten(Broken):
    caught_by = "test_rule_1_a_written_transition_is_written_whole"

    def _write(self, transition: Transition) -> WriteOutcome:
        return super()._write(replace(transition, effects=replace(transition.effects, starts=())))


class StartsWaitForTheWholeBatch(Broken):
    caught_by = "test_rule_3_after_an_exception_every_turn_is_whole_or_absent"

    async def write_transitions(self, transitions: Sequence[Transition]) -> Sequence[WriteOutcome]:
        bare = [replace(t, effects=replace(t.effects, starts=())) for t in transitions]
        outcomes = await super().write_transitions(bare)
        for transition, outcome in zip(transitions, outcomes, strict=True):
            if outcome is WriteOutcome.WRITTEN:
                for new in transition.effects.starts:
                    self._start(new)
        return outcomes


class StartedAgainIsRefused(Broken):
    caught_by = "test_a_turn_written_again_starts_nothing_twice"

    def _start(self, new: NewRun) -> StartOutcome:
        if self._find(new.workflow_id, new.run_id):
            self._send_all(new.on_conflict, new.effects.recorded_at)
        return super()._start(new)


class StartedAgainAfterItsEnd(Broken):
    caught_by = "test_a_run_started_again_after_its_end_stays_ended"

    def _start(self, new: NewRun) -> StartOutcome:
        same = self._find(new.workflow_id, new.run_id)
        if same is not None and not same.is_open:
            del self._runs[same.record.run_key]
        return super()._start(new)


class TakenIdsAreReportedToNobody(Broken):
    caught_by = "test_a_taken_workflow_id_is_reported_instead"

    def _start(self, new: NewRun) -> StartOutcome:
        return super()._start(replace(new, on_conflict=()))


class TakenIdsLoseTheTurn(Broken):
    caught_by = "test_a_taken_workflow_id_is_reported_instead"

    def _write(self, transition: Transition) -> WriteOutcome:
        for new in transition.effects.starts:
            newest = self._find(new.workflow_id, None)
            if newest is not None and newest.is_open:
                return WriteOutcome.LOST
        return super()._write(transition)


class FreeIdsAreReportedToo(Broken):
    caught_by = "test_a_start_that_succeeds_leaves_no_message"

    def _start(self, new: NewRun) -> StartOutcome:
        outcome = super()._start(new)
        self._send_all(new.on_conflict, new.effects.recorded_at)
        return outcome


class ReportsWakeNobody(Broken):
    caught_by = "test_a_refused_start_wakes_the_turn_that_asked_for_it"

    def _write(self, transition: Transition) -> WriteOutcome:
        outcome = super()._write(transition)
        self._runs[transition.run_key].due_at = transition.effects.wake_at
        return outcome


class MessagesLeaveBeforeTheStarts(Broken):
    caught_by = "test_a_turn_may_talk_to_what_it_starts"

    def _reach_out(self, effects: Effects, messages: Sequence[Message]) -> None:
        self._send_all(messages, effects.recorded_at)
        super()._reach_out(effects, ())


class StartsComeBeforeTheEnd(Broken):
    caught_by = "test_a_workflow_id_given_up_by_a_turn_is_free_for_what_it_starts"

    def _write(self, transition: Transition) -> WriteOutcome:
        run = self._runs[transition.run_key]
        if self._fence_holds(run, transition):
            for new in transition.effects.starts:
                self._start(new)
        return super()._write(replace(transition, effects=replace(transition.effects, starts=())))


class FirstTurnsStartNothing(Broken):
    caught_by = "test_a_first_turn_may_start_runs"

    def _start(self, new: NewRun) -> StartOutcome:
        return super()._start(replace(new, effects=replace(new.effects, starts=())))


class RefusedRunsHaveChildren(Broken):
    caught_by = "test_a_first_turn_that_is_refused_starts_nothing"

    def _start(self, new: NewRun) -> StartOutcome:
        for child in new.effects.starts:
            super()._start(child)
        return super()._start(new)


# --- chains --------------------------------------------------------------------------------------


class InboxesStayBehind(Broken):
    caught_by = "test_what_a_run_leaves_unread_goes_to_the_one_that_continues_it"

    def _start(self, new: NewRun) -> StartOutcome:
        if new.continues and (old := self._find(new.workflow_id, new.continues)):
            old.left = []
        return super()._start(new)


class TakenMessagesAreInherited(Broken):
    caught_by = "test_what_a_run_leaves_unread_goes_to_the_one_that_continues_it"

    def _write(self, transition: Transition) -> WriteOutcome:
        everything = list(self._runs[transition.run_key].inbox)
        outcome = super()._write(transition)
        for new in transition.effects.starts:
            heir = self._find(new.workflow_id, new.run_id)
            for message in everything if heir and new.continues else ():
                assert heir is not None
                if not heir.has_taken(message.message_id):
                    heir.receive(message.message_id, message.arrival, new.effects.recorded_at)
        return outcome


class OutcomesAreInherited(Broken):
    caught_by = "test_the_outcome_of_an_activity_stays_with_its_run"

    def _fill_inbox(self, run: StoredRun, new: NewRun) -> None:
        super()._fill_inbox(run, new)
        if new.continues and (old := self._find(new.workflow_id, new.continues)):
            for message in old.left:
                if not message.may_move:
                    run.receive(message.message_id, message.arrival, new.effects.recorded_at)


class StartsAreInherited(Broken):
    caught_by = "test_a_message_is_delivered_once_in_a_chain"

    def _fill_inbox(self, run: StoredRun, new: NewRun) -> None:
        super()._fill_inbox(run, new)
        if new.continues and (old := self._find(new.workflow_id, new.continues)):
            for message in old.left:
                if message.message_id == "start":
                    run.receive(message.message_id, message.arrival, new.effects.recorded_at)


class DeletedBeginningsLeadNowhere(Broken):
    caught_by = "test_messages_for_a_chains_first_run_reach_the_open_one_when_that_is_deleted"
    arguments = {"length": 3}

    def _find_recipient(self, message: Message) -> StoredRun | None:
        found = self._find(message.workflow_id, message.run_id)
        return None if found is None else super()._find_recipient(message)


class DeletedBeginningsLeadToWhoeverHasTheId(Broken):
    caught_by = "test_messages_for_the_deleted_first_run_of_a_chain_that_has_ended_find_it_closed"

    def _find_recipient(self, message: Message) -> StoredRun | None:
        found = self._find(message.workflow_id, message.run_id)
        return super()._find_recipient(message) if found else self._find(message.workflow_id, None)


class ClosedIsClosed(Broken):
    caught_by = "test_messages_for_a_run_of_a_chain_reach_the_open_one"

    def _find_recipient(self, message: Message) -> StoredRun | None:
        return self._find(message.workflow_id, message.run_id)


class AnyOpenRunWillDo(Broken):
    caught_by = "test_messages_for_a_run_of_another_chain_do_not"

    def _find_recipient(self, message: Message) -> StoredRun | None:
        newest = self._find(message.workflow_id, None)
        return newest if newest is not None and newest.is_open else super()._find_recipient(message)


class ChainsForgetWhatTheyTook(Broken):
    caught_by = "test_a_message_is_delivered_once_in_a_chain"

    def _chain_of(self, run: StoredRun) -> Sequence[StoredRun]:
        return [run]


class OnlyThePredecessorIsRemembered(Broken):
    caught_by = "test_a_message_is_delivered_once_in_a_chain"

    def _chain_of(self, run: StoredRun) -> Sequence[StoredRun]:
        chain = super()._chain_of(run)
        return [
            one for one in chain if one is run or one.record.run_id == run.record.continued_from
        ]


class ChainsBeginWithTheirPredecessor(Broken):
    caught_by = "test_a_run_that_continues_another_says_so"

    def _fill_inbox(self, run: StoredRun, new: NewRun) -> None:
        super()._fill_inbox(run, new)
        run.record = replace(run.record, first_run_id=run.record.continued_from)


class AnyRunCanBeContinued(Broken):
    caught_by = "test_only_a_run_that_ends_can_be_continued"

    def _write(self, transition: Transition) -> WriteOutcome:
        news = [replace(new, continues=None) for new in transition.effects.starts]
        return super()._write(replace(transition, effects=replace(transition.effects, starts=news)))


class MessagesMissTheContinuation(Broken):
    """As one that looks up the open run before it locks it."""

    caught_by = "test_a_message_in_the_same_batch_reaches_the_run_that_continues"

    async def write_transitions(self, transitions: Sequence[Transition]) -> Sequence[WriteOutcome]:
        self._before: dict[RunKey, bool] = {key: run.is_open for key, run in self._runs.items()}
        outcomes = await super().write_transitions(transitions)
        self._before = {}
        return outcomes

    def _send(self, message: Message, now: Micros) -> SendOutcome:
        before = getattr(self, "_before", {})
        for key, was_open in before.items():
            run = self._runs[key]
            if was_open and not run.is_open and run.record.workflow_id == message.workflow_id:
                return SendOutcome.CLOSED
        return super()._send(message, now)
