"""What the forked processes do: each role takes an order and says when it is ready."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import loom
from loom.storage.sql import migrations
from tests.chaos import jobs, tales
from tests.chaos.clients import (
    NO_ANSWER,
    Answer,
    Client,
    ClientLog,
    Request,
    insist,
    opened,
    talk,
)
from tests.chaos.ledger import Ledger
from tests.chaos.letters import Letter1, Letter2
from tests.chaos.shim import Shim, Side
from tests.proof.records import Outcome

type Order = dict[str, Any]
type Ready = Callable[[], None]

LETTERS = {"1": Letter1, "2": Letter2}
WORKFLOWS = (*tales.WORKFLOWS, *jobs.WORKFLOWS)


def open_app(order: Order) -> AbstractAsyncContextManager[loom.Loom]:
    jobs.Place.ledger = Ledger(Path(order["ledger"]))
    return opened(loom.Loom(order["dsn"], settings=loom.Settings(**order.get("settings", {}))))


def worker_of(app: loom.Loom, order: Order) -> loom.Worker:
    letters = [LETTERS[version] for version in order.get("versions", LETTERS)]
    return app.worker(
        workflows=[*WORKFLOWS, *letters],
        activities=jobs.ACTIVITIES,
        queue=order.get("queue", "default"),
    )


def client_of(app: loom.Loom, order: Order) -> Client:
    if "record" in order:
        return Client(app, MarkingLog(Path(order["log"])))
    return Client(app, ClientLog(Path(order["log"])))


class MarkingLog(ClientLog):
    """Also has it recorded, among what was done to the database, what a client was told when."""

    def note(self, request: Request, outcome: Outcome, answer: Answer = NO_ANSWER) -> None:
        super().note(request, outcome, answer)
        if outcome is Outcome.OK:
            Shim().mark(f"{request.asked.value} {request.workflow_id} {request.request_id}")


# --- working until told otherwise ----------------------------------------------------------------


def work(order: Order, ready: Ready) -> None:
    """A worker until SIGTERM; with ``requests`` also a client beside it, whose runs begin here."""
    asyncio.run(_work(order, ready))


async def _work(order: Order, ready: Ready) -> None:
    if "fatal" in order:
        jobs.Place.die = lambda: die(order)
    if "clock" in order:
        Shim().clock(Path(order["clock"]))
    _prepare_files(order)
    async with open_app(order) as app:
        worker = worker_of(app, order)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        beside = [asyncio.create_task(_talk(app, order)), asyncio.create_task(_block(order))]
        running = asyncio.create_task(worker.run())
        ready()
        await running
        for task in beside:
            task.cancel()


def _prepare_files(order: Order) -> None:
    """What is to befall the SQLite file."""
    shim = Shim()
    if not order.keys().isdisjoint({"full_while", "failing_while", "record"}):
        shim.watch(order["watch"])
    if "full_while" in order:
        shim.full_while(Path(order["full_while"]))
    if "failing_while" in order:
        shim.failing_while(Path(order["failing_while"]), Path(order["failures"]), order["seed"])
    if "record" in order:
        shim.record(Path(order["record"]))


async def _talk(app: loom.Loom, order: Order) -> None:
    if "requests" not in order:
        return
    chance = random.Random(order["seed"])
    await talk(client_of(app, order), chance, order["name"], order["requests"])
    Path(order["talked"]).touch()


async def _block(order: Order) -> None:
    """Now and then, keep the event loop for so long."""
    if "blocks" not in order:
        return
    chance = random.Random(order["seed"])
    while True:
        await asyncio.sleep(chance.uniform(0.05, 0.5))
        tell(order, "blocked")
        time.sleep(chance.uniform(*order["blocks"]))


def die(order: Order) -> None:
    tell(order, "died of a workflow")
    os._exit(7)


def tell(order: Order, what: str) -> None:
    """Let the stage know that something was done here."""
    with (Path(order["log"]).parent / "told").open("a") as file:
        file.write(f"{what}\n")


# --- one short story, in which the process may die at any durable call ---------------------------


def play(order: Order, ready: Ready) -> None:
    """One of the stories below, once; the order says at which durable call it is cut short."""
    shim = Shim()
    shim.watch(order["watch"])
    shim.die_at(order["die_at"], Side(order["side"]))
    ready()
    asyncio.run(STORIES[order["story"]](order))
    Path(order["count"]).write_text(str(shim.calls))


async def _start(order: Order) -> None:
    async with open_app(order) as app:
        await client_of(app, order).start(order["tale"])


async def _start_and_step(order: Order) -> None:
    """Starting where a worker is, and the first steps, timer and child of the run."""
    async with open_app(order) as app, worker_of(app, order):
        client = client_of(app, order)
        await client.start(order["tale"])
        await client.signal(order["tale"], "1")
        await client.update(order["tale"], "2")


async def _signal(order: Order) -> None:
    async with open_app(order) as app:
        client = client_of(app, order)
        await client.signal(order["tale"], "1")
        await client.cancel(order["tale"], "2")


async def _to_the_end(order: Order) -> None:
    """Taking up a run that waits for its timer, and all that follows until it has closed."""
    async with open_app(order) as app, worker_of(app, order):
        client = client_of(app, order)
        for n in range(tales.CHAPTER):
            await client.signal(order["tale"], str(n))
        await client.signal(order["tale"], tales.THE_END)
        await app.handle(order["tale"]).result(60)


async def _migrate(order: Order) -> None:
    await insist(lambda: migrations.upgrade(order["dsn"]))


async def _migrate_back(order: Order) -> None:
    """From a release that is not there yet to this one's schema."""
    await insist(lambda: migrations.downgrade(order["dsn"], order["revision"]))


STORIES: dict[str, Callable[[Order], Awaitable[None]]] = {
    "start": _start,
    "step": _start_and_step,
    "signal": _signal,
    "timer": _to_the_end,
    "migration": _migrate,
    "way back": _migrate_back,
}

ROLES: dict[str, Callable[[Order, Ready], None]] = {"work": work, "play": play}
