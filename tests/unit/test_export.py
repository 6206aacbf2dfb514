"""The exported form of a history: readable, and refused with a reason when it is damaged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loom.errors import HistoryFormatError
from loom.history.export import RunHistory
from loom.history.records import EventRecord
from loom.history.status import RunStatus

STARTED = EventRecord(
    1, "WORKFLOW_STARTED", 1, 1_700_000_000_000_001, b'{"name":"Order"}', b'["str","A-1"]', "start"
)
TIMER = EventRecord(2, "TIMER_FIRED", 1, 1_700_000_000_000_002, b'{"timer_id":1}')
HISTORY = RunHistory(
    "order-1", "run-1", "Order", "2", "default", RunStatus.RUNNING, (STARTED, TIMER)
)


def test_what_is_json_can_be_read_by_people() -> None:
    assert HISTORY.to_dict() == {
        "format": "loom.history",
        "format_version": 1,
        "workflow_id": "order-1",
        "run_id": "run-1",
        "name": "Order",
        "version": "2",
        "queue": "default",
        "status": "RUNNING",
        "events": [
            {
                "sequence": 1,
                "type": "WORKFLOW_STARTED",
                "schema_version": 1,
                "recorded_at": "2023-11-14T22:13:20.000001Z",
                "attributes": {"name": "Order"},
                "payload": ["str", "A-1"],
                "message_id": "start",
            },
            {
                "sequence": 2,
                "type": "TIMER_FIRED",
                "schema_version": 1,
                "recorded_at": "2023-11-14T22:13:20.000002Z",
                "attributes": {"timer_id": 1},
            },
        ],
    }


def test_a_file_has_an_event_a_line() -> None:
    lines = HISTORY.to_json().splitlines()
    assert [json.loads(line.rstrip(",")) for line in lines[-4:-2]] == HISTORY.to_dict()["events"]


def test_a_history_without_events_is_one_too() -> None:
    empty = RunHistory("order-1", "run-1", "Order", "2", "default", RunStatus.RUNNING, ())
    assert RunHistory.from_json(empty.to_json()) == empty


@pytest.mark.parametrize(
    "payload",
    [
        b'{"codec": "zip", "data": "eJw="}',
        b"[1E5]",
        b"[NaN]",
        b"\xff",
        b'{"a":1,"a":2}',
        b"[" * 9999,
    ],
    ids=["codec", "float", "nan", "binary", "twice", "deep"],
)
def test_what_would_not_come_back_the_same_is_written_as_base64(payload: bytes) -> None:
    event = EventRecord(1, "X", 1, 0, b"not JSON", payload)
    history = RunHistory("w", "r", "n", "1", "q", RunStatus.RUNNING, (event,))
    row = history.to_dict()["events"][0]
    assert {"attributes_base64", "payload_base64"} < row.keys()
    assert RunHistory.from_json(history.to_json()) == history


def document(event: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The history as JSON with something changed, in it or in its second event; ``...`` takes a
    field away."""
    plain = HISTORY.to_dict()
    plain["events"][1] = _changed(plain["events"][1], event or {})
    return _changed(plain, changes)


def _changed(row: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (row | changes).items() if value is not ...}


@pytest.mark.parametrize(
    ("damaged", "complaint"),
    [
        (document(format="other"), 'no JSON object with "format": "loom.history"'),
        ([1], 'no JSON object with "format"'),
        (document(format_version=2), "version 2 of the format"),
        (document(format_version=...), "version None of the format"),
        (document(run_id=...), "The history has no 'run_id'"),
        (document(queue=7), "The history has 'queue': 7, which is no text"),
        (document(status="LOST"), "The history has the unknown status 'LOST'"),
        (document(events={}), "The history has 'events': {}, which is no list"),
        (document(event={"sequence": 3}), "Event 2 has the sequence 3"),
        (document(event={"sequence": True}), "Event 2 has 'sequence': True, which is no whole"),
        (document(event={"type": ...}), "Event 2 has no 'type'"),
        (document(event={"schema_version": "1"}), "Event 2 has 'schema_version': '1'"),
        (document(event={"recorded_at": "2023"}), "Event 2 has 'recorded_at': '2023'"),
        (document(event={"recorded_at": "2023-11-14T22:13:20"}), "no ISO 8601 time with a zone"),
        (document(event={"recorded_at": ...}), "Event 2 has no 'recorded_at'"),
        (document(event={"attributes": [1]}), "Event 2 has 'attributes': [1], which is no JSON"),
        (document(event={"attributes": ...}), "Event 2 has no 'attributes'"),
        (document(event={"payload_base64": "?"}), "Event 2 has 'payload_base64' that is no base64"),
        (document(event={"payload": 1, "payload_base64": ""}), "Event 2 has both 'payload' and"),
        (document(event={"payload": float("nan")}), "Event 2 has 'payload' that is no JSON"),
        (document(event={"message_id": None}), "Event 2 has 'message_id': None"),
        (document(event={"paylaod": 1}), "Event 2 has the unknown field 'paylaod'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_damaged_file_says_what_is_wrong_and_where(damaged: Any, complaint: str) -> None:
    with pytest.raises(HistoryFormatError) as refused:
        RunHistory.from_dict(damaged)
    assert complaint in str(refused.value)
    with pytest.raises(HistoryFormatError):
        RunHistory.from_json(json.dumps(damaged))


@pytest.mark.parametrize("text", ["", "{", '{"format": "loom.history"', b"\xff\xfe", "[" * 99_999])
def test_what_is_no_json_says_so(text: str | bytes) -> None:
    with pytest.raises(HistoryFormatError, match="not JSON"):
        RunHistory.from_json(text)
