"""Activities for processes under the environment for tests: they run in threads of the test."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import loom
from loom.testing import WorkflowEnvironment
from tests.acceptance import process_activities as activities

type Context = loom.WorkflowContext[Any, Any]


@loom.workflow
class Reporting(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> list[Any]:
        first = await ctx.activity(activities.report, ctx.input, upper=True)
        await ctx.sleep(timedelta(days=30))
        second = await ctx.activity(activities.report, "again")
        return [first.process, first.parts, second.parts]


@loom.workflow
class Counting(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> int:
        return await ctx.activity(activities.count, ctx.input)


@loom.workflow
class Failing(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> list[Any]:
        try:
            await ctx.activity(activities.raise_what, ctx.input)
        except loom.ActivityFailedError as error:
            return [error.cause_type.rpartition(".")[2], error.details]
        return []


@loom.workflow
class Telling(loom.Workflow[None, Any]):
    async def run(self, ctx: loom.WorkflowContext[None, Any]) -> list[Any]:
        return await ctx.activity(activities.tell)


WORKFLOWS = [Reporting, Counting, Failing, Telling]
ACTIVITIES = [activities.report, activities.count, activities.raise_what, activities.tell]


def environment(dsn: str, **options: Any) -> WorkflowEnvironment:
    mocked = options.get("mocks", {})
    rest = [activity for activity in ACTIVITIES if activity not in mocked]
    return WorkflowEnvironment(dsn=dsn, workflows=WORKFLOWS, activities=rest, **options)


async def test_they_run_in_the_tests_own_process_and_are_noted(any_dsn: str) -> None:
    async with environment(any_dsn) as env:
        began = env.now
        handle = await env.start(Reporting, "a b")
        assert await handle.result() == [os.getpid(), ["A", "B"], ["again"]]
        assert env.now - began == timedelta(days=30)
        calls = [call.arguments for call in env.calls(activities.report)]
        assert calls == [{"text": "a b", "upper": True}, {"text": "again"}]


async def test_they_may_be_mocked_like_any_other(any_dsn: str) -> None:
    mocks: Any = {activities.report: activities.Report(7, ["mocked"])}
    async with environment(any_dsn, mocks=mocks) as env:
        handle = await env.start(Reporting, "a")
        assert await handle.result() == [7, ["mocked"], ["mocked"]]


async def test_what_they_say_of_their_progress_reaches_the_next_attempt(
    any_dsn: str, tmp_path: Path
) -> None:
    async with environment(any_dsn) as env:
        handle = await env.start(Counting, str(tmp_path / "begun"))
        assert await handle.result() == 10
        assert [call.info.attempt for call in env.calls(activities.count)] == [1, 2]


async def test_their_errors_are_told_as_from_a_process(any_dsn: str) -> None:
    async with environment(any_dsn) as env:
        assert await (await env.start(Failing, "error")).result() == ["ActivityError", {"code": 7}]
        assert await (await env.start(Failing, "unsendable")).result() == ["Unsendable", None]


async def test_they_know_which_attempt_they_are(any_dsn: str) -> None:
    async with environment(any_dsn) as env:
        handle = await env.start(Telling)
        assert await handle.result() == ["tell", 1, handle.workflow_id, False, True]
