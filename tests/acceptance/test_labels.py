"""Runs are found again by what they carry, and by what they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import eventually
from tests.faults import Counting, watched_app

type Context = loom.WorkflowContext[Any, Any]

TAGS: dict[str, loom.TagValue] = {
    "customer": "ACME",
    "total": 12.5,
    "urgent": True,
    "due": datetime(2026, 5, 1, tzinfo=UTC),
}


@loom.workflow
class Order(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        ctx.set_tags({"stage": "waiting"})
        await ctx.wait_for_signal("go")
        ctx.set_tags({"stage": "done", "urgent": None})
        return [ctx.memo, sorted(ctx.tags)]


@loom.workflow(version="2")
class Other(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> None: ...


async def test_a_run_carries_its_tags_and_memo_before_anybody_works_on_it(app: loom.Loom) -> None:
    handle = await app.start(Order, id="x", tags=TAGS, memo={"by": ["Ada", None, 5]})
    info = await handle.info()
    assert (info.tags, info.memo) == (TAGS, {"by": ["Ada", None, 5]})
    [listed] = await app.list(tags={"customer": "ACME"})
    assert (listed.tags, listed.memo) == (TAGS, info.memo)


async def test_the_code_reads_and_changes_them_also_after_its_worker_died(app: loom.Loom) -> None:
    handle = await app.start(Order, tags=TAGS, memo={"by": "Ada"})
    async with app.worker(workflows=[Order]):
        await eventually(lambda: found(app, stage="waiting"))
    await handle.signal("go")
    async with app.worker(workflows=[Order]):
        result = await handle.result(30)
    assert result == [{"by": "Ada"}, ["customer", "due", "stage", "total"]]
    kept = {name: value for name, value in TAGS.items() if name != "urgent"}
    assert (await handle.info()).tags == {**kept, "stage": "done"}
    assert not await found(app, stage="waiting")
    assert await found(app, stage="done", total=12.5)


async def found(app: loom.Loom, **tags: loom.TagValue) -> bool:
    return await app.count(tags=tags) == 1


async def test_a_start_beside_its_worker_with_labels_is_one_commit(any_dsn: str) -> None:
    counting = Counting()
    async with (
        watched_app(any_dsn, counting) as app,
        app.worker(workflows=[Order]),
    ):
        handle = await app.start(Order, tags=TAGS, memo="memo")
        assert counting.commits == 1
        assert (await handle.info()).tags == {**TAGS, "stage": "waiting"}


async def test_runs_are_filtered_by_what_they_are(app: loom.Loom) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    later = before + timedelta(hours=1)
    await app.start(Order, id="order-1")
    await app.start(Other, id="other-1")
    await app.start("Order", id="order-2", version="3", tags={"n": 5})
    await app.handle("order-1").terminate()

    async def ids(**filters: Any) -> list[str]:
        listed = [run.workflow_id for run in await app.list(**filters)]
        assert await app.count(**filters) == len(listed)
        return listed

    assert await ids() == ["order-2", "other-1", "order-1"]
    assert await ids(name="Order") == ["order-2", "order-1"]
    assert await ids(name="Order", version="3") == ["order-2"]
    assert await ids(version="2") == ["other-1"]
    assert await ids(id_prefix="order-") == ["order-2", "order-1"]
    assert await ids(id="order-1") == ["order-1"]
    assert await ids(status="terminated") == ["order-1"]
    assert await ids(open=True) == ["order-2", "other-1"]
    assert await ids(tags={"n": 5.0}) == ["order-2"]
    assert await ids(tags={"n": "5"}) == []
    assert await ids(started_after=before, started_before=later) == await ids()
    assert await ids(started_before=before) == await ids(started_after=later) == []
    assert await ids(closed_after=before) == await ids(closed_before=later) == ["order-1"]


async def test_pages_of_a_filtered_list_hang_together(app: loom.Loom) -> None:
    for number in range(5):
        await app.start(Order, id=f"{number}", tags={"even": number % 2 == 0})
    first = await app.list(tags={"even": True}, limit=2)
    await app.start(Order, id="late", tags={"even": True})
    second = await app.list(tags={"even": True}, limit=2, before=first[-1])
    assert [run.workflow_id for run in first + second] == ["4", "2", "0"]


@pytest.mark.parametrize(
    "options",
    [{"tags": {"x": [1]}}, {"tags": {"": 1}}, {"memo": object()}, {"tags": {"x": None}}],
    ids=["value", "name", "memo", "none"],
)
async def test_what_cannot_be_kept_is_refused_before_anything_is_written(
    app: loom.Loom, options: Any
) -> None:
    with pytest.raises(loom.PayloadError):
        await app.start(Order, **options)
    assert await app.list() == []


async def test_what_nobody_can_look_for_is_refused(app: loom.Loom) -> None:
    with pytest.raises(loom.ConfigurationError, match="time zone"):
        await app.list(started_after=datetime(2026, 5, 1))
    with pytest.raises(loom.ConfigurationError, match="status"):
        await app.count(status="sleeping")
    with pytest.raises(loom.PayloadError, match="tag"):
        await app.list(tags={"x": float("nan")})


class Reversed(loom.PayloadCodec):
    name = "reversed"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


async def test_a_memo_goes_through_the_codecs(any_dsn: str) -> None:
    async with loom.Loom(any_dsn, codecs=[Reversed()]) as app:
        handle = await app.start(Order, id="x", memo={"secret": 5})
        async with app.worker(workflows=[Order]):
            await handle.signal("go")
            assert (await handle.result(30))[0] == {"secret": 5}
        assert (await handle.info()).memo == {"secret": 5}
    async with loom.Loom(any_dsn) as stranger:
        [run] = await stranger.list()
        assert "codec" in str(run.memo)
        assert run.status is RunStatus.COMPLETED
