"""Starting a run where a worker stands ready: the run and its first turn in one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field, replace
from functools import partial

from loom.authoring.compiled import CompiledWorkflow
from loom.engine.flags import NEW_RUN_FLAGS
from loom.engine.instance import WorkflowInstance
from loom.errors import LoomError
from loom.history.events import SignalReceived, Stamped, WorkflowStarted
from loom.history.limits import RunLimits
from loom.history.status import RunStatus
from loom.identifiers import MessageId, Micros, RunId, WorkerId, WorkflowId
from loom.retry import RetryTerms
from loom.runner import sizes
from loom.runner.clock import Clock
from loom.runner.context import WorkerContext
from loom.runner.group_writer import TOO_LARGE, GroupWriter
from loom.runner.owned_run import OwnedRun
from loom.runner.ownership import Ownership
from loom.runner.relations import START, arrival_of
from loom.runner.revival import new_instance
from loom.runner.turns import Turn, Turns
from loom.runner.workflow_tasks import WorkflowTasks
from loom.storage.records import Effects, Message, NewRun, StartOutcome
from loom.values import value


@value(frozen=True, slots=True)
class StartRequest:
    """A run that somebody wants started; its input is encoded and has been validated."""

    name: str
    version: str
    workflow_id: WorkflowId
    run_id: RunId
    queue: str
    payload: bytes
    tags: Mapping[str, str] = field(default_factory=dict)
    memo: bytes | None = None
    refused_after: Collection[RunStatus] = ()
    signal: FirstSignal | None = None
    """What the run is to find in its inbox, or an open run of the id instead of it."""
    start_at: Micros | None = None
    limits: RunLimits | None = None
    retry: RetryTerms | None = None
    is_keyed: bool = False
    """Whether others may start the run of that run id, too."""

    @property
    def event(self) -> WorkflowStarted:
        return WorkflowStarted(
            self.name,
            self.version,
            self.payload,
            NEW_RUN_FLAGS,
            tags=dict(self.tags) or None,
            memo=None if self.memo is None else self.memo.decode(),
            start_at=self.start_at,
            limits=self.limits,
            retry=self.retry,
        )

    def new_run(self, effects: Effects, owner: WorkerId | None) -> NewRun:
        """The run, which its tags are put to now, whoever takes its first turn when."""
        return NewRun(
            workflow_id=self.workflow_id,
            run_id=self.run_id,
            name=self.name,
            version=self.version,
            queue=self.queue,
            effects=replace(effects, tags={**self.tags, **effects.tags}) if self.tags else effects,
            owner=owner,
            memo=self.memo,
            refused_after=self.refused_after,
            unless_heard=None if self.signal is None else self.signal.known_by,
            on_conflict=self._instead,
            start_at=self.start_at,
            deadline=None if self.limits is None else self.limits.deadline,
        )

    @property
    def first_messages(self) -> Sequence[Message]:
        """What the inbox of the run begins with when nobody has taken a turn of it yet."""
        started = Message(self.workflow_id, START, arrival_of(self.event), self.run_id)
        return [started] if self.signal is None else [started, self.signal.to(self, self.run_id)]

    @property
    def _instead(self) -> Sequence[Message]:
        if self.signal is None or not self.signal.also_to_existing:
            return ()
        return [self.signal.to(self, None)]


@value(frozen=True, slots=True)
class FirstSignal:
    """A signal that is sent with a start, in the same commit."""

    message_id: MessageId
    event: SignalReceived
    also_to_existing: bool
    known_by: MessageId | None = None
    """Its id, where that tells whether it was sent before."""

    def to(self, request: StartRequest, run_id: RunId | None) -> Message:
        return Message(request.workflow_id, self.message_id, arrival_of(self.event), run_id)


type StartWriter = GroupWriter[NewRun, StartOutcome]

type GoOn = Callable[[StartOutcome | None], None]
"""What is done once a start has an outcome; ``None`` when that is not known."""


def start_for_anybody(
    request: StartRequest, clock: Clock, writer: StartWriter
) -> asyncio.Future[StartOutcome]:
    """Start a run that any worker may take: the first message in its inbox says so."""
    effects = Effects(RunStatus.RUNNING, clock.now(), messages=request.first_messages)
    return writer.submit(request.new_run(effects, None))


class LocalStarter:
    """Starts runs in the worker of this process, which takes their first turn at once."""

    def __init__(
        self, worker: WorkerContext, owned: Ownership, workflows: WorkflowTasks, turns: Turns
    ) -> None:
        self._worker = worker
        self._owned = owned
        self._workflows = workflows
        self._turns = turns
        self._starting: set[asyncio.Future[StartOutcome]] = set()
        self._abandoned = False

    async def start(
        self, workflow: CompiledWorkflow, request: StartRequest, writer: StartWriter
    ) -> StartOutcome:
        """Start a run and take its first turn."""
        written, go_on = self._begin(workflow, request, writer)
        self._starting.add(written)
        # A starter that is cancelled leaves the run behind, and the worker with it to look after.
        # As `asyncio.shield` would have it, at a third of its callbacks.
        told: asyncio.Future[StartOutcome] = asyncio.get_running_loop().create_future()
        written.add_done_callback(partial(self._end, go_on, told))
        return await told

    def _end(
        self, go_on: GoOn, told: asyncio.Future[StartOutcome], written: asyncio.Future[StartOutcome]
    ) -> None:
        """Called when a start has an outcome."""
        self._starting.discard(written)
        try:
            # Asked for also when nobody waits for it any more, or asyncio would complain.
            is_known = not written.cancelled() and written.exception() is None
            go_on(written.result() if is_known else None)
        finally:
            _tell(told, written)

    async def finish(self) -> None:
        """Let the starts that are under way be written, so that their runs can be handed back."""
        while self._starting:
            await asyncio.wait(tuple(self._starting))

    def abandon(self) -> None:
        """Begin nothing more, whatever is still written; it runs out by itself."""
        self._abandoned = True

    def _begin(
        self, workflow: CompiledWorkflow, request: StartRequest, writer: StartWriter
    ) -> tuple[asyncio.Future[StartOutcome], GoOn]:
        """A start on its way, and what follows from its outcome."""
        instance = new_instance(
            workflow,
            workflow_id=request.workflow_id,
            run_id=request.run_id,
            queue=request.queue,
            converter=self._worker.converter,
            guards=self._worker.options.guards,
        )
        try:
            started = Stamped(request.event, self._worker.clock.now())
            # Its local activities wait until it is known to exist.
            turn = self._turns.plan(instance, self._turns.decide(instance, [started]), after=0)
        except LoomError:
            # It must exist before it can be seen to be blocked: a worker's claim will find that.
            return start_for_anybody(request, self._worker.clock, writer), _nothing
        if sizes.of_effects(turn.effects) > TOO_LARGE:
            # So must one whose first turn cannot be written.
            self._turns.dismiss(turn)
            instance.unwind()
            return start_for_anybody(request, self._worker.clock, writer), _nothing
        written = writer.submit(request.new_run(turn.effects, self._worker.owner))
        return written, partial(self._go_on, instance, turn, request)

    def _go_on(
        self,
        instance: WorkflowInstance,
        turn: Turn,
        request: StartRequest,
        outcome: StartOutcome | None,
    ) -> None:
        if outcome is None or not self._is_ours(outcome, turn, request):
            self._turns.dismiss(turn)
            instance.unwind()
            return
        owned = OwnedRun(outcome.run, 1, 0, instance)
        self._turns.carry_out(turn, owned)
        if turn.keeps_run:
            self._workflows.adopt(owned)
        else:
            self._owned.remember(owned)

    def _is_ours(self, outcome: StartOutcome, turn: Turn, request: StartRequest) -> bool:
        """Whether the run stands where this start left it.

        It does not when another run had the id, or when an earlier try of this start was written
        after all and somebody has worked on the run since. Where others may have started the very
        same run, one that was there is theirs.
        """
        if outcome.repeated and request.is_keyed:
            return False
        run = outcome.run
        if self._abandoned or not outcome.created or run.sequence != len(turn.effects.events):
            return False
        return not turn.keeps_run or run.lease_owner == self._worker.owner


def _nothing(outcome: StartOutcome | None) -> None:
    return


def _tell(told: asyncio.Future[StartOutcome], written: asyncio.Future[StartOutcome]) -> None:
    """Let whoever waits for a start know, unless nobody does any more."""
    if told.done():
        return
    if written.cancelled():
        told.cancel()
    elif (error := written.exception()) is not None:
        told.set_exception(error)
    else:
        told.set_result(written.result())
