"""What has become of a stored row behind Loom's back is told as damage, where it is read."""

from __future__ import annotations

import pytest

from loom.errors import HistoryError
from loom.history.payloads import PayloadConverter
from loom.history.records import EventRecord
from loom.identifiers import END_OF_TIME
from loom.runner.transitions import read_last_failure, stamped_event
from loom.runner.views import history_event

IMPOSSIBLE = [-1, END_OF_TIME + 1, 2**62]


def fired(at: int) -> EventRecord:
    return EventRecord(3, "TIMER_FIRED", 1, at, b'{"timer_id":1}')


@pytest.mark.parametrize("at", IMPOSSIBLE)
def test_an_event_with_an_impossible_time_is_not_replayed(at: int) -> None:
    with pytest.raises(HistoryError, match="Event 3"):
        stamped_event(fired(at))


def test_a_time_that_no_calendar_holds_is_not_shown() -> None:
    with pytest.raises(HistoryError, match="time"):
        history_event(fired(2**62), PayloadConverter())


@pytest.mark.parametrize("stored", [b"", b"\xee\xff", b"[]", b"{}", b'{"failure": {"type": 5}}'])
def test_a_last_failure_that_is_none_is_damage(stored: bytes) -> None:
    with pytest.raises(HistoryError, match="damaged"):
        read_last_failure(stored)
