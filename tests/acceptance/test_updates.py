"""Updates, as a user sends them: awaited, repeated, rejected, and from other processes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import cut_off, eventually
from tests.faults import Counting, Deaf, Fault, Faulty, Gate, sweep, watched_app

type Context = loom.WorkflowContext[Any, Any]


@loom.activity
async def price(item: str) -> int:
    return len(item)


@loom.workflow
class Basket(loom.Workflow[None, dict[str, int]]):
    def __init__(self) -> None:
        self.items: list[str] = []
        self.closed = False

    async def run(self, ctx: Context) -> list[str]:
        await ctx.wait_until(lambda: self.closed)
        return self.items

    @loom.update
    async def add(self, item: str) -> int:
        cost = await self.ctx.activity(price, item)
        self.items.append(item)
        await self.ctx.state.set(item, cost)
        return cost

    @add.validator
    def check_add(self, item: str) -> None:
        if item in self.items:
            raise ValueError(f"{item} is in the basket")

    @loom.update
    def remove(self, item: str, *, every: bool = False) -> list[str]:
        self.items.remove(item)
        return self.items

    @loom.update(unfinished="abandon")
    async def linger(self) -> None:
        await self.ctx.wait_for_signal("never")

    @loom.update
    def close(self) -> list[str]:
        self.closed = True
        return self.items

    @loom.query
    def contents(self) -> list[str]:
        return self.items


def worker_of(app: loom.Loom) -> loom.Worker:
    return app.worker(workflows=[Basket], activities=[price])


async def test_updates_are_awaited_typed_and_by_name(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Basket, id="basket")
        assert await handle.update(Basket.add, "ink") == 3
        by_name = app.handle("basket")
        assert await by_name.update("add", "paper") == 5
        assert await handle.update(Basket.remove, "ink", every=True) == ["paper"]
        assert await by_name.update("remove", {"item": "paper"}) == []
        # What was answered is there for queries.
        assert await handle.query(Basket.contents) == []
        assert await handle.update(Basket.close) == []
        assert await handle.result(30) == []


async def test_errors_tell_what_happened(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Basket, id="basket")
        await handle.update(Basket.add, "ink")
        before = await handle.history()
        with pytest.raises(loom.UpdateRejectedError, match="ink is in the basket") as rejected:
            await handle.update(Basket.add, "ink")
        assert rejected.value.cause_type == "ValueError"
        with pytest.raises(loom.UpdateRejectedError, match="no update 'burn'; it has: 'add'"):
            await handle.update("burn")
        with pytest.raises(loom.UpdateRejectedError, match="cannot be read"):
            await app.handle("basket").update("add", 5)
        # Nothing of them is in history.
        assert await handle.history() == before
        with pytest.raises(loom.UpdateFailedError, match=r"ValueError: list\.remove") as failed:
            await handle.update(Basket.remove, "pen")
        assert (failed.value.workflow_id, failed.value.cause_type) == ("basket", "ValueError")
        assert "in remove" in failed.value.cause_traceback
        assert await handle.status() is RunStatus.RUNNING


async def test_what_cannot_be_sent_is_refused_before_anything_is_written(app: loom.Loom) -> None:
    handle = await app.start(Basket, id="basket")
    with pytest.raises(loom.PayloadError):
        await handle.update(Basket.add, 5)  # type: ignore[arg-type]
    with pytest.raises(loom.PayloadError):
        await handle.update("add", 5)
    with pytest.raises(loom.DefinitionError, match="is no update"):
        await handle.update(Basket.contents)
    with pytest.raises(loom.WorkflowNotFoundError):
        await app.handle("nobody").update("add", "ink")
    await handle.terminate()
    with pytest.raises(loom.WorkflowClosedError):
        await handle.update(Basket.add, "ink")


async def test_the_same_request_has_the_same_answer(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Basket, id="basket")
        one = handle.with_request_id("one")
        assert await asyncio.gather(*(one.update(Basket.add, "ink") for _ in range(3))) == [3] * 3
        assert await handle.update("add", "ink", request_id="one") == 3
        for _ in range(2):
            with pytest.raises(loom.UpdateRejectedError, match="is in the basket"):
                await handle.with_request_id("two").update(Basket.add, "ink")
        await handle.update(Basket.remove, "ink")
        # It would be let in now, but that request has been answered.
        with pytest.raises(loom.UpdateRejectedError):
            await handle.with_request_id("two").update(Basket.add, "ink")
        # A signal with the same request id is another thing.
        await handle.signal("never", request_id="one")
        await handle.update(Basket.close)
        # Also when the run has closed.
        assert await one.update(Basket.add, "ink") == 3
        assert await app.handle("basket").update_handle("one").result() == 3
    types = [event.type for event in await handle.history()]
    assert types.count("UPDATE_ACCEPTED") == 3


async def test_an_update_can_be_started_and_awaited_later(app: loom.Loom) -> None:
    handle = await app.start(Basket, id="basket")
    update = await handle.with_request_id("one").start_update(Basket.add, "ink")
    with pytest.raises(TimeoutError):
        await update.result(timeout=0.01)
    async with worker_of(app):
        assert await update.result(timeout=10) == 3
        assert update.update_id == "one"
        again = app.handle("basket").update_handle("one")
        assert await again.result() == 3
        assert repr(again) == "<UpdateHandle 'one' of 'basket'>"


async def test_an_update_that_nobody_sent_has_no_result(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Basket, id="basket")
        await handle.update(Basket.close)
        await handle.result(30)
    with pytest.raises(loom.WorkflowClosedError):
        await handle.update_handle("none").result()


async def test_the_end_answers_what_is_not_done(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Basket)
        lingering = await handle.start_update(Basket.linger)
        await handle.update(Basket.close)
        with pytest.raises(loom.UpdateUnfinishedError, match="the run ended before it was done"):
            await lingering.result(30)


async def test_an_update_is_told_of_an_end_without_the_code(app: loom.Loom) -> None:
    async with worker_of(app):
        handle = await app.start(Basket)
        lingering = await handle.start_update(Basket.linger)

        async def is_accepted() -> bool:
            return any(event.type == "UPDATE_ACCEPTED" for event in await handle.history())

        await eventually(is_accepted)
    never_taken = await handle.start_update(Basket.add, "ink")
    waiting = [asyncio.create_task(update.result(30)) for update in (lingering, never_taken)]
    await handle.terminate()
    with pytest.raises(loom.UpdateUnfinishedError):
        await waiting[0]
    with pytest.raises(loom.WorkflowClosedError):
        await waiting[1]


async def test_the_caller_may_be_in_another_process(dsn: str) -> None:
    """Another application on the same database, which hears nothing of what goes on in this one."""
    async with loom.Loom(dsn) as serving, loom.Loom(dsn) as calling, worker_of(serving):
        await serving.start(Basket, id="basket")
        assert await calling.handle("basket").update("add", "ink") == 3
        with pytest.raises(loom.UpdateRejectedError):
            await calling.handle("basket").update("add", "ink")


@loom.workflow
class Pages(loom.Workflow[int, dict[str, int]]):
    """Turns into its next page whenever it is told to."""

    def __init__(self) -> None:
        self.turned = self.ended = False

    async def run(self, ctx: loom.WorkflowContext[int, dict[str, int]]) -> int:
        await ctx.wait_until(lambda: self.turned or self.ended)
        if self.turned:
            ctx.continue_as_new(ctx.input + 1)
        return ctx.input

    @loom.signal
    def turn(self) -> None:
        self.turned = True

    @loom.update
    def write(self, text: str) -> str:
        return f"{text} on page {self.ctx.input}"

    @write.validator
    def check_write(self, text: str) -> None:
        if not text:
            raise ValueError(f"nothing to write on page {self.ctx.input}")

    @loom.update
    async def turn_slowly(self) -> int:
        self.turned = True
        await self.ctx.activity(price, "slow")
        return self.ctx.input

    @loom.update
    def end(self) -> None:
        self.ended = True


async def test_pending_updates_go_on_in_the_run_that_continues(app: loom.Loom) -> None:
    handle = await app.start(Pages, 1, id="pages")
    await handle.signal(Pages.turn)
    written = await handle.with_request_id("one").start_update(Pages.write, "hello")
    rejected = await handle.with_request_id("two").start_update(Pages.write, "")
    async with app.worker(workflows=[Pages], activities=[price]):
        assert await written.result(30) == "hello on page 2"
        with pytest.raises(loom.UpdateRejectedError, match="nothing to write on page 2"):
            await rejected.result(30)
        assert await handle.update(Pages.turn_slowly) == 2
        # The same requests have the same answers on every later page.
        for one in (handle, app.handle("pages", workflow=Pages)):
            assert await one.with_request_id("one").update(Pages.write, "hello") == (
                "hello on page 2"
            )
            with pytest.raises(loom.UpdateRejectedError, match="page 2"):
                await one.with_request_id("two").update(Pages.write, "")
        assert await handle.update(Pages.write, "bye") == "bye on page 3"
        await handle.update(Pages.end)
        assert await handle.result(30) == 3
        with pytest.raises(loom.WorkflowClosedError):
            await handle.update(Pages.write, "late")
        assert await handle.with_request_id("one").update(Pages.write, "hello") == (
            "hello on page 2"
        )
        assert await handle.update_handle("one").result() == "hello on page 2"


async def test_runs_without_updates_write_no_answers(any_dsn: str) -> None:
    """And those with them need no commit more than a signal and an activity would."""
    counting = Counting()
    async with watched_app(any_dsn, counting) as app, worker_of(app):
        handle = await app.start(Basket)
        await eventually(lambda: not any(worker._owned._owned for worker in app._workers))
        counting.calls.clear()
        await handle.update(Basket.close)
        await handle.result(30)
        writes = {name: n for name, n in counting.calls.items() if name not in ("find_run",)}
        assert counting.commits == 3, writes


# --- what may go wrong ---------------------------------------------------------------------------


async def insist(update: Callable[[], Any]) -> Any:
    while True:
        try:
            return await update()
        except loom.StoreUnavailableError:
            await asyncio.sleep(0.01)


async def shop(app: loom.Loom) -> list[str]:
    """Add something twice and close, each as one request, whatever the store does."""
    await insist(lambda: app.start(Basket, id="basket"))
    handle = app.handle("basket", workflow=Basket)

    def request(id: str) -> loom.WorkflowHandle[Any]:
        return handle.with_request_id(id)

    assert await insist(lambda: request("1").update(Basket.add, "ink")) == 3
    with pytest.raises(loom.UpdateRejectedError):
        await insist(lambda: request("2").update(Basket.add, "ink"))
    await insist(lambda: request("3").update(Basket.close))
    return list(await insist(lambda: handle.result(30)))


async def check(app: loom.Loom) -> None:
    history = await app.handle("basket").history()
    types = [event.type for event in history]
    assert types.count("UPDATE_ACCEPTED") == 2
    assert types.count("UPDATE_COMPLETED") == 2
    assert types.count("ACTIVITY_COMPLETED") == 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("any_dsn", "fault"),
    [
        ("sqlite", Fault.AFTER),
        ("sqlite", Fault.TWICE),
        pytest.param("postgres", Fault.AFTER, marks=pytest.mark.postgres),
    ],
    indirect=["any_dsn"],
)
async def test_any_call_may_go_wrong_once(
    any_dsn: str, fault: Fault, new_dsn: Callable[[], str]
) -> None:
    async def trial(n: int) -> bool:
        faulty = Faulty(fault, n)
        async with watched_app(new_dsn(), faulty, lease_seconds=0.5) as app:
            async with worker_of(app):
                assert await shop(app) == ["ink"]
            await check(app)
        return faulty.struck.is_set()

    await sweep(trial)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("any_dsn", "step"),
    [("sqlite", 1), pytest.param("postgres", 4, marks=pytest.mark.postgres)],
    indirect=["any_dsn"],
)
async def test_the_process_may_die_at_any_call(
    any_dsn: str, step: int, new_dsn: Callable[[], str]
) -> None:
    async def trial(n: int) -> bool:
        another = new_dsn()
        async with loom.Loom(another, settings=loom.Settings(lease_seconds=0.5)) as survivor:
            struck = await die_at(n, another)
            async with worker_of(survivor):
                handle = survivor.handle("basket", workflow=Basket)
                closed = await survivor.list(status=RunStatus.COMPLETED)
                result = await (handle.result(30) if closed else shop(survivor))
                assert result == ["ink"]
            await check(survivor)
        return struck

    await sweep(trial, stride=step)


async def die_at(n: int, dsn: str) -> bool:
    """Work until the n-th call, as a process that is then gone."""
    crashing = Faulty(Fault.CRASH, n)
    async with (
        watched_app(dsn, crashing, lease_seconds=0.5, shutdown_grace_seconds=0) as app,
        worker_of(app) as worker,
    ):
        talking = asyncio.create_task(shop(app))
        striking = asyncio.create_task(crashing.struck.wait())
        await asyncio.wait((talking, striking), return_when=asyncio.FIRST_COMPLETED)
        cut_off(worker)
        talking.cancel()
        striking.cancel()
        await asyncio.wait((talking, striking))
    return crashing.struck.is_set()


async def test_another_worker_finishes_what_one_has_accepted(any_dsn: str) -> None:
    may_end = asyncio.Event()

    @loom.activity(name="price")
    async def slow_price(item: str) -> int:
        await may_end.wait()
        return 0

    settings = loom.Settings(lease_seconds=0.5, shutdown_grace_seconds=0)
    async with loom.Loom(any_dsn, settings=settings) as app:
        async with app.worker(workflows=[Basket], activities=[slow_price]) as worker:
            handle = await app.start(Basket)
            update = await handle.start_update(Basket.add, "ink")

            async def is_accepted() -> bool:
                return any(event.type == "UPDATE_ACCEPTED" for event in await handle.history())

            await eventually(is_accepted)
            cut_off(worker)
        async with worker_of(app):
            assert await update.result(30) == 3


async def test_an_answer_that_a_stale_worker_gives_is_lost(any_dsn: str) -> None:
    """It has rejected an update, and is stopped just before it writes that; another takes over."""
    gate = Gate("write_transitions")
    async with (
        loom.Loom(any_dsn, settings=loom.Settings(lease_seconds=0.5)) as other,
        watched_app(any_dsn, gate, lease_seconds=0.5) as app,
    ):
        worker = worker_of(app)
        worker._leases.start = lambda: None  # type: ignore[method-assign]  # never renews
        async with worker:
            handle = await other.start(Basket, id="basket")
            await eventually(lambda: bool(worker._owned._cache))
            gate.open.clear()
            update = await handle.start_update(Basket.add, "ink")
            await eventually(lambda: gate.waiting > 0)
            async with worker_of(other):
                assert await update.result(30) == 3
                gate.open.set()
                await eventually(lambda: not worker._workflows._drives)
                assert await handle.query(Basket.contents) == ["ink"]


async def test_a_lost_answer_of_the_store_loses_no_update(any_dsn: str) -> None:
    deaf = Deaf("send_messages")
    async with watched_app(any_dsn, deaf) as app, worker_of(app):
        handle = (await app.start(Basket)).with_request_id("one")
        with pytest.raises(loom.StoreUnavailableError):
            await handle.update(Basket.add, "ink")
        assert await handle.update(Basket.add, "ink") == 3
        assert await handle.query(Basket.contents) == ["ink"]
