"""A run that is exported from one database and imported into another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

import loom
from loom import RunStatus
from loom.testing import WorkflowEnvironment
from tests.conditions import eventually, given_time
from tests.faults import Fault, Faulty, watched_app

type Context = loom.WorkflowContext[Any, Any]


@loom.activity
async def pack(item: str) -> str:
    return f"packed {item}"


@loom.activity
async def label(item: str) -> str:
    return f"labelled {item}"


@loom.workflow
class Sending(loom.Workflow[str, dict[str, Any]]):
    """Waits for a signal, for an activity that its worker may not have, and for a timer."""

    async def run(self, ctx: loom.WorkflowContext[str, dict[str, Any]]) -> list[Any]:
        done = [await ctx.activity(pack, ctx.input), ctx.random.random()]
        await ctx.state.set("packed", done[0])
        done.append(await ctx.wait_for_signal("address"))
        done.append(await ctx.activity(label, ctx.input))
        await ctx.sleep(timedelta(milliseconds=5))
        return done


async def is_idle(handle: loom.WorkflowHandle[Any]) -> bool:
    info = await handle.info()
    return info.status is RunStatus.RUNNING and bool(info.history_length) and info.worker is None


async def waiting_for_its_signal(app: loom.Loom, id: str = "sending-1") -> loom.RunHistory:
    async with app.worker(workflows=[Sending], activities=[pack]):
        handle = await app.start(Sending, "book", id=id)
        await eventually(lambda: is_idle(handle))
    return await handle.export()


async def waiting_for_its_activity(app: loom.Loom) -> loom.RunHistory:
    async with app.worker(workflows=[Sending], activities=[pack]):
        handle = await app.start(Sending, "book", id="sending-1")
        await handle.signal("address", "here", request_id="address-1")
        await eventually(lambda: _is_waiting_for(handle, "label"))
    return await handle.export()


async def _is_waiting_for(handle: loom.WorkflowHandle[Any], name: str) -> bool:
    info = await handle.info()
    return info.worker is None and [activity.name for activity in info.activities] == [name]


async def completed(app: loom.Loom) -> loom.WorkflowHandle[Any]:
    async with app.worker(workflows=[Sending], activities=[pack, label]):
        handle = await app.start(Sending, "book", id="sending-1")
        await handle.signal("address", "here")
        await handle.result()
    return handle


async def test_a_closed_run_comes_as_it_was(app: loom.Loom, new_dsn: Callable[[], str]) -> None:
    original = await completed(app)
    history = loom.RunHistory.from_json((await original.export()).to_json())
    async with loom.Loom(new_dsn()) as other:
        handle = await other.import_history(history)
        assert (handle.workflow_id, handle.run_id) == ("sending-1", original.run_id)
        assert await handle.result() == await original.result()
        assert await handle.history() == await original.history()
        assert await handle.export() == history
        there, here = await handle.info(), await original.info()
    for name in ("name", "version", "queue", "status", "history_length", "activities", "worker"):
        assert getattr(there, name) == getattr(here, name), name


async def test_an_open_run_is_terminated_where_it_is_imported(
    app: loom.Loom, new_dsn: Callable[[], str]
) -> None:
    history = await waiting_for_its_activity(app)
    async with loom.Loom(new_dsn()) as other:
        handle = await other.import_history(history)
        assert await handle.status() is RunStatus.TERMINATED
        again = await handle.export()
        assert again.events[:-1] == history.events
        with pytest.raises(loom.WorkflowTerminatedError, match="It was open where"):
            await handle.result()
    assert loom.Replayer([Sending]).replay(again).ok


async def test_an_open_run_can_be_imported_to_go_on(
    app: loom.Loom, new_dsn: Callable[[], str]
) -> None:
    history = await waiting_for_its_activity(app)
    async with loom.Loom(new_dsn()) as other:
        handle = await other.import_history(history, open=True)
        info = await handle.info()
        assert (info.status, info.history_length) == (RunStatus.RUNNING, len(history.events))
        assert [activity.name for activity in info.activities] == ["label"]
        # What it has taken before it does not take again.
        await handle.signal("address", "there", request_id="address-1")
        async with other.worker(workflows=[Sending], activities=[label]):
            there = await handle.result()
    original = app.handle("sending-1")
    async with app.worker(workflows=[Sending], activities=[label]):
        assert await original.result() == there
    assert there[2:] == ["here", "labelled book"]


@loom.workflow
class GoesOn(loom.Workflow[bool, None]):
    async def run(self, ctx: loom.WorkflowContext[bool, None]) -> None:
        if ctx.input:
            ctx.continue_as_new(False)


async def test_a_run_has_no_result_that_goes_on_in_one_that_was_not_imported(
    app: loom.Loom, new_dsn: Callable[[], str]
) -> None:
    async with app.worker(workflows=[GoesOn]):
        original = await app.start(GoesOn, True, id="goes-on")
        await original.result()
    history = await app.handle("goes-on", run_id=original.run_id).export()
    async with loom.Loom(new_dsn()) as other:
        await other.import_history(history)
        for run_id in (None, original.run_id):
            with pytest.raises(loom.WorkflowNotFoundError):
                await other.handle("goes-on", run_id=run_id).result(timeout=20)


@loom.workflow
class Tagged(loom.Workflow[None, None]):
    async def run(self, ctx: Context) -> None:
        ctx.set_tags({"stage": "begun", "draft": None})
        await ctx.wait_for_signal("go")


@pytest.mark.parametrize("stays_open", [True, False])
async def test_tags_and_memo_come_along(
    app: loom.Loom, new_dsn: Callable[[], str], stays_open: bool
) -> None:
    async with app.worker(workflows=[Tagged]):
        tagged = await app.start(
            Tagged, id="tagged", tags={"draft": True, "size": 7}, memo={"for": "Ada"}
        )
        await eventually(lambda: is_idle(tagged))
    here = await tagged.info()
    assert here.tags == {"stage": "begun", "size": 7}
    async with loom.Loom(new_dsn()) as other:
        handle = await other.import_history(await tagged.export(), open=stays_open)
        there = await handle.info()
        assert (there.tags, there.memo) == (here.tags, {"for": "Ada"})


@loom.workflow
class Napping(loom.Workflow[float, None]):
    async def run(self, ctx: loom.WorkflowContext[float, None]) -> str:
        await ctx.sleep(timedelta(seconds=ctx.input * ctx.random.uniform(1, 2)))
        return "rested"


async def test_an_imported_run_wakes_when_its_timer_is_due(
    app: loom.Loom, new_dsn: Callable[[], str]
) -> None:
    async def trial(seconds: float) -> None:
        async with app.worker(workflows=[Napping]):
            napping = await app.start(Napping, seconds)
            await eventually(lambda: is_idle(napping), seconds)
            history = await napping.export()
            wake_at = (await napping.info()).wake_at
        assert wake_at is not None
        async with loom.Loom(new_dsn()) as other:
            handle = await other.import_history(history, open=True)
            assert (await handle.info()).wake_at == wake_at
            async with other.worker(workflows=[Napping]):
                assert await handle.result() == "rested"

    await given_time(trial, 0.5, 5)


async def test_an_imported_run_takes_its_signal(app: loom.Loom, new_dsn: Callable[[], str]) -> None:
    history = await waiting_for_its_signal(app)
    async with loom.Loom(new_dsn()) as other:
        handle = await other.import_history(history, open=True)
        assert (await handle.info()).activities == []
        async with other.worker(workflows=[Sending], activities=[pack, label]):
            await handle.signal("address", "there")
            assert (await handle.result())[2] == "there"


@loom.workflow(name="Sending")
class Changed(loom.Workflow[str, dict[str, Any]]):
    async def run(self, ctx: loom.WorkflowContext[str, dict[str, Any]]) -> str:
        return await ctx.activity(label, ctx.input)


async def test_a_blocked_run_that_is_imported_is_tried_again(
    app: loom.Loom, new_dsn: Callable[[], str]
) -> None:
    history = await waiting_for_its_signal(app)
    async with app.worker(workflows=[Changed], activities=[label]):
        original = app.handle("sending-1")
        await original.signal("address", "here")
        await eventually(lambda: _is(original, RunStatus.BLOCKED))
    blocked = await original.export()
    assert (blocked.status, blocked.events) == (RunStatus.BLOCKED, history.events)
    async with loom.Loom(new_dsn()) as other:
        handle = await other.import_history(blocked, open=True)
        assert await handle.status() is RunStatus.RUNNING
        async with other.worker(workflows=[Changed], activities=[label]):
            await eventually(lambda: _is(handle, RunStatus.BLOCKED))


async def _is(handle: loom.WorkflowHandle[Any], status: RunStatus) -> bool:
    return await handle.status() is status


# --- refusals ------------------------------------------------------------------------------------


async def test_a_run_that_is_here_is_not_imported_again(app: loom.Loom) -> None:
    history = await waiting_for_its_signal(app)
    with pytest.raises(loom.WorkflowAlreadyStartedError, match="is in this database already"):
        await app.import_history(history)
    # Its run id is its own, under whatever workflow id.
    with pytest.raises(loom.WorkflowAlreadyStartedError, match="import it into another database"):
        await app.import_history(history, id="copy")
    assert len(await app.list()) == 1


async def test_an_id_with_an_open_run_is_taken(app: loom.Loom, new_dsn: Callable[[], str]) -> None:
    closed = await (await completed(app)).export()
    async with loom.Loom(new_dsn()) as other:
        await other.start(Sending, "pen", id="sending-1")
        with pytest.raises(loom.WorkflowAlreadyStartedError, match="Import the history under"):
            await other.import_history(closed)
        handle = await other.import_history(closed, id="copy")
        assert (handle.workflow_id, handle.run_id) == ("copy", closed.run_id)
        assert await handle.status() is RunStatus.COMPLETED


async def test_a_run_that_nobody_has_begun_has_nothing_to_import(
    app: loom.Loom, new_dsn: Callable[[], str]
) -> None:
    history = await (await app.start(Sending, "book")).export()
    assert history.events == ()
    async with loom.Loom(new_dsn()) as other:
        with pytest.raises(loom.HistoryFormatError, match="has no events"):
            await other.import_history(history)


async def test_what_no_run_can_be_is_refused(app: loom.Loom, new_dsn: Callable[[], str]) -> None:
    history = await (await completed(app)).export()
    first, last = history.events[0], history.events[-1]

    def with_event(sequence: int, **changes: Any) -> loom.RunHistory:
        events = list(history.events)
        events[sequence - 1] = replace(events[sequence - 1], **changes)
        return replace(history, events=tuple(events))

    after_the_end = replace(first, sequence=last.sequence + 1)
    cases: list[tuple[loom.RunHistory, type[Exception], str]] = [
        (replace(history, status=RunStatus.RUNNING), loom.HistoryFormatError, "says that the run"),
        (replace(history, status=RunStatus.FAILED), loom.HistoryFormatError, "says that the run"),
        (
            replace(history, events=(*history.events, after_the_end)),
            loom.HistoryFormatError,
            f"Event {last.sequence}, WORKFLOW_COMPLETED, ends the run",
        ),
        (with_event(1, recorded_at=-1), loom.HistoryFormatError, "Event 1 has an impossible time"),
        (with_event(2, type="INVENTED"), loom.HistoryError, "unknown type 'INVENTED'"),
        (replace(history, run_id=""), loom.PayloadError, "run id '' is empty"),
        (replace(history, queue="\0"), loom.PayloadError, "queue '\\\\x00' holds control"),
    ]
    async with loom.Loom(new_dsn()) as other:
        for damaged, kind, complaint in cases:
            with pytest.raises(kind, match=complaint):
                await other.import_history(damaged)
        same_message = replace(history.events[1], message_id="m")
        twice = (replace(first, message_id="m"), same_message, *history.events[2:])
        with pytest.raises(loom.HistoryFormatError, match="Event 2 came from the message 'm'"):
            await other.import_history(replace(history, events=twice))
        assert await other.list() == []


# --- faults --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER, Fault.TWICE])
async def test_a_run_is_imported_whole_or_not_at_all(
    app: loom.Loom, new_dsn: Callable[[], str], fault: Fault
) -> None:
    history = await waiting_for_its_activity(app)
    dsn = new_dsn()
    async with watched_app(dsn, Faulty(fault, 1)) as other:
        try:
            await other.import_history(history, open=True)
        except loom.StoreUnavailableError:
            assert fault is not Fault.TWICE
            try:
                await other.import_history(history, open=True)
            except loom.WorkflowAlreadyStartedError:
                assert fault is Fault.AFTER
        handle = other.handle("sending-1")
        assert (await handle.export()) == history
        async with other.worker(workflows=[Sending], activities=[label]):
            assert (await handle.result())[2:] == ["here", "labelled book"]


async def test_the_time_of_an_imported_run_runs_out_as_that_of_the_exported_one_would() -> None:
    @loom.workflow
    class Patient(loom.Workflow[None, None]):
        async def run(self, ctx: loom.WorkflowContext[None, None]) -> None:
            await ctx.wait_for_signal("never sent")

    async with WorkflowEnvironment(workflows=[Patient]) as env:
        handle = await env.start(Patient, id="p", run_timeout=100)
        await env.advance(timedelta(seconds=1))
        exported = await handle.export()
    async with WorkflowEnvironment(workflows=[Patient]) as env:
        handle = await env.import_history(exported, open=True)
        with pytest.raises(loom.WorkflowTimedOutError):
            await handle.result()
