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


@loom.activity
async def echo(text: str) -> str:
    return text


def unwanted(result: object) -> bool:
    if State.panic is not None:
        raise State.panic
    return False


@loom.activity(retry=loom.RetryPolicy(retry_result=unwanted))
async def judged() -> str:
    return "judged"


@loom.workflow
class Telling(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> str:
        await ctx.wait_for_signal("go")
        return await ctx.activity(echo, ctx.input)


@loom.workflow
class Judging(loom.Workflow[None, None]):
    async def run(self, ctx: Context) -> str:
        return await ctx.activity(judged)


async def test_a_start_whose_first_turn_panics_is_set_apart_and_goes_on_later(
    any_dsn: str, panic: BaseException
) -> None:
    async with loom.Loom(any_dsn, codecs=[Codec()]) as app:
        State.panic = panic
        async with app.worker(workflows=[Telling], activities=[echo]):
            handle = await app.start(Telling, "kept")
            await eventually(lambda: is_blocked(handle))
        State.panic = None
        async with app.worker(workflows=[Telling], activities=[echo]):
            await handle.signal("go")
            assert await handle.result(30) == "kept"


async def test_an_activity_whose_arguments_panic_fails_and_its_worker_goes_on(
    any_dsn: str, panic: BaseException
) -> None:
    State.panic = None
    async with loom.Loom(any_dsn, codecs=[Codec()]) as app, app.worker(workflows=[Telling]):
        first, second = [await app.start(Telling, "kept") for _ in range(2)]
        await first.signal("go")
        await eventually(lambda: has_asked(first))
        State.panic = panic
        async with app.worker(activities=[echo]):
            await eventually(lambda: has_closed(first))
            State.panic = None
            with pytest.raises(loom.WorkflowFailedError, match="CodecError"):
                await first.result(30)
            await second.signal("go")
            assert await second.result(30) == "kept"


async def test_an_activity_whose_result_is_judged_with_a_panic_fails(
    app: loom.Loom, panic: BaseException
) -> None:
    async with app.worker(workflows=[Judging], activities=[judged]):
        State.panic = panic
        handle = await app.start(Judging)
        with pytest.raises(loom.WorkflowFailedError, match=type(panic).__name__):
            await handle.result(30)
        State.panic = None
        assert await (await app.start(Judging)).result(30) == "judged"


async def test_a_query_of_a_run_that_cannot_be_replayed_for_a_panic_says_so(
    any_dsn: str, panic: BaseException
) -> None:
    State.panic = None
    async with loom.Loom(any_dsn, codecs=[Codec()]) as app:
        async with app.worker(workflows=[Shop]):
            handle = await app.start(Shop)
            await handle.signal("paid")
            assert await handle.query(Shop.ask) == 1
        State.panic = panic
        with pytest.raises(loom.QueryError):
            await handle.query(Shop.ask)


async def has_asked(handle: loom.WorkflowHandle[Any]) -> bool:
    return bool((await handle.info()).activities)


async def has_closed(handle: loom.WorkflowHandle[Any]) -> bool:
    return (await handle.info()).closed_at is not None
