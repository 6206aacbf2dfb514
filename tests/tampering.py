"""Damage done to a database behind Loom's back."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import asyncpg

from tests.databases import plain_dsn

_SQLITE = "sqlite:///"


async def tamper(dsn: str, statement: str) -> None:
    """Run one statement, with the literals of both databases' common SQL."""
    if dsn.startswith(_SQLITE):
        with closing(sqlite3.connect(dsn.removeprefix(_SQLITE))) as file, file:
            changed = file.execute(statement).rowcount
    else:
        connection = await asyncpg.connect(plain_dsn(dsn))
        try:
            changed = int((await connection.execute(statement)).split()[-1])
        finally:
            await connection.close()
    assert changed, "nothing was damaged"
