"""Recorded histories against code that fits them, and against code that does not."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import loom
from loom.authoring.compiled import compiled_workflow
from loom.history.events import FINAL_STATUS
from loom.history.payloads import PayloadConverter
from loom.runner.transitions import event_records
from tests.engine_harness import SimulatedRun
from tests.golden_histories import files
from tests.golden_histories.workflows import WORKFLOWS
from tests.unit.workflows import Ctx, add, clean, workflow_of

OK, BROKEN = loom.ReplayOutcome.OK, loom.ReplayOutcome.BROKEN
UNSERVED, UNREADABLE = loom.ReplayOutcome.UNSERVED, loom.ReplayOutcome.UNREADABLE


async def old_code(ctx: Ctx) -> int:
    total: int = await ctx.activity(add, 1)
    await ctx.activity(clean)
    return total


async def new_code(ctx: Ctx) -> int:
    await ctx.activity(clean)
    total: int = await ctx.activity(add, 1)
    return total


def exported(run: SimulatedRun) -> loom.RunHistory:
    compiled = compiled_workflow(run.workflow)
    return loom.RunHistory(
        workflow_id="the-workflow",
        run_id="the-run",
        name=compiled.name,
        version=compiled.version,
        queue="default",
        status=run.status,
        events=tuple(event_records(run.history, 0)),
    )


def history_of(
    code: Callable[[Ctx], Awaitable[Any]] = old_code, turns: int = 99
) -> loom.RunHistory:
    """What came of some code, after so many of its activities."""
    run = SimulatedRun(workflow_of(code)).start()
    for _ in range(min(turns, 2)):
        name = run.pending[0].name
        run.complete(name, 1 if name == "add" else None)
    run.close()
    return exported(run)


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_the_same_code_fits_open_and_closed_runs(turns: int) -> None:
    history = history_of(turns=turns)
    result = loom.Replayer([workflow_of(old_code)]).replay(history)
    assert (result.outcome, result.error, result.event) == (OK, None, None)
    assert result.ok
    assert (result.workflow_id, result.run_id) == ("the-workflow", "the-run")
    assert (result.status, result.history_length) == (history.status, len(history.events))
    result.raise_for_error()


def test_a_run_without_events_fits_any_code() -> None:
    assert loom.Replayer([workflow_of(old_code)]).replay(replace(history_of(), events=())).ok


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_other_code_breaks_where_it_first_differs(turns: int) -> None:
    result = loom.Replayer([workflow_of(new_code)]).replay(history_of(turns=turns))
    assert (result.outcome, result.ok, result.event) == (BROKEN, False, 2)
    error = result.error
    assert isinstance(error, loom.NonDeterministicWorkflowError)
    assert "name='add'" in (error.history or "")
    assert "name='clean'" in (error.code or "")
    with pytest.raises(loom.NonDeterministicWorkflowError) as raised:
        result.raise_for_error()
    assert raised.value.__notes__ == ["run the-run of workflow 'the-workflow'"]


def test_code_that_asks_for_more_breaks_after_the_last_arrival() -> None:
    async def longer(ctx: Ctx) -> None:
        await old_code(ctx)
        await ctx.sleep(1)

    async def eager(ctx: Ctx) -> None:
        await ctx.activity(add, 1)
        ctx_clean = ctx.activity(clean)
        await ctx.sleep(0)
        await ctx_clean
        await ctx.sleep(1)

    assert loom.Replayer([workflow_of(longer)]).replay(history_of()).event == 6
    assert loom.Replayer([workflow_of(eager)]).replay(history_of(turns=1)).ok


def test_an_input_that_no_longer_fits_breaks_at_the_start() -> None:
    @loom.workflow(name="Order")
    class Old(loom.Workflow[str, None]):
        async def run(self, ctx: loom.WorkflowContext[str, None]) -> None: ...

    @loom.workflow(name="Order")
    class New(loom.Workflow[int, None]):
        async def run(self, ctx: loom.WorkflowContext[int, None]) -> None: ...

    run = SimulatedRun(Old).start("many")
    result = loom.Replayer([New]).replay(exported(run))
    assert (result.outcome, result.event) == (BROKEN, 1)
    assert isinstance(result.error, loom.PayloadError)


def test_what_the_code_raises_is_told() -> None:
    async def raising(ctx: Ctx) -> None:
        raise LookupError("no such shelf")

    result = loom.Replayer([workflow_of(raising)]).replay(history_of(turns=0))
    assert result.outcome is BROKEN
    assert "LookupError: no such shelf" in str(result.error)


def test_a_run_that_no_workflow_serves_says_what_is_missing() -> None:
    history = history_of()
    replayer = loom.Replayer([workflow_of(old_code)])
    other_version = replayer.replay(replace(history, version="7"))
    other_name = replayer.replay(replace(history, name="Unheard"))
    assert other_version.outcome is other_name.outcome is UNSERVED
    assert isinstance(other_version.error, loom.WorkflowNotServedError)
    assert f"no workflow {history.name!r} in version '7' here" in str(other_version.error)
    assert f"only its version {history.version!r}" in str(other_version.error)
    assert "no workflow 'Unheard' in version" in str(other_name.error)
    assert f"only {history.name}." in str(other_name.error)


def test_each_version_is_replayed_by_its_own_code() -> None:
    @loom.workflow(name="Order", version="1")
    class First(loom.Workflow[None, None]):
        async def run(self, ctx: loom.WorkflowContext[None, None]) -> None:
            await ctx.activity(add, 1)

    @loom.workflow(name="Order", version="2")
    class Second(loom.Workflow[None, None]):
        async def run(self, ctx: loom.WorkflowContext[None, None]) -> None:
            await ctx.activity(clean)

    histories = [exported(SimulatedRun(cls).start()) for cls in (First, Second)]
    assert all(r.ok for r in loom.Replayer([First, Second]).replay_all(histories))
    assert [r.outcome for r in loom.Replayer([First]).replay_all(histories)] == [OK, UNSERVED]


def test_a_damaged_event_is_unreadable() -> None:
    history = history_of()
    broken = replace(history.events[3], attributes=b"{}")
    damaged = replace(history, events=(*history.events[:3], broken, *history.events[4:]))
    result = loom.Replayer([workflow_of(old_code)]).replay(damaged)
    assert result.outcome is UNREADABLE
    assert isinstance(result.error, loom.HistoryError)


class Rot13(loom.PayloadCodec):
    name = "reversed"

    def encode(self, data: bytes) -> bytes:
        return data[::-1]

    def decode(self, data: bytes) -> bytes:
        return data[::-1]


def test_payloads_are_read_with_the_codecs_that_they_were_written_with() -> None:
    codecs = [Rot13()]
    run = SimulatedRun(workflow_of(old_code), PayloadConverter(codecs)).start()
    run.complete("add", 1)
    run.close()
    history = loom.RunHistory.from_json(exported(run).to_json())
    assert loom.Replayer([workflow_of(old_code)], codecs=codecs).replay(history).ok
    without = loom.Replayer([workflow_of(old_code)]).replay(history)
    assert without.outcome is UNREADABLE
    assert "needs the codec 'reversed'" in str(without.error)


@pytest.mark.parametrize("path", sorted(files.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_golden_histories_replay_as_exported_ones(path: Path) -> None:
    history = files.read(path)
    started: Any = history[0].event
    status = FINAL_STATUS.get(type(history[-1].event), loom.RunStatus.RUNNING)
    whole = loom.RunHistory(
        "the-workflow", "the-run", started.name, started.version, "default", status,
        tuple(event_records(history, 0)),
    )  # fmt: skip
    again = loom.RunHistory.from_json(whole.to_json())
    assert loom.Replayer(WORKFLOWS).replay(again).ok


# --- where histories come from -------------------------------------------------------------------


@pytest.fixture
def replayer() -> loom.Replayer:
    return loom.Replayer([workflow_of(old_code)])


def test_a_history_may_come_in_any_form(replayer: loom.Replayer, tmp_path: Path) -> None:
    history = history_of()
    path = tmp_path / "order.json"
    path.write_text(history.to_json())
    for source in (history, history.to_dict(), history.to_json(), path, str(path)):
        assert replayer.replay(source).ok


def test_many_come_from_files_and_folders(replayer: loom.Replayer, tmp_path: Path) -> None:
    histories = [replace(history_of(turns=n), run_id=f"run-{n}") for n in range(3)]
    (tmp_path / "a.json").write_text(histories[0].to_json())
    (tmp_path / "b.jsonl").write_text("\n".join(h.to_json_line() for h in histories[1:]))
    (tmp_path / "notes.txt").write_text("no history")
    assert [r.run_id for r in replayer.replay_all(tmp_path)] == ["run-0", "run-1", "run-2"]
    assert [r.run_id for r in replayer.replay_all(tmp_path / "b.jsonl")] == ["run-1", "run-2"]
    with pytest.raises(loom.HistoryFormatError, match="holds 2 histories, and one is wanted"):
        replayer.replay(tmp_path / "b.jsonl")


def test_an_empty_folder_is_no_success(replayer: loom.Replayer, tmp_path: Path) -> None:
    with pytest.raises(loom.HistoryFormatError, match="holds no histories"):
        list(replayer.replay_all(tmp_path))


def test_a_damaged_file_is_named_with_its_line(replayer: loom.Replayer, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(history_of().to_json_line() + json.dumps({"format": "?"}) + "\n")
    with pytest.raises(loom.HistoryFormatError, match=r"bad\.jsonl, line 2: This is no exported"):
        list(replayer.replay_all(path))
    path.write_bytes(base64.b64decode("//8A"))
    with pytest.raises(loom.HistoryFormatError, match=r"bad\.jsonl: .* not JSON"):
        replayer.replay(path)


def test_code_that_the_guards_refuse_breaks_a_run_unless_they_are_to_warn() -> None:
    async def careless(ctx: Ctx) -> int:
        time.time()
        return await old_code(ctx)

    workflow = workflow_of(careless)
    result = loom.Replayer([workflow]).replay(history_of())
    assert result.outcome is BROKEN
    assert isinstance(result.error, loom.NonDeterministicCallError)
    assert result.error.place is not None
    assert result.error.place.endswith(
        "in test_code_that_the_guards_refuse_breaks_a_run_unless_"
        "they_are_to_warn.<locals>.careless: time.time()"
    )
    assert result.event == 1
    assert loom.Replayer([workflow], guards="off").replay(history_of()).ok
