"""The world outside of the programs: what activities do to it, and what it has seen of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, NoReturn

import loom
from tests.proof.records import RAISED, Execution, Outcome

HOUR: Final = timedelta(hours=1)

_SOON: Final = loom.RetryPolicy(maximum_attempts=4, initial_interval=timedelta(seconds=1))


@dataclass(slots=True)
class Handed:
    """A token that an attempt of an activity has given out, to be ended from outside."""

    serial: int
    activity_key: str
    attempt: int
    token: str
    number: int
    """What the activity was asked for."""
    is_refused: bool
    at: float
    told: list[tuple[str, Outcome]] = field(default_factory=list)
    """What was asked of it, and what came of that."""

    @property
    def answer(self) -> dict[str, int]:
        """What it is completed with."""
        return {"answer": self.number + 5, "of": self.serial}

    @property
    def refusal(self) -> str:
        """What it fails with."""
        return f"{self.number} is refused, by {self.serial}"


@dataclass
class World:
    """What activities did, by the key of their call: a repeated attempt changes nothing more."""

    done: dict[str, str] = field(default_factory=dict)
    executions: list[Execution] = field(default_factory=list)
    """Each that came to its end, in order."""
    handed: list[Handed] = field(default_factory=list)
    runs: dict[str, list[str]] = field(default_factory=dict)
    """The runs of each workflow id that have asked which they are, in order."""
    take_time: Callable[[], Awaitable[None]] = field(default=lambda: asyncio.sleep(0))
    """How long an activity takes that is a coroutine."""
    die: Callable[[], None] = field(default=lambda: None)
    """What deadly code does to the process that it runs in."""
    is_mended: Callable[[], bool] = field(default=lambda: True)
    """Whether code is as it should be."""
    hour: timedelta = HOUR
    """How long an hour is: where time is not skipped while others look for work, a short one."""

    def clear(self) -> None:
        self.done.clear()
        self.executions.clear()
        self.handed.clear()
        self.runs.clear()

    def do[T](self, what: str, result: T) -> T:
        self.done.setdefault(loom.activity_info().activity_key, what)
        self._note(result)
        return result

    def fail(self, message: str) -> NoReturn:
        self._note(RAISED)
        raise ValueError(message)

    def hand_out(self, number: int, *, is_refused: bool) -> NoReturn:
        info, now = loom.activity_info(), asyncio.get_running_loop().time()
        serial, token = len(self.handed), info.task_token
        key = info.activity_key
        self.handed.append(Handed(serial, key, info.attempt, token, number, is_refused, now))
        raise loom.CompleteLater

    def _note(self, returned: Any) -> None:
        info = loom.activity_info()
        self.executions.append(Execution(info.activity_key, info.attempt, returned))


WORLD = World()


@loom.activity
async def square(number: int) -> int:
    await WORLD.take_time()
    return WORLD.do(f"square {number}", number * number)


@loom.activity
def square_in_thread(number: int) -> int:
    return WORLD.do(f"square {number}", number * number)


@loom.activity(retry=_SOON)
async def flaky(number: int) -> int:
    await WORLD.take_time()
    if loom.activity_info().attempt == 1:
        WORLD.fail("not at the first try")
    return WORLD.do(f"flaky {number}", -number)


@loom.activity
async def fail(number: int) -> int:
    WORLD.fail(f"{number} is not wanted")


@loom.activity
async def undo(number: int) -> None:
    WORLD.do(f"undo {number}", None)


@loom.activity
async def lengthy(number: int) -> int:
    """Takes so long that a turn is written while it goes on, be it local."""
    await asyncio.sleep(0.6)
    return WORLD.do(f"lengthy {number}", number + 1)


@loom.activity(
    retry=loom.RetryPolicy(maximum_attempts=50, initial_interval=timedelta(seconds=0.2), backoff=1),
    heartbeat_timeout=timedelta(seconds=2),
)
async def in_steps(number: int) -> int:
    """Goes on from where the attempt before had come to."""
    for step in range(loom.activity_info().heartbeat_details(type=int) or 0, 3):
        await asyncio.sleep(0.1)
        loom.heartbeat(step + 1)
        if step == 1 and loom.activity_info().attempt == 1:
            WORLD.fail("not at the first try")
    return WORLD.do(f"in steps {number}", number + 2)


_PATIENT: Final = loom.RetryPolicy(
    maximum_attempts=1000, initial_interval=timedelta(seconds=0.1), backoff=1
)


@loom.activity(retry=_PATIENT, start_to_close_timeout=timedelta(seconds=2))
async def ask(number: int) -> dict[str, int]:
    """Begun here, and completed by somebody else; again, where that takes too long."""
    WORLD.hand_out(number, is_refused=False)


@loom.activity(retry=_PATIENT, start_to_close_timeout=timedelta(seconds=2))
async def ask_in_vain(number: int) -> dict[str, int]:
    WORLD.hand_out(number, is_refused=True)


@loom.activity
async def nth_run() -> int:
    """How many runs of this workflow id have asked before this one."""
    info = loom.activity_info()
    runs = WORLD.runs.setdefault(info.workflow_id, [])
    if info.run_id not in runs:
        runs.append(info.run_id)
    return WORLD.do("counted", runs.index(info.run_id))


@loom.activity(retry=_PATIENT)
async def fail_again(number: int) -> int:
    """However often it is tried."""
    WORLD.fail(f"{number} is not wanted")


@loom.activity
async def deadly() -> str:
    """Ends the process that it runs in."""
    WORLD.die()
    await asyncio.sleep(0)  # beyond which no dead process comes
    return WORLD.do("survived", "survived")


ACTIVITIES = (
    *(square, square_in_thread, flaky, fail, undo, lengthy, in_steps),
    *(ask, ask_in_vain, nth_run, fail_again, deadly),
)
