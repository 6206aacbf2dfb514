"""Updates: let in or rejected without a trace, and answered once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import loom
from loom.errors import LoomError, NonDeterministicWorkflowError
from loom.history.events import (
    UpdateAccepted,
    UpdateCompleted,
    UpdateFailed,
    UpdateRejected,
    UpdateUnfinished,
)
from loom.history.status import RunStatus
from tests.engine_harness import Play, SimulatedRun, replayed
from tests.unit.workflows import Ctx, add, clean


class Account(loom.Workflow[int, dict[str, int]]):
    def __init__(self) -> None:
        self.balance = self.ctx.input
        self.seen: list[int] = []
        self.closed = asyncio.Event()

    async def run(self, ctx: Ctx) -> int:
        await self.closed.wait()
        return self.balance

    @loom.signal
    def close(self) -> None:
        self.closed.set()

    @loom.update
    def withdraw(self, amount: int) -> int:
        self.balance -= amount
        return self.balance

    @withdraw.validator
    def check_withdrawal(self, amount: int) -> None:
        if amount > self.balance:
            raise ValueError(f"there is only {self.balance}")

    @loom.update
    async def deposit(self, amount: int, fee: int = 0) -> int:
        self.balance += await self.ctx.activity(add, amount, -fee)
        return self.balance

    @loom.update
    def fail(self) -> None:
        raise LookupError("no such thing")

    @loom.update(dynamic=True)
    def other(self, name: str, payload: Any) -> Any:
        return [name, payload]


def account(**members: Any) -> type:
    return loom.workflow(type("Changed", (Account,), members))


def told(run: SimulatedRun) -> list[Any]:
    """What the senders were told, as short as can be."""
    return [_short(run, answer) for answer in run.answers]


def _short(run: SimulatedRun, answer: Any) -> Any:
    if isinstance(answer, UpdateCompleted):
        return run.converter.decode(answer.payload, Any)
    if isinstance(answer, UpdateFailed | UpdateRejected):
        return f"{answer.type}: {answer.failure.message}"
    return answer.type, answer.accepted


def test_an_update_changes_the_run_and_answers(play: Play) -> None:
    run = play(account(), 10)
    run.update("withdraw", 3)
    assert run.answers == [UpdateCompleted("withdraw", run.converter.encode(7, int))]
    run.signal("close")
    assert run.result == 7
    assert run.types == [
        "WORKFLOW_STARTED",
        "UPDATE_ACCEPTED",
        "UPDATE_COMPLETED",
        "SIGNAL_RECEIVED",
        "WORKFLOW_COMPLETED",
    ]


def test_an_async_update_answers_when_it_is_done(play: Play) -> None:
    run = play(account(), 10)
    run.update("deposit", {"amount": 5, "fee": 1})
    assert run.answers == []
    run.complete("add", 4)
    assert told(run) == [14]


def test_what_an_update_raises_reaches_its_sender_and_the_run_goes_on(play: Play) -> None:
    run = play(account(), 10)
    run.update("fail")
    assert told(run) == ["UPDATE_FAILED: no such thing"]
    run.update("withdraw", 1)
    assert told(run)[1:] == [9]


def test_a_result_of_another_type_fails_the_update(play: Play) -> None:
    @loom.update
    def lie(self: Any) -> int:
        return "much"  # type: ignore[return-value]

    run = play(account(lie=lie), 10)
    run.update("lie")
    assert isinstance(run.answers[0], UpdateFailed)
    assert run.status is RunStatus.RUNNING


def test_every_other_update_goes_to_the_dynamic_handler(play: Play) -> None:
    run = play(account(), 10)
    run.update("what", {"is": "this"})
    assert told(run) == [["what", {"is": "this"}]]


# --- rejected ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "payload", "reason"),
    [
        ("withdraw", 11, "there is only 10"),
        ("withdraw", "all", "cannot be read"),
        ("deposit", {"sum": 5}, "cannot be read"),
        ("burn", None, "no update 'burn'; it has: 'withdraw', 'deposit', 'fail'"),
    ],
    ids=["by the validator", "another type", "another argument", "no such update"],
)
def test_a_rejected_update_leaves_no_trace(
    play: Play, name: str, payload: Any, reason: str
) -> None:
    run = play(account(other=None), 10)
    before = (list(run.history), run.instance._recorder.last_id, run.instance._log.count)
    decision = run.instance.activate([])
    run.update(name, payload)
    [answer] = run.answers
    assert isinstance(answer, UpdateRejected)
    assert reason in answer.failure.message
    after = (list(run.history), run.instance._recorder.last_id, run.instance._log.count)
    assert (after, decision.events) == (before, [])


def test_a_validator_sees_what_came_before_in_the_same_turn(play: Play) -> None:
    run = play(account(), 10)
    run.deliver(
        *(run.requested("withdraw", 6, update_id=f"{n}") for n in range(2)),
        run.requested("withdraw", 4, update_id="rest"),
    )
    assert told(run) == [4, "UPDATE_REJECTED: there is only 4", 0]
    assert run.types.count("UPDATE_ACCEPTED") == 2


def test_what_a_validator_does_to_the_object_or_its_arguments_is_lost(play: Play) -> None:
    @loom.update
    def put(self: Any, items: list[int]) -> list[int]:
        return [*self.seen, *items]

    @put.validator
    def check(self: Any, items: list[int]) -> None:
        self.seen.append(7)
        items.append(8)
        self.ctx.logger.info("looked")

    run = play(account(put=put), 10)
    run.update("put", [1])
    assert told(run) == [[1]]
    assert run.logs == []


def test_a_validator_that_would_change_the_run_rejects_the_update(play: Play) -> None:
    @loom.update
    def put(self: Any) -> None: ...

    @put.validator
    def check(self: Any) -> None:
        self.ctx.random.random()

    run = play(account(put=put), 10)
    run.update("put")
    assert "may only look" in told(run)[0]
    assert run.types == ["WORKFLOW_STARTED"]


def test_a_validator_that_wakes_what_the_code_waits_for_halts_the_run(play: Play) -> None:
    @loom.update
    def put(self: Any) -> None: ...

    @put.validator
    def check(self: Any) -> None:
        self.closed.set()

    run = play(account(put=put), 10)
    with pytest.raises(LoomError, match="A validator may only look"):
        run.update("put")


def test_a_plain_update_without_a_validator_is_always_let_in(play: Play) -> None:
    run = play(account(), 10)
    run.update("deposit", {"amount": -50})
    assert isinstance(run.events[-2], UpdateAccepted)


# --- the end -------------------------------------------------------------------------------------


def test_the_end_waits_for_an_update_and_its_answer(play: Play) -> None:
    run = play(account(), 10)
    run.deliver(run.requested("deposit", {"amount": 5}), run.signalled("close"))
    assert run.status is RunStatus.RUNNING
    run.complete("add", 5)
    assert told(run) == [15]
    # What the code returned, before the update was done.
    assert run.result == 10


def test_an_update_that_arrives_with_the_end_is_left_where_it_is(play: Play) -> None:
    """For the run that continues this one, if there is one; else its sender sees the end."""
    run = play(account(), 10)
    decision = run.deliver(run.signalled("close"), run.requested("withdraw", 1))
    assert (decision.taken, run.answers) == (1, [])
    assert run.types.count("UPDATE_ACCEPTED") == 0
    assert run.result == 10


def test_an_update_that_may_be_abandoned_is_told_that_it_was(play: Play) -> None:
    @loom.update(unfinished="abandon")
    async def linger(self: Any) -> None:
        await self.ctx.activity(clean)

    run = play(account(linger=linger), 10)
    run.deliver(run.requested("linger"), run.signalled("close"))
    assert told(run) == [("UPDATE_UNFINISHED", True)]
    assert run.result == 10


@pytest.mark.parametrize("end", ["cancel", "terminate"])
def test_an_update_under_way_when_the_run_is_ended_is_told_so(play: Play, end: str) -> None:
    run = play(account(), 10)
    run.update("deposit", {"amount": 5})
    getattr(run, end)("enough")
    assert told(run) == [("UPDATE_UNFINISHED", True)]
    assert not run.status.is_open


def test_while_a_failed_run_cleans_up_no_update_is_let_in(play: Play) -> None:
    async def code(self: Account, ctx: Ctx) -> None:
        try:
            await self.closed.wait()
            raise ValueError("the code's own fault")
        finally:
            await ctx.activity(clean)

    async def slow(self: Account) -> None:
        try:
            await self.ctx.activity(add, 1)
        finally:
            await self.ctx.activity(clean)

    run = play(account(run=code, slow=loom.update(slow)), 10)
    run.deliver(run.requested("slow"), run.signalled("close"))
    run.complete("clean")
    run.update("withdraw", 1)
    assert told(run) == [("UPDATE_UNFINISHED", False)]
    run.complete("clean")
    assert told(run)[1:] == [("UPDATE_UNFINISHED", True)]
    assert run.failure.message == "the code's own fault"


def test_an_update_that_cancels_itself_has_failed(play: Play) -> None:
    @loom.update
    async def give_up(self: Any) -> None:
        raise asyncio.CancelledError

    run = play(account(give_up=give_up), 10)
    run.update("give_up")
    assert isinstance(run.answers[0], UpdateFailed)
    assert run.status is RunStatus.RUNNING


# --- replay --------------------------------------------------------------------------------------


def test_replay_asks_no_validator_and_tells_nobody(play: Play) -> None:
    asked: list[int] = []

    @loom.update
    def put(self: Any, amount: int) -> int:
        return amount

    @put.validator
    def check(self: Any, amount: int) -> None:
        asked.append(amount)

    run = play(account(put=put), 10)
    run.update("put", 1)
    assert asked == [1]
    again = replayed(run.workflow, run.history)
    assert again._updates.take_answers() == []
    assert asked == [1]
    again.unwind()


def test_a_replayed_run_goes_on_with_an_update_that_was_accepted(play: Play) -> None:
    run = play(account(), 10)
    run.update("deposit", {"amount": 5})
    run.instance.unwind()
    run.instance = run.replay()
    run.complete("add", 5)
    assert told(run) == [15]


def test_code_that_has_lost_the_handler_of_an_accepted_update_does_not_fit(play: Play) -> None:
    run = play(account(), 10)
    run.update("withdraw", 1)
    with pytest.raises(NonDeterministicWorkflowError, match="has no handler for that update"):
        replayed(account(withdraw=None, other=None), run.history)


def test_unfinished_is_told_once(play: Play) -> None:
    run = play(account(), 10)
    run.update("deposit", {"amount": 5})
    run.terminate()
    assert run.answers == [UpdateUnfinished("deposit")]
    assert run.instance._updates.take_answers() == []
