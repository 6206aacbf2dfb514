"""Events come back from their rows as they were, and damage is told from novelty."""

from __future__ import annotations

import dataclasses
import json
from typing import Any, ClassVar

import pytest

from loom.errors import HistoryError
from loom.history import events
from loom.history.codec import EVENT_TYPES, decode_event, encode_attributes, plain_attributes
from loom.history.failures import Failure, FailureKind
from loom.history.limits import RunLimits
from loom.history.relatives import ChildRun, ParentClosePolicy, ParentRun
from loom.history.status import RunStatus
from loom.retry import RetryPolicy
from loom.timeouts import TimeoutType

FAILURE = Failure("orders.Declined", "no ☃", "Traceback ...", FailureKind.TIMEOUT)

SAMPLES: dict[str, Any] = {
    "name": "naïve ☃",
    "version": "1.0.0",
    "payload": b'["int",1]',
    "activity_id": 7,
    "timer_id": 8,
    "compensation_id": 10,
    "patch_id": "discount",
    "deprecated": True,
    "side_effect_id": 9,
    "attempt": 2,
    "failure": FAILURE,
    "reason": "because of \0 and \n",
    "queue": "default",
    "fire_at": 1_700_000_000_000_000,
    "key": "paid",
    "removed": ("a", "b"),
    "flags": ("one", "two"),
    "start_at": 1_700_000_000_000_000,
    "limits": RunLimits(1_700_000_000_000_000, 5_000_000, None),
    "of_chain": True,
    "next_run_id": "c" * 32,
    "retry_at": 1_700_000_000_000_000,
    "tags": {"stage": "spaid"},
    "memo": '["int",5]',
    "schedule_to_start": 1_000_000,
    "schedule_to_close": 2_000_000,
    "start_to_close": 3_000_000,
    "heartbeat": 4_000_000,
    "retry": RetryPolicy(maximum_attempts=None, non_retryable=(ValueError, "Declined")).terms,
    "local": True,
    "update_id": "u-1",
    "accepted": False,
    "timeout": TimeoutType.HEARTBEAT,
    "parent": ParentRun("order", "0123", 3, "4567"),
    "continued_from": "89ab",
    "children": (
        ChildRun("order/1", "cdef", ParentClosePolicy.CANCEL),
        ChildRun("order/2", "fedc", ParentClosePolicy.ABANDON),
    ),
    "carries_state": True,
    "child_id": 10,
    "signal_id": 11,
    "cancel_id": 12,
    "workflow_id": "order ☃",
    "run_id": "0123456789abcdef",
    "policy": ParentClosePolicy.TERMINATE,
    "status": RunStatus.CANCELLED,
}


def sample(cls: type[events.Event]) -> events.Event:
    return cls(**{field.name: SAMPLES[field.name] for field in dataclasses.fields(cls)})


def decoded(event: events.Event, **changes: Any) -> events.Event:
    row: dict[str, Any] = {
        "type_": event.type,
        "schema_version": event.schema_version,
        "attributes": encode_attributes(event),
        "payload": event.payload_bytes,
    }
    return decode_event(**{**row, **changes})


ALL = [sample(cls) for cls in EVENT_TYPES.values()]


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.type)
def test_every_event_comes_back_as_it_was(event: events.Event) -> None:
    assert decoded(event) == event


def test_a_tag_that_was_taken_away_comes_back_as_that() -> None:
    event = events.TagsSet({"stage": "spaid", "old": None})
    assert decoded(event) == event


@pytest.mark.parametrize(
    ("type_", "attributes"),
    [
        ("TIMER_STARTED", b'{"timer_id": "8", "fire_at": 5}'),
        ("TIMER_STARTED", b'{"timer_id": 8, "fire_at": 9223372036854775808}'),
        ("TIMER_STARTED", b'{"timer_id": true, "fire_at": 5}'),
        ("TIMER_STARTED", b'{"timer_id": 8, "fire_at": 5, "more": 1}'),
        ("TIMER_STARTED", b'{"timer_id": 8.0, "fire_at": null}'),
        ("TAGS_SET", b'{"tags": {"stage": 5}}'),
        ("TAGS_SET", b'{"tags": ["stage"]}'),
        ("WORKFLOW_CANCEL_REQUESTED", b'{"reason": ["why"]}'),
        ("WORKFLOW_CANCEL_REQUESTED", b'[["reason", "why"]]'),
        ("WORKFLOW_STARTED", b'{"name": "a", "version": "1", "flags": [1]}'),
        ("WORKFLOW_STARTED", b'{"name": "a", "version": "1", "parent": "me"}'),
        ("WORKFLOW_FAILED", b'{"failure": {"type": 5, "message": "", "traceback": ""}}'),
    ],
)
def test_a_field_of_another_kind_is_damage(type_: str, attributes: bytes) -> None:
    version = EVENT_TYPES[type_].schema_version
    payload = b'["NoneType",null]' if type_ == "WORKFLOW_STARTED" else None
    with pytest.raises(HistoryError, match="damaged"):
        decode_event(type_, version, attributes, payload)


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.type)
def test_attributes_are_plain_json_without_the_payload(event: events.Event) -> None:
    plain = plain_attributes(event)
    assert json.loads(encode_attributes(event)) == json.loads(json.dumps(plain))
    assert "payload" not in plain


@pytest.mark.parametrize("event", ALL, ids=lambda event: event.type)
def test_every_event_is_an_arrival_or_a_command_or_passes(event: events.Event) -> None:
    kinds = (events.ArrivalEvent, events.CommandEvent, events.PassingEvent)
    assert sum(isinstance(event, kind) for kind in kinds) == 1


def test_the_names_of_event_types_never_change() -> None:
    assert sorted(EVENT_TYPES) == [
        "ACTIVITY_CANCEL_REQUESTED",
        "ACTIVITY_COMPLETED",
        "ACTIVITY_FAILED",
        "ACTIVITY_SCHEDULED",
        "CANCEL_SENT",
        "CHILD_CANCEL_REQUESTED",
        "CHILD_COMPLETED",
        "CHILD_FAILED",
        "CHILD_STARTED",
        "COMPENSATION_REGISTERED",
        "PATCH_APPLIED",
        "SIDE_EFFECT_RECORDED",
        "SIGNAL_RECEIVED",
        "SIGNAL_SENT",
        "STATE_CARRIED",
        "STATE_SET",
        "STATE_UPDATE",
        "TAGS_SET",
        "TIMER_CANCELLED",
        "TIMER_FIRED",
        "TIMER_STARTED",
        "UPDATE_ACCEPTED",
        "UPDATE_COMPLETED",
        "UPDATE_FAILED",
        "UPDATE_REJECTED",
        "UPDATE_REQUESTED",
        "UPDATE_UNFINISHED",
        "WORKFLOW_CANCELLED",
        "WORKFLOW_CANCEL_REQUESTED",
        "WORKFLOW_COMPLETED",
        "WORKFLOW_CONTINUED_AS_NEW",
        "WORKFLOW_FAILED",
        "WORKFLOW_STARTED",
        "WORKFLOW_TERMINATED",
        "WORKFLOW_TIMED_OUT",
    ]


def test_an_unknown_type_asks_for_a_newer_loom() -> None:
    with pytest.raises(HistoryError, match=r"unknown type 'MOON_LANDED'.*Upgrade Loom"):
        decode_event("MOON_LANDED", 1, b"{}", None)


def test_a_newer_schema_asks_for_a_newer_loom() -> None:
    with pytest.raises(HistoryError, match=r"TIMER_FIRED in schema 2.*up to 1.*Upgrade Loom"):
        decode_event("TIMER_FIRED", 2, b'{"timer_id": 1}', None)


@pytest.mark.parametrize(
    ("type_", "attributes", "payload"),
    [
        ("TIMER_FIRED", b"", None),
        ("TIMER_FIRED", b"\xff", None),
        ("TIMER_FIRED", b"[]", None),
        ("TIMER_FIRED", b"null", None),
        ("TIMER_FIRED", b"{}", None),
        ("TIMER_FIRED", b'{"timer_id": 1, "more": 2}', None),
        ("ACTIVITY_COMPLETED", b'{"activity_id": 1, "attempt": 1}', None),
        ("ACTIVITY_FAILED", b'{"activity_id": 1, "attempt": 1, "failure": null}', None),
        ("ACTIVITY_FAILED", b'{"activity_id": 1, "attempt": 1, "failure": {"kind": "?"}}', None),
        ("STATE_UPDATE", b'{"removed": 5}', b"[]"),
    ],
)
def test_damaged_attributes_are_a_history_error(
    type_: str, attributes: bytes, payload: bytes | None
) -> None:
    with pytest.raises(HistoryError, match=f"A stored {type_} event is damaged"):
        decode_event(type_, 1, attributes, payload)


def test_an_older_schema_climbs_one_version_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events.TimerFired, "schema_version", 3)
    upcasters = {
        ("TIMER_FIRED", 1): lambda old: {"number": old["n"]},
        ("TIMER_FIRED", 2): lambda old: {"timer_id": old["number"]},
    }
    for version, attributes in [(1, b'{"n": 4}'), (2, b'{"number": 4}'), (3, b'{"timer_id": 4}')]:
        event = decode_event("TIMER_FIRED", version, attributes, None, upcasters)
        assert event == events.TimerFired(4)


def test_a_missing_or_broken_upcaster_is_a_history_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events.TimerFired, "schema_version", 2)
    with pytest.raises(HistoryError, match="damaged"):
        decode_event("TIMER_FIRED", 1, b'{"timer_id": 4}', None, {})


@pytest.mark.parametrize("version", [0, -1])
def test_a_schema_that_never_was_is_a_history_error(version: int) -> None:
    with pytest.raises(HistoryError, match="damaged"):
        decode_event("TIMER_FIRED", version, b'{"timer_id": 4}', None)


def test_events_are_compared_by_what_the_code_decides_alone() -> None:
    first = events.TimerStarted(1, fire_at=5)
    assert first.identity == events.TimerStarted(1, fire_at=9).identity
    assert first.identity != events.TimerStarted(2, fire_at=5).identity


def test_nothing_but_the_final_events_ends_a_run() -> None:
    finals = {cls.type for cls in events.FINAL_STATUS}
    assert all(not status.is_open for status in events.FINAL_STATUS.values())
    assert finals == {
        "WORKFLOW_COMPLETED",
        "WORKFLOW_FAILED",
        "WORKFLOW_CANCELLED",
        "WORKFLOW_TERMINATED",
        "WORKFLOW_TIMED_OUT",
        "WORKFLOW_CONTINUED_AS_NEW",
    }


def test_every_event_type_names_its_own_type() -> None:
    owner: ClassVar = events.Event
    assert all(issubclass(cls, owner) and "type" in cls.__dict__ for cls in EVENT_TYPES.values())
