"""What a trial is made of, as plain data: drawn from a seed, and made smaller when it fails."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import Any, Final

from tests.simulation.programs import some_program, wanted


class Fault(StrEnum):
    """What befalls a node, or the store, at some moment."""

    CRASH = "crash"
    """The process is gone; another takes its place after a while."""
    FREEZE = "freeze"
    """The whole process stands still."""
    STALL = "stall"
    """Its event loop stands still, and its other threads go on."""
    STOP = "stop"
    """It is asked to stop, and another takes its place."""
    CUT = "cut"
    """It cannot reach the store, and what is under way there goes on."""
    CLOCK = "clock"
    """Its clock goes wrong, until it is set by the store's again."""
    OUTAGE = "outage"
    """Nobody can reach the store."""
    FULL = "full"
    """The store takes no more writes."""
    DEAF = "deaf"
    """Nobody hears of what others do."""


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault."""

    fault: Fault
    at: float
    """Seconds since the beginning."""
    lasts: float
    node: int = 0
    amount: float = 0.0
    """Of a clock that goes wrong, how far, in seconds."""
    write: int | None = None
    """Not at a moment, but as the store makes its so manieth write: it befalls who asked for it,
    who will not hear the answer in time if it is to stand still or die."""


class CallFault(StrEnum):
    """How one call to the store goes wrong."""

    BEFORE = "raises before anything is done"
    AFTER = "is done, and its answer is lost"
    TWICE = "is done twice, and answers as one of the two"
    SLOW = "takes long"
    SPOILED = "refuses a batch as a whole"
    BROKEN = "fails in the middle of its transaction"


class Deed(StrEnum):
    """What a client does."""

    START = "start"
    SIGNAL = "signal"
    UPDATE = "update"
    CANCEL = "cancel"
    TERMINATE = "terminate"
    POISON = "poison"
    """Not a client's, really: a message that nobody can read."""
    QUERY = "query"
    RESULT = "result"
    START_WITH_SIGNAL = "start with signal"
    RETRY = "retry"


class Ending(StrEnum):
    """How a run may end that nobody disturbs."""

    RESULT = "with its result"
    FAILURE = "with its failure"
    TIMEOUT = "when its time is up"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a client does, some time after the last."""

    deed: Deed
    after: float = 0.0
    name: str = ""
    value: Any = None
    request_id: str | None = None
    """Of a start, its idempotency key."""
    times: int = 1
    """How often it is said, whether or not the first was heard."""
    to_start: int | None = None
    """Not for the run that was started last: for the so manieth, which may have ended."""
    is_refused: bool = False
    """Whether it is an update that no run accepts."""


@dataclass(frozen=True, slots=True)
class Script:
    """What one client does to one workflow."""

    workflow_id: str
    program: Any
    at: float
    node: int
    """Whose process it is part of."""
    steps: tuple[Step, ...]
    is_keyed: bool = False
    delay: float | None = None
    """Seconds after which its code is to begin."""
    run_timeout: float | None = None
    execution_timeout: float | None = None
    tries: int = 0
    """How often it is tried, if it is to be tried again when it fails."""
    endings: frozenset[Ending] = frozenset({Ending.RESULT})
    is_one_run: bool = False
    """Whether all its starts are to be told of one run."""

    @property
    def deeds(self) -> frozenset[Deed]:
        return frozenset(step.deed for step in self.steps)

    @property
    def talks(self) -> bool:
        """Whether the program waits for what the client says."""
        return bool(self.deeds & {Deed.SIGNAL, Deed.UPDATE})


@dataclass(frozen=True, slots=True)
class Retention:
    """Somebody deletes runs that have ended."""

    prefix: str
    """Of the workflow ids that it looks after."""
    node: int
    keep: float
    """Seconds for which they are kept."""
    spares_chains: bool
    """Whether what has been continued stays for as long as its chain is open."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One trial."""

    seed: int
    workers: int
    """How many nodes work; one more has clients alone."""
    scripts: tuple[Script, ...]
    blows: tuple[Blow, ...] = ()
    call_faults: tuple[CallFault, ...] = ()
    fault_rate: float = 0.0
    """How many of the calls to the store go wrong while there are faults."""
    faults_end: float = 8.0
    """When the quiet phase begins."""
    latency: float = 0.002
    """Seconds that a way to the store takes, on average."""
    crosses: bool = True
    """Whether nodes hear of what others do."""
    settings: dict[str, Any] = field(default_factory=dict)
    office: int | None = None
    """The node of those who complete activities from outside."""
    retention: Retention | None = None
    mended_at: float = 0.0
    """Seconds after which code is mended that was not what it should be."""

    @property
    def is_calm(self) -> bool:
        """Whether nothing goes wrong, nor takes so long that anything could be lost by it."""
        return not self.blows and not self.fault_rate and self.latency <= 0.01

    @property
    def nodes(self) -> int:
        return self.workers + 1


def plain_plan(seed: int) -> Plan:
    """Few programs of few parts."""
    chance = Random(seed)
    workers = chance.choice((1, 2, 2, 3))
    scripts = tuple(
        _script(chance, number, workers + 1) for number in range(chance.choice((1, 2, 3)))
    )
    has_faults = chance.random() < 0.95
    ends = chance.uniform(2.0, 8.0)
    kinds = tuple(fault for fault in Fault if chance.random() < 0.5)
    blows: list[Blow] = []
    if has_faults and kinds:
        blows = [
            _blow(chance, kinds, workers + 1, ends) for _ in range(chance.choice((0, 1, 2, 4, 8)))
        ]
    call_faults = tuple(fault for fault in CallFault if chance.random() < 0.6)
    if CallFault.SLOW in call_faults and any(blow.fault in _ENDINGS for blow in blows):
        scripts = with_keys(scripts)
    return Plan(
        seed=seed,
        workers=workers,
        scripts=scripts,
        blows=tuple(sorted(blows, key=lambda blow: blow.at)),
        call_faults=call_faults,
        fault_rate=chance.choice((0.0, 0.02, 0.1, 0.25)) if has_faults else 0.0,
        faults_end=ends,
        latency=chance.choice((0.0005, 0.002, 0.01, 0.05)),
        crosses=chance.random() < 0.6,
        settings={
            "lease_seconds": chance.choice((0.5, 1.0, 2.0)),
            "stall_seconds": chance.choice((1.0, 2.0)),
            "poll_seconds": chance.choice((0.2, 0.5, 1.0)),
            "max_cached_runs": chance.choice((0, 1, 1000)),
            "max_owned_runs": chance.choice((1, 2, 1000)),
            "concurrency": chance.choice((1, 2, 1000)),
            "max_lost_attempts": 1000,
            "shutdown_grace_seconds": chance.choice((0.0, 0.2)),
        },
    )


_ENDINGS: Final = (Fault.CRASH, Fault.STOP)


def with_keys(scripts: tuple[Script, ...]) -> tuple[Script, ...]:
    """Where processes end and calls are slow, what one has asked for may be done when its successor
    has long had an answer. A start without a key is a run of its own then, which waits for ever for
    what was told to the other."""
    return tuple(replace(one, is_keyed=one.is_keyed or one.talks) for one in scripts)


def _blow(chance: Random, kinds: tuple[Fault, ...], nodes: int, ends: float) -> Blow:
    fault = chance.choice(kinds)
    amount = chance.choice((-1, 1)) * chance.choice((0.1, 1.0, 30.0))
    lasts = chance.choice((0.05, 0.5, 1.5, 4.0))
    at = chance.choice((chance.uniform(0.0, ends), chance.expovariate(2.0)))
    write = chance.randrange(1, 30) if chance.random() < 0.5 else None
    return Blow(fault, min(at, ends), lasts, chance.randrange(nodes), amount, write)


def _script(chance: Random, number: int, nodes: int) -> Script:
    workflow_id = f"w{number}"
    program = some_program(chance)
    steps: list[Step] = [Step(Deed.START, times=_times(chance))]
    for count, (kind, value) in enumerate(wanted(program)):
        after = chance.choice((0.0, 0.0, 0.05, 0.5, 2.0))
        request_id = f"{workflow_id}-{count}"
        deed = Deed.UPDATE if kind == "update" else Deed.SIGNAL
        name = {"signal": f"signal-{value}", "flag": "flag", "update": "change"}[kind]
        steps.append(Step(deed, after, name, value, request_id, _times(chance)))
    _add_ending(chance, steps)
    if chance.random() < 0.2:
        steps.insert(chance.randrange(1, len(steps) + 1), Step(Deed.QUERY))
    steps.append(Step(Deed.RESULT))
    at = chance.choice((0.0, 0.1, 1.0, 3.0))
    return Script(
        workflow_id, program, at, chance.randrange(nodes), tuple(steps), chance.random() < 0.5
    )


def _add_ending(chance: Random, steps: list[Step]) -> None:
    """Some runs do not come to an end of their own."""
    drawn = chance.random()
    deed = Deed.CANCEL if drawn < 0.12 else Deed.TERMINATE if drawn < 0.18 else None
    if 0.18 <= drawn < 0.22:
        deed = Deed.POISON
    if deed is not None:
        after = chance.choice((0.0, 0.02, 0.2, 1.0))
        steps.insert(chance.randrange(1, len(steps) + 1), Step(deed, after, times=_times(chance)))


def _times(chance: Random) -> int:
    return 1 if chance.random() < 0.8 else 2
