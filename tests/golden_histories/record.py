"""Records the golden histories: ``python -m tests.golden_histories.record [NAME ...]``.

Only what has no file yet is recorded. A file that exists is a promise: this script never writes
over one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import loom
from loom.history.events import ActivityCompleted, ChildCompleted, StateCarried, WorkflowStarted
from loom.history.failures import FailureKind
from loom.history.limits import RunLimits
from loom.history.relatives import ChildRun, ParentClosePolicy
from loom.history.status import RunStatus
from tests.engine_harness import SimulatedRun
from tests.golden_histories import files
from tests.golden_histories import workflows as w

SKUS = {"order_id": "A-1", "skus": ["ink", "paper"]}


def sequential(run: SimulatedRun) -> None:
    run.start(SKUS)
    for _ in range(2):
        run.advance(0.25)
        run.complete("reserve", "reserved")
    run.complete("charge card", True)
    run.advance(5)


def sequential_waiting(run: SimulatedRun) -> None:
    run.start(SKUS)
    run.complete("reserve", "reserved")


def parallel(run: SimulatedRun) -> None:
    run.start(6)
    while run.pending:
        run.advance(0.1)
        # The newest first, and two in one turn where there are two.
        run.deliver(
            *(
                ActivityCompleted(s.activity_id, 1, run.converter.encode(s.activity_id / 2))
                for s in reversed(run.pending[-2:])
            )
        )


def timers(run: SimulatedRun) -> None:
    run.start()
    run.advance(3612)
    run.complete("release")
    run.advance(10)


def signals(run: SimulatedRun) -> None:
    run.start("order")
    run.deliver(run.signalled("early", None), run.signalled("item", 1))
    run.signal("approval", {"by": "Ada"})
    run.advance(1)
    run.signal("item", 2)
    run.advance(60)


def signals_in_time(run: SimulatedRun) -> None:
    run.start("order")
    run.signal("approval", {"by": "Ada"})
    for item in ("one", "two", "three"):
        run.signal("item", item)
    run.advance(0.5)
    run.signal("early", "now")


def signals_before_timers(run: SimulatedRun) -> None:
    """As the first of these, by an engine that looks for a signal before it starts a timer."""
    signals(run)


def tagged(run: SimulatedRun) -> None:
    memo = run.converter.encode({"by": "Ada"}).decode()
    run.start(tags={"stage": "snew", "total": "n25015"}, memo=memo)
    run.complete("release")


def released(run: SimulatedRun) -> None:
    run.start()
    run.complete("release")


def dataclass_state(run: SimulatedRun) -> None:
    run.start("Ada")
    run.complete("release")


def caught(run: SimulatedRun) -> None:
    run.start()
    run.deliver(run.failed("charge card", ValueError("no money"), attempt=4))
    run.deliver(run.failed("charge card", kind=FailureKind.TIMEOUT, attempt=4))
    run.deliver(run.failed("charge card", kind=FailureKind.LOST, attempt=2))


def failing(run: SimulatedRun) -> None:
    run.start("alone")
    run.complete("release")


def failing_again(run: SimulatedRun) -> None:
    policy = loom.RetryPolicy(maximum_attempts=3, jitter=0)
    run.start("alone", retry=policy.terms, attempt=2)
    run.complete("release")


def failing_group(run: SimulatedRun) -> None:
    run.start("group")
    run.complete("measure", 0.0)
    run.fail("measure", RuntimeError("out of range"))


def cancelled(run: SimulatedRun) -> None:
    run.start()
    run.complete("reserve", "A x 1")
    run.advance(2)
    run.cancel("the customer left")
    run.complete("release")


def cancelled_in_vain(run: SimulatedRun) -> None:
    run.start()
    run.cancel("try")


def timed_out(run: SimulatedRun) -> None:
    run.start(limits=RunLimits(run.now + 60_000_000, 60_000_000, run.now + 3_600_000_000))
    run.advance(61)


def timed_out_as_a_chain(run: SimulatedRun) -> None:
    run.start(limits=RunLimits(run.now + 60_000_000, None, run.now + 60_000_000))
    run.signal("early")
    run.advance(60)


def cancelled_early(run: SimulatedRun) -> None:
    run.start(start_at=run.now + 60_000_000)
    run.advance(59)
    run.cancel("not needed")


def terminated(run: SimulatedRun) -> None:
    run.start()
    run.advance(1)
    run.terminate("it never ends")


def timed_out_group(run: SimulatedRun) -> None:
    run.start()
    run.complete("reserve", "A x 1")
    run.advance(60)


def side_effects(run: SimulatedRun) -> None:
    run.start()
    run.complete("release")


def patches(run: SimulatedRun) -> None:
    run.start()
    run.complete("reserve", "A x 1")
    run.complete("reserve", "B x 1")


def saga_undone(run: SimulatedRun) -> None:
    run.start("fail")
    for _ in "AB":
        run.complete("reserve", "reserved")
    run.fail("charge card", ValueError("no money"))
    run.advance(1)
    run.complete("release")
    run.cancel("while it is undone")
    run.complete("release")


def saga_kept(run: SimulatedRun) -> None:
    run.start("pass")
    for _ in "AB":
        run.complete("reserve", "reserved")
    run.complete("charge card", True)


def saga_cancelled(run: SimulatedRun) -> None:
    run.start("fail")
    run.complete("reserve", "reserved")
    run.cancel("no longer wanted")
    run.fail("release", ValueError("not there"))
    run.complete("release")


def family(run: SimulatedRun) -> None:
    run.start()
    for value in (1.5, 2.5):
        run.deliver(run.child_completed("Measured", value))
    run.deliver(run.child_failed("Measured", why="out of range"))
    run.advance(5)
    run.deliver(run.child_failed("Slow", RunStatus.CANCELLED, why=""))


def family_with_options(run: SimulatedRun) -> None:
    run.start()
    run.advance(1)
    run.deliver(run.child_completed("Measured", 1.5))


def continued(run: SimulatedRun) -> None:
    """The second run of a chain: with the state, a signal and a child of the first."""
    child = ChildRun("the-workflow/1", "0" * 32, ParentClosePolicy.TERMINATE)
    started = WorkflowStarted(
        "Chained",
        "1",
        run.converter.encode(2),
        continued_from="the-first-run",
        children=(child,),
        carries_state=True,
    )
    run.deliver(
        started,
        StateCarried(run.converter.encode({"total": 5})),
        run.signalled("item", 7),
    )
    run.deliver(ChildCompleted(1, child.run_id, run.converter.encode("done")))
    run.signal("item", 8)
    run.deliver(run.signalled("item", 9), run.signalled("go on", None))


def handlers(run: SimulatedRun) -> None:
    run.start("desk")
    run.update("order", {"sku": "ink"}, update_id="one")
    run.update("order", {"sku": "ink", "count": 0}, update_id="rejected")
    run.deliver(run.signalled("note", {"text": "late", "urgent": True}), run.signalled("else", 1))
    run.deliver(run.requested("refuse"), run.signalled("note", {"text": "early"}))
    run.complete("reserve", "ink x 1")
    run.deliver(run.signalled("close"), run.requested("order", {"sku": "pen"}, update_id="two"))
    run.advance(3)
    run.complete("reserve", "pen x 1")


def handlers_abandoned(run: SimulatedRun) -> None:
    run.start()
    run.signal("watch")
    run.update("enter", "Ada", update_id="a")
    run.advance(0.5)
    run.update("enter", "Grace", update_id="g")
    run.advance(20)


def held_to_time(run: SimulatedRun) -> None:
    run.start()
    run.advance(0.5)
    refused = run.failed("charge card", ValueError("refused"), attempt=2)
    run.deliver(replace(refused, payload=run.converter.encode({"code": 402})))
    run.advance(5)
    run.advance(1)
    run.complete("draw", "a cat")


def local(run: SimulatedRun) -> None:
    run.start()
    run.complete("measure", 1.5)
    run.advance(0.25)
    run.deliver(run.failed("measure", attempt=3))
    run.advance(1)


RECIPES: dict[str, tuple[type, Callable[[SimulatedRun], None]]] = {
    "sequential": (w.OrderWorkflow, sequential),
    "sequential-waiting": (w.OrderWorkflow, sequential_waiting),
    "parallel": (w.FanOut, parallel),
    "timers": (w.Timers, timers),
    "signals": (w.Signals, signals),
    "signals-in-time": (w.Signals, signals_in_time),
    "signals-before-timers": (w.Signals, signals_before_timers),
    "state-model": (w.ModelState, released),
    "state-dataclass": (w.DataclassState, dataclass_state),
    "state-free": (w.FreeState, released),
    "caught": (w.Caught, caught),
    "failed": (w.Failing, failing),
    "failed-group": (w.Failing, failing_group),
    "failed-again": (w.Failing, failing_again),
    "cancelled": (w.CleanedUp, cancelled),
    "cancelled-in-vain": (w.Stubborn, cancelled_in_vain),
    "timed-out-group": (w.CleanedUp, timed_out_group),
    "terminated": (w.Waiting, terminated),
    "timed-out": (w.Waiting, timed_out),
    "timed-out-chain": (w.Waiting, timed_out_as_a_chain),
    "cancelled-early": (w.CleanedUp, cancelled_early),
    "held-to-time": (w.HeldToTime, held_to_time),
    "local": (w.Local, local),
    "saga-undone": (w.Saga, saga_undone),
    "saga-kept": (w.Saga, saga_kept),
    "saga-cancelled": (w.Saga, saga_cancelled),
    "handlers": (w.Desk, handlers),
    "handlers-abandoned": (w.QuietDesk, handlers_abandoned),
    "patches": (w.Patched, patches),
    "side-effects": (w.SideEffects, side_effects),
    "tagged": (w.Tagged, tagged),
    "family": (w.Family, family),
    "family-with-options": (w.FamilyWithOptions, family_with_options),
    "continued": (w.Chained, continued),
}


def main(names: list[str]) -> None:
    files.FOLDER.mkdir(exist_ok=True)
    for name in names or RECIPES:
        path = files.FOLDER / f"{name}.json"
        if path.exists():
            continue
        workflow, play = RECIPES[name]
        run = SimulatedRun(workflow)
        play(run)
        run.close()
        path.write_text(files.text(run.history), encoding="utf-8")
        print(f"{name}: {len(run.history)} events, {run.status}")


if __name__ == "__main__":
    main(sys.argv[1:])
