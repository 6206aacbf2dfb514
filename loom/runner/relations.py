"""What a run's turn does to other runs: those it starts, those it talks to, and its relatives.

Pure functions, as in ``transitions.py``. Every id follows from the run's own and the event's, so
that a turn that is taken again does the same again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from loom.engine.decision import Relatives
from loom.engine.flags import NEW_RUN_FLAGS
from loom.history.codec import encode_attributes
from loom.history.events import (
    FINAL_STATUS,
    CancelSent,
    ChildCancelRequested,
    ChildCompleted,
    ChildFailed,
    ChildStarted,
    Event,
    SignalReceived,
    SignalSent,
    Stamped,
    StateCarried,
    WorkflowCancelled,
    WorkflowCancelRequested,
    WorkflowCompleted,
    WorkflowContinuedAsNew,
    WorkflowFailed,
    WorkflowStarted,
    WorkflowTerminated,
    WorkflowTimedOut,
    continued_by,
)
from loom.history.failures import Failure
from loom.history.relatives import ChildRun, ParentClosePolicy, ParentRun
from loom.history.status import RunStatus
from loom.identifiers import MessageId, Micros, RunId, WorkflowId
from loom.storage.records import Arrival, Effects, Message, NewRun

START: Final = "start"
"""The id of the message by which a run is started elsewhere."""


STARTING: Final = frozenset({ChildStarted, WorkflowContinuedAsNew, WorkflowFailed})
"""The events by which a turn may start runs."""

TELLING: Final = frozenset({SignalSent, CancelSent, ChildCancelRequested, *FINAL_STATUS})
"""The events by which a turn may send something to other runs."""


def arrival_of(event: Event) -> Arrival:
    """An event as a message carries it."""
    return Arrival(event.type, event.schema_version, encode_attributes(event), event.payload_bytes)


# --- what the code asked for ---------------------------------------------------------------------


def starts_of(events: Iterable[Stamped], run: Relatives, at: Micros, chain: RunId) -> list[NewRun]:
    """The runs that a turn starts: children, and the one that continues its own.

    Children are told the run that its ``chain`` began with: by that it is found for as long as any
    run of it is there.
    """
    news = []
    for stamped in events:
        if isinstance(stamped.event, ChildStarted):
            news.append(_child(stamped.event, replace(run, run_id=chain), at))
        elif isinstance(stamped.event, WorkflowContinuedAsNew):
            news.append(_successor(stamped.event, run, at))
        elif isinstance(stamped.event, WorkflowFailed) and run.carried.again is not None:
            news.append(_next_try(stamped.event, run.carried.again, run, at))
    return news


def _child(asked: ChildStarted, run: Relatives, at: Micros) -> NewRun:
    parent = ParentRun(run.workflow_id, run.run_id, asked.child_id, asked.run_id)
    started = WorkflowStarted(
        asked.name,
        asked.version,
        asked.payload,
        NEW_RUN_FLAGS,
        tags=asked.tags,
        memo=asked.memo,
        parent=parent,
        limits=asked.limits,
        retry=asked.retry,
    )
    taken = Failure("", f"an open run has the workflow id {asked.workflow_id!r}")
    refused = ChildFailed(asked.child_id, asked.run_id, taken)
    message = Message(asked.workflow_id, START, arrival_of(started), asked.run_id)
    return NewRun(
        workflow_id=asked.workflow_id,
        run_id=asked.run_id,
        name=asked.name,
        version=asked.version,
        queue=asked.queue,
        effects=Effects(RunStatus.RUNNING, at, messages=[message], tags=asked.tags or {}),
        memo=None if asked.memo is None else asked.memo.encode(),
        deadline=None if asked.limits is None else asked.limits.deadline,
        on_conflict=[_to_parent(parent, refused)],
    )


def _successor(
    ended: WorkflowContinuedAsNew,
    run: Relatives,
    at: Micros,
    start_at: Micros | None = None,
    attempt: int = 1,
) -> NewRun:
    ended_by = run.carried.limits
    limits = None if ended_by is None else ended_by.of_next(start_at or at)
    started = WorkflowStarted(
        ended.name,
        ended.version,
        ended.payload,
        NEW_RUN_FLAGS,
        tags=dict(run.carried.tags) or None,
        memo=None if run.carried.memo is None else run.carried.memo.decode(),
        parent=run.parent,
        continued_from=run.run_id,
        children=tuple(run.children),
        carries_state=run.carried.state is not None,
        start_at=start_at,
        limits=limits,
        retry=run.carried.retry,
        attempt=attempt,
    )
    first: list[tuple[str, Event]] = [(START, started)]
    if run.carried.state is not None:
        first.append(("state", StateCarried(run.carried.state)))
    signals = enumerate(run.carried.signals, 1)
    first += [(f"carried:{n}", SignalReceived(*signal)) for n, signal in signals]
    to = partial(Message, run.workflow_id, run_id=ended.run_id)
    return NewRun(
        workflow_id=run.workflow_id,
        run_id=ended.run_id,
        name=ended.name,
        version=ended.version,
        queue=ended.queue,
        effects=Effects(
            RunStatus.RUNNING,
            at,
            messages=[to(message_id, arrival_of(event)) for message_id, event in first],
            tags=dict(run.carried.tags),
        ),
        memo=run.carried.memo,
        start_at=start_at,
        deadline=None if limits is None else limits.deadline,
        continues=run.run_id,
    )


def _next_try(
    failed: WorkflowFailed, again: WorkflowContinuedAsNew, run: Relatives, at: Micros
) -> NewRun:
    """The run that tries it again, later; children of the one that failed go with it."""
    begins_at = at if failed.retry_at is None else failed.retry_at
    return _successor(again, replace(run, children=()), at, begins_at, run.carried.attempt)


def messages_of(events: Sequence[Stamped], run: Relatives) -> list[Message]:
    """What a turn sends to other runs. When it closes its own for good, the relatives are told."""
    messages = list(_sent(events, run))
    last = events[-1].event if events else None
    if type(last) in FINAL_STATUS and not isinstance(last, WorkflowContinuedAsNew):
        # A parent awaits the chain's end.
        goes_on = last is not None and continued_by(last) is not None
        messages += farewells(last, replace(run, parent=None) if goes_on else run)
    return messages


def _sent(events: Sequence[Stamped], run: Relatives) -> Iterator[Message]:
    for stamped in events:
        event = stamped.event
        if isinstance(event, SignalSent):
            signal = SignalReceived(event.name, event.payload)
            message_id = f"run:{run.run_id}/{event.signal_id}"
            yield Message(event.workflow_id, message_id, arrival_of(signal), event.run_id)
        elif isinstance(event, CancelSent):
            message_id = f"run:{run.run_id}/{event.cancel_id}"
            yield _ending(event, message_id, WorkflowCancelRequested(event.reason))
        elif isinstance(event, ChildCancelRequested):
            message_id = f"parent:cancel:{event.run_id}"
            yield _ending(event, message_id, WorkflowCancelRequested(event.reason))


def _ending(
    to: CancelSent | ChildCancelRequested | ChildRun, message_id: MessageId, request: Event
) -> Message:
    """What is to end a run, also one that has yet to begin."""
    return Message(to.workflow_id, message_id, arrival_of(request), to.run_id, urgent=True)


# --- the end of a run ----------------------------------------------------------------------------


def farewells(final: Event | None, run: Relatives) -> list[Message]:
    """What a run's parent and its open children are told when it closes."""
    messages = []
    outcome = None if run.parent is None else _outcome(final, run.parent)
    if run.parent is not None and outcome is not None:
        messages.append(_to_parent(run.parent, outcome))
    return messages + [m for child in run.children if (m := _to_child(child, run)) is not None]


def _outcome(final: Event | None, parent: ParentRun) -> ChildCompleted | ChildFailed | None:
    ids = parent.child_id, parent.child_run_id
    match final:
        case WorkflowCompleted():
            return ChildCompleted(*ids, final.payload)
        case WorkflowFailed():
            return ChildFailed(*ids, final.failure, RunStatus.FAILED)
        case WorkflowCancelled():
            return ChildFailed(*ids, Failure("", final.reason), RunStatus.CANCELLED)
        case WorkflowTerminated():
            return ChildFailed(*ids, Failure("", final.reason), RunStatus.TERMINATED)
        case WorkflowTimedOut():
            return ChildFailed(*ids, Failure("", ""), RunStatus.TIMED_OUT)
    return None


def _to_parent(parent: ParentRun, outcome: ChildCompleted | ChildFailed) -> Message:
    message_id = f"child:{parent.child_run_id}"
    return Message(parent.workflow_id, message_id, arrival_of(outcome), parent.run_id)


def _to_child(child: ChildRun, run: Relatives) -> Message | None:
    reason = f"Its parent {run.workflow_id!r} has closed."
    request: Event
    match child.policy:
        case ParentClosePolicy.TERMINATE:
            request = WorkflowTerminated(reason)
        case ParentClosePolicy.CANCEL:
            request = WorkflowCancelRequested(reason)
        case ParentClosePolicy.ABANDON:
            return None
    message_id = f"parent:closed:{child.run_id}"
    return _ending(child, message_id, request)


def relatives_in(workflow_id: WorkflowId, run_id: RunId, history: Iterable[Stamped]) -> Relatives:
    """A run's relatives as its history tells, without its code."""
    parent: ParentRun | None = None
    children: dict[RunId, ChildRun] = {}
    for stamped in history:
        event = stamped.event
        if isinstance(event, WorkflowStarted):
            parent = event.parent
            children |= {child.run_id: child for child in event.children}
        elif isinstance(event, ChildStarted):
            children[event.run_id] = ChildRun(event.workflow_id, event.run_id, event.policy)
        elif isinstance(event, ChildCompleted | ChildFailed):
            children.pop(event.run_id, None)
    return Relatives(workflow_id, run_id, parent, tuple(children.values()))
