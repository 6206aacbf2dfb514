"""Code that calls what would not be the same on replay halts its run, and is told what instead."""

from __future__ import annotations

import asyncio
import configparser
import contextlib
import datetime as dt
import gc
import importlib.util
import linecache
import logging
import multiprocessing.dummy
import os
import random
import sched
import secrets
import shelve
import socket
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
import zoneinfo
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest

import loom
from loom.authoring.forbidden import GuardMode
from loom.engine.call_watch import CallWatch
from loom.engine.guards import _warned
from loom.errors import NonDeterministicCallError
from loom.history.payloads import PayloadCodec, PayloadConverter
from tests.engine_harness import Play, SimulatedRun, replayed
from tests.unit.workflows import Ctx, add, clean, workflow_of

type Code = Callable[[Ctx], Awaitable[Any]]


def refusal(code: Code, guards: GuardMode = "error") -> str:
    """What a run is halted with; fails the test when it is not."""
    run = SimulatedRun(workflow_of(code), guards=guards)
    with pytest.raises(NonDeterministicCallError) as caught:
        run.start()
    assert run.history == []
    return str(caught.value)


CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "time.time": (lambda: time.time(), "ctx.now()"),
    "time.monotonic": (lambda: time.monotonic(), "ctx.now()"),
    "time.localtime": (lambda: time.localtime(), "ctx.now()"),
    "datetime.datetime.now": (lambda: dt.datetime.now(dt.UTC), "ctx.now()"),
    "datetime.date.today": (lambda: dt.date.today(), "ctx.now()"),
    "random.random": (lambda: random.random(), "ctx.random"),
    "random.randint": (lambda: random.randint(1, 6), "ctx.random"),
    "random.Random": (lambda: random.Random(), "ctx.random"),
    "os.urandom": (lambda: os.urandom(8), "ctx.random"),
    "secrets.token_hex": (lambda: secrets.token_hex(), "ctx.side_effect"),
    "secrets.choice": (lambda: secrets.choice("ab"), "ctx.random"),
    "uuid.uuid4": (lambda: uuid.uuid4(), "ctx.uuid4()"),
    "os.getenv": (lambda: os.getenv("HOME"), "ctx.side_effect"),
    "time.sleep": (lambda: time.sleep(0), "ctx.sleep"),
    "builtins.open": (lambda: open("/dev/null"), "activity"),  # noqa: SIM115
    "pathlib.Path.read_text": (lambda: Path("/dev/null").read_text(), "activity"),
    "sqlite3.connect": (lambda: sqlite3.connect(":memory:"), "activity"),
    "socket.socket": (lambda: socket.socket(), "activity"),
    "subprocess.run": (lambda: subprocess.run(["true"], check=True), "activity"),
    "os.getpid": (lambda: os.getpid(), "activity"),
    "threading.Thread": (lambda: threading.Thread(target=print).start(), "activity"),
    "concurrent.futures.ThreadPoolExecutor": (lambda: ThreadPoolExecutor(), "activity"),
    "asyncio.to_thread": (lambda: asyncio.to_thread(print), "activity"),
    "asyncio.new_event_loop": (lambda: asyncio.new_event_loop(), "workflow's own loop"),
    "asyncio.wait": (lambda: asyncio.wait({asyncio.gather()}), "loom.wait"),
    "asyncio.as_completed": (lambda: asyncio.as_completed(iter(())), "loom.as_completed"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_refused_with_its_place_and_what_to_use_instead(name: str) -> None:
    call, instead = CALLS[name]

    async def code(ctx: Ctx) -> None:
        call()

    told = refusal(code)
    assert f"called {name}(), which" in told
    assert f"at {__file__}:{call.__code__.co_firstlineno} in <lambda>: " in told
    assert instead in told
    assert "loom.unguarded()" in told


READS: dict[str, Callable[[], Any]] = {
    "item": lambda: os.environ["HOME"],
    "get": lambda: os.environ.get("HOME"),
    "in": lambda: "HOME" in os.environ,
    "loop": lambda: list(os.environ),
    "copy": lambda: dict(os.environ),
}


@pytest.mark.parametrize("how", READS)
def test_reading_the_environment_is_refused(how: str) -> None:
    read = READS[how]

    async def code(ctx: Ctx) -> None:
        read()

    told = refusal(code)
    assert "read os.environ, which reads the environment" in told
    assert f"at {__file__}:{read.__code__.co_firstlineno} in <lambda>: " in told
    assert "ctx.side_effect" in told


def test_the_environment_may_be_read_around_the_guards(play: Play) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        once = ctx.side_effect(lambda: os.environ["PATH"])
        with loom.unguarded():
            each_time = os.environ["PATH"]
        # A library's own reading.
        asyncio.coroutines._is_debug_mode()  # type: ignore[attr-defined]
        return [once, each_time]

    run = play(workflow_of(code))
    assert run.result == [os.environ["PATH"]] * 2
    run.check_replay()


def test_other_names_for_a_call_do_not_hide_it() -> None:
    moment = time.time

    async def code(ctx: Ctx) -> None:
        moment()

    assert "time.time()" in refusal(code)


def test_a_function_of_python_that_the_module_imports_by_name_is_seen() -> None:
    async def code(ctx: Ctx) -> None:
        uuid4()

    assert "uuid.uuid4()" in refusal(code)
    # Also the second time, and where it has been mentioned before.
    assert "uuid.uuid4()" in refusal(code)


def test_an_import_inside_the_code_does_not_hide_it() -> None:
    async def code(ctx: Ctx) -> None:
        import graphlib  # never loaded before
        from time import time_ns

        graphlib.TopologicalSorter()
        time_ns()

    sys.modules.pop("graphlib", None)
    assert "time.time_ns()" in refusal(code)


# --- however deep --------------------------------------------------------------------------------


WAYS = (
    *("a function", "a key", "a map", "a partial", "a generator", "a context manager", "a cache"),
    *("a constructor", "a method", "a property", "a class method", "a callable"),
    *("a dataclass's default", "a decorated function"),
)


@pytest.fixture
def clock_readers() -> Iterator[ModuleType]:
    path = Path(__file__).with_name("clock_readers.py")
    spec = importlib.util.spec_from_file_location(f"clock_readers_{uuid.uuid4().hex}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    assert tuple(module.WAYS) == WAYS
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize("how", WAYS)
def test_the_users_functions_that_the_code_calls_are_watched_too(
    clock_readers: ModuleType, how: str
) -> None:
    way = clock_readers.WAYS[how]

    async def code(ctx: Ctx) -> None:
        way()

    assert "called time.time()" in refusal(code)


def test_a_coroutine_in_a_task_of_its_own_is_watched() -> None:
    async def later() -> float:
        await asyncio.sleep(0)
        return time.time()

    async def code(ctx: Ctx) -> None:
        await asyncio.gather(later(), later())

    assert "called time.time()" in refusal(code)


def read() -> None:
    configparser.ConfigParser().read("/dev/null")


def test_a_library_that_reaches_outside_is_refused() -> None:
    async def code(ctx: Ctx) -> None:
        read()

    told = refusal(code, "strict")
    assert "called open('/dev/null'), which reads or changes what lies outside" in told
    assert f"at {__file__}:{read.__code__.co_firstlineno + 1} in read: " in told


def wait_with_a_library() -> None:
    scheduler = sched.scheduler(lambda: 0.0, time.sleep)
    scheduler.enter(60, 1, print)
    scheduler.run()


LIBRARIES: dict[str, tuple[Callable[[], Any], str]] = {
    "a thread": (lambda: multiprocessing.dummy.Process(target=print).start(), "Thread.start()"),
    "a socket": (lambda: socketserver.TCPServer(("localhost", 0), object), "socket.socket()"),  # type: ignore[arg-type]
    "a database": (lambda: shelve.open("/dev/null/x"), "open("),  # noqa: SIM115
}
if sys.version_info >= (3, 13):  # Python 3.12 has no event for it.
    LIBRARIES["a sleep"] = (lambda: wait_with_a_library(), "time.sleep()")


@pytest.mark.parametrize("what", LIBRARIES)
def test_what_libraries_do_on_the_codes_behalf_is_refused(what: str) -> None:
    call, named = LIBRARIES[what]

    async def code(ctx: Ctx) -> None:
        call()

    told = refusal(code, "strict")
    assert f"called {named}" in told.replace("threading.", "")
    assert f" in {call.__name__}: " in told or " in wait_with_a_library: " in told


def test_a_pool_that_has_its_threads_is_refused_too() -> None:
    async def code(ctx: Ctx) -> None:
        pool.submit(len, "x")

    with ThreadPoolExecutor() as pool:
        pool.submit(len, "x").result()
        assert "ThreadPoolExecutor.submit()" in refusal(code)


def test_a_loop_that_is_asked_for_a_thread_refuses_and_halts() -> None:
    async def code(ctx: Ctx) -> None:
        ask = asyncio.get_running_loop().run_in_executor
        await ask(None, print)

    assert "called loop.run_in_executor(), which runs code in a thread" in refusal(code)


def test_what_belongs_to_another_loop_cannot_be_awaited() -> None:
    host = asyncio.new_event_loop()
    foreign = host.create_future()

    async def code(ctx: Ctx) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(waits())

    async def waits() -> None:
        await foreign

    try:
        told = refusal(code)
    finally:
        host.close()
    assert "awaited what belongs to another event loop" in told
    assert f"at {__file__}:{waits.__code__.co_firstlineno + 1} in " in told


# --- what is allowed -----------------------------------------------------------------------------

FINE: dict[str, Callable[[], Any]] = {
    "a seeded generator": lambda: random.Random(7).randint(1, 6),
    "a moment": lambda: dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
    "a time that is given": lambda: time.localtime(0),
    "an id by name": lambda: uuid.uuid5(uuid.NAMESPACE_DNS, "x"),
    "a path": lambda: Path("a") / "b",
    "a time zone": lambda: zoneinfo.ZoneInfo.no_cache("Europe/Paris"),
    "a log line": lambda: logging.getLogger("shop").warning("made at %s", 1),
    "printing": lambda: print("x"),
}


@pytest.mark.parametrize("what", FINE)
def test_what_is_the_same_on_replay_is_allowed(play: Play, what: str) -> None:
    async def code(ctx: Ctx) -> str:
        FINE[what]()
        return "fine"

    assert play(workflow_of(code), guards="strict").result == "fine"


def test_importing_and_the_source_of_tracebacks_are_allowed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, play: Play
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "freshly_made.py").write_text("import colorsys\nVALUE = 7\n")

    async def code(ctx: Ctx) -> int:
        import traceback

        import freshly_made  # type: ignore[import-not-found]

        linecache.clearcache()
        traceback.format_stack()
        return int(freshly_made.VALUE)

    run = play(workflow_of(code), guards="strict")
    assert run.result == 7
    del sys.modules["freshly_made"]


def test_wait_and_as_completed_are_fine_with_tasks(play: Play) -> None:
    async def code(ctx: Ctx) -> int:
        tasks = [asyncio.create_task(ctx.sleep(n)) for n in range(3)]
        done, _ = await asyncio.wait(tasks)
        for each in asyncio.as_completed(tasks):
            await each
        return len(done)

    run = play(workflow_of(code))
    run.advance(9)
    assert run.result == 3


def test_a_block_without_guards_may_do_anything_and_other_tasks_may_not(play: Play) -> None:
    async def code(ctx: Ctx) -> bool:
        with loom.unguarded():
            await ctx.sleep(1)
            return time.time() > 0

    run = play(workflow_of(code))
    run.advance(1)
    assert run.result is True

    async def other(ctx: Ctx) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(code(ctx))
            group.create_task(clocked())

    async def clocked() -> None:
        time.time()

    assert "called time.time()" in refusal(other)


def test_side_effects_conditions_and_payloads(play: Play, tmp_path: Path) -> None:
    class Noting(PayloadCodec):
        name = "noting"

        def encode(self, data: bytes) -> bytes:
            (tmp_path / "note").write_text(str(time.time()))
            return data

        def decode(self, data: bytes) -> bytes:
            (tmp_path / "note").read_text()
            return data

    async def code(ctx: Ctx) -> float:
        await ctx.activity(add, 1)
        return float(ctx.side_effect(time.time))

    run = SimulatedRun(workflow_of(code), PayloadConverter([Noting()]), guards="strict").start()
    run.complete("add", 1)
    assert run.result > 0
    run.check_replay()

    async def waits(ctx: Ctx) -> None:
        await ctx.wait_until(lambda: time.time() > 0)

    assert "called time.time()" in refusal(waits)


def test_an_activity_may_share_functions_with_a_workflow(play: Play) -> None:
    def shared(now: Callable[[], float]) -> float:
        return now()

    async def code(ctx: Ctx) -> float:
        return shared(lambda: 7)

    assert play(workflow_of(code)).result == 7
    assert shared(time.time) > 0


def test_finalizers_are_not_the_codes_doing(play: Play, tmp_path: Path) -> None:
    class Leaving:
        def __del__(self) -> None:
            (tmp_path / "left").write_text("x")

    async def code(ctx: Ctx) -> str:
        leaving = Leaving()
        circle: list[Any] = [leaving]
        circle.append(circle)
        del leaving, circle
        gc.collect()
        return "collected"

    assert play(workflow_of(code), guards="strict").result == "collected"


# --- what comes of it ----------------------------------------------------------------------------


def test_code_cannot_swallow_the_refusal() -> None:
    async def code(ctx: Ctx) -> str:
        with contextlib.suppress(BaseException):
            time.time()
        with contextlib.suppress(BaseException):
            uuid.uuid4()
        return "swallowed"

    # The first one counts.
    assert "called time.time()" in refusal(code)


def test_a_run_is_refused_on_replay_too(play: Play) -> None:
    async def before(ctx: Ctx) -> None:
        await ctx.activity(clean)

    async def after(ctx: Ctx) -> None:
        time.time()
        await ctx.activity(clean)

    run = play(workflow_of(before))
    with pytest.raises(NonDeterministicCallError):
        replayed(workflow_of(after), run.history)


def test_guards_may_warn_once_a_place_and_let_it_happen(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    _warned.clear()

    async def code(ctx: Ctx) -> int:
        for _ in range(3):
            time.time()
        return 1

    with caplog.at_level(logging.WARNING):
        assert play(workflow_of(code), guards="warn").result == 1
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "workflow the-workflow: The workflow's code called time.time()" in record.message


def test_guards_may_be_off(play: Play) -> None:
    async def code(ctx: Ctx) -> int:
        time.time()
        return 1

    assert play(workflow_of(code), guards="off").result == 1


def test_without_a_free_tool_it_is_said_once_and_done_without(
    caplog: pytest.LogCaptureFixture,
) -> None:
    taken = [tool for tool in (3, 4) if sys.monitoring.get_tool(tool) is None]
    for tool in taken:
        sys.monitoring.use_tool_id(tool, "somebody else")
    try:
        watch = CallWatch()
        watch.watch(workflow_of(helper_code))
    finally:
        for tool in taken:
            sys.monitoring.free_tool_id(tool)
    (record,) = caplog.records
    assert "both free ids of sys.monitoring are taken" in record.message


async def helper_code(ctx: Ctx) -> float:
    return time.time()
