"""Code that raises what no ``except Exception`` catches costs its run nothing acknowledged."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import eventually

type Context = loom.WorkflowContext[Any, Any]


class Panic(BaseException):
    """As extensions raise it."""


PANICS = [Panic("no"), SystemExit(3), asyncio.CancelledError("no"), GeneratorExit("no")]


@pytest.fixture(params=PANICS, ids=lambda panic: type(panic).__name__)
def panic(request: pytest.FixtureRequest) -> BaseException:
    error: BaseException = request.param
    return error


class State:
    """What the code of the test's workflow raises."""

    panic: BaseException | None = None


@loom.workflow
class Shop(loom.Workflow[None, None]):
    async def run(self, ctx: Context) -> str:
        await ctx.wait_for_signal("paid")
        await ctx.wait_for_signal("end")
        return "paid"

    @loom.update
    def change(self) -> int:
        return 1

    @change.validator
    def check_change(self) -> None:
        if State.panic is not None:
            raise State.panic

    @loom.query
    def ask(self) -> int:
        if State.panic is not None:
            raise State.panic
        return 1


async def test_a_panicking_validator_rejects_its_update_and_loses_nothing(
    app: loom.Loom, panic: BaseException
) -> None:
    State.panic = panic
    handle = await app.start(Shop)
    await handle.signal("paid", request_id="one")
    update = await handle.start_update(Shop.change)
    async with app.worker(workflows=[Shop]):
        with pytest.raises(loom.UpdateRejectedError, match=type(panic).__name__):
            await update.result(30)
        State.panic = None
        assert await handle.update(Shop.change) == 1
        await handle.signal("end")
        assert await handle.result(30) == "paid"


async def test_a_panicking_query_is_told_to_whoever_asks(
    app: loom.Loom, panic: BaseException
) -> None:
    State.panic = panic
    async with app.worker(workflows=[Shop]):
        handle = await app.start(Shop)
        with pytest.raises(loom.QueryFailedError, match=type(panic).__name__):
            await handle.query(Shop.ask)
        State.panic = None
        assert await handle.query(Shop.ask) == 1


class Codec(loom.PayloadCodec):
    name = "panicking"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        if State.panic is not None:
            raise State.panic
        return data[::-1]


@loom.workflow
class Reading(loom.Workflow[None, None]):
    async def run(self, ctx: Context) -> str:
        await ctx.wait_for_signal("begin")
        return await ctx.wait_for_signal("text", type=str)


async def test_a_turn_that_panics_sets_its_run_apart_and_keeps_what_had_arrived(
    any_dsn: str, panic: BaseException
) -> None:
    State.panic = None
    async with loom.Loom(any_dsn, codecs=[Codec()]) as app:
        handle = await app.start(Reading)
        await handle.signal("begin")
        await handle.signal("text", "kept", request_id="two")
        State.panic = panic
        async with app.worker(workflows=[Reading]):
            await eventually(lambda: is_blocked(handle))
            # What comes later begins no turn of what is left of it.
            await handle.signal("text", "late")
        State.panic = None
        async with app.worker(workflows=[Reading]):
            assert await handle.result(30) == "kept"


async def is_blocked(handle: loom.WorkflowHandle[Any]) -> bool:
    return (await handle.info()).status is RunStatus.BLOCKED
