"""Workflow tasks: the runs that a worker owns, and who takes their turns.

A turn takes what has arrived, lets the engine decide, is written as one transition, and only then
may anything of it be seen. When a write is lost, or its outcome unknown, the live instance is
thrown away and the run given back: whoever claims it next replays it from what the store holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Container, Sequence
from functools import partial
from typing import Any, Final

from loom.engine.decision import Decision
from loom.engine.instance import WorkflowInstance
from loom.errors import LoomError, StoreUnavailableError
from loom.history.events import ActivityCompleted, ActivityFailed, ArrivalEvent, Stamped
from loom.identifiers import Micros
from loom.runner import sizes
from loom.runner.activity_tasks import ActivityTasks
from loom.runner.attempts import Attempt
from loom.runner.context import WorkerContext
from loom.runner.deadlines import are_deadlines_due, really_due
from loom.runner.departures import Departures
from loom.runner.group_reader import GroupReader
from loom.runner.group_writer import GroupWriter
from loom.runner.local_calls import LocalActivities
from loom.runner.owned_run import Incoming, OwnedRun, consumed_through, stamped
from loom.runner.ownership import Ownership, throw_away
from loom.runner.revival import revive
from loom.runner.suspects import Suspects
from loom.runner.task_loop import Claimed
from loom.runner.turns import Turns, moment
from loom.storage.records import (
    Effects,
    RunLease,
    TaskLease,
    Transition,
    WorkflowClaim,
    WorkflowTask,
    WriteOutcome,
)
from loom.storage.repository import WorkflowTaskRepository

_log = logging.getLogger("loom.worker")

_CLAIM_BATCH: Final = 100


class WorkflowTasks:
    """The runs that a worker owns."""

    def __init__(
        self, worker: WorkerContext, owned: Ownership, activities: ActivityTasks, turns: Turns
    ) -> None:
        self._worker = worker
        self._repository: WorkflowTaskRepository = worker.repository
        self._clock = worker.clock
        self._owned = owned
        self._activities = activities
        self._turns = turns
        self._local_activities = LocalActivities(worker, activities.execution)
        self._writer = GroupWriter(
            self._repository.write_transitions,
            self._repository.works_elsewhere,
            size=sizes.of_transition,
        )
        self._departures = Departures(worker, owned, activities, self._write)
        self._histories = GroupReader(self._repository)
        self._suspects = Suspects(worker.options.max_lost_owners)
        self._suspects.on_acquitted = lambda: owned.on_released()
        self._drives: set[asyncio.Task[None]] = set()
        self._is_closing = False
        self._started_at = worker.clock.now()
        activities.deliver = self.deliver
        activities.on_gone = self._attempt_gone

    # --- taking runs ---

    async def claim(self) -> Claimed:
        """Take runs that are due, and begin their turns."""
        definitions = tuple(self._worker.registry.workflows)
        if not definitions:
            return Claimed(found=False)
        now, room = self._clock.now(), self._owned.room()
        claim = WorkflowClaim(
            owner=self._worker.owner,
            queue=self._worker.queue,
            definitions=definitions,
            now=now,
            lease_expires_at=now + self._worker.options.lease,
            # At least one, or messages for the runs that are owned already would not come.
            limit=max(1, min(room, _CLAIM_BATCH)),
            blocked_before=self._started_at,
            suspects=not self._suspects,
        )
        with self._owned.claiming() as forgotten:
            claimed = await self._repository.claim_workflow_tasks(claim)
            found = [self._receive(task, forgotten) for task in claimed.tasks]
        if not room:
            # The next look is when there is room, or when it is time for one.
            return Claimed(found=False)
        return Claimed(any(found), claimed.next_due_at)

    def adopt(self, owned: OwnedRun) -> None:
        """Own a run whose first turn is durable already."""
        if self._owned.get(owned.run_key) is not None:
            # Claimed already, for a message that came at once.
            throw_away(owned)
            return
        self._owned.add(owned)
        if owned.has_work(self._clock):
            self._kick(owned)
        else:
            self._arm(owned)

    def _receive(self, task: WorkflowTask, forgotten: Container[RunLease] = ()) -> bool:
        """Take in a claim; whether it brought anything new."""
        owned = self._owned.get(task.run.run_key)
        if owned is None:
            # What was given back with messages unread is due to whoever asks for it next.
            if RunLease(task.run.run_key, task.token) not in forgotten:
                self._begin(task)
            return True
        if task.token != owned.token:
            # Claimed anew while the answer to this ownership's last write is on its way.
            owned.next_task = task
            self._kick(owned)
            return True
        return self._take_in(owned, task)

    def _begin(self, task: WorkflowTask) -> None:
        owned = OwnedRun.claimed(task)
        self._owned.add(owned)
        self._suspects.add(owned)
        self._take_in(owned, task)
        self._kick(owned)

    def _take_in(self, owned: OwnedRun, task: WorkflowTask) -> bool:
        news = owned.receive(task.messages)
        if news:
            self._kick(owned)
        return news

    def deliver(self, attempt: Attempt, outcome: ActivityCompleted | ActivityFailed) -> bool:
        """Give an activity's outcome to its live run; false when the run is not owned here."""
        owned = self._owned.get(attempt.run_key)
        if owned is None or owned.local.get(attempt.activity_id) is not attempt:
            return False
        del owned.local[attempt.activity_id]
        owned.arrivals.append(Incoming(outcome, attempt=attempt))
        # Its slot is for what the run asks for next.
        self._activities.vacate(attempt)
        self._kick(owned)
        return True

    def _attempt_gone(self, attempt: Attempt) -> None:
        """An attempt ended without an outcome for its live run: it may be the last that ran here,
        and a run for which nothing goes on here is given back."""
        owned = self._owned.get(attempt.run_key)
        if owned is not None and owned.local.get(attempt.activity_id) is attempt:
            del owned.local[attempt.activity_id]
            self._kick(owned)

    def lost(self, leases: Sequence[RunLease]) -> None:
        """Let go of runs that somebody else owns now."""
        for lease in leases:
            owned = self._owned.get(lease.run_key)
            # One that is busy learns it from its next write.
            if owned is not None and owned.token == lease.token and not owned.busy:
                _log.warning("workflow %s: lease lost", owned.run.workflow_id)
                self._owned.discard(owned)

    # --- taking turns ---

    def _kick(self, owned: OwnedRun) -> None:
        if not owned.busy:
            owned.busy = True
            if owned.alarm is not None:
                owned.alarm.cancel()
            # It begins in the loop's next round, and so takes along what else ends in this one.
            task = asyncio.create_task(self._drive(owned), name=f"loom-run-{owned.run_key}")
            self._drives.add(task)
            task.add_done_callback(self._drives.discard)

    async def _drive(self, owned: OwnedRun) -> None:
        """Take turns of a run for as long as there is anything to take."""
        task = asyncio.current_task()
        try:
            await self._take_turns(owned)
        except StoreUnavailableError as error:
            _log.warning("workflow %s: given back: %s", owned.run.workflow_id, error)
            await self._departures.abandon(owned)
        except BaseException as error:
            if _ends(task, error):
                self._owned.discard(owned)
                raise
            await self._departures.block(owned, error)
        finally:
            owned.busy = False
        self._suspects.acquit(owned)
        if owned.next_task is not None:
            self._supersede(owned, owned.next_task)

    async def _take_turns(self, owned: OwnedRun) -> None:
        if owned.is_void:
            await self._departures.abandon(owned)
            return
        owned.end_if_overdue(self._clock)
        if (owned.instance is None or owned.poison is not None) and owned.termination is not None:
            await self._departures.terminate(owned)
            return
        if owned.poison is not None:
            raise owned.poison
        if owned.is_called_off and owned.run.start_at is not None:
            await self._departures.call_off(owned, owned.run.start_at)
            return
        if owned.instance is None:
            if self._suspects.is_too_dangerous(owned):
                await self._departures.set_apart(owned, *self._suspects.sentence(owned.run))
                return
            owned.instance = await self._revive(owned)
        while owned.next_task is None and owned.has_work(self._clock):
            if self._is_closing and not owned.has_outcomes:
                # Whoever takes it over does what is left; only what came of activities here would
                # have to be done again.
                return
            if not await self._take_turn(owned, owned.instance):
                return
            if owned.poison is not None:
                raise owned.poison
        if owned.next_task is not None:
            return
        if owned.goes_on_here:
            self._arm(owned)
        elif self._owned.holds(owned):
            self._owned.forget(owned)
            self._owned.remember(owned)
            await self._owned.release(owned)

    def _arm(self, owned: OwnedRun) -> None:
        """Wake an owned run for its next timer: the store tells nobody while it is leased."""
        instance = owned.instance
        if instance is not None and instance.wake_at is not None:
            owned.alarm = self._clock.call_at(instance.wake_at, partial(self._kick, owned))

    async def _revive(self, owned: OwnedRun) -> WorkflowInstance:
        kept = self._owned.recall(owned)
        if kept is not None:
            return kept
        run = owned.run
        workflow = self._worker.registry.workflow(run.name, run.version)
        if workflow is None:
            raise LoomError(f"This worker has no {run.name!r} in version {run.version!r}.")
        worker = self._worker
        return await revive(
            workflow,
            run,
            self._histories,
            worker.converter,
            guards=worker.options.guards,
            slow_turns=worker.slow_turns,
        )

    async def _take_turn(self, owned: OwnedRun, instance: WorkflowInstance) -> bool:
        """Whether the run is still owned afterwards."""
        incoming = owned.take_arrivals()
        # By a clock that was set back meanwhile it could be too early for its code to begin.
        at = max(moment(self._clock, instance), owned.run.start_at or 0)
        # What had arrived before comes first, also where it takes several turns.
        due = [] if owned.arrivals else await self._due(owned, instance, at)
        arrivals = stamped(incoming, at) + [Stamped(event, at) for event in due]
        decision = await self._decide(owned, instance, arrivals)
        turn = self._turns.plan(
            instance,
            decision,
            after=owned.sequence,
            local=owned.local_ids,
            chain=owned.run.first_run_id,
        )
        # What came after the run's end is left for the run that continues it, if one does.
        consumed = consumed_through(incoming[: turn.decision.taken])
        try:
            written = await self._write(owned, turn.effects, consumed)
        except BaseException:
            self._turns.dismiss(turn)
            owned.unstarted = turn.leases(owned.run)
            raise
        if not written:
            self._turns.dismiss(turn)
            await self._departures.abandon(owned)
            return False
        self._turns.carry_out(turn, owned)
        if not turn.keeps_run:
            self._owned.forget(owned)
            self._owned.remember(owned)
            self._departures.leave_arrivals(owned)
        return turn.keeps_run

    async def _decide(
        self, owned: OwnedRun, instance: WorkflowInstance, arrivals: list[Stamped]
    ) -> Decision:
        """What the code answers, with what comes of its local activities meanwhile."""
        calls = owned.calls
        if calls is not None and calls.have_ended:
            at = moment(self._clock, instance)
            ended = calls.take(instance.awaited_local_calls)
            arrivals = [*arrivals, *(Stamped(outcome, at) for outcome in ended)]
        decision = self._turns.decide(instance, arrivals)
        if calls is None and not instance.has_local_calls:
            return decision
        if calls is None:
            run = owned.run
            owned.calls = calls = self._local_activities.of_run(run.workflow_id, run.run_id)
            calls.on_outcome = partial(self._kick, owned)
        return await self._local_activities.carry_on(calls, instance, decision, self._turns.decide)

    async def _due(
        self, owned: OwnedRun, instance: WorkflowInstance, at: Micros
    ) -> Sequence[ArrivalEvent]:
        """What comes about because its moment has passed."""
        due = instance.take_due(at)
        if not are_deadlines_due(due):
            return due
        tasks = await self._worker.repository.list_tasks(owned.run_key)
        return really_due(due, tasks, instance.awaited_local_calls, owned.calls)

    async def _write(self, owned: OwnedRun, effects: Effects, consumed: int | None) -> bool:
        transition = Transition(
            run_key=owned.run_key,
            token=owned.token,
            expected_sequence=owned.sequence,
            effects=effects,
            consumed_through=consumed,
            owner=self._worker.owner,
        )
        return await self._writer.submit(transition) is WriteOutcome.WRITTEN

    def _supersede(self, owned: OwnedRun, task: WorkflowTask) -> None:
        """End an ownership that a newer claim has replaced, and begin that one."""
        if self._owned.holds(owned):
            self._departures.let_go(owned)
        if self._owned.get(task.run.run_key) is None:
            self._begin(task)

    # --- stopping ---

    async def close(self, stopped: Sequence[TaskLease]) -> None:
        """Finish the turns under way, then give everything back, at once and in one go."""
        self._is_closing = True
        while self._drives:
            await asyncio.wait(tuple(self._drives))
        await self._owned.release_all(stopped)

    def abandon(self) -> None:
        """Leave everything as it is; what was held runs out by itself."""
        for drive in self._drives:
            drive.cancel()
        self._owned.discard_all()


def _ends(task: asyncio.Task[Any] | None, error: BaseException) -> bool:
    """Whether it ends the task that takes turns, and not only the run whose code it came through:
    that is cancelled, or closed from outside as its event loop is, or interrupted."""
    if task is None or _current_task() is not task:
        return True
    if isinstance(error, asyncio.CancelledError):
        return task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop is running any more
        return None
