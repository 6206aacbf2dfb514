"""Clients that talk to tales and write down what became of each request."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import loom
from loom import RunStatus
from tests.chaos.tales import Tale
from tests.proof.records import NOTHING, Asked, Outcome, Told, told_by


@dataclass(frozen=True)
class Request:
    """One thing that a client wants."""

    asked: Asked
    workflow_id: str
    request_id: str | None = None


@dataclass(frozen=True)
class Answer:
    """What a client heard."""

    run_id: str | None = None
    value: Any = NOTHING
    status: RunStatus | None = None
    """Of a run that has not returned, how it ended."""


NO_ANSWER = Answer()


class ClientLog:
    """What clients wanted and heard, of all processes: a line each, appended in one write.

    A request is noted as unknown before it is sent: its client may die before it hears.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def note(self, request: Request, outcome: Outcome, answer: Answer = NO_ANSWER) -> None:
        known = [] if answer.value is NOTHING else [answer.value]
        wanted = [request.asked.value, request.workflow_id, request.request_id]
        told = [outcome.value, answer.run_id, answer.status, known]
        line = json.dumps([*wanted, *told, time.time_ns() // 1000])
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, f"{line}\n".encode())
        finally:
            os.close(file)

    def told(self) -> list[Told]:
        """One for each answer, and one for each that never came."""
        found: list[Told] = []
        waiting: dict[tuple[str, str, str], int] = {}
        for line in self.path.read_text().splitlines():
            asked, workflow_id, request_id, outcome, run_id, status, known, at = json.loads(line)
            value = known[0] if known else NOTHING
            one = Told(Asked(asked), Outcome(outcome), workflow_id, run_id, request_id, value)
            one = replace(one, status=status and RunStatus(status))
            call = (asked, workflow_id, request_id)
            if one.outcome is Outcome.UNKNOWN:
                waiting[call] = len(found)
                found.append(replace(one, asked_at=at))
            else:
                before = found[waiting[call]].asked_at
                found[waiting[call]] = replace(one, asked_at=before, answered_at=at)
        return found


PATIENCE = 60.0
"""Seconds that a client waits for one answer before it calls it unknown."""

RETRY_AFTER = 0.05


async def insist[T](call: Callable[[], Awaitable[T]], patience: float = 120) -> T:
    """What a call gives as soon as the database answers."""
    async with asyncio.timeout(patience):
        while True:
            try:
                return await call()
            except loom.StoreUnavailableError:
                await asyncio.sleep(RETRY_AFTER)


@asynccontextmanager
async def opened(app: loom.Loom) -> AsyncIterator[loom.Loom]:
    """An application, opened as soon as the database answers."""
    await insist(app.__aenter__)
    try:
        yield app
    finally:
        await app.__aexit__(None, None, None)


REFUSALS = (
    loom.WorkflowClosedError,
    loom.WorkflowNotFoundError,
    loom.UpdateRejectedError,
    loom.WorkflowAlreadyStartedError,
)


class Client:
    """Sends requests, again and again under the same id while the outcome is unknown."""

    def __init__(self, app: loom.Loom, log: ClientLog, *, resend: bool = True) -> None:
        self._app = app
        self._log = log
        self._resend = resend

    async def start(self, workflow_id: str) -> None:
        async def call() -> Answer:
            handle = await self._app.start(Tale, 1, id=workflow_id, idempotency_key="start")
            return Answer(handle.run_id)

        await self._send(Request(Asked.START, workflow_id, "start"), call)

    async def signal(self, workflow_id: str, text: str) -> None:
        request = Request(Asked.SIGNAL, workflow_id, f"{workflow_id}/{text}")

        async def call() -> Answer:
            await self._handle(request).signal("hear", text, request_id=request.request_id)
            return Answer()

        await self._send(request, call)

    async def update(self, workflow_id: str, text: str) -> None:
        request = Request(Asked.UPDATE, workflow_id, f"{workflow_id}/{text}")

        async def call() -> Answer:
            update = self._handle(request).with_request_id(str(request.request_id)).update
            return Answer(value=await update(Tale.ask, text))

        await self._send(request, call)

    async def cancel(self, workflow_id: str, reason: str) -> None:
        request = Request(Asked.CANCEL, workflow_id)

        async def call() -> Answer:
            await self._handle(request).cancel(reason=reason)
            return Answer()

        await self._send(request, call)

    async def result(self, workflow_id: str) -> None:
        request = Request(Asked.RESULT, workflow_id)

        async def call() -> Answer:
            return Answer(value=await self._handle(request).result())

        await self._send(request, call)

    def _handle(self, request: Request) -> loom.WorkflowHandle[Any]:
        return self._app.handle(request.workflow_id, workflow=Tale)

    async def _send(self, request: Request, call: Callable[[], Awaitable[Answer]]) -> None:
        while True:
            self._log.note(request, Outcome.UNKNOWN)
            try:
                async with asyncio.timeout(PATIENCE):
                    answer = await call()
            except REFUSALS:
                self._log.note(request, Outcome.FAILED)
                return
            except loom.WorkflowExecutionError as error:
                answer = Answer(error.run_id, status=told_by(error))
                self._log.note(request, Outcome.FAILED, answer)
                return
            except loom.UpdateUnfinishedError:
                return
            except (loom.StoreUnavailableError, TimeoutError):
                if not self._resend:
                    return
                await asyncio.sleep(RETRY_AFTER)
            else:
                self._log.note(request, Outcome.OK, answer)
                return


async def talk(client: Client, chance: random.Random, name: str, requests: int) -> None:
    """One client's life: starts a few tales, and says so many things to them."""
    tales = [f"{name}-{n}" for n in range(max(1, requests // 6))]
    for tale in tales:
        await client.start(tale)
    for n in range(requests):
        tale, text = chance.choice(tales), f"{name}:{n}"
        say = chance.choices(
            (client.signal, client.update, client.cancel, client.start), (6, 3, 0.3, 1)
        )[0]
        await (say(tale) if say == client.start else say(tale, text))  # type: ignore[call-arg]
