"""Databases on the test server, each made for one test and dropped after it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg


def run_apart[T](coroutine: Coroutine[object, object, T]) -> T:
    """The result of a coroutine run on an event loop and a thread of its own.

    Fixtures call it, whether or not the test's own loop is running.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


@asynccontextmanager
async def beside[T](context: AbstractContextManager[T]) -> AsyncIterator[T]:
    """A context that is entered and left on a thread, while the event loop goes on.

    A server that makes or drops a database waits until each of its processes has taken notice. One
    that is sending to somebody whom this event loop has stopped, or whose proxy it is, takes none
    before the loop goes on.
    """
    entered = await asyncio.to_thread(context.__enter__)
    try:
        yield entered
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


class Databases:
    """Makes and drops databases on a server, over one connection that is kept meanwhile."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._runner = asyncio.Runner()
        self._connection: asyncpg.Connection | None = None

    @contextmanager
    def fresh(self, template: str = "template1") -> Iterator[str]:
        """The DSN of a new database, a copy of ``template``, dropped at the end."""
        name = f"loom_test_{secrets.token_hex(6)}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        try:
            yield with_database(self._server, name)
        finally:
            self._execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def copy(self, name: str, to: str) -> None:
        """Make another database like one that nobody is connected to, which is there to stay."""
        self._execute(f'CREATE DATABASE "{to}" TEMPLATE "{name}"')

    def close(self) -> None:
        """Give the connection back."""
        self._thread.submit(self._close).result()
        self._thread.shutdown()

    def _execute(self, statement: str) -> None:
        self._thread.submit(lambda: self._runner.run(self._executed(statement))).result()

    async def _executed(self, statement: str) -> None:
        if self._connection is not None:
            try:
                await self._connection.execute(statement)
            except (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError):
                # A test has cut all connections, or restarted the server.
                self._connection.terminate()
            else:
                return
        self._connection = await asyncpg.connect(plain_dsn(self._server))
        await self._connection.execute(statement)

    def _close(self) -> None:
        if self._connection is not None:
            self._runner.run(self._connection.close())
        self._runner.close()


@contextmanager
def fresh_database(server: str, template: str = "template1") -> Iterator[str]:
    """The DSN of a new database on that server, a copy of ``template``, dropped at the end."""
    with closing(Databases(server)) as databases, databases.fresh(template) as dsn:
        yield dsn


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
