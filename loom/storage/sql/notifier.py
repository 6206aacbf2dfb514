"""Waking up other processes through LISTEN and NOTIFY."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Final

import asyncpg

from loom.errors import LoomError
from loom.identifiers import new_id
from loom.storage.notifier import InProcessNotifier
from loom.storage.sql.failures import DRIVER_ERRORS

_CHANNEL: Final = "loom_wake_up"
_PAYLOAD_LIMIT: Final = 7_500  # bytes; Postgres takes less than 8,000
_RECONNECT_AFTER: Final = 0.1  # seconds, doubled at each failure
_RECONNECT_AT_MOST: Final = 10.0
_PATIENCE: Final = 2.0  # seconds, for saying goodbye

_log = logging.getLogger("loom.storage")


class PostgresNotifier(InProcessNotifier):
    """Reaches listeners of this process at once, and those of others through the server.

    A connection of its own listens and notifies. NOTIFY takes a lock of the whole server at its
    commit, so it is kept out of the transactions that write, and what is published while one is
    under way goes out in the next.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        super().__init__()
        self._connect = connect
        self._sender = new_id()
        self._connection: asyncpg.Connection | None = None
        # Insertion-ordered, each topic once.
        self._outgoing: dict[str, None] = {}
        self._has_outgoing = asyncio.Event()
        self._first_try = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    @property
    def crosses_processes(self) -> bool:  # type: ignore[override]
        """Whether other processes can be heard now."""
        return self._connection is not None

    async def start(self) -> None:
        """Begin to listen; when the server cannot be reached, go on trying."""
        self._running = asyncio.create_task(self._run())
        await self._first_try.wait()

    async def close(self) -> None:
        """Stop listening. Closing twice is fine."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    def publish(self, topics: Iterable[str]) -> None:
        topics = list(topics)
        super().publish(topics)
        if self._connection is not None:
            self._outgoing.update(dict.fromkeys(topics))
            self._has_outgoing.set()

    # --- the connection --------------------------------------------------------------------------

    async def _run(self) -> None:
        pause = _RECONNECT_AFTER
        while True:
            try:
                await self._listen()
                pause = _RECONNECT_AFTER
                await self._forward()
            except (LoomError, *DRIVER_ERRORS) as error:
                _log.warning("notifications from other processes are interrupted: %s", error)
            finally:
                self._first_try.set()
                await self._hang_up()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RECONNECT_AT_MOST)

    async def _listen(self) -> None:
        connection = await self._connect()
        try:
            connection.add_termination_listener(self._lost)
            await connection.add_listener(_CHANNEL, self._heard)
            # A notification is only a hint: its commit need not wait for the disk.
            await connection.execute("SET synchronous_commit = off")
        except BaseException:
            connection.terminate()
            raise
        self._connection = connection
        if self._first_try.is_set():
            # Whatever was published meanwhile has been missed.
            super().publish(list(self._listeners))
        self._first_try.set()

    async def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        self._outgoing.clear()
        if connection is not None:
            connection.remove_termination_listener(self._lost)
            with suppress(*DRIVER_ERRORS):
                await connection.close(timeout=_PATIENCE)

    def _lost(self, _: object) -> None:
        self._connection = None
        self._has_outgoing.set()

    async def _forward(self) -> None:
        """Send what is published, as long as the connection holds."""
        while (connection := self._connection) is not None:
            await self._has_outgoing.wait()
            self._has_outgoing.clear()
            topics, self._outgoing = self._outgoing, {}
            for payload in self._payloads(topics):
                await connection.execute("SELECT pg_notify($1, $2)", _CHANNEL, payload)
        raise ConnectionError("the connection was lost")

    def _payloads(self, topics: Iterable[str]) -> Iterator[str]:
        """The topics in as few payloads as they fit, each with its sender."""
        chunk: list[str] = []
        size = len(self._sender)
        for topic in topics:
            # As JSON writes it, in ASCII.
            length = len(json.dumps(topic)) + 2
            if len(self._sender) + length > _PAYLOAD_LIMIT:
                continue  # a queue with such a name is looked at from time to time
            if size + length > _PAYLOAD_LIMIT:
                yield json.dumps([self._sender, *chunk])
                chunk, size = [], len(self._sender)
            chunk.append(topic)
            size += length
        if chunk:
            yield json.dumps([self._sender, *chunk])

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        try:
            sender, *topics = json.loads(payload)
        except (ValueError, TypeError):
            return  # not ours: anybody may notify on any channel
        if sender != self._sender:
            super().publish(topics)
