"""Starting a workflow tells the type of its result, however the workflow is written."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

import loom
from tests.typing.definitions import (
    ModelSteps,
    NoInput,
    OrderInput,
    OrderState,
    Receipt,
    Report,
    Run,
    Steps,
)


async def with_the_app(app: loom.Loom) -> None:
    steps = await app.start(Steps, {"order_id": "A-1"}, id="order-A-1", on_conflict="fail")
    assert_type(steps, loom.WorkflowHandle[OrderState])
    assert_type(await steps.result(), OrderState)
    run = await app.start(Run, {"order_id": "A-1"}, queue="slow")
    assert_type(run, loom.WorkflowHandle[Receipt])
    assert_type(await run.result(timeout=5), Receipt)
    assert_type(await app.start(ModelSteps, 5), loom.WorkflowHandle[Report])
    assert_type(await app.start(NoInput), loom.WorkflowHandle[list[int]])


async def with_the_class() -> None:
    assert_type(await Steps.start({"order_id": "A-1"}), loom.WorkflowHandle[OrderState])
    assert_type(await Run.start({"order_id": "A-1"}, id="x"), loom.WorkflowHandle[Receipt])
    assert_type(await ModelSteps.start(5), loom.WorkflowHandle[Report])
    assert_type(await NoInput.start(), loom.WorkflowHandle[list[int]])


async def by_name(app: loom.Loom) -> None:
    assert_type(await app.start("OrderProcessing", {"any": 1}), loom.WorkflowHandle[Any])


async def with_options(app: loom.Loom) -> None:
    tags: dict[str, loom.TagValue] = {"customer": "ACME", "total": 12.5}
    run = await app.start(Run, {"order_id": "A-1"}, tags=tags, memo={"any": ["json"]})
    await app.start(Run, {"order_id": "A-1"}, reuse="reject", idempotency_key="request-1")
    hour, noon = timedelta(hours=1), datetime(2026, 5, 1, 12, tzinfo=UTC)
    await app.start(Run, {"order_id": "A-1"}, delay=5, run_timeout=hour, execution_timeout=7.5)
    await Run.start({"order_id": "A-1"}, start_at=noon, retry=loom.RetryPolicy())
    assert_type(run, loom.WorkflowHandle[Receipt])
    assert_type(await Run.start({"order_id": "A-1"}, tags={"n": 5}), loom.WorkflowHandle[Receipt])
    assert_type(await app.start("Run", tags={"n": 5}), loom.WorkflowHandle[Any])
    assert_type(await app.list(tags={"n": 5}, open=True), list[loom.WorkflowInfo])
    assert_type(await app.count(tags={"n": 5}, name="Run"), int)


async def wrong_options(app: loom.Loom) -> None:
    await app.start(Run, {"order_id": "A-1"}, tags={"n": [5]})  # type: ignore
    await app.start(Run, {"order_id": "A-1"}, tag={"n": 5})  # type: ignore
    await app.start(Run, {"order_id": "A-1"}, reuse="never")  # type: ignore
    await app.start(Run, {"order_id": "A-1"}, delay="1 h")  # type: ignore
    await Run.start({"order_id": "A-1"}, tags="n")  # type: ignore
    await app.count(limit=5)  # type: ignore
    await app.list(tags={"n": None})  # type: ignore


async def wrong_inputs(app: loom.Loom) -> None:
    await app.start(Steps, {"id": "A-1"})  # type: ignore
    await app.start(Run, 5)  # type: ignore
    await app.start(ModelSteps, "5")  # type: ignore
    await app.start(NoInput, 5)  # type: ignore
    await app.start(Steps, {"order_id": "A-1"}, on_conflict="maybe")  # type: ignore
    await Steps.start({"id": "A-1"})  # type: ignore
    await Run.start(5)  # type: ignore
    await ModelSteps.start("5")  # type: ignore


async def wrong_results(app: loom.Loom) -> None:
    handle: loom.WorkflowHandle[int] = await app.start(Run, {"order_id": "A-1"})  # type: ignore
    state: loom.WorkflowHandle[int] = await Steps.start({"order_id": "A-1"})  # type: ignore
    print(handle, state)


async def handles(handle: loom.WorkflowHandle[Receipt]) -> None:
    wider: loom.WorkflowHandle[object] = handle
    narrower: loom.WorkflowHandle[int] = handle  # type: ignore
    assert_type(await handle.status(), loom.RunStatus)
    assert_type(await handle.history(), list[loom.HistoryEvent])
    print(wider, narrower)


def decorators_keep_classes() -> None:
    assert_type(Steps(), Steps)
    assert_type(Run(), Run)
    given: OrderInput = {"order_id": "A-1"}
    print(given)


def wrong_definitions() -> None:
    @loom.workflow("Orders")  # type: ignore
    class ByPosition(loom.Workflow[None, None]): ...

    @loom.workflow(retries=3)  # type: ignore
    class Unknown(loom.Workflow[None, None]): ...
