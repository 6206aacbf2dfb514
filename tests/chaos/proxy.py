"""A proxy between Loom and a Postgres server, which cuts connections where it hurts."""

from __future__ import annotations

import asyncio
import random
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from urllib.parse import urlsplit, urlunsplit

SIMPLE_QUERY = b"Q"
EXECUTE = b"E"
SYNC = b"S"
READY_FOR_QUERY = b"Z"
SSL_REQUEST = struct.pack("!i", 80877103)
GSS_REQUEST = struct.pack("!i", 80877104)


class Cut(StrEnum):
    """Where of a COMMIT the connection is cut."""

    BEFORE = "before the server has it"
    AMID = "as soon as the server has it"
    AFTER = "when the server has answered, and nobody hears it"


class Proxy:
    """Passes everything on, but for the answers that are to be lost; use ``proxy()``."""

    def __init__(self, host: str, port: int, chance: random.Random) -> None:
        self.target = (host, port)
        self.cut_every = 0.0
        """The probability that a COMMIT is cut."""
        self.cuts: Counter[Cut] = Counter()
        self._chance = chance
        self._open: set[asyncio.StreamWriter] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it or the server goes away."""
        self._open.add(writer)
        try:
            server_reader, server_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(self, reader, writer, server_reader, server_writer)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(connection.forward())
                group.create_task(connection.backward())
        except* (OSError, EOFError):
            pass
        finally:
            connection.abort()
            self._open.discard(writer)

    def next_cut(self) -> Cut | None:
        """What is to be done to this COMMIT."""
        if self._chance.random() >= self.cut_every:
            return None
        cut = self._chance.choice(list(Cut))
        self.cuts[cut] += 1
        return cut

    def cut_all(self) -> None:
        """Every connection, whatever it is at."""
        for writer in list(self._open):
            writer.transport.abort()


class _Connection:
    def __init__(
        self,
        proxy: Proxy,
        client_reader: asyncio.StreamReader,
        client_writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client_reader = client_reader
        self._client_writer = client_writer
        self._server_reader = server_reader
        self._server_writer = server_writer
        self._is_deaf = False
        self._is_idle = False
        """Whether no transaction was open when the server was last heard of."""
        self._executes = False

    async def forward(self) -> None:
        """From the client to the server, message by message."""
        self._server_writer.write(await self._startup())
        while True:
            message = await _message(self._client_reader)
            cut = self._proxy.next_cut() if self._commits(message) else None
            if cut is Cut.BEFORE:
                raise EOFError
            self._is_deaf = cut is Cut.AFTER
            self._server_writer.write(message)
            await self._server_writer.drain()
            if cut is Cut.AMID:
                self._server_writer.close()
                raise EOFError

    async def _startup(self) -> bytes:
        """The first message, which has a length and no type; the wish for TLS is declined."""
        while True:
            [length] = struct.unpack("!i", head := await self._client_reader.readexactly(4))
            body = await self._client_reader.readexactly(length - 4)
            if body not in (SSL_REQUEST, GSS_REQUEST):
                return head + body
            self._client_writer.write(b"N")

    async def backward(self) -> None:
        """From the server to the client."""
        while True:
            message = await _message(self._server_reader)
            if message[:1] == READY_FOR_QUERY:
                self._is_idle = message[5:6] == b"I"
            if not self._is_deaf:
                self._client_writer.write(message)
                await self._client_writer.drain()
            elif message[:1] == READY_FOR_QUERY:
                raise EOFError

    def _commits(self, message: bytes) -> bool:
        """Whether the server commits upon it: COMMIT, or the end of a statement by itself."""
        kind = message[:1]
        if kind == SIMPLE_QUERY:
            return b"COMMIT" in message
        if kind == EXECUTE:
            self._executes = True
        if kind != SYNC:
            return False
        executes, self._executes = self._executes, False
        return executes and self._is_idle

    def abort(self) -> None:
        for writer in (self._client_writer, self._server_writer):
            if not writer.is_closing():
                writer.transport.abort()


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(5)
    [length] = struct.unpack("!i", head[1:])
    return head + await reader.readexactly(length - 4)


@asynccontextmanager
async def proxy(dsn: str, chance: random.Random) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy to that server, and the DSN by which it is reached through it."""
    parts = urlsplit(dsn)
    made = Proxy(parts.hostname or "", parts.port or 5432, chance)
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    location = parts.netloc.rpartition("@")[0] + f"@127.0.0.1:{port}"
    try:
        yield made, urlunsplit(parts._replace(netloc=location))
    finally:
        server.close()
        made.cut_all()
