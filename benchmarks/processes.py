"""Other processes that work for a subject: started, asked, and stopped or killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final

from benchmarks.meter import usage
from benchmarks.records import Usage

_STOP: Final = "stop"


class OtherProcess:
    """A process, as the one that started it sees it.

    It says that it is ready, and then answers questions, until it is told to stop or hears that
    whoever asks is gone.

    Args:
        main: what it runs, with its end of the pipe and the arguments.
    """

    def __init__(self, main: Callable[..., None], *arguments: Any) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=main, args=(theirs, *arguments))
        self._process.start()
        theirs.close()

    async def ready(self) -> Any:
        """Wait until it is; returns what it has to say then."""
        return await asyncio.to_thread(self._answer)

    def ask(self, question: str) -> Any:
        """Its answer, which does not take long."""
        self._connection.send(question)
        return self._answer()

    def usage(self) -> Usage:
        answer = self.ask("usage")
        assert isinstance(answer, Usage)
        return answer

    async def stop(self) -> None:
        """Let it finish."""
        self._connection.send(_STOP)
        await asyncio.to_thread(self._process.join)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.join()

    def _answer(self) -> Any:
        try:
            return self._connection.recv()
        except EOFError:
            raise RuntimeError("a process failed; its own words are above") from None


async def serve(
    parent: Connection, ready: Any = True, answers: Mapping[str, Callable[[], Any]] | None = None
) -> None:
    """In the other process: say that it is ready, and answer until it is to stop."""
    known = {"usage": usage, **(answers or {})}
    parent.send(ready)
    while (question := await asyncio.to_thread(_question, parent)) != _STOP:
        parent.send(known[question]())


def _question(parent: Connection) -> str:
    try:
        question: str = parent.recv()
    except EOFError:
        return _STOP
    return question
