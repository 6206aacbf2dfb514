"""Workflow tasks: the runs that a worker owns, and who takes their turns.

A turn takes what has arrived, lets the engine decide, is written as one transition, and only then
may anything of it be seen. When a write is lost, or its outcome unknown, the live instance is
thrown away and the run given back: whoever claims it next replays it from what the store holds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from loom.authoring.registry import Registry
from loom.engine.instance import WorkflowInstance
from loom.errors import (
    HistoryError,
    LoomError,
    NonDeterministicWorkflowError,
    StoreUnavailableError,
)
from loom.history.events import (
    ActivityCompleted,
    ActivityFailed,
    Event,
    Stamped,
    TimerFired,
)
from loom.history.failures import failure_from
from loom.history.payloads import PayloadConverter
from loom.identifiers import MICROS_PER_SECOND, Micros, RunId, RunKey, WorkerId
from loom.runner.activity_tasks import ActivityTasks
from loom.runner.attempts import Attempt
from loom.runner.clock import Clock
from loom.runner.closings import Closings
from loom.runner.group_writer import GroupWriter
from loom.runner.instance_cache import InstanceCache
from loom.runner.leases import HeldLeases
from loom.runner.options import RunnerOptions
from loom.runner.owned_run import Incoming, OwnedRun, consumed_through, stamped
from loom.runner.revival import revive
from loom.runner.task_loop import Claimed
from loom.runner.transitions import blocked_effects, terminated_effects
from loom.runner.turns import Turns, moment
from loom.storage.notifier import Notifier, run_topic
from loom.storage.records import (
    Effects,
    Leases,
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
_BLOCKED_RETRY: Final = 30 * MICROS_PER_SECOND


class WorkflowTasks:
    """The runs that a worker owns."""

    def __init__(
        self,
        *,
        repository: WorkflowTaskRepository,
        registry: Registry,
        converter: PayloadConverter,
        activities: ActivityTasks,
        turns: Turns,
        notifier: Notifier,
        closings: Closings,
        clock: Clock,
        held: HeldLeases,
        options: RunnerOptions,
        owner: WorkerId,
        queue: str,
    ) -> None:
        self._repository = repository
        self._registry = registry
        self._converter = converter
        self._activities = activities
        self._turns = turns
        self._notifier = notifier
        self._closings = closings
        self._clock = clock
        self._held = held
        self._options = options
        self._owner = owner
        self._queue = queue
        self._writer = GroupWriter(repository.write_transitions)
        self._releases = GroupWriter(self._release_together)
        self._owned: dict[RunKey, OwnedRun] = {}
        self._owned_ids: set[RunId] = set()
        self._cache = InstanceCache(options.max_cached_runs)
        self._drives: set[asyncio.Task[None]] = set()
        self._is_full = False
        self._started_at = clock.now()
        self.on_released: Callable[[], None] = lambda: None
        """Told when a run was given back that may be due again at once."""
        self.on_due_at: Callable[[Micros], None] = lambda moment: None
        """Told when a run that was given back will be due."""
        activities.deliver = self.deliver
        activities.on_gone = self._attempt_gone

    # --- taking runs ---

    async def claim(self) -> Claimed:
        """Take runs that are due, and begin their turns."""
        if not self._registry.workflows:
            return Claimed(found=False)
        now = self._clock.now()
        room = self._options.max_owned_runs - len(self._owned)
        self._is_full = room <= 0
        claimed = await self._repository.claim_workflow_tasks(
            WorkflowClaim(
                owner=self._owner,
                queue=self._queue,
                definitions=tuple(self._registry.workflows),
                now=now,
                lease_expires_at=now + self._options.lease,
                # At least one, or messages for the runs that are owned already would not come.
                limit=max(1, min(room, _CLAIM_BATCH)),
                blocked_before=self._started_at,
            )
        )
        found = [self._receive(task) for task in claimed.tasks]
        if self._is_full:
            # The next look is when there is room, or when it is time for one.
            return Claimed(found=False)
        return Claimed(any(found), claimed.next_due_at)

    def has_room(self) -> bool:
        return len(self._owned) < self._options.max_owned_runs

    def owns(self, run_id: RunId) -> bool:
        return run_id in self._owned_ids

    def adopt(self, owned: OwnedRun) -> None:
        """Own a run whose first turn is durable already."""
        if owned.run_key in self._owned:
            # Claimed already, for a message that came at once.
            self._throw_away(owned)
            return
        self._own(owned)
        if owned.has_work(self._clock.now()):
            self._kick(owned)
        else:
            self._arm(owned)

    def remember(self, owned: OwnedRun) -> None:
        """Keep the live instance of a run that nobody owns now."""
        instance = owned.instance
        if instance is None or not instance.is_open:
            return
        self._cache.put(owned.run_key, owned.sequence, instance)
        if instance.wake_at is not None:
            self.on_due_at(instance.wake_at)

    def _receive(self, task: WorkflowTask) -> bool:
        """Take in a claim; whether it brought anything new."""
        owned = self._owned.get(task.run.run_key)
        if owned is None:
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
        self._own(owned)
        self._take_in(owned, task)
        self._kick(owned)

    def _own(self, owned: OwnedRun) -> None:
        self._held.add_run(owned.run_key, owned.token)
        self._owned[owned.run_key] = owned
        self._owned_ids.add(owned.run.run_id)

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
                self._forget(owned)
                self._throw_away(owned)

    # --- taking turns ---

    def _kick(self, owned: OwnedRun) -> None:
        if not owned.busy:
            owned.busy = True
            if owned.alarm is not None:
                owned.alarm.cancel()
            task = asyncio.create_task(self._drive(owned), name=f"loom-run-{owned.run_key}")
            self._drives.add(task)
            task.add_done_callback(self._drives.discard)

    async def _drive(self, owned: OwnedRun) -> None:
        """Take turns of a run for as long as there is anything to take."""
        try:
            await self._take_turns(owned)
        except StoreUnavailableError as error:
            _log.warning("workflow %s: given back: %s", owned.run.workflow_id, error)
            await self._abandon(owned)
        except Exception as error:
            await self._block(owned, error)
        finally:
            owned.busy = False
        if owned.next_task is not None:
            self._supersede(owned, owned.next_task)

    async def _take_turns(self, owned: OwnedRun) -> None:
        if (owned.instance is None or owned.poison is not None) and owned.termination is not None:
            await self._terminate(owned, owned.termination.event)
            return
        if owned.poison is not None:
            raise owned.poison
        if owned.instance is None:
            owned.instance = await self._revive(owned)
        while owned.next_task is None and owned.has_work(self._clock.now()):
            if not await self._take_turn(owned, owned.instance):
                return
            if owned.poison is not None:
                raise owned.poison
        if owned.local:
            self._arm(owned)
        elif self._owned.get(owned.run_key) is owned:
            self._forget(owned)
            self.remember(owned)
            await self._release(owned)

    def _arm(self, owned: OwnedRun) -> None:
        """Wake an owned run for its next timer: the store tells nobody while it is leased."""
        instance = owned.instance
        if instance is not None and instance.wake_at is not None:
            delay = (instance.wake_at - self._clock.now()) / MICROS_PER_SECOND
            owned.alarm = asyncio.get_running_loop().call_later(delay, self._kick, owned)

    async def _revive(self, owned: OwnedRun) -> WorkflowInstance:
        run = owned.run
        cached = self._cache.take(run.run_key, run.sequence)
        if cached is not None:
            return cached
        workflow = self._registry.workflow(run.name, run.version)
        if workflow is None:
            raise LoomError(f"This worker has no {run.name!r} in version {run.version!r}.")
        return await revive(workflow, run, self._repository, self._converter)

    async def _take_turn(self, owned: OwnedRun, instance: WorkflowInstance) -> bool:
        """Whether the run is still owned afterwards."""
        incoming = owned.take_arrivals()
        at = moment(self._clock, instance)
        timers = [Stamped(TimerFired(t), at) for t in instance.take_due_timers(at)]
        arrivals = stamped(incoming, at) + timers
        turn = self._turns.plan(
            instance,
            arrivals,
            after=owned.sequence,
            local=tuple(owned.local),
        )
        try:
            written = await self._write(owned, turn.effects, consumed_through(incoming))
        except BaseException:
            self._turns.dismiss(turn)
            owned.unstarted = turn.leases(owned.run)
            raise
        if not written:
            self._turns.dismiss(turn)
            await self._abandon(owned)
            return False
        self._turns.carry_out(turn, owned)
        if not turn.keeps_run:
            self._forget(owned)
            self.remember(owned)
            self._leave_arrivals(owned)
        return turn.keeps_run

    def _leave_arrivals(self, owned: OwnedRun) -> None:
        """What came while the run was being given back. Messages are in its inbox still; of
        outcomes only those that the turn called off can come so late."""
        if owned.arrivals:
            self.on_released()
        for incoming in owned.arrivals:
            if incoming.attempt is not None:
                self._activities.drop(incoming.attempt)

    async def _write(self, owned: OwnedRun, effects: Effects, consumed: int | None) -> bool:
        transition = Transition(
            run_key=owned.run_key,
            token=owned.token,
            expected_sequence=owned.sequence,
            effects=effects,
            consumed_through=consumed,
            owner=self._owner,
        )
        return await self._writer.submit(transition) is WriteOutcome.WRITTEN

    # --- letting go ---

    async def _terminate(self, owned: OwnedRun, event: Event) -> None:
        """End a run whose code need not be asked, and may not even be runnable."""
        arrivals = stamped(owned.arrivals, self._clock.now())
        effects = terminated_effects(arrivals, after=owned.sequence)
        if await self._write(owned, effects, None):
            self._closings.announce(owned.run.run_id, event)
            self._notifier.publish([run_topic(owned.run.run_id)])
        for attempt in owned.local.values():
            self._activities.give_up(attempt)
        self._forget(owned)
        self._throw_away(owned)

    async def _block(self, owned: OwnedRun, error: Exception) -> None:
        """Set a run apart whose code, history or messages cannot be worked with."""
        reason = _reason(error)
        _log.error("workflow %s is BLOCKED: %s", owned.run.workflow_id, reason)
        now = self._clock.now()
        effects = blocked_effects(reason, at=now, retry_at=now + _BLOCKED_RETRY)
        try:
            set_apart = await self._write(owned, effects, None)
        except Exception as failed:
            _log.warning("workflow %s: could not be set apart: %s", owned.run.workflow_id, failed)
            set_apart = False
        self._let_go(owned)
        if not set_apart:
            await self._release(owned)

    async def _abandon(self, owned: OwnedRun) -> None:
        """Give a run back whose last write was lost, or may have been."""
        self._let_go(owned)
        await self._release(owned)

    def _let_go(self, owned: OwnedRun) -> None:
        """Throw a run's instance away, and save the outcomes that it had been given.

        They go through the store: if their turn was written after all, their tasks are gone and
        nothing happens twice.
        """
        self._forget(owned)
        self._throw_away(owned)
        for incoming in [*owned.in_turn, *owned.arrivals]:
            if incoming.attempt is not None:
                self._activities.complete_later(incoming.attempt, incoming.event)
        owned.in_turn, owned.arrivals = [], []

    async def _release(self, owned: OwnedRun) -> None:
        run = RunLease(owned.run_key, owned.token)
        await self._releases.submit(Leases((run,), tuple(owned.unstarted)))
        self.on_released()

    async def _release_together(self, batch: Sequence[Leases]) -> list[None]:
        """Never fails: a lease that cannot be given back runs out by itself."""
        runs = tuple(lease for leases in batch for lease in leases.runs)
        tasks = tuple(lease for leases in batch for lease in leases.tasks)
        leases = Leases(runs, tasks)
        try:
            if leases:
                await self._repository.release_leases(leases, self._clock.now())
        except LoomError as error:
            _log.warning("leases could not be given back, they run out by themselves: %s", error)
        return [None] * len(batch)

    def _supersede(self, owned: OwnedRun, task: WorkflowTask) -> None:
        """End an ownership that a newer claim has replaced, and begin that one."""
        if self._owned.get(owned.run_key) is owned:
            self._forget(owned)
            self._throw_away(owned)
        if task.run.run_key not in self._owned:
            self._begin(task)

    def _forget(self, owned: OwnedRun) -> None:
        if owned.alarm is not None:
            owned.alarm.cancel()
        if self._owned.get(owned.run_key) is owned:
            del self._owned[owned.run_key]
            self._owned_ids.discard(owned.run.run_id)
            self._held.drop_run(owned.run_key)
            if self._is_full and self.has_room():
                self._is_full = False
                self.on_released()

    def _throw_away(self, owned: OwnedRun) -> None:
        if owned.instance is not None:
            owned.instance.unwind()
            owned.instance = None

    # --- stopping ---

    async def close(self, stopped: Sequence[TaskLease]) -> None:
        """Finish the turns under way, then give everything back, at once and in one go."""
        while self._drives:
            await asyncio.wait(tuple(self._drives))
        runs = [RunLease(owned.run_key, owned.token) for owned in self._owned.values()]
        # Before anything is awaited: their alarms must not begin new turns.
        self._forget_all()
        await self._releases.submit(Leases(tuple(runs), tuple(stopped)))

    def abandon(self) -> None:
        """Leave everything as it is; what was held runs out by itself."""
        for drive in self._drives:
            drive.cancel()
        self._forget_all()

    def _forget_all(self) -> None:
        for owned in tuple(self._owned.values()):
            self._forget(owned)
            self._throw_away(owned)
        self._cache.clear()


def _reason(error: Exception) -> str:
    """Why a run is blocked, for the person who looks at it."""
    if isinstance(error, NonDeterministicWorkflowError | HistoryError):
        return str(error)
    failure = failure_from(error)
    return failure.traceback or f"{failure.type}: {failure.message}"
