"""The story itself: a run, a worker killed in the middle, another one that takes over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import loom
from loom.cli.demo.example import Example
from loom.cli.demo.screen import Screen
from loom.cli.demo.worker_process import WorkerProcess
from loom.cli.exits import CommandError
from loom.identifiers import new_id

if TYPE_CHECKING:
    from examples.ingest.audit import Audit
    from examples.ingest.job import Job

type Run = loom.WorkflowHandle[object]

_LOOK_EVERY: Final = 0.1
_PATIENCE: Final = 60.0
"""After so many seconds without progress something is wrong."""


class Story:
    """One run of the ingest example on a database.

    Args:
        kill_at: how many files are done when the first worker is killed.
    """

    def __init__(self, example: Example, dsn: str, job: Job, screen: Screen, kill_at: int) -> None:
        # An id and a queue of its own, so that nothing else on the database has a part in it.
        self.workflow_id = self._queue = f"ingest-{new_id()[:8]}"
        self.screen = screen
        self.killed = 0
        """The process that was killed."""
        self._example = example
        self._dsn = dsn
        self._job = job
        self._kill_at = kill_at
        self._log = job.output / "workers.log"

    async def play(self) -> Audit:
        """Plays to the end; ``CommandError`` when it cannot."""
        workflow = self._example.module("workflow").Ingest
        with ExitStack() as stage:
            async with loom.Loom(self._dsn) as app:
                run = await app.start(workflow, self._job, id=self.workflow_id, queue=self._queue)
                self.screen.tell(f"run {self.workflow_id} started")
                await self._crash(self._worker(stage), run)
                await self._recover(self._worker(stage), run)
                info, history = await run.info(), await run.history()
        audit: Audit = self._example.module("audit").audit(self._job, info.run_id, history)
        return audit

    async def _crash(self, worker: WorkerProcess, run: Run) -> None:
        await self._watch(worker, run, lambda done: done >= self._kill_at)
        worker.kill()
        self.killed = worker.pid
        self.screen.tell(f"worker {worker.pid} killed with SIGKILL at {self._done():,} files")
        if not (await run.status()).is_open:
            raise CommandError(
                "the run was over before its worker could be killed; give it more files."
            )

    async def _recover(self, worker: WorkerProcess, run: Run) -> None:
        killed_at = time.time()
        ending = asyncio.ensure_future(run.result())
        try:
            await self._watch(worker, run, lambda _: ending.done())
            await ending
        finally:
            ending.cancel()
        self._note_takeover(worker.pid, killed_at)
        self.screen.tell("run completed")

    async def _watch(self, worker: WorkerProcess, run: Run, enough: Callable[[int], bool]) -> None:
        """Shows the progress until it is enough."""
        most, moved_at = -1, time.monotonic()
        while not enough(done := self._done()):
            worker.check()
            self.screen.progress(done)
            if done > most:
                most, moved_at = done, time.monotonic()
            elif time.monotonic() > moved_at + _PATIENCE:
                raise await self._stuck(run)
            await asyncio.sleep(_LOOK_EVERY)
        self.screen.progress(done)

    async def _stuck(self, run: Run) -> CommandError:
        info = await run.info()
        reason = f" ({info.blocked_reason})" if info.blocked_reason else ""
        return CommandError(
            f"no file was done for {_PATIENCE:.0f} s, and run {info.workflow_id} is "
            f"{info.status}{reason}; {self._log} tells what the worker has done."
        )

    def _worker(self, stage: ExitStack) -> WorkerProcess:
        worker = WorkerProcess(self._example, self._dsn, self._queue, self._log)
        stage.callback(worker.stop)
        self.screen.tell(f"worker {worker.pid} started")
        return worker

    def _note_takeover(self, pid: int, killed_at: float) -> None:
        """The takeover is told by the ledger: the first thing that the new worker did."""
        executions = self._example.module("ledger").read(self._job.ledger)
        first = next((each.started_at for each in executions if each.process == pid), None)
        if first is not None:
            waited = f"{first - killed_at:.1f} s after the kill"
            self.screen.note(f"worker {pid} took over, {waited}", first)

    def _done(self) -> int:
        return int(self._example.module("index").count(self._job.index))
