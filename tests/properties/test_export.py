"""An exported history comes back to the last byte, whatever was stored."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from loom.history.export import RunHistory
from loom.history.records import EventRecord
from loom.history.status import RunStatus
from loom.identifiers import END_OF_TIME

TEXT = st.text()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(TEXT, values, max_size=4),
    max_leaves=10,
)
COMPACT = JSON.map(lambda value: json.dumps(value, separators=(",", ":")).encode())
LOOSE = JSON.map(lambda value: json.dumps(value, indent=1, sort_keys=True).encode())
BYTES = st.binary() | COMPACT | LOOSE | st.sampled_from([b"1E5", b'{"a":1,"a":2}', b"\xff", b""])
MICROS = st.integers(0, END_OF_TIME) | st.integers(-(2**63), 2**63 - 1)


@st.composite
def histories(draw: st.DrawFn) -> RunHistory:
    events = tuple(
        EventRecord(
            sequence=sequence,
            type=draw(TEXT),
            schema_version=draw(st.integers(0)),
            recorded_at=draw(MICROS),
            attributes=draw(BYTES),
            payload=draw(st.none() | BYTES),
            message_id=draw(st.none() | TEXT),
        )
        for sequence in range(1, 1 + draw(st.integers(0, 3)))
    )
    texts = [draw(TEXT) for _ in range(5)]
    return RunHistory(*texts, status=draw(st.sampled_from(RunStatus)), events=events)


@given(histories())
def test_a_history_comes_back_from_its_file_to_the_last_byte(history: RunHistory) -> None:
    assert RunHistory.from_json(history.to_json()) == history
    assert RunHistory.from_json(history.to_json().encode()) == history


@given(histories())
def test_a_history_comes_back_from_one_line(history: RunHistory) -> None:
    line = history.to_json_line()
    assert line.count("\n") == 1
    assert RunHistory.from_json(line) == history


@given(histories())
def test_a_history_comes_back_from_plain_values(history: RunHistory) -> None:
    assert RunHistory.from_dict(history.to_dict()) == history
