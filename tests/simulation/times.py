"""Whether timers take their time: by what the programs asked for, and by when the store took what.

The stamps of a history are its worker's, so that one whose clock is wrong agrees with itself. What
is compared with them here comes from elsewhere: the programs, and the clock that is always right.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import loom
from loom.history.events import TimerFired, TimerStarted
from loom.history.payloads import PayloadConverter
from loom.identifiers import MICROS_PER_SECOND, Micros
from tests.proof.checker import Invariant, Violation
from tests.proof.records import Dump, RunDump
from tests.simulation.network import Network
from tests.simulation.plan import CallFault, Fault, Plan
from tests.simulation.programs import waits

_CONVERTER: Final = PayloadConverter()

_ROUNDING: Final[Micros] = 2
"""Programs count in seconds, as floating point numbers."""

_WRITING: Final = 2.0
"""Seconds that a turn takes to be written where nothing but clocks goes wrong; its local activities
may end meanwhile."""


class _Wait(NamedTuple):
    """A timer that has fired; sequences are those of the events."""

    started: int
    fired: int
    fire_at: Micros
    length: Micros


def timers_take_their_time(plan: Plan, dump: Dump, network: Network) -> Iterator[Violation]:
    for run in dump.runs:
        for what in (*_not_as_asked(run), *_early(plan, run, network)):
            yield Violation(Invariant.TIMERS, what)


def _not_as_asked(run: RunDump) -> Iterator[str]:
    """Each is set for as long as some part of the program says."""
    if run.started is None:
        return
    program: Any = _CONVERTER.decode(run.started.payload, object)
    asked = [round(seconds * MICROS_PER_SECOND) for seconds in waits(program)]
    for sequence, stamped in run.history:
        if not isinstance(stamped.event, TimerStarted):
            continue
        length = stamped.event.fire_at - stamped.at
        if not any(abs(length - one) <= _ROUNDING for one in asked):
            yield f"event {sequence} of {run} sets a timer for {length} us, and not for {asked}"


def _early(plan: Plan, run: RunDump, network: Network) -> Iterator[str]:
    for wait in _waits(run):
        began = network.written.get((run.run.run_key, wait.started))
        ended = network.written.get((run.run.run_key, wait.fired))
        if began is None or ended is None:
            continue  # started in another run's turn
        early = _how_early(plan, network, wait, began, ended)
        if early > 0:
            what = f"timer of event {wait.started} of {run} has fired"
            yield f"{what} {early / MICROS_PER_SECOND} s too early, by the true time"


def _waits(run: RunDump) -> Iterator[_Wait]:
    begun: dict[int, tuple[int, Micros, Micros]] = {}
    for sequence, stamped in run.history:
        match stamped.event:
            case TimerStarted(timer_id=timer_id, fire_at=fire_at):
                begun[timer_id] = sequence, fire_at, fire_at - stamped.at
            case TimerFired(timer_id=timer_id) if timer_id in begun:
                started, fire_at, length = begun.pop(timer_id)
                yield _Wait(started, sequence, fire_at, length)


def _how_early(plan: Plan, network: Network, wait: _Wait, began: Micros, ended: Micros) -> Micros:
    if not any(blow.fault is Fault.CLOCK for blow in plan.blows):
        return wait.fire_at - _micros(error_of_clocks(plan)) - ended
    if not has_wrong_clocks_alone(plan) or any(
        0 <= at - jump <= _micros(_settled_after(plan))
        for jump in network.jumps
        for at in (began, ended)
    ):
        return 0  # a clock may be wrong, until it is set again
    return wait.length - _micros(_WRITING) - (ended - began)


def error_of_clocks(plan: Plan) -> float:
    """Seconds by which a clock may be wrong that was set by the store's: half of a round trip, if
    one way takes all of it."""
    frozen = sum(b.lasts for b in plan.blows if b.fault in (Fault.FREEZE, Fault.STALL))
    is_slow = plan.fault_rate > 0 and CallFault.SLOW in plan.call_faults
    return 0.1 + 5 * plan.latency + 1.5 * is_slow + frozen / 2


def has_wrong_clocks_alone(plan: Plan) -> bool:
    return not plan.fault_rate and all(blow.fault is Fault.CLOCK for blow in plan.blows)


def _settled_after(plan: Plan) -> float:
    """Seconds after which a clock is right again that has jumped: it is set whenever leases are
    renewed, and once more where it has jumped while it was being set."""
    lease = plan.settings.get("lease_seconds", loom.Settings().lease_seconds)
    return float(lease) * 2 / 3 + 0.2 + 20 * plan.latency


def _micros(seconds: float) -> Micros:
    return round(seconds * MICROS_PER_SECOND)
