"""The command line as a user has it, in a folder with a module of workflows."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import IO, Any

from click.testing import CliRunner, Result

import loom
from loom.authoring.activity import is_activity
from loom.authoring.compiled import is_workflow
from loom.cli.main import cli

DEADLINE = 60.0

WORKFLOWS = """\
import asyncio
import time
from datetime import timedelta

import loom


@loom.activity
async def double(number: int) -> int:
    return number * 2


@loom.activity
async def refuse(what: str) -> None:
    raise ValueError(f"no {what} today")


@loom.activity
async def freeze() -> None:
    print("frozen", flush=True)
    time.sleep(60)


@loom.workflow(name="Double")
class Double(loom.Workflow[int, None]):
    async def run(self, ctx: loom.WorkflowContext[int, None]) -> int:
        ctx.logger.info("doubling %s", ctx.input)
        return await ctx.activity(double, ctx.input)


@loom.workflow(name="Refuse")
class Refuse(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> None:
        await ctx.activity(refuse, "milk")


@loom.workflow(name="Relay")
class Relay(loom.Workflow[bool, None]):
    async def run(self, ctx: loom.WorkflowContext[bool, None]) -> str:
        if ctx.input:
            ctx.continue_as_new(False)
        return await ctx.wait_for_signal("go", type=str)


@loom.workflow(name="Freeze")
class Freeze(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> None:
        await ctx.activity(freeze)


@loom.workflow(name="Wait", version="2")
class Wait(loom.Workflow[None, None]):
    async def run(self, ctx: loom.WorkflowContext[None, None]) -> str:
        return await ctx.wait_for_signal("go", type=str)


@loom.workflow(name="Talk")
class Talk(loom.Workflow[None, None]):
    def __init__(self) -> None:
        self.said: list[str] = []

    async def run(self, ctx: loom.WorkflowContext[None, None]) -> list[str]:
        await ctx.wait_until(lambda: "bye" in self.said)
        return self.said

    @loom.signal
    def say(self, text: str) -> None:
        self.said.append(text)

    @loom.query
    def last(self, count: int = 1) -> list[str]:
        return self.said[-count:]

    @loom.update
    async def shout(self, text: str, times: int = 1) -> str:
        self.said += [text.upper()] * times
        return self.said[-1]

    @shout.validator
    def check_shout(self, text: str, times: int = 1) -> None:
        if times > 9:
            raise ValueError("too loud")


BOTH = [Double, [double]]
NUMBER = 7
"""


class Shell:
    """A folder with the module ``shop`` in it, and a database."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.dsn = dsn
        self._started: list[subprocess.Popen[str]] = []
        (folder / "shop.py").write_text(WORKFLOWS)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "loom.cli", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"LOOM_DSN": self.dsn, "NO_COLOR": "1"}

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """A command that goes on in the background."""
        process = subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what a failed test has left behind."""
        for process in self._started:
            with process:
                process.kill()

    def run(self, *arguments: str, input: str = "", code: int = 0) -> Result:
        """A command run to its end, in this process, for speed.

        It must have ended with the exit code, and not by an unexpected exception.
        """
        done = CliRunner().invoke(cli, arguments, input=input, env={"LOOM_DSN": self.dsn})
        assert done.exit_code == code, (arguments, done.output, done.exception)
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done

    def run_apart(self, *arguments: str, code: int = 0) -> str:
        """What a command says on standard error, run to its end in a process of its own."""
        _, error = (process := self.start(*arguments)).communicate(timeout=DEADLINE)
        assert process.returncode == code, (arguments, error)
        assert "Traceback" not in error
        return error

    def json(self, *arguments: str) -> Any:
        """What a command says with ``--json``."""
        return json.loads(self.run(*arguments, "--json").stdout)

    @contextmanager
    def worker(self, module: str = "shop", *names: str) -> Iterator[None]:
        """A worker that serves the module, or some of it, on a thread: for speed."""
        served = self._definitions(module, names)
        stop = asyncio.Event()
        is_ready = threading.Event()

        async def serve() -> None:
            async with loom.Loom(self.dsn) as app, app.worker(**served):
                loops.append(asyncio.get_running_loop())
                is_ready.set()
                await stop.wait()

        loops: list[asyncio.AbstractEventLoop] = []
        with ThreadPoolExecutor(1) as pool:
            serving = pool.submit(asyncio.run, serve())
            serving.add_done_callback(lambda _: is_ready.set())
            is_ready.wait()
            try:
                yield
            finally:
                for loop in loops:
                    loop.call_soon_threadsafe(stop.set)
                serving.result()

    def _definitions(self, module: str, names: Sequence[str]) -> dict[str, Any]:
        """What a worker of the module serves. It is not found among Python's modules: each test
        has another of that name."""
        spec = spec_from_file_location(module, self.folder / f"{module}.py")
        assert spec is not None
        assert spec.loader is not None
        spec.loader.exec_module(loaded := module_from_spec(spec))
        found = [getattr(loaded, name) for name in names] or list(vars(loaded).values())
        return {
            "workflows": [each for each in found if is_workflow(each)],
            "activities": [each for each in found if is_activity(each)],
        }

    @contextmanager
    def worker_process(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """``loom worker``, ready; killed at the end, if it is still there."""
        process = self.start("worker", *arguments)
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert "serves the queue" in said, said
            yield process
        finally:
            process.kill()
            process.communicate()


def wait_until_told(told: IO[str] | None, what: str) -> None:
    """Returns when a line of what a process says has it."""
    assert told is not None
    for line in told:
        if what in line:
            return
    raise AssertionError(f"never told: {what}")


def wait_until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds; fails when it does not in time."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the awaited condition never held"
        time.sleep(0.02)
