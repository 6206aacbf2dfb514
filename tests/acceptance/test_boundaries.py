"""What cannot be meant is refused with Loom's own error, before anything is written, and the same
on every store."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date, datetime, timedelta, timezone, tzinfo
from functools import partial
from typing import Any

import pytest

import loom

type Context = loom.WorkflowContext[Any, Any]


@loom.workflow
class Order(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> Any:
        return await ctx.wait_for_signal("end")

    @loom.signal
    def add(self, item: int) -> None: ...

    @loom.update
    def count(self, item: int) -> int:
        return item

    @loom.query
    def total(self, item: int = 0) -> int:
        return item


@loom.activity
async def charge() -> None: ...


class Nowhere(tzinfo):
    """A time zone that does not know its offset."""

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        return None

    def dst(self, moment: datetime | None) -> timedelta | None:
        return None

    def tzname(self, moment: datetime | None) -> str | None:
        return None


class Scene:
    """An open application with a run that nobody works on, and one that has ended."""

    def __init__(
        self, app: loom.Loom, run: loom.WorkflowHandle[Any], ended: loom.WorkflowHandle[Any]
    ) -> None:
        self.app = app
        self.run = run
        self.ended = ended


@pytest.fixture
async def scene(app: loom.Loom) -> AsyncIterator[Scene]:
    ended = await app.start(Order, id="ended")
    await ended.terminate()
    scene = Scene(app, await app.start(Order, id="order"), ended)
    before = await app.list(), await app.handle("order").history()
    yield scene
    assert (await app.list(), await app.handle("order").history()) == before


async def refused(error: type[Exception], match: str, asked: Callable[[], Any]) -> None:
    with pytest.raises(error, match=match):
        await answered(asked)


async def answered(asked: Callable[[], Any]) -> Any:
    answer = asked()
    if isinstance(answer, AsyncIterator):
        return [each async for each in answer]
    return await answer if isinstance(answer, Awaitable) else answer


# --- ids and names -------------------------------------------------------------------------------

NO_IDS = [5, True, b"a", ["a"], "", "a\0b", "a\nb", "\ud800", "x" * 256]

TAKES_AN_ID: dict[str, Callable[[Scene, Any], Any]] = {
    "handle": lambda s, bad: s.app.handle(bad),
    "handle run_id": lambda s, bad: s.app.handle("order", run_id=bad),
    "update_handle": lambda s, bad: s.run.update_handle(bad),
    "with_request_id": lambda s, bad: s.run.with_request_id(bad),
    "signal": lambda s, bad: s.run.signal("add", 1, request_id=bad),
    "update": lambda s, bad: s.run.update("count", 1, request_id=bad),
    "start id": lambda s, bad: s.app.start(Order, id=bad),
    "start queue": lambda s, bad: s.app.start(Order, queue=bad),
    "start version": lambda s, bad: s.app.start("Order", version=bad),
    "start key": lambda s, bad: s.app.start(Order, idempotency_key=bad),
    "start with signal": lambda s, bad: s.app.start_with_signal(
        Order, 1, Order.add, 1, id="new", request_id=bad
    ),
    "list id": lambda s, bad: s.app.list(id=bad),
    "list name": lambda s, bad: s.app.list(name=bad),
    "list queue": lambda s, bad: s.app.list(queue=bad),
    "list version": lambda s, bad: s.app.list(version=bad),
    "count": lambda s, bad: s.app.count(id=bad),
    "histories": lambda s, bad: s.app.histories(name=bad),
    "check name": lambda s, bad: s.app.check([Order], name=bad),
    "check queue": lambda s, bad: s.app.check([Order], queue=bad),
    "worker": lambda s, bad: s.app.worker(workflows=[Order], queue=bad),
}


async def test_what_can_be_no_id_is_refused(scene: Scene) -> None:
    for ask in TAKES_AN_ID.values():
        for bad in NO_IDS:
            await refused(loom.PayloadError, "^The ", partial(ask, scene, bad))
    for bad in NO_IDS:
        if bad != "":
            await refused(loom.PayloadError, "^The beg", partial(scene.app.list, id_prefix=bad))


async def test_what_can_be_no_name_of_a_message_is_refused(scene: Scene) -> None:
    for bad in ["", "a\0b", "\ud800", "x" * 256]:
        for send in (scene.run.signal, scene.run.update, scene.run.query):
            await refused(loom.PayloadError, "^The ", lambda send=send, bad=bad: send(bad))  # type: ignore[misc]


async def test_a_long_id_is_not_repeated_at_length(scene: Scene) -> None:
    with pytest.raises(loom.PayloadError) as refusal:
        scene.app.handle("x" * 100_000)
    assert len(str(refusal.value)) < 200


# --- lists ---------------------------------------------------------------------------------------


async def test_a_limit_and_a_sample_are_numbers_that_can_be_meant(scene: Scene) -> None:
    wrong: list[Any] = [-1, 2**31, 2**63, 2**70, 1.5, True, "5", "", None, b"5", [5]]
    for bad in [0, *wrong]:
        limited = partial(scene.app.list, limit=bad)
        await refused(loom.ConfigurationError, "^limit=.* from 1 to 1000000", limited)
    for bad in wrong:
        sampled = partial(scene.app.check, [Order], sample=bad)
        await refused(loom.ConfigurationError, "^sample=.* from 0 to 1000000", sampled)


async def test_a_filter_that_cannot_be_meant_is_refused(scene: Scene) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "^open='yes' must be True, False or None": {"open": "yes"},
        "^open=1 must": {"open": 1},
        "no status 5; there are: RUNNING": {"status": 5},
        "no status 'asleep'": {"status": "asleep"},
        "^started_after='2026-05-01' is no moment": {"started_after": "2026-05-01"},
        "^started_before=.* is no moment": {"started_before": date(2026, 5, 1)},
        "^closed_after=.* needs a time zone": {"closed_after": datetime(2026, 5, 1)},
        "^closed_before=.* needs": {"closed_before": datetime(2026, 5, 1, tzinfo=Nowhere())},
    }
    for match, filters in wrong.items():
        await refused(loom.ConfigurationError, match, partial(scene.app.list, **filters))
        await refused(loom.ConfigurationError, match, partial(scene.app.count, **filters))


async def test_a_page_follows_a_run_of_the_one_before(scene: Scene) -> None:
    wrong: list[Any] = [5, "order", ""]
    for bad in wrong:
        paged = partial(scene.app.list, before=bad)
        await refused(loom.ConfigurationError, "^before=", paged)


async def test_an_unknown_filter_is_named(scene: Scene) -> None:
    wrong: dict[str, Any] = {"stauts": "FAILED"}
    await refused(
        TypeError,
        r"^count\(\) takes no 'stauts'; it takes: status",
        lambda: scene.app.count(**wrong),
    )


# --- tags, moments, other options ----------------------------------------------------------------


async def test_what_can_be_no_tags_is_refused(scene: Scene) -> None:
    wrong: list[Any] = ["a", "", 5, b"a", ["a"], [("a", 1)], {5: 1}, {"": 1}, {"a": None}]
    for bad in [*wrong, {"a": ["b"]}, {"a": "b\0c"}, {"a": datetime(2026, 5, 1, tzinfo=Nowhere())}]:
        await refused(loom.PayloadError, "[tT]ag", partial(scene.app.start, Order, tags=bad))
        await refused(loom.PayloadError, "[tT]ag", partial(scene.app.list, tags=bad))


async def test_a_start_at_what_is_no_moment_is_refused(scene: Scene) -> None:
    wrong: list[Any] = ["2026-05-01", date(2026, 5, 1), 5, datetime(2026, 5, 1)]
    for bad in [*wrong, datetime(2026, 5, 1, tzinfo=Nowhere())]:
        started = partial(scene.app.start, Order, start_at=bad)
        await refused(loom.ConfigurationError, "^start_at=.* time zone", started)


async def test_the_ends_of_time_are_moments(app: loom.Loom) -> None:
    last = datetime.max.replace(tzinfo=timezone(timedelta(hours=-12)))
    first = datetime.min.replace(tzinfo=timezone(timedelta(hours=12)))
    assert (await (await app.start(Order, id="late", start_at=last)).info()).start_at is not None
    assert (await (await app.start(Order, id="now", start_at=first)).info()).start_at is None
    assert await app.count(started_after=last) == 0
    assert await app.count(started_after=first) == 2


async def test_an_option_that_there_is_not_is_refused(scene: Scene) -> None:
    wrong: dict[str, dict[str, Any]] = {
        "no on_conflict='sometimes'; there are: use_existing": {"on_conflict": "sometimes"},
        "no on_conflict=None": {"on_conflict": None},
        "no reuse=": {"reuse": ["allow"]},
        "^retry=3 is no RetryPolicy": {"retry": 3},
    }
    for match, options in wrong.items():
        await refused(loom.ConfigurationError, match, partial(scene.app.start, Order, **options))


async def test_an_unknown_option_of_a_start_with_a_signal_is_named(scene: Scene) -> None:
    wrong: dict[str, Any] = {"idd": "x"}
    await refused(
        TypeError,
        r"^start_with_signal\(\) takes no 'idd'; it takes: id, ",
        lambda: scene.app.start_with_signal(Order, 1, Order.add, 1, **wrong),
    )
    other: dict[str, Any] = {"version": "2"}
    await refused(
        loom.DefinitionError,
        "is version '1'",
        lambda: scene.app.start_with_signal(Order, 1, Order.add, 1, **other),
    )


# --- signals, queries and updates ----------------------------------------------------------------


async def test_a_request_id_beside_a_method_is_told_where_it_goes(scene: Scene) -> None:
    run: Any = scene.run
    for send, method in ((run.signal, Order.add), (run.update, Order.count)):
        await refused(
            loom.PayloadError,
            r"handle\.with_request_id\(\.\.\.\)\.\w+\(Order\.\w+, \.\.\.\)",
            lambda send=send, method=method: send(method, 1, request_id="once"),  # type: ignore[misc]
        )
    await refused(
        loom.PayloadError, "nothing is sent", lambda: run.query(Order.total, request_id="once")
    )


async def test_by_name_there_is_one_payload(scene: Scene) -> None:
    run: Any = scene.run
    for send in (run.signal, run.update, run.start_update, run.query):
        for call in (
            partial(send, "count", 1, 2),
            partial(send, "count", 1, item=2),
            partial(send, "count", item=2),
            partial(send, "count", 1, payload=2),
        ):
            await refused(loom.PayloadError, "one payload: give its arguments as a dict", call)


async def test_what_waits_for_a_run_is_shown(app: loom.Loom) -> None:
    handle = await app.start(Order, id="order")
    await handle.signal(Order.add, 1)
    await handle.start_update(Order.count, 2)
    await handle.cancel(reason="no more")
    started, *waiting = (await handle.info()).messages
    assert started == loom.PendingMessage("WORKFLOW_STARTED")
    assert waiting == [
        loom.PendingMessage("SIGNAL_RECEIVED", "add"),
        loom.PendingMessage("UPDATE_REQUESTED", "count"),
        loom.PendingMessage("WORKFLOW_CANCEL_REQUESTED"),
    ]
    async with app.worker(workflows=[Order]):
        with pytest.raises(loom.WorkflowCancelledError):
            await handle.result(30)
    assert (await handle.info()).messages == []


async def test_what_cannot_be_sent_is_refused_before_a_query_waits_for_the_run(
    scene: Scene,
) -> None:
    """No worker has begun the run."""
    run: Any = scene.run
    await refused(loom.QueryError, "'nothing'", lambda: run.query("nothing"))
    await refused(loom.PayloadError, "'many'", lambda: run.query(Order.total, "many"))
    await refused(loom.DefinitionError, "is no query", lambda: run.query(5))


async def test_an_update_that_a_closed_run_has_not_taken_is_told_so(scene: Scene) -> None:
    await refused(
        loom.WorkflowClosedError,
        "'ended' has ended without taking an update 'nope': it came too late, or was never sent",
        lambda: scene.ended.update_handle("nope").result(30),
    )


async def test_a_reason_is_a_text(scene: Scene) -> None:
    wrong: list[Any] = [5, None, b"enough", ["enough"]]
    for bad in wrong:
        await refused(loom.PayloadError, "^The reason", partial(scene.run.cancel, reason=bad))
        await refused(loom.PayloadError, "^The reason", partial(scene.run.terminate, reason=bad))


# --- activities from outside ---------------------------------------------------------------------


def token(*parts: Any) -> str:
    plain = json.dumps([1, *parts]).encode()
    return base64.urlsafe_b64encode(plain).decode().rstrip("=")


NO_TOKENS = [
    5,
    "",
    "tok",
    "\ud800",
    "a\0b",
    "x" * 100_000,
    token(),
    token("order", "run", 1, 1, 1),
    token("order", "run", 2**63, 1, 1, None, None),
    token("order", "run", 1, 2**70, 1, None, None),
    token("order", "run", -1, 1, 1, None, None),
    token("order", "run", True, 1, 1, None, None),
    token("order", "run", 1, 1, 1, 2**80, None),
    token("order", "run", 1, 1, 1, None, -5),
    token("or\0der", "run", 1, 1, 1, None, None),
    token("order", "\ud800", 1, 1, 1, None, None),
    token("order", 5, 1, 1, 1, None, None),
]


async def test_what_is_no_token_is_refused(scene: Scene) -> None:
    app: Any = scene.app
    for bad in NO_TOKENS:
        for ask in (
            partial(app.complete_activity, bad),
            partial(app.fail_activity, bad, "why"),
            partial(app.heartbeat_activity, bad),
        ):
            with pytest.raises(loom.PayloadError, match="is not the task token") as refusal:
                await ask()
            assert len(str(refusal.value)) < 400


async def test_a_failure_from_outside_is_an_exception_or_a_text(scene: Scene) -> None:
    known = token("order", "0" * 32, 1, 1, 1, None, None)
    wrong: list[Any] = [5, None, ValueError]
    for bad in wrong:
        await refused(
            loom.PayloadError,
            "^error=",
            lambda bad=bad: scene.app.fail_activity(known, bad),  # type: ignore[misc]
        )


# --- the application and its workers -------------------------------------------------------------


async def test_a_worker_needs_something_to_do(scene: Scene) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "nothing to do: give it workflows"),
        ({"workflows": [], "activities": ()}, "nothing to do"),
        ({"workflows": Order}, r"write workflows=\[Order\]"),
        ({"workflows": 5}, "^workflows=5 is no list"),
        ({"workflows": None}, "^workflows=None is no list"),
        ({"workflows": "Order"}, "^workflows='Order' is no list"),
        ({"activities": charge}, r"write activities=\[charge\]"),
        ({"workflows": [charge]}, "is not a workflow"),
        ({"activities": [Order]}, "is not an activity"),
    ]
    for given, match in wrong:
        await refused(loom.DefinitionError, match, partial(scene.app.worker, **given))


async def test_a_check_needs_a_list_of_workflows(scene: Scene) -> None:
    wrong: Any = Order
    await refused(loom.DefinitionError, r"workflows=\[Order\]", lambda: scene.app.check(wrong))


async def test_concurrency_is_a_number_that_can_be_meant(scene: Scene) -> None:
    wrong: list[Any] = [0, -1, 2**63, 1.5, True, "5"]
    for bad in wrong:
        made = partial(scene.app.worker, workflows=[Order], concurrency=bad)
        await refused(loom.ConfigurationError, "^concurrency=", made)


async def test_what_is_no_history_is_not_imported(scene: Scene) -> None:
    wrong: list[Any] = [5, None, "{}"]
    for bad in wrong:
        imported = partial(scene.app.import_history, bad)
        await refused(loom.HistoryFormatError, "is no RunHistory", imported)
