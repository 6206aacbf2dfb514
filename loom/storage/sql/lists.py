"""Listing and counting runs, and reading what they carry for those who look for them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from loom.identifiers import RunKey
from loom.storage.records import Labels, RunFilter, RunRecord
from loom.storage.sql.rows import run_record
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Query, Transaction

_SURROGATES: Final = range(0xD800, 0xE000)


def list_runs(s: Statements, where: RunFilter) -> Transaction[list[RunRecord]]:
    """Runs that match, newest first."""
    given = _given(where)
    if where.before is not None:
        given["before"] = where.before
    statement = s.lists.list((tuple(given), len(where.tags)))
    rows = yield Query(statement, {**given, **_tags(where), "limit": where.limit})
    return [run_record(row) for row in rows]


def count_runs(s: Statements, where: RunFilter) -> Transaction[int]:
    """How many runs match."""
    given = _given(where)
    rows = yield Query(s.lists.count((tuple(given), len(where.tags))), {**given, **_tags(where)})
    count: int = rows[0][0]
    return count


def _given(where: RunFilter) -> dict[str, Any]:
    """The parameters that there are, paging and tags aside."""
    wanted: dict[str, Any] = {
        "status": None if where.status is None else where.status.value,
        "name": where.name,
        "version": where.version,
        "queue": where.queue,
        "workflow_id": where.workflow_id,
        "prefix": where.workflow_id_prefix or None,
        "prefix_end": _end_of_prefix(where.workflow_id_prefix or ""),
        "created_from": where.created_from,
        "created_before": where.created_before,
        "closed_from": where.closed_from,
        "closed_before": where.closed_before,
        "open": where.is_open or None,
        "closed": where.is_open is False or None,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _tags(where: RunFilter) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for number, (name, value) in enumerate(where.tags.items()):
        parameters |= {f"name_{number}": name, f"value_{number}": value}
    return parameters


def _end_of_prefix(prefix: str) -> str | None:
    """The first text, by code points, that comes after all those with the prefix, if any does."""
    prefix = prefix.rstrip(chr(sys.maxunicode))
    if not prefix:
        return None
    last = ord(prefix[-1]) + 1
    return prefix[:-1] + chr(_SURROGATES.stop if last in _SURROGATES else last)


def read_labels(s: Statements, run_keys: Sequence[RunKey]) -> Transaction[list[Labels]]:
    """Tags and memos, in the order of the keys."""
    parameters = {"keys": s.array(run_keys)}
    rows = yield Query(s.labels.read_memos, parameters)
    memos = {row[0]: row[1] for row in rows}
    tags: dict[RunKey, dict[str, str]] = {key: {} for key in run_keys}
    for key, name, value in (yield Query(s.labels.read_tags, parameters)):
        tags[key][name] = value
    return [Labels(tags[key], memos.get(key)) for key in run_keys]
