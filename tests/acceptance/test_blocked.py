"""Runs that cannot go on are set apart, with the reason, and go on as soon as they can."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

import loom
from loom import RunStatus
from tests.conditions import eventually
from tests.tampering import tamper

type Context = loom.WorkflowContext[Any, Any]


@loom.activity
async def pack(item: str) -> str:
    return f"packed {item}"


@loom.activity
async def wrap(item: str) -> str:
    return f"wrapped {item}"


@loom.workflow(name="Sending")
class Original(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        packed = await ctx.activity(pack, "book")
        return packed + await ctx.wait_for_signal("go")


@loom.workflow(name="Sending")
class Changed(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        return await ctx.activity(wrap, "book")


@loom.workflow
class Healthy(loom.Workflow[Any, Any]):
    async def run(self, ctx: Context) -> str:
        return await ctx.activity(pack, "flower")


ACTIVITIES = (pack, wrap)


def reaches(handle: loom.WorkflowHandle[Any], status: RunStatus) -> Any:
    async def holds() -> bool:
        return await handle.status() is status

    return eventually(holds)


async def waiting_run(app: loom.Loom, id: str = "sending") -> loom.WorkflowHandle[Any]:
    """A run that has packed its book and that nobody works on."""
    async with app.worker(workflows=[Original], activities=ACTIVITIES):
        handle = await app.start(Original, id=id)

        async def waits() -> bool:
            info = await handle.info()
            return info.history_length == 3 and info.worker is None

        await eventually(waits)
    return handle


async def test_a_run_whose_code_has_changed_is_blocked_and_tells_the_difference(
    app: loom.Loom,
) -> None:
    handle = await waiting_run(app)
    before = await handle.history()
    await handle.signal("go", "!")
    async with app.worker(workflows=[Changed], activities=ACTIVITIES):
        await reaches(handle, RunStatus.BLOCKED)
    reason = (await handle.info()).blocked_reason or ""
    assert "history: ACTIVITY_SCHEDULED activity_id=1 name='pack'" in reason
    assert "code:    ACTIVITY_SCHEDULED activity_id=1 name='wrap'" in reason
    assert "ctx.activity(wrap" in reason
    # Nothing was written to history, and the signal is still to come.
    assert await handle.history() == before
    async with app.worker(workflows=[Original], activities=ACTIVITIES):
        assert await handle.result(30) == "packed book!"
    assert (await handle.info()).blocked_reason is None


async def test_a_blocked_run_is_not_tried_again_and_again(app: loom.Loom) -> None:
    handle = await waiting_run(app)
    async with app.worker(workflows=[Changed, Healthy], activities=ACTIVITIES):
        await handle.signal("go", "!")
        await reaches(handle, RunStatus.BLOCKED)
        since = (await handle.info()).updated_at
        await handle.signal("go", "again")
        for _ in range(20):
            await (await app.start(Healthy)).result(30)
        assert (await handle.info()).updated_at == since


async def test_a_blocked_run_is_terminated_or_cancelled(app: loom.Loom) -> None:
    handle = await waiting_run(app)
    async with app.worker(workflows=[Changed], activities=ACTIVITIES):
        await handle.cancel()
        await reaches(handle, RunStatus.BLOCKED)
        await handle.terminate(reason="hopeless")
        with pytest.raises(loom.WorkflowTerminatedError, match="hopeless"):
            await handle.result(30)
    other = await waiting_run(app)
    async with app.worker(workflows=[Changed], activities=ACTIVITIES):
        await other.signal("go")
        await reaches(other, RunStatus.BLOCKED)
    await other.cancel()
    async with app.worker(workflows=[Original], activities=ACTIVITIES):
        # The signal came first, but the code had not been told: both reach it in order.
        with pytest.raises(loom.WorkflowFailedError):
            await other.result(30)


DAMAGES = {
    "attributes that are no JSON": "UPDATE events SET attributes = 'x' WHERE sequence = 2",
    "an unknown event": "UPDATE events SET type = 'FROM_THE_FUTURE' WHERE sequence = 3",
    "a later schema": "UPDATE events SET schema_version = 99 WHERE sequence = 3",
    "a gap": "DELETE FROM events WHERE sequence = 2",
    "a missing end": "DELETE FROM events WHERE sequence = 3",
    "a payload that is none": "UPDATE events SET payload = 'x' WHERE sequence = 3",
    "a payload that is missing": "UPDATE events SET payload = NULL WHERE sequence = 3",
    "a message that is no JSON": "UPDATE inbox SET attributes = 'x'",
    "an unknown message": "UPDATE inbox SET type = 'FROM_THE_FUTURE'",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_damage_blocks_its_run_alone(dsn: str, damage: str) -> None:
    async with loom.Loom(dsn) as app:
        handle = await waiting_run(app)
        await handle.signal("go", "!")
        await tamper(dsn, damage)
        async with app.worker(workflows=[Original, Healthy], activities=ACTIVITIES):
            await reaches(handle, RunStatus.BLOCKED)
            assert await (await app.start(Healthy)).result(30) == "packed flower"
            assert (await handle.info()).blocked_reason
            await handle.terminate()
        assert await handle.status() is RunStatus.TERMINATED


BYTES = [
    "UPDATE workflows SET run_id = x'ff00'",
    "UPDATE workflows SET workflow_id = x'ff00'",
    "UPDATE events SET type = x'ff00' WHERE sequence = 2",
    "UPDATE events SET message_id = x'ff00' WHERE sequence = 1",
    "UPDATE inbox SET type = x'ff00'",
    "UPDATE inbox SET message_id = x'ff00'",
]


@pytest.mark.parametrize("damage", BYTES)
async def test_bytes_where_sqlite_should_have_a_text_stop_their_run_alone(
    migrated_sqlite_dsn: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with loom.Loom(migrated_sqlite_dsn) as app:
        handle = await waiting_run(app)
        await handle.signal("go", "!")
        await tamper(migrated_sqlite_dsn, damage)
        async with app.worker(workflows=[Original, Healthy], activities=ACTIVITIES):
            assert await (await app.start(Healthy)).result(10) == "packed flower"

            async def has_stopped() -> bool:
                runs = await app.list(name="Sending")
                return runs[0].status in (RunStatus.BLOCKED, RunStatus.COMPLETED)

            await eventually(has_stopped)
            assert await (await app.start(Healthy)).result(10) == "packed flower"
    for kind in ("TypeError", "AttributeError"):
        assert kind not in caplog.text


TEXTS = [
    *(
        f"UPDATE workflows SET {column} = 'x'"
        for column in ("due_at", "lease_token", "inbox_count")
    ),
    *(f"UPDATE workflows SET {column} = 'x'" for column in ("lost_owners", "lease_expires_at")),
    *(f"UPDATE workflows SET {column} = 'x'" for column in ("wake_at", "sequence")),
    *(f"UPDATE tasks SET {column} = 'x'" for column in ("lease_token", "attempt", "failures")),
    *(f"UPDATE tasks SET {column} = 'x'" for column in ("due_at", "parked_until", "start_by")),
]


@pytest.mark.parametrize("damage", TEXTS)
async def test_a_text_where_sqlite_should_have_a_number_keeps_nobody_else_from_being_claimed(
    migrated_sqlite_dsn: str, damage: str
) -> None:
    async with loom.Loom(migrated_sqlite_dsn) as app:
        async with app.worker(workflows=[Original]):
            handle = await app.start(Original)
            await eventually(lambda: has_activity(handle))
        await handle.signal("go", "!")
        await tamper(migrated_sqlite_dsn, damage)
        # Neither they nor their activities are begun where they were asked for: both are claimed.
        others = [await app.start(Healthy) for _ in range(2)]
        async with app.worker(workflows=[Original, Healthy]), app.worker(activities=ACTIVITIES):
            for other in others:
                assert await other.result(10) == "packed flower"


@pytest.mark.parametrize("column", ["lease_token", "inbox_count", "lost_owners"])
async def test_damaged_runs_take_no_places_of_others(migrated_sqlite_dsn: str, column: str) -> None:
    few = loom.Settings(max_owned_runs=1)
    async with loom.Loom(migrated_sqlite_dsn, settings=few) as app:
        for _ in range(2):
            await app.start(Original)
        await tamper(migrated_sqlite_dsn, f"UPDATE workflows SET {column} = 'x'")
        handle = await app.start(Healthy)
        async with app.worker(workflows=[Original, Healthy], activities=ACTIVITIES):
            assert await handle.result(10) == "packed flower"


@pytest.mark.parametrize("column", ["lease_token", "attempt", "parked_until"])
async def test_damaged_activities_take_no_places_of_others(
    migrated_sqlite_dsn: str, column: str
) -> None:
    async with loom.Loom(migrated_sqlite_dsn) as app:
        async with app.worker(workflows=[Healthy]):
            for _ in range(2):
                await eventually(partial(has_activity, await app.start(Healthy)))
            await tamper(migrated_sqlite_dsn, f"UPDATE tasks SET {column} = 'x'")
            handle = await app.start(Healthy)
            await eventually(lambda: has_activity(handle))
        async with (
            app.worker(workflows=[Healthy]),
            app.worker(activities=ACTIVITIES, concurrency=1),
        ):
            assert await handle.result(10) == "packed flower"


async def has_activity(handle: loom.WorkflowHandle[Any]) -> bool:
    info = await handle.info()
    return bool(info.activities) and info.worker is None


async def test_a_call_that_meets_bytes_for_a_text_gets_an_error_of_looms(
    migrated_sqlite_dsn: str,
) -> None:
    async with loom.Loom(migrated_sqlite_dsn) as app:
        handle = await waiting_run(app)
        await tamper(migrated_sqlite_dsn, "UPDATE workflows SET first_run_id = x'ff00'")
        with pytest.raises(loom.StoreError, match="of no kind that fits"):
            await handle.terminate()


async def test_of_a_history_with_a_gap_each_event_is_shown_once(dsn: str) -> None:
    async with loom.Loom(dsn) as app:
        handle = await waiting_run(app)
        await tamper(dsn, DAMAGES["a gap"])
        assert [event.sequence for event in await handle.history()] == [1, 3]


async def test_a_damaged_status_spoils_nothing_and_mends_with_the_next_turn(dsn: str) -> None:
    async with loom.Loom(dsn) as app:
        damaged = await waiting_run(app, "damaged")
        async with app.worker(workflows=[Healthy], activities=ACTIVITIES):
            closed = await app.start(Healthy, id="closed")
            assert await closed.result(30) == "packed flower"
        await tamper(dsn, "UPDATE workflows SET status = 'AJAR'")
        statuses = {run.workflow_id: run.status for run in await app.list()}
        assert statuses == {"damaged": RunStatus.RUNNING, "closed": RunStatus.FAILED}
        assert await closed.result(30) == "packed flower"
        async with app.worker(workflows=[Original, Healthy], activities=ACTIVITIES):
            assert await (await app.start(Healthy)).result(30) == "packed flower"
            await damaged.signal("go", "!")
            assert await damaged.result(30) == "packed book!"
        assert await damaged.status() is RunStatus.COMPLETED


async def test_an_activity_whose_request_is_damaged_fails_with_its_run(dsn: str) -> None:
    async with loom.Loom(dsn) as app:
        async with app.worker(workflows=[Original]):
            handle = await app.start(Original)
        await tamper(dsn, "UPDATE events SET attributes = 'x' WHERE type = 'ACTIVITY_SCHEDULED'")
        async with app.worker(workflows=[Original, Healthy], activities=ACTIVITIES):
            await reaches(handle, RunStatus.BLOCKED)
            assert await (await app.start(Healthy)).result(30) == "packed flower"


async def test_code_that_spins_blocks_its_run_and_not_the_worker(
    memory_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loom.engine.loop.MAX_CALLBACKS", 10_000)

    @loom.workflow
    class Spinning(loom.Workflow[Any, Any]):
        async def run(self, ctx: Context) -> None:
            while True:
                await asyncio.sleep(0)

    async with (
        loom.Loom(memory_dsn) as app,
        app.worker(workflows=[Spinning, Healthy], activities=ACTIVITIES),
    ):
        handle = await app.start(Spinning)
        await reaches(handle, RunStatus.BLOCKED)
        assert "spinning" in ((await handle.info()).blocked_reason or "")
        assert await (await app.start(Healthy)).result(30) == "packed flower"
        await handle.terminate()


class Scramble(loom.PayloadCodec):
    name = "scramble"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


async def test_a_worker_without_the_codec_blocks_the_run_and_fails_nothing(any_dsn: str) -> None:
    async with loom.Loom(any_dsn, codecs=[Scramble()]) as app:
        handle = await waiting_run(app)
        async with (
            loom.Loom(any_dsn) as other,
            other.worker(workflows=[Original], activities=ACTIVITIES),
        ):
            await handle.signal("go", "!")
            await reaches(handle, RunStatus.BLOCKED)
        assert "scramble" in ((await handle.info()).blocked_reason or "")
        async with app.worker(workflows=[Original], activities=ACTIVITIES):
            assert await handle.result(30) == "packed book!"
