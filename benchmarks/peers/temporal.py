"""temporalio's ``Replayer``, which needs no server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from benchmarks.peers.temporal_history import events
from benchmarks.records import Case
from benchmarks.subjects.session import Session


@activity.defn
async def double(number: int) -> int:
    return 2 * number


def _doubled(number: int) -> Awaitable[int]:
    return workflow.execute_activity(double, number, start_to_close_timeout=timedelta(minutes=1))


@workflow.defn
class Sequential:
    @workflow.run
    async def run(self, n: int) -> int:
        return sum([await _doubled(number) for number in range(n)])


@workflow.defn
class Parallel:
    @workflow.run
    async def run(self, n: int) -> int:
        return sum(await asyncio.gather(*[_doubled(number) for number in range(n)]))


class TemporalSession(Session):
    packages = ("temporalio", "protobuf")

    async def ask(self, query: str) -> Any:
        raise AssertionError("there is no database")

    async def history_to_replay(self, kind: str, n: int) -> Callable[[], Awaitable[None]]:
        history = WorkflowHistory("workflow", events(kind, n))
        # Without its sandbox, which takes longer.
        replayer = Replayer(
            workflows=[Sequential, Parallel], workflow_runner=UnsandboxedWorkflowRunner()
        )

        async def replay() -> None:
            await replayer.replay_workflow(history)

        return replay


@asynccontextmanager
async def open_session(dsn: str, case: Case) -> AsyncIterator[Session]:
    yield TemporalSession()
