"""A history as a Temporal server records it, built event by event."""

from __future__ import annotations

from typing import Any

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DataConverter


class History:
    """Events in order, each numbered."""

    def __init__(self, workflow_type: str, n: int) -> None:
        self.events: list[HistoryEvent] = []
        started = self._add("WORKFLOW_EXECUTION_STARTED", input=_payloads(n), attempt=1)
        started.workflow_execution_started_event_attributes.workflow_type.name = workflow_type
        started.workflow_execution_started_event_attributes.task_queue.name = "queue"
        started.workflow_execution_started_event_attributes.original_execution_run_id = "run"

    def turn(self) -> None:
        """A worker takes what has happened, and answers."""
        scheduled = self._add("WORKFLOW_TASK_SCHEDULED").event_id
        started = self._add("WORKFLOW_TASK_STARTED", scheduled_event_id=scheduled).event_id
        ids = {"scheduled_event_id": scheduled, "started_event_id": started}
        self._add("WORKFLOW_TASK_COMPLETED", **ids)

    def schedule(self, number: int) -> int:
        event = self._add(
            "ACTIVITY_TASK_SCHEDULED", activity_id=str(number + 1), input=_payloads(number)
        )
        event.activity_task_scheduled_event_attributes.activity_type.name = "double"
        return int(event.event_id)

    def complete(self, number: int, scheduled: int) -> None:
        started = self._add("ACTIVITY_TASK_STARTED", scheduled_event_id=scheduled).event_id
        ids = {"scheduled_event_id": scheduled, "started_event_id": started}
        self._add("ACTIVITY_TASK_COMPLETED", result=_payloads(2 * number), **ids)

    def end(self, result: int) -> None:
        self._add("WORKFLOW_EXECUTION_COMPLETED", result=_payloads(result))

    def _add(self, kind: str, **attributes: Any) -> HistoryEvent:
        number = EventType.Value(f"EVENT_TYPE_{kind}")
        event = HistoryEvent(event_id=len(self.events) + 1, event_type=number)
        event.event_time.FromSeconds(1_700_000_000 + event.event_id)
        own = getattr(event, f"{kind.lower()}_event_attributes")
        own.MergeFrom(type(own)(**attributes))
        own.SetInParent()
        self.events.append(event)
        return event


def _payloads(value: int) -> Payloads:
    [payload] = DataConverter.default.payload_converter.to_payloads([value])
    return Payloads(payloads=[Payload(metadata=payload.metadata, data=payload.data)])


def events(kind: str, n: int) -> list[HistoryEvent]:
    """Of a workflow of so many activities, ``sequential`` or ``parallel``."""
    is_parallel = kind == "parallel"
    history = History("Parallel" if is_parallel else "Sequential", n)
    history.turn()
    scheduled = [history.schedule(number) for number in range(n)] if is_parallel else []
    for number in range(n):
        history.complete(number, scheduled[number] if is_parallel else history.schedule(number))
        if not is_parallel or number == n - 1:
            history.turn()
    history.end(n * (n - 1))
    return history.events
