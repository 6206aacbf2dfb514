"""The bridge between the engine and the port: decisions become effects, rows become events.

Pure functions. Nothing else turns events into rows or back, so no store ever reads an event.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from logging import getLevelName

from loom.engine.decision import Decision, LoggedLine
from loom.errors import HistoryError
from loom.history.codec import decode_event, encode_attributes
from loom.history.events import (
    FINAL_STATUS,
    ActivityFailed,
    ActivityScheduled,
    Event,
    PassingEvent,
    Stamped,
    TagsSet,
    UpdateAnswer,
    WorkflowCancelled,
    WorkflowCancelRequested,
    WorkflowStarted,
    WorkflowTimedOut,
    update_message_id,
)
from loom.history.failures import Failure
from loom.history.status import RunStatus
from loom.identifiers import END_OF_TIME, Micros, RunId
from loom.runner.activity_changes import ActivityChanges, Asked
from loom.runner.relations import (
    STARTING,
    TELLING,
    arrival_of,
    farewells,
    messages_of,
    relatives_in,
    starts_of,
)
from loom.storage.records import (
    Answer,
    Effects,
    EventRecord,
    InboxRecord,
    LogRecord,
    NewTask,
    RunRecord,
)
from loom.values import value


@value(frozen=True, slots=True)
class LeasePlan:
    """What the writer of a turn keeps for itself."""

    run_until: Micros | None = None
    """``None`` gives the run back."""
    tasks_until: Micros | None = None
    activity_ids: Collection[int] = ()
    """New activities that it starts itself."""


def effects_of(
    decision: Decision,
    changes: ActivityChanges,
    *,
    after: int,
    at: Micros,
    plan: LeasePlan,
    chain: RunId | None = None,
) -> Effects:
    """Everything that a decision changes, for a run whose last event has the sequence ``after``.

    ``changes`` is what the decision means for activities; ``chain`` the run that it continues, by
    way of others or not, if it is not the first.
    """
    open_, events, relatives = decision.status.is_open, decision.events, decision.relatives
    # Most turns concern nobody else: then what would is not looked for.
    kinds = {type(stamped.event) for stamped in events}
    return Effects(
        status=decision.status,
        recorded_at=at,
        events=event_records(events, after),
        tasks=_new_tasks(changes.asked, after, plan),
        finished_tasks=changes.finished if open_ else (),
        starts=()
        if kinds.isdisjoint(STARTING)
        else starts_of(events, relatives, at, chain or relatives.run_id),
        messages=() if kinds.isdisjoint(TELLING) else messages_of(events, relatives),
        logs=tuple(map(_log_record, decision.logs)),
        tags=_tags(decision) if TagsSet in kinds else {},
        answers=[answer_of(answer) for answer in decision.answers],
        wake_at=decision.wake_at if open_ else None,
        lease_expires_at=plan.run_until if open_ else None,
        task_lease_expires_at=plan.tasks_until,
    )


def blocked_effects(reason: str, *, at: Micros, retry_at: Micros) -> Effects:
    """Nothing is written to history; the run is set apart until ``retry_at``."""
    return Effects(
        status=RunStatus.BLOCKED, recorded_at=at, wake_at=retry_at, blocked_reason=reason
    )


def terminated_effects(
    run: RunRecord, history: Sequence[Stamped], arrivals: Sequence[Stamped], *, after: int
) -> Effects:
    """The end of a run whose code has no say in it: it was terminated, or its time is up.

    Of its arrivals, one of which ends it, only what it was started with is recorded, too. Its
    relatives are told; who they are is in as much of its history as can be read.
    """
    # The clock of whoever ends it may be behind that of those who worked on it.
    arrivals = _not_before(history, arrivals)
    started = [s for s in arrivals if isinstance(s.event, WorkflowStarted)]
    ended = next(s for s in arrivals if type(s.event) in FINAL_STATUS)
    if isinstance(ended.event, WorkflowTimedOut):
        ended = replace(ended, event=_timed_out([*history, *started]))
    relatives = relatives_in(run.workflow_id, run.run_id, [*history, *started])
    return Effects(
        status=FINAL_STATUS[type(ended.event)],
        recorded_at=ended.at,
        events=event_records([*started, ended], after),
        messages=farewells(ended.event, relatives),
    )


def _not_before(history: Sequence[Stamped], arrivals: Sequence[Stamped]) -> list[Stamped]:
    """The stamps of a run never decrease."""
    last = history[-1].at if history else 0
    return [Stamped(s.event, max(s.at, last), s.message_id) for s in arrivals]


def _timed_out(history: Iterable[Stamped]) -> WorkflowTimedOut:
    """Whose time is up is told by what the run was started with."""
    begun = [s.event for s in history if isinstance(s.event, WorkflowStarted)]
    return WorkflowTimedOut(any(b.limits is not None and b.limits.is_of_chain for b in begun))


def cancelled_effects(run: RunRecord, arrivals: Sequence[Stamped]) -> Effects:
    """The end of a run that was cancelled before its code has begun."""
    started = [s for s in arrivals if isinstance(s.event, WorkflowStarted)]
    [asked, *_] = [s for s in arrivals if isinstance(s.event, WorkflowCancelRequested)]
    reason = asked.event.reason if isinstance(asked.event, WorkflowCancelRequested) else ""
    ended = WorkflowCancelled(reason)
    relatives = relatives_in(run.workflow_id, run.run_id, started)
    return Effects(
        status=RunStatus.CANCELLED,
        recorded_at=asked.at,
        events=event_records([*started, asked, Stamped(ended, asked.at)], run.sequence),
        messages=farewells(ended, relatives),
    )


def event_records(events: Sequence[Stamped], after: int) -> list[EventRecord]:
    """Events as rows, numbered from ``after`` + 1."""
    return [
        EventRecord(
            sequence,
            stamped.event.type,
            stamped.event.schema_version,
            stamped.at,
            encode_attributes(stamped.event),
            stamped.event.payload_bytes,
            stamped.message_id,
        )
        for sequence, stamped in enumerate(events, after + 1)
    ]


def event_of(record: EventRecord) -> Event:
    """Raises ``HistoryError`` when the row cannot be read."""
    return decode_event(record.type, record.schema_version, record.attributes, record.payload)


def stamped_event(record: EventRecord) -> tuple[int, Stamped]:
    """A row as an event with its sequence. Raises ``HistoryError`` when it cannot be read."""
    event = event_of(record)
    if isinstance(event, PassingEvent):
        raise HistoryError(f"A history holds no {event.type}: it is damaged.")
    if not 0 <= record.recorded_at <= END_OF_TIME:
        raise HistoryError(f"Event {record.sequence} of a history has an impossible time.")
    return record.sequence, Stamped(event, record.recorded_at, record.message_id)


def read_last_failure(attributes: bytes) -> Failure:
    """How an activity's last attempt failed, of the event that its task keeps meanwhile.

    Raises ``HistoryError`` when it cannot be read.
    """
    version = ActivityFailed.schema_version
    event = decode_event(ActivityFailed.type, version, attributes, None)
    assert isinstance(event, ActivityFailed)
    return event.failure


def answer_of(event: UpdateAnswer) -> Answer:
    """What the sender of an update is told, as a row."""
    return Answer(update_message_id(event.update_id), arrival_of(event))


def answer_event(answer: Answer) -> Event:
    """Raises ``HistoryError`` when the answer cannot be read."""
    content = answer.content
    return decode_event(content.type, content.schema_version, content.attributes, content.payload)


def message_event(message: InboxRecord) -> Event:
    """Raises ``HistoryError`` when the message cannot be read."""
    arrival = message.arrival
    return decode_event(arrival.type, arrival.schema_version, arrival.attributes, arrival.payload)


def new_task(
    event: ActivityScheduled, sequence: int, *, at: Micros, leased: bool = False
) -> NewTask:
    """The activity task that an event asks for."""
    limit = event.schedule_to_start
    return NewTask(
        activity_id=event.activity_id,
        sequence=sequence,
        name=event.name,
        queue=event.queue,
        available_at=at,
        leased=leased,
        start_by=None if limit is None else at + limit,
    )


def _new_tasks(asked: Sequence[Asked], after: int, plan: LeasePlan) -> list[NewTask]:
    return [
        new_task(
            each.scheduled,
            after + 1 + each.position,
            at=each.at,
            leased=each.scheduled.activity_id in plan.activity_ids,
        )
        for each in asked
    ]


def _tags(decision: Decision) -> dict[str, str | None]:
    changes = [s.event.tags for s in decision.events if isinstance(s.event, TagsSet)]
    return {name: value for change in changes for name, value in change.items()}


def _log_record(line: LoggedLine) -> LogRecord:
    return LogRecord(line.position, line.at, getLevelName(line.level), line.message)
