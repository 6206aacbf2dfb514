"""The rows that Loom writes, turn by turn, without the engine that decides on them.

Each is in the order of its table's columns. A test compares them with what Loom leaves behind.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from loom.engine.flags import NEW_RUN_FLAGS

type Row = tuple[Any, ...]

SAVED_COLUMNS = (
    "status",
    "sequence",
    "updated_at",
    "closed_at",
    "lease_owner",
    "lease_expires_at",
    "due_at",
)
"""What a turn changes of a run; its key is last in the row."""

_OWNER = uuid.uuid4().hex
_LEASE = 10_000_000  # microseconds
_SCHEMA_VERSIONS = {"WORKFLOW_STARTED": 3, "ACTIVITY_SCHEDULED": 2}
"""Of those events that are not in their first."""

_FLAGS = json.dumps(NEW_RUN_FLAGS, separators=(",", ":")).encode()
_STARTED_PAYLOAD = b'["int",1000]'
_RESULT = b'["int",2000]'


@dataclass(slots=True)
class Rows:
    """What one turn writes, or many turns together."""

    new_runs: list[Row] = field(default_factory=list)
    saved_runs: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    finished_tasks: list[Row] = field(default_factory=list)
    new_tasks: list[Row] = field(default_factory=list)

    def add(self, other: Rows) -> None:
        self.new_runs += other.new_runs
        self.saved_runs += other.saved_runs
        self.events += other.events
        self.finished_tasks += other.finished_tasks
        self.new_tasks += other.new_tasks


class RunRows:
    """The turns of one run: a start, any number of steps, and the end."""

    def __init__(self, key: int, workflow: str, activity: str, parameter: str) -> None:
        self._key = key
        self._workflow = workflow
        self._activity = activity
        self._input = (
            f'["benchmarks.subjects.loom.workflows.{activity}",{{"{parameter}":1000}}]'.encode()
        )
        self._sequence = 0
        self._activities = 0
        self._due_at = 0

    def start(self) -> Rows:
        """The run with its first activity, leased to its worker."""
        now = _now()
        started = b'{"name":"%b","version":"1","flags":%b}' % (self._workflow.encode(), _FLAGS)
        events = [
            self._event("WORKFLOW_STARTED", now, started, _STARTED_PAYLOAD),
            self._scheduled(now),
        ]
        self._due_at = now + _LEASE
        run = (
            self._key,
            *(uuid.uuid4().hex, uuid.uuid4().hex),
            *(self._workflow, "1", "default", "RUNNING"),
            self._sequence,
            *(now, now),
            *(None, None, None),
            *(_OWNER, self._due_at, 1, self._due_at),
            *(0, 0),
            *(None, None, None, None),
            0,
        )
        return Rows(new_runs=[run], events=events, new_tasks=[self._task(now)])

    def step(self) -> Rows:
        """An activity's end and the next one's beginning."""
        now = _now()
        finished = (self._key, self._activities)
        events = [self._completed(now), self._scheduled(now)]
        # As in Loom, an expiry that is still to come stays in the index as it is.
        saved = ("RUNNING", self._sequence, now, None, _OWNER, now + _LEASE, self._due_at)
        return Rows(
            saved_runs=[(*saved, self._key)],
            events=events,
            finished_tasks=[finished],
            new_tasks=[self._task(now)],
        )

    def finish(self) -> Rows:
        """The last activity's end, and the run's."""
        now = _now()
        events = [self._completed(now), self._event("WORKFLOW_COMPLETED", now, b"{}", _RESULT)]
        saved = ("COMPLETED", self._sequence, now, now, None, None, None)
        return Rows(
            saved_runs=[(*saved, self._key)],
            events=events,
            finished_tasks=[(self._key, self._activities)],
        )

    def _scheduled(self, now: int) -> Row:
        self._activities += 1
        attributes = b'{"activity_id":%d,"name":"%b","queue":"default"}'
        filled = attributes % (self._activities, self._activity.encode())
        return self._event("ACTIVITY_SCHEDULED", now, filled, self._input)

    def _completed(self, now: int) -> Row:
        attributes = b'{"activity_id":%d,"attempt":1}' % self._activities
        return self._event("ACTIVITY_COMPLETED", now, attributes, _RESULT)

    def _event(self, type: str, now: int, attributes: bytes, payload: bytes) -> Row:
        self._sequence += 1
        schema_version = _SCHEMA_VERSIONS.get(type, 1)
        return (self._key, self._sequence, type, schema_version, now, attributes, payload, None)

    def _task(self, now: int) -> Row:
        expires_at = now + _LEASE
        return (
            self._key,
            self._activities,
            self._sequence,
            *(self._activity, "default"),
            *(now, expires_at),
            *(1, 0),
            *(_OWNER, 1, expires_at),
            *(None, None, None, None),
        )


def _now() -> int:
    return time.time_ns() // 1_000
