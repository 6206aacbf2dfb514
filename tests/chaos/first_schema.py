"""A database as the first schema had it, with runs under way, and what has become of them since."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import text

import loom
from loom.storage.sql import migrations
from loom.storage.sql.dsn import PostgresDsn, SqliteDsn, parse_dsn
from tests.chaos.clients import insist, opened
from tests.chaos.jobs import Relay
from tests.chaos.stage import Stage

FIRST: Final = "0001"

NOW: Final = 1_700_000_000_000_000

_STARTED: Final = {
    "type": "WORKFLOW_STARTED",
    "schema_version": 1,
    "attributes": b'{"name":"Relay","version":"1"}',
    "payload": b'["int",1]',
}
_SCHEDULED: Final = {
    "type": "ACTIVITY_SCHEDULED",
    "schema_version": 1,
    "attributes": b'{"activity_id":1,"name":"increment","queue":"default"}',
    "payload": b'["tests.chaos.jobs.increment",{"n":1}]',
}
_COMPLETED: Final = {
    "type": "ACTIVITY_COMPLETED",
    "schema_version": 1,
    "attributes": b'{"activity_id":1,"attempt":1}',
    "payload": b'["int",2]',
}
_SIGNAL: Final = {
    "type": "SIGNAL_RECEIVED",
    "schema_version": 1,
    "attributes": b'{"name":"add"}',
    "payload": b'["int",5]',
}


def _run(workflow_id: str, sequence: int, due_at: int | None, inbox_count: int) -> dict[str, Any]:
    return {
        **{"workflow_id": workflow_id, "run_id": f"{workflow_id:0>32}", "name": "Relay"},
        **{"version": "1", "queue": "default", "status": "RUNNING", "sequence": sequence},
        **{"created_at": NOW, "updated_at": NOW, "lease_token": 1, "due_at": due_at},
        **{"inbox_count": inbox_count, "inbox_consumed": 0},
    }


def _events(run_key: int, *events: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"run_key": run_key, "sequence": sequence, "recorded_at": NOW, **event}
        for sequence, event in enumerate(events, 1)
    ]


ROWS: Final[dict[str, list[dict[str, Any]]]] = {
    # Their keys are given by the database, from 1 on: it goes on from there.
    "workflows": [
        _run("waiting", 3, None, 0),
        _run("told", 3, NOW, 1),
        _run("working", 2, None, 0),
        _run("new", 0, NOW, 1),
    ],
    "events": [
        *_events(1, _STARTED, _SCHEDULED, _COMPLETED),
        *_events(2, _STARTED, _SCHEDULED, _COMPLETED),
        *_events(3, _STARTED, _SCHEDULED),
    ],
    "tasks": [
        {
            **{"run_key": 3, "activity_id": 1, "sequence": 2, "name": "increment"},
            **{"queue": "default", "available_at": NOW, "due_at": NOW, "attempt": 0},
            **{"failures": 0, "lease_token": 0},
        }
    ],
    "inbox": [
        {"run_key": 2, "position": 1, "message_id": "request:told-1", **_SIGNAL},
        {"run_key": 4, "position": 1, "message_id": "start", **_STARTED},
    ],
    "logs": [{"run_key": 1, "position": 1, "logged_at": NOW, "level": "INFO", "message": "hello"}],
}
"""A run that waits for a signal, one that has been sent it, one whose activity is to be done, and
one that nobody has begun."""

RESULTS: Final = {"waiting": 4, "told": 8, "working": 4, "new": 4}
"""When each is told to add 1, or 5 before."""


async def lay_out(dsn: str) -> None:
    """Make an empty database one of the first schema with runs under way."""
    await insist(lambda: migrations.upgrade(dsn, FIRST))
    await insist(lambda: _fill(dsn))


async def _fill(dsn: str) -> None:
    async with migrations.open_connection(_parsed(dsn)) as connection, connection.begin():
        for table, rows in ROWS.items():
            for row in rows:
                names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
                insert = text(f"INSERT INTO {table} ({names}) VALUES ({values})")
                await connection.execute(insert, row)


async def examine(stage: Stage, dsn: str) -> None:
    """Its rows must be what they were, and its runs must come to their results."""
    for table, rows in ROWS.items():
        found = await insist(lambda t=table, r=rows: _found(dsn, t, list(r[0])))
        if found != rows:
            stage.violation(f"migrating has left in {table}: {found}")
    worker = await stage.worker(dsn=dsn)
    async with opened(loom.Loom(dsn)) as app:
        for workflow_id, expected in RESULTS.items():
            handle = app.handle(workflow_id)
            if workflow_id != "told":
                await insist(lambda h=handle: h.signal("add", 1, request_id="1"))
            if (result := await insist(lambda h=handle: h.result(60))) != expected:
                stage.violation(f"after migrating, {workflow_id} gave {result}")
            if not loom.Replayer([Relay]).replay(await handle.export()).ok:
                stage.violation(f"after migrating, {workflow_id} cannot be replayed")
    await worker.kill()


async def _found(dsn: str, table: str, names: list[str]) -> list[dict[str, Any]]:
    query = text(f"SELECT {', '.join(names)} FROM {table} ORDER BY {', '.join(ORDER[table])}")
    async with migrations.open_connection(_parsed(dsn), exclusive=False) as connection:
        return [dict(row) for row in (await connection.execute(query)).mappings()]


ORDER: Final = {
    "workflows": ["run_key"],
    "events": ["run_key", "sequence"],
    "tasks": ["run_key", "activity_id"],
    "inbox": ["run_key", "position"],
    "logs": ["run_key", "position"],
}


def _parsed(dsn: str) -> SqliteDsn | PostgresDsn:
    parsed = parse_dsn(dsn)
    assert isinstance(parsed, SqliteDsn | PostgresDsn)
    return parsed
