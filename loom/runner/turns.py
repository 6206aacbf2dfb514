"""One turn of a run: what the code decides, what of it is written, and what follows once it is."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from loom.engine.decision import Decision
from loom.engine.instance import WorkflowInstance
from loom.history.events import ActivityScheduled, Stamped
from loom.identifiers import Micros, RunId
from loom.runner.activity_changes import activity_changes
from loom.runner.activity_tasks import ActivityTasks
from loom.runner.attempts import Attempt
from loom.runner.clock import Clock
from loom.runner.context import WorkerContext
from loom.runner.owned_run import OwnedRun
from loom.runner.transitions import (
    LeasePlan,
    effects_of,
)
from loom.storage.notifier import (
    CALLED_OFF,
    MESSAGES,
    activity_topic,
    answer_topic,
    run_topic,
    workflow_topic,
)
from loom.storage.records import Effects, RunRecord, TaskLease
from loom.values import value

_log = logging.getLogger("loom.worker")


@value(frozen=True, slots=True)
class Turn:
    """A turn that has been decided and not been written."""

    decision: Decision
    effects: Effects
    taken_at: Micros
    """The stamp of what it took and of what the code asked for."""
    reserved: Sequence[ActivityScheduled]
    """New activities for which this worker has kept a slot."""
    called_off: frozenset[int]
    """Activities of earlier turns that nobody waits for any more."""
    ended: Sequence[int]
    """Activities that it called off, or took the outcome of."""
    keeps_run: bool
    """Whether the run stays with this worker, because something of it goes on here."""

    def leases(self, run: RunRecord) -> list[TaskLease]:
        """The leases that it would take, to be given back when it is not known to be written."""
        return [TaskLease(run.run_key, scheduled.activity_id, 1) for scheduled in self.reserved]


class Turns:
    """Plans turns and carries out what follows from them."""

    def __init__(self, worker: WorkerContext, activities: ActivityTasks) -> None:
        self._worker = worker
        self._clock = worker.clock
        self._activities = activities
        self._missing: set[str] = set()

    def decide(self, instance: WorkflowInstance, arrivals: Sequence[Stamped]) -> Decision:
        """Let the code decide. Raises whatever halted the instance."""
        watch = self._worker.slow_turns
        watch.begin(instance)
        try:
            return instance.activate(arrivals)
        finally:
            watch.end()

    def plan(
        self,
        instance: WorkflowInstance,
        decision: Decision,
        *,
        after: int,
        local: Sequence[int] = (),
        chain: RunId | None = None,
    ) -> Turn:
        """What follows from a decision; keeps slots for the activities that can start here.

        Args:
            after: the sequence of the run's last event.
            local: ids of the run's activities that are running in this worker.
            chain: the run that its chain began with, if it is another.
        """
        now = self._clock.now()
        is_open, changes = decision.status.is_open, activity_changes(decision)
        asked = [each.scheduled for each in changes.asked]
        reserved = [scheduled for scheduled in asked if self._activities.reserve(scheduled)]
        decision = self._without_begun(decision, instance, reserved)
        still_local = set(local).difference(changes.ended) if local else ()
        due_again = decision.wake_at is not None and decision.wake_at <= now
        keeps = is_open and bool(reserved or still_local or due_again)
        if is_open and instance.awaited_local_calls:
            # However it is given back, whoever takes it over must run them again at once.
            keeps, decision = True, replace(decision, wake_at=now)
        lease_until = now + self._worker.options.lease
        plan = LeasePlan(
            run_until=lease_until if keeps else None,
            tasks_until=lease_until,
            activity_ids=frozenset(s.activity_id for s in reserved),
        )
        at = max(now, instance.now)
        effects = effects_of(decision, changes, after=after, at=at, plan=plan, chain=chain)
        called_off = frozenset(changes.called_off)
        if not is_open:
            called_off = called_off.union(instance.awaited_activities)
        return Turn(decision, effects, instance.now, reserved, called_off, changes.ended, keeps)

    def _without_begun(
        self,
        decision: Decision,
        instance: WorkflowInstance,
        reserved: Sequence[ActivityScheduled],
    ) -> Decision:
        """What begins here needs nobody to see whether it has begun in time."""
        begun = [s.activity_id for s in reserved if s.schedule_to_start is not None]
        for activity_id in begun:
            instance.activity_begun(activity_id)
        return replace(decision, wake_at=instance.wake_at) if begun else decision

    def dismiss(self, turn: Turn) -> None:
        """A turn that was not written: give back the slots that it kept."""
        for scheduled in turn.reserved:
            self._activities.free(scheduled)

    def carry_out(self, turn: Turn, owned: OwnedRun) -> None:
        """A turn that is durable: now it may be seen."""
        owned.sequence += len(turn.effects.events)
        owned.blocked = False
        runs_elsewhere = not turn.called_off <= owned.local.keys()
        self._end_attempts(turn, owned)
        for scheduled in turn.reserved:
            attempt = Attempt(
                run_key=owned.run_key,
                workflow_id=owned.run.workflow_id,
                run_id=owned.run.run_id,
                scheduled=scheduled,
                scheduled_at=turn.taken_at,
            )
            owned.local[scheduled.activity_id] = attempt
            self._activities.start(attempt)
        self._warn_of_missing(turn)
        topics = self._topics(turn, owned.run.run_id)
        if runs_elsewhere:
            topics.append(CALLED_OFF)
        self._worker.notifier.publish(dict.fromkeys(topics))
        if not turn.decision.status.is_open:
            self._worker.closings.announce(owned.run.run_id, turn.decision.events[-1].event)

    def _warn_of_missing(self, turn: Turn) -> None:
        """Say once of each activity that it is not to be run here: mostly it was forgotten."""
        for task in turn.effects.tasks:
            if task.name not in self._worker.registry.activities and task.name not in self._missing:
                self._missing.add(task.name)
                _log.warning(
                    "activity %s waits for another worker: this one was not given it", task.name
                )

    def _end_attempts(self, turn: Turn, owned: OwnedRun) -> None:
        for incoming in owned.in_turn:
            if incoming.attempt is not None:
                self._activities.drop(incoming.attempt)
        owned.in_turn = []
        closed = not turn.decision.status.is_open
        if closed and owned.calls is not None:
            owned.calls.give_up()
        unwanted = tuple(owned.local) if closed else turn.ended
        for activity_id in unwanted:
            attempt = owned.local.pop(activity_id, None)
            if attempt is not None:
                self._activities.give_up(attempt)

    def _topics(self, turn: Turn, run_id: RunId) -> list[str]:
        effects = turn.effects
        topics = [activity_topic(task.queue) for task in effects.tasks if not task.leased]
        topics += [workflow_topic(new.queue) for new in effects.starts]
        if effects.messages or effects.starts:
            # A run may have a message for itself: that a child was not started.
            topics.append(MESSAGES)
        if not turn.decision.status.is_open:
            topics.append(run_topic(run_id))
        topics.extend(answer_topic(answer.message_id) for answer in turn.effects.answers)
        return topics


def moment(clock: Clock, instance: WorkflowInstance) -> Micros:
    """The stamp of what a run takes now: the stamps of a run never decrease."""
    return max(clock.now(), instance.now)
