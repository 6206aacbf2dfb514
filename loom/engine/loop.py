"""The deterministic event loop: asyncio's own tasks and futures, in a world without time or I/O.

The rules:

1. Callbacks run in the order in which they were scheduled, and ``run_until_quiescent`` runs them
   until none is left and ``when_idle`` brings about no more. Nothing else ever runs the workflow's
   code.
2. ``time()`` stands still while callbacks run; it is the stamp of the arrival being handled.
3. A timer is a command: ``call_at`` asks ``TimerService`` for a durable one, and cancelling the
   handle cancels that.
4. What has no deterministic meaning (threads, sockets, signals, subprocesses) is refused with an
   error that says what to use instead.
5. Tasks are held by strong references: garbage collection must never resume or end a coroutine.
6. Tasks have hashes that are the same on every replay: asyncio keeps them in sets, and a
   ``TaskGroup`` cancels its tasks in the order of one.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import sys
import zlib
from asyncio import events, tasks
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, NoReturn, Protocol

from loom.errors import LoomError, StopReplay
from loom.identifiers import END_OF_TIME, MICROS_PER_SECOND, Micros, RunId

MAX_CALLBACKS: Final = 1_000_000
"""Callbacks in one turn after which the code counts as spinning rather than waiting."""


class TimerService(Protocol):
    """Durable timers, as the loop needs them."""

    def start_timer(self, fire_at: Micros, callback: Callable[[], None]) -> int: ...

    def cancel_timer(self, timer_id: int) -> None: ...


class _Refusing(TimerService):
    """Stands in for what would come of a change, where only a look is allowed."""

    def __init__(self, refuse: Callable[[], None]) -> None:
        self._refuse = refuse

    def append(self, handle: asyncio.Handle) -> None:
        self._refuse()

    def start_timer(self, fire_at: Micros, callback: Callable[[], None]) -> int:
        self._refuse()
        return 0

    def cancel_timer(self, timer_id: int) -> None:
        self._refuse()


class LoopGuard(Protocol):
    """Who is told when the loop is asked for what it refuses; it may halt the run for it."""

    def on_loop_method(self, method: str, frame: FrameType) -> None: ...


class _NoTimers(TimerService):
    """What a loop has left when it is unwound: nothing that is asked for will come about."""

    def start_timer(self, fire_at: Micros, callback: Callable[[], None]) -> int:
        return 0

    def cancel_timer(self, timer_id: int) -> None:
        return


def _nothing() -> None:
    return


class DurableTimerHandle(asyncio.TimerHandle):
    """A timer handle that knows its durable timer."""

    __slots__ = ("timer_id",)

    timer_id: int


class WorkflowTask(asyncio.Task[Any]):
    """A task whose hash is its number in the run, rather than its place in memory."""

    __slots__ = ("_number",)

    def __init__(self, coro: Any, *, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self._number


class DeterministicLoop(asyncio.AbstractEventLoop):
    """An event loop for the coroutines of one run."""

    def __init__(self, timers: TimerService, run_id: RunId) -> None:
        self.now: Micros = 0
        self.halted = False
        """Set to stop between two callbacks, for good."""
        self.when_idle: Callable[[], None] = _nothing
        """Called whenever no callback is left."""
        self.guard: LoopGuard | None = None
        """The guard of the code that runs on this loop."""
        self._timers: TimerService = timers
        self._ready: deque[asyncio.Handle] = deque()
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._async_generators: list[Any] = []
        # Empty, so that no context variable of the host leaks into the workflow.
        self._context = contextvars.Context()
        self._task_count = 0
        # Tasks of all runs meet in one set of asyncio's, so that they should differ in their
        # hashes. Within a run they grow from 1 in their lower bits, which orders smaller sets.
        self._first_hash = zlib.crc32(run_id.encode()) << 16

    def run_until_quiescent(self) -> None:
        """Run callbacks until none is left, or until the loop is halted."""
        ready = self._ready
        with _Running(self):
            for _ in range(MAX_CALLBACKS):
                if not ready and not self.halted:
                    self._idle()
                if not ready or self.halted:
                    return
                _run(ready.popleft())
        raise LoomError(
            f"The workflow's code ran {MAX_CALLBACKS:,} callbacks without waiting for anything: it "
            "is spinning, for example in a loop around `await asyncio.sleep(0)`."
        )

    def unwind(self) -> None:
        """End every coroutine where it stands with ``StopReplay``; nothing they do counts."""
        self.halted = True
        if self._tasks or self._async_generators:
            self._unwind_all()
        self._ready.clear()
        # The run refers to its loop: without the way back both are freed when they are let go.
        self._timers = _NoTimers()
        self.when_idle = _nothing
        self.guard = None

    def _unwind_all(self) -> None:
        with _Running(self):
            # One by one, since code that is being unwound may start more.
            while self._tasks:
                task = next(iter(self._tasks))
                del self._tasks[task]
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                # In its own context, or what it resets on its way out would be the host's.
                task.get_context().run(_unwind, task.get_coro())
                _let_go(task)
            for generator in self._async_generators:
                self._context.run(_unwind, generator.athrow(StopReplay()))
        self._async_generators.clear()

    def _idle(self) -> None:
        try:
            self.when_idle()
        except StopReplay:  # of a loop that has been halted meanwhile
            return

    @contextmanager
    def frozen(self, refuse: Callable[[], None]) -> Iterator[None]:
        """Let the block look at what the tasks made, without a running loop and without adding to
        what is to be done: ``refuse`` is called, and raises, where it would be added."""
        ready, timers, count = self._ready, self._timers, self._task_count
        refusing: Any = _Refusing(refuse)
        self._ready = self._timers = refusing
        try:
            with _Running(self):
                events._set_running_loop(None)
                yield
        finally:
            self._ready, self._timers, self._task_count = ready, timers, count

    # --- what asyncio asks of a loop ---

    def time(self) -> float:
        return self.now / MICROS_PER_SECOND

    def call_soon[*Ts](
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later[*Ts](
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at[*Ts](
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = DurableTimerHandle(when, callback, args, self, context)
        fire_at = round(min(max(when * MICROS_PER_SECOND, 0), END_OF_TIME))
        handle.timer_id = self._timers.start_timer(fire_at, lambda: self._ready.append(handle))
        return handle

    def _timer_handle_cancelled(self, handle: DurableTimerHandle) -> None:
        self._timers.cancel_timer(handle.timer_id)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: object = None, **options: Any) -> asyncio.Task[Any]:
        self._task_count += 1
        name = f"workflow-task-{self._task_count}" if name is None else str(name)
        number = self._first_hash + self._task_count
        task = WorkflowTask(coro, number=number, loop=self, name=name, **options)
        self._tasks[task] = None
        task.add_done_callback(self._forget, context=self._context)
        return task

    def start(self, coro: Any) -> asyncio.Task[Any]:
        """Create the run's first task, in the run's own empty context."""
        return self.create_task(coro, context=self._context)

    @property
    def coroutines(self) -> list[Any]:
        """Those that have not ended, in the order in which they were started."""
        return [task.get_coro() for task in self._tasks]

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def _hold(self, generator: Any) -> None:
        generators = self._async_generators
        generators.append(generator)
        # Finished ones are let go whenever the list has doubled.
        if len(generators).bit_count() == 1:
            generators[:] = [g for g in generators if g.ag_frame is not None]

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Drop what asyncio has to say of tasks that nobody awaited: it depends on when garbage is
        collected, so it can be no part of a run."""

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.call_exception_handler(context)


class _Running:
    """While it is entered, a loop is the thread's running one, in place of the host's."""

    # Not made of a generator, which would cost half as much again as a turn's callbacks.
    __slots__ = ("_hooks", "_host", "_host_task", "_loop")

    def __init__(self, loop: DeterministicLoop) -> None:
        self._loop = loop

    def __enter__(self) -> None:
        self._host = host = events._get_running_loop()
        # There is none in a plain callback of the host's, as where lost leases are told.
        self._host_task = tasks.current_task(host) if host else None
        if self._host_task is not None:
            tasks._swap_current_task(host, None)  # type: ignore[attr-defined]
        self._hooks = sys.get_asyncgen_hooks()
        # The host's hooks would finish the workflow's async generators on the host's loop.
        sys.set_asyncgen_hooks(firstiter=self._loop._hold, finalizer=None)
        events._set_running_loop(self._loop)

    def __exit__(self, *error: object) -> None:
        events._set_running_loop(self._host)
        sys.set_asyncgen_hooks(*self._hooks)
        if self._host_task is not None:
            tasks._swap_current_task(self._host, self._host_task)  # type: ignore[attr-defined]


def _refusal(method: str) -> Callable[..., NoReturn]:
    def refuse(self: DeterministicLoop, *args: Any, **options: Any) -> NoReturn:
        if self.guard is not None:
            self.guard.on_loop_method(method, sys._getframe(1))
        raise LoomError(
            f"loop.{method}() has no meaning inside a workflow, which must be deterministic: no "
            "threads, no sockets, no processes, no signals of the system. Do it in an activity; "
            "one that is a plain function runs in a thread."
        )

    return refuse


for _method in vars(asyncio.AbstractEventLoop):
    if not _method.startswith("_") and _method not in vars(DeterministicLoop):
        setattr(DeterministicLoop, _method, _refusal(_method))


def _run(handle: asyncio.Handle) -> None:
    if handle.cancelled():
        return
    try:
        handle._run()
    except SystemExit:
        # Kept by the task that raised it: `sys.exit()` fails a workflow, it does not end a worker.
        return


# Each `finally` that awaits something takes one more.
_UNWIND_ATTEMPTS: Final = 100

_never_ending: Final[list[Any]] = []
"""Coroutines that swallow whatever is thrown at them, kept so that nothing ever resumes them."""


def _let_go(task: asyncio.Task[Any]) -> None:
    """Undo the circles of a task that will never be done: it and what it waits for refer to one
    another, and a task of a group or of ``gather`` to whoever waits for all of them."""
    waiter: Any = task._fut_waiter  # type: ignore[attr-defined]
    for future in (task, waiter, *getattr(waiter, "_children", ())):
        for callback, _ in getattr(future, "_callbacks", None) or ():
            future.remove_done_callback(callback)


def _unwind(coroutine: Any) -> None:
    for _ in range(_UNWIND_ATTEMPTS):
        try:
            coroutine.throw(StopReplay())
        except BaseException:
            return
    _never_ending.append(coroutine)
    # Held past the end of the interpreter, too, which else would wait for it for ever.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(coroutine))
