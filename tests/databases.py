"""Databases on the test server, each made for one test and dropped after it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg


def run_apart[T](coroutine: Coroutine[object, object, T]) -> T:
    """The result of a coroutine run on an event loop and a thread of its own.

    Fixtures call it, whether or not the test's own loop is running.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@contextmanager
def fresh_database(server: str, template: str = "template1") -> Iterator[str]:
    """The DSN of a new database on that server, a copy of ``template``, dropped at the end."""
    name = f"loom_test_{secrets.token_hex(6)}"
    _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield with_database(server, name)
    finally:
        _execute(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _execute(server: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(plain_dsn(server))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    run_apart(run())


def with_database(dsn: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


def database_name(dsn: str) -> str:
    """Which database a DSN names."""
    return urlsplit(dsn).path.removeprefix("/")


def plain_dsn(dsn: str) -> str:
    """A Loom DSN as asyncpg itself reads it: without SQLAlchemy's driver and Loom's options."""
    parts = urlsplit(dsn)
    query = [(k, v) for k, v in parse_qsl(parts.query) if k != "allow_unsafe_fsync"]
    return urlunsplit(parts._replace(scheme="postgresql", query=urlencode(query)))
