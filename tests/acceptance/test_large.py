"""Much at once is written in several goes, and what is too much even so stops its own run alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import loom
from loom import RunStatus
from loom.storage.sql.changes import in_parts
from tests.conditions import eventually
from tests.faults import Call, Interceptor, watched_app

type Context = loom.WorkflowContext[Any, Any]

KIB = 1024
TEXT = "x" * KIB


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a KiB were eight MiB."""
    monkeypatch.setattr("loom.runner.group_writer.MAX_BYTES", 8 * KIB)
    monkeypatch.setattr("loom.runner.owned_run.MAX_BYTES", 8 * KIB)
    monkeypatch.setattr("loom.storage.sql.changes.MAX_BYTES", 8 * KIB)
    for module in ("group_writer", "starts"):
        monkeypatch.setattr(f"loom.runner.{module}.TOO_LARGE", 64 * KIB)


class Sizes(Interceptor):
    """Notes how much each write carries."""

    def __init__(self) -> None:
        self.of_turns: list[int] = []
        self.of_starts: list[int] = []
        self.of_heartbeats: list[int] = []

    async def __call__(self, method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        if method == "write_transitions":
            events = [event for turn in arguments[0] for event in turn.effects.events]
            self.of_turns.append(sum(len(event.payload or b"") for event in events))
        if method == "start_runs":
            new = [message for new in arguments[0] for message in new.effects.messages]
            self.of_starts.append(sum(len(one.arrival.payload or b"") for one in new))
        if method == "record_heartbeats":
            self.of_heartbeats.append(sum(len(beat.details or b"") for beat in arguments[0]))
        return await call()


@loom.workflow
class Collecting(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        texts = [await ctx.wait_for_signal("text", type=str) for _ in range(ctx.input)]
        return sum(map(len, texts))


@loom.workflow
class Taking(loom.Workflow[str, None]):
    async def run(self, ctx: loom.WorkflowContext[str, None]) -> int:
        return len(ctx.input)


@loom.activity
async def take(text: str) -> int:
    return len(text)


@loom.workflow
class Asking(loom.Workflow[int, None]):
    """Asks for so much in one turn."""

    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        return sum(await asyncio.gather(*(ctx.activity(take, TEXT) for _ in range(ctx.input))))


async def test_a_full_inbox_is_taken_in_several_turns(any_dsn: str) -> None:
    sizes = Sizes()
    async with watched_app(any_dsn, sizes) as app:
        handle = await app.start(Collecting, 40)
        for _ in range(40):
            await handle.signal("text", TEXT)
        async with app.worker(workflows=[Collecting]):
            assert await handle.result(30) == 40 * KIB
    assert 0 < max(sizes.of_turns) <= 8 * KIB
    assert sum(sizes.of_turns) > 40 * KIB


@loom.workflow
class Racing(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> str:
        try:
            return await ctx.wait_for_signal("last", type=str, timeout=timedelta(seconds=0.5))
        except TimeoutError:
            return "late"


async def test_what_is_in_a_full_inbox_comes_before_a_timeout_that_ends_later(
    app: loom.Loom,
) -> None:
    async with app.worker(workflows=[Racing]):
        handle = await app.start(Racing)
        await eventually(lambda: has_events(handle, 2))
    for _ in range(20):
        await handle.signal("other", TEXT)
    await handle.signal("last", "in time")
    await eventually(lambda: is_due(handle))
    async with app.worker(workflows=[Racing]):
        assert await handle.result(30) == "in time"


@loom.workflow
class Moving(loom.Workflow[list[str], None]):
    """Takes a signal in each of its runs, and leaves the others to the next."""

    async def run(self, ctx: loom.WorkflowContext[list[str], None]) -> list[str]:
        text = await ctx.wait_for_signal("text", type=str)
        taken = [*ctx.input, text.strip()]
        if len(taken) < 20:
            ctx.continue_as_new(taken)
        return taken


async def test_a_full_inbox_moves_whole_to_the_run_that_continues(app: loom.Loom) -> None:
    handle = await app.start(Moving, [])
    for number in range(20):
        await handle.signal("text", f"{number:1024}")
    async with app.worker(workflows=[Moving]):
        assert await handle.result(30) == [str(number) for number in range(20)]


def test_messages_are_inserted_in_parts_none_of_which_is_too_large() -> None:
    rows = [(number, bytes(kib * KIB)) for number, kib in enumerate([3, 5, 1, 9, 2, 0, 7])]
    parts = [[row[0] for row in part] for part in in_parts(rows)]
    assert parts == [[0, 1], [2], [3], [4, 5], [6]]
    assert [list(part) for part in in_parts([(1, None)])] == [[(1, None)]]


async def has_events(handle: loom.WorkflowHandle[Any], count: int) -> bool:
    return len(await handle.history()) >= count


async def is_due(handle: loom.WorkflowHandle[Any]) -> bool:
    wake_at = (await handle.info()).wake_at
    return wake_at is not None and wake_at < datetime.now(UTC)


async def test_many_starts_at_once_are_several_writes(any_dsn: str) -> None:
    sizes = Sizes()
    async with watched_app(any_dsn, sizes) as app:
        await asyncio.gather(*(app.start(Taking, TEXT) for _ in range(40)))
        assert await app.count(name="Taking") == 40
    assert 0 < max(sizes.of_starts) <= 8 * KIB


@loom.activity
async def tell() -> None:
    loom.heartbeat(TEXT)
    await asyncio.sleep(0.2)


@loom.workflow
class Telling(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> None:
        await asyncio.gather(*(ctx.activity(tell) for _ in range(20)))


async def test_many_heartbeats_at_once_are_several_writes(any_dsn: str) -> None:
    sizes = Sizes()
    async with (
        watched_app(any_dsn, sizes) as app,
        app.worker(workflows=[Telling], activities=[tell]),
    ):
        await (await app.start(Telling)).result(30)
    assert 0 < max(sizes.of_heartbeats) <= 8 * KIB


TOKENS: list[str] = []


@loom.activity
async def leave() -> str:
    TOKENS.append(loom.activity_info().task_token)
    raise loom.CompleteLater


@loom.workflow
class Leaving(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> str:
        return await ctx.activity(leave)

    @loom.update
    def change(self, text: str) -> int:
        return len(text)


async def test_what_is_sent_by_itself_is_refused_too_when_it_carries_too_much(
    app: loom.Loom,
) -> None:
    TOKENS.clear()
    large = TEXT * 65
    async with app.worker(workflows=[Leaving], activities=[leave]):
        handle = await app.start(Leaving)
        await eventually(lambda: is_parked(handle))
        [token] = TOKENS
        for refused in (
            handle.signal("text", large),
            handle.update(Leaving.change, large),
            app.heartbeat_activity(token, large),
            app.complete_activity(token, large),
        ):
            with pytest.raises(loom.StoreError, match="too much to be written at once"):
                await refused
        await app.complete_activity(token, "small")
        assert await handle.result(30) == "small"


async def is_parked(handle: loom.WorkflowHandle[Any]) -> bool:
    return any(each.is_parked for each in (await handle.info()).activities)


async def test_a_start_that_carries_too_much_is_refused(app: loom.Loom) -> None:
    with pytest.raises(loom.StoreError, match="too much to be written at once"):
        await app.start(Taking, TEXT * 65)
    assert await app.count(name="Taking") == 0


async def test_a_turn_that_carries_too_much_stops_its_run_and_no_other(app: loom.Loom) -> None:
    async with app.worker(workflows=[Asking], activities=[take]):
        handle = await app.start(Asking, 65, id="too-much")

        async def is_blocked() -> bool:
            return (await handle.info()).status is RunStatus.BLOCKED

        other = await app.start(Asking, 3)
        assert await other.result(30) == 3 * KIB
        await eventually(is_blocked)
        assert "too much to be written at once" in ((await handle.info()).blocked_reason or "")
