"""``ctx``: time, chance, input and log lines are the same whenever the run is looked at."""

from __future__ import annotations

import asyncio
import copy
import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from loom.errors import LoomError
from loom.history.events import TimerStarted
from loom.identifiers import END_OF_TIME
from tests.engine_harness import EPOCH, Play, SimulatedRun
from tests.unit.workflows import Ctx, clean, workflow_of


@dataclass
class Order:
    id: str
    lines: list[str] = field(default_factory=list)


class Basket(BaseModel):
    lines: list[str] = []


def timers(run: SimulatedRun) -> list[TimerStarted]:
    return [event for event in run.commands if isinstance(event, TimerStarted)]


# --- time ---


def test_now_is_when_the_arrival_was_taken_and_stands_still(play: Play) -> None:
    async def code(ctx: Ctx) -> list[Any]:
        first = [ctx.now(), ctx.now()]
        await ctx.activity(clean)
        return [*first, ctx.now()]

    run = play(workflow_of(code))
    run.advance(2.5)
    run.complete("clean")
    start = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert run.result == [
        moment.isoformat().replace("+00:00", "Z")
        for moment in (start, start, start + timedelta(seconds=2.5))
    ]


def test_now_never_goes_back(play: Play) -> None:
    async def code(ctx: Ctx) -> bool:
        before = ctx.now()
        await ctx.activity(clean)
        return ctx.now() >= before

    run = play(workflow_of(code))
    run.now -= 10_000_000
    run.complete("clean")
    assert run.result is True


@pytest.mark.parametrize("delta", [90, 90.0, timedelta(minutes=1.5)])
def test_a_sleep_ends_when_its_time_has_passed(play: Play, delta: Any) -> None:
    async def code(ctx: Ctx) -> float:
        start = ctx.now()
        await ctx.sleep(delta)
        return (ctx.now() - start).total_seconds()

    run = play(workflow_of(code))
    run.advance(89)
    assert run.status.is_open
    run.advance(1)
    assert run.result == 90
    assert [timer.fire_at for timer in timers(run)] == [EPOCH + 90_000_000]


def test_a_sleep_until_a_moment_heeds_its_time_zone(play: Play) -> None:
    zone = timezone(timedelta(hours=5))

    async def code(ctx: Ctx) -> None:
        await ctx.sleep(until=ctx.now().astimezone(zone) + timedelta(hours=1))

    assert [timer.fire_at for timer in timers(play(workflow_of(code)))] == [EPOCH + 3_600_000_000]


@pytest.mark.parametrize("delta", [0, -5, timedelta(days=-1)])
def test_a_sleep_that_is_over_already_starts_no_timer(play: Play, delta: Any) -> None:
    async def code(ctx: Ctx) -> str:
        await ctx.sleep(delta)
        await ctx.sleep(until=datetime(1999, 1, 1, tzinfo=UTC))
        return "awake"

    run = play(workflow_of(code))
    assert run.result == "awake"
    assert timers(run) == []


@pytest.mark.parametrize("delta", [float("inf"), timedelta.max, 1e300])
def test_an_endless_sleep_lasts_as_long_as_a_datetime_can_tell(play: Play, delta: Any) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.sleep(delta)

    run = play(workflow_of(code))
    assert [timer.fire_at for timer in timers(run)] == [END_OF_TIME]
    assert datetime.fromtimestamp(0, UTC) + timedelta(microseconds=END_OF_TIME)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"until": datetime(2024, 1, 1)}, "needs a time zone"),
        ({}, "either a time to sleep or until="),
        ({"delta": 1, "until": datetime(2024, 1, 1, tzinfo=UTC)}, "and not both"),
        ({"delta": float("nan")}, "number of seconds, not nan"),
    ],
)
def test_a_sleep_that_makes_no_sense_fails_the_run(
    play: Play, arguments: dict[str, Any], problem: str
) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.sleep(**arguments)

    assert problem in play(workflow_of(code)).failure.message


# --- chance ---


def test_chance_gives_the_same_on_replay(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        await ctx.state.set("chance", [ctx.random.random(), str(ctx.uuid4())])
        await ctx.activity(clean)
        await ctx.state.set("more", ctx.random.randrange(10**9))

    run, other = play(workflow_of(code)), play(workflow_of(code))
    again = run.replay()
    assert again.random.getstate() == run.instance.random.getstate()
    again.unwind()
    run.complete("clean")
    other.complete("clean")
    assert run.history == other.history


def test_uuid4_makes_random_uuids(play: Play) -> None:
    async def code(ctx: Ctx) -> list[str]:
        return [str(ctx.uuid4()), str(ctx.uuid4())]

    first, second = map(UUID, play(workflow_of(code)).result)
    assert first != second
    assert (first.version, first.variant) == (4, UUID(int=0, version=4).variant)


# --- input ---


def refusal(change: Any) -> str:
    with pytest.raises(TypeError) as caught:
        change()
    return str(caught.value)


def test_an_input_of_plain_containers_refuses_to_change(play: Play) -> None:
    async def code(ctx: Ctx) -> list[str]:
        given = ctx.input
        return [
            refusal(lambda: given.update(a=1)),
            refusal(lambda: given.__setitem__("a", 1)),
            refusal(lambda: given["list"].append(1)),
            refusal(lambda: given["list"].sort()),
            refusal(lambda: given["deep"][0].pop("x")),
            refusal(lambda: given.__ior__({"a": 1})),
            refusal(lambda: given["list"].__iadd__([1])),
        ]

    run = play(workflow_of(code), {"list": [1], "deep": [{"x": 1}]})
    assert set(run.result) == {
        "A workflow's input cannot be changed. Keep what changes in ctx.state."
    }


def test_an_input_that_refuses_to_change_is_otherwise_an_ordinary_one(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        given = ctx.input
        assert isinstance(given, dict)
        assert isinstance(given["list"], list)
        assert given == {"list": [1, 2]}
        assert json.loads(json.dumps(given)) == given
        assert type(given | {"b": 1}) is dict
        assert type(given["list"] + [3]) is list
        copied = given.copy()
        copied["new"] = 1
        await ctx.state.set("kept", given)
        return given

    assert play(workflow_of(code), {"list": [1, 2]}).result == {"list": [1, 2]}


def test_a_deep_copy_of_the_input_is_free_to_change(play: Play) -> None:
    async def code(ctx: Ctx) -> Any:
        mine = copy.deepcopy(ctx.input)
        mine["list"].append(2)
        also_mine = copy.copy(ctx.input)
        also_mine["b"] = 1
        return [mine, ctx.input, type(mine["list"]) is list]

    assert play(workflow_of(code), {"list": [1]}).result == [{"list": [1, 2]}, {"list": [1]}, True]


@pytest.mark.parametrize("given", [Order("1"), Basket()])
def test_of_an_input_with_attributes_everybody_gets_a_copy(play: Play, given: Any) -> None:
    async def code(ctx: Ctx) -> Any:
        ctx.input.lines.append("x")
        return ctx.input.lines

    assert play(workflow_of(code, input_type=type(given)), given).result == []


@pytest.mark.parametrize("given", [None, 5, "text", b"bytes", (1, [2]), {"a": (1,)}])
def test_input_of_any_type_arrives(play: Play, given: Any) -> None:
    async def code(ctx: Ctx) -> str:
        return repr(ctx.input)

    declared = type(given) if not isinstance(given, dict) else dict[str, tuple[int]]
    assert play(workflow_of(code, input_type=declared), given).result == repr(given)


# --- the log ---


def test_lines_are_logged_once_however_often_the_run_is_replayed(
    play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    async def code(ctx: Ctx) -> None:
        ctx.logger.info("before %s", 1)
        await ctx.activity(clean)
        ctx.logger.warning("after: 100%")

    caplog.set_level(logging.DEBUG)
    run = play(workflow_of(code))
    run.instance.unwind()
    run.instance = run.replay()
    run.complete("clean")
    run.check_replay()
    assert [(line.position, line.level, line.message) for line in run.logs] == [
        (1, logging.INFO, "before 1"),
        (2, logging.WARNING, "after: 100%"),
    ]
    assert [record.getMessage() for record in caplog.records] == ["before 1", "after: 100%"]
    assert caplog.records[0].name == "loom.workflow"
    assert caplog.records[0].workflow_id == "the-workflow"  # type: ignore[attr-defined]


def test_an_exception_is_logged_with_its_traceback(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        try:
            raise ValueError("boom")
        except ValueError:
            ctx.logger.exception("it %s", "failed")

    [line] = play(workflow_of(code)).logs
    assert line.message.startswith("it failed\nTraceback")
    assert line.message.endswith("ValueError: boom\n")


def test_a_line_that_cannot_be_formatted_fails_nothing(play: Play) -> None:
    class Hostile:
        def __str__(self) -> str:
            raise RuntimeError("no")

    async def code(ctx: Ctx) -> None:
        ctx.logger.info("%d items", "x")
        ctx.logger.info(Hostile())
        await ctx.activity(clean)

    run = play(workflow_of(code))
    assert "could not be formatted: TypeError" in run.logs[0].message
    assert "could not be formatted: RuntimeError" in run.logs[1].message


def test_what_a_handler_does_stays_outside_of_the_run(play: Play) -> None:
    class Broken(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            raise LoomError("the filter is broken")

    async def code(ctx: Ctx) -> str:
        ctx.logger.error("line")
        return "done"

    broken = Broken()
    logger = logging.getLogger("loom.workflow")
    logger.addFilter(broken)
    try:
        assert play(workflow_of(code)).result == "done"
    finally:
        logger.removeFilter(broken)


def test_log_text_is_made_storable(play: Play) -> None:
    async def code(ctx: Ctx) -> None:
        ctx.logger.debug("nul \0 and \ud800")
        ctx.logger.log(5, "x" * 100_000)

    first, second = play(workflow_of(code)).logs
    assert first.message == "nul \\0 and \\ud800"
    assert len(second.message) < 10_000


def test_the_code_knows_whether_it_is_replayed(play: Play) -> None:
    seen = []

    async def code(ctx: Ctx) -> None:
        seen.append(ctx.is_replaying)
        await ctx.activity(clean)
        seen.append(ctx.is_replaying)

    run = play(workflow_of(code))
    run.instance.unwind()
    run.instance = run.replay()
    run.complete("clean")
    assert seen == [False, True, False]


def test_the_code_knows_its_run(play: Play) -> None:
    async def code(ctx: Ctx) -> list[str]:
        return [ctx.workflow_id, ctx.run_id]

    assert play(workflow_of(code)).result == ["the-workflow", "the-run"]
