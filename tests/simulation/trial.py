"""One trial: a plan is carried out, all comes to rest, and the checker has its say."""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any, Final
from unittest.mock import patch

import loom
from loom.history.status import RunStatus
from loom.identifiers import MICROS_PER_SECOND, Micros, RunKey
from loom.storage.records import Labels
from tests.proof.checker import Invariant, Violation, check
from tests.proof.dump import take_dump
from tests.proof.records import Dump, Evidence
from tests.simulation.clients import Player
from tests.simulation.families import (
    children_end_as_they_should,
    runs_end_as_they_were_told,
    tags_are_as_history_says,
)
from tests.simulation.judgement import (
    answers_had_one_effect,
    cancelled_runs_are_cancelled,
    times_were_up,
    tries_are_counted,
)
from tests.simulation.loop import SimulatedLoop, Stuck
from tests.simulation.network import Line, Network
from tests.simulation.nodes import Node
from tests.simulation.plan import Blow, Deed, Ending, Fault, Plan
from tests.simulation.programs import Program, expected, kinds
from tests.simulation.staff import Collector, Office, Staff
from tests.simulation.stores import Tier, prepare, simulated_store
from tests.simulation.times import timers_take_their_time
from tests.simulation.world import WORLD

START: Final = 1_800_000_000_000_000
PATIENCE: Final = 150.0
"""Seconds after the last fault by which all must have ended."""
STEPS: Final = 40_000
"""Some thousand are usual."""

_REPLAYER: Final = loom.Replayer(workflows=[Program], guards="off")


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a trial."""

    plan: Plan
    violations: list[Violation]
    trace: int
    """The same for every trial of the same plan."""
    steps: int
    seconds: float
    """Of virtual time."""
    counts: Counter[str] = field(default_factory=Counter)
    """How often what was reached."""


class Trial:
    def __init__(self, plan: Plan, tier: Tier = Tier.MEMORY) -> None:
        self.plan = plan
        self._chance = Random(f"trial {plan.seed}")
        self._ids = Random(f"ids {plan.seed}")
        self._work = Random(f"work {plan.seed}")
        self._tier = tier

    def run(self) -> Report:
        prepare(self._tier)
        with self._in_a_world_of_its_own() as loop:
            return self._run(loop)

    @contextmanager
    def _in_a_world_of_its_own(self) -> Iterator[SimulatedLoop]:
        WORLD.clear()
        loop = SimulatedLoop(Random(f"order {self.plan.seed}"), START)
        disabled = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            with (
                patch("loom.identifiers._random_bytes", self._ids.randbytes),
                patch("random.random", self._work.random),
                patch.object(WORLD, "take_time", self._take_time),
                patch.object(WORLD, "die", self._die),
                patch.object(WORLD, "is_mended", lambda: loop.now >= self.plan.mended_at),
                patch.object(WORLD, "hour", timedelta(seconds=1.5)),
                loop,
            ):
                yield loop
        finally:
            logging.disable(disabled)

    async def _take_time(self) -> None:
        # The same for every attempt of one: where it takes longer than a lease, it always does.
        drawn = zlib.crc32(loom.activity_info().activity_key.encode()) / 2**32
        await asyncio.sleep(0.0 if drawn < 0.3 else 3.0 if drawn > 0.95 else 0.1 * drawn)

    def _die(self) -> None:
        """Code ends the process that it runs in; when all is quiet, it has been mended."""
        node = next((one for one in self.nodes if one.main is self.loop.current), None)
        if node is None or node.is_over or self.network.is_quiet:
            return
        self.network.counts["processes ended by a workflow"] += 1
        node.end()
        self._context_of_world.run(self._replace_later, self.nodes.index(node), 0.1)

    # --- what happens ---

    def _run(self, loop: SimulatedLoop) -> Report:
        plan = self.plan
        self._context_of_world = context = loop.context(loop.strand("world"))
        self.loop = loop
        with simulated_store(self._tier, loop) as store:
            self.store = store
            self.network = network = Network(loop, plan, store, self._chance)
            network.dump = self._dump
            self.settings = loom.Settings(
                dsn="memory://", slow_turn_seconds=0, guards="off", **plan.settings
            )
            self.players = [Player(script, network) for script in plan.scripts]
            self.staff = self._make_staff()
            self.nodes: list[Node] = []
            self.graveyard: list[Node] = []
            self._lets_go: list[Callable[[], None]] = []
            self._has_ended = False
            self._dumps: list[Dump] = []
            stuck: list[Violation] = []
            context.run(self._begin, context)
            try:
                until = plan.faults_end + PATIENCE
                loop.run_until(lambda: self._has_ended, until=until, steps=STEPS)
            except Stuck as error:
                stuck = [Violation(Invariant.MOVES_ON, f"it never comes to rest: {error}")]
            report = self._report(stuck)
            for node in [*self.nodes, *self.graveyard]:
                node.sweep()
            return report

    def _make_staff(self) -> list[Staff]:
        plan, chance, staff = self.plan, Random(f"staff {self.plan.seed}"), list[Staff]()
        if plan.office is not None:
            staff.append(Office(plan.office, self.network, chance))
        if plan.retention is not None:
            staff.append(Collector(plan.retention, self.network, chance))
        return staff

    def _begin(self, context: Any) -> None:
        plan, loop = self.plan, self.loop
        for number in range(plan.nodes):
            self.nodes.append(self._new_node(number))
            self._start_node(number)
        for blow in plan.blows:
            if blow.write is None:
                loop.call_later(blow.at, self._strike, blow, context=context)
        self._by_write = {blow.write: blow for blow in plan.blows if blow.write is not None}
        self.network.on_write = self._on_write
        for player in self.players:
            loop.call_later(player.script.at, self._resume, player, context=context)
        loop.call_later(plan.faults_end, self._be_quiet, context=context)

    def _new_node(self, number: int) -> Node:
        has_worker = number < self.plan.workers
        name = f"worker {number}" if has_worker else "client"
        return Node(self.network, name, self.settings, has_worker=has_worker)

    def _start_node(self, number: int) -> None:
        node = self.nodes[number]
        node.begin(self._serve(number, node))

    async def _serve(self, number: int, node: Node) -> None:
        await node.open()
        for player in self.players:
            if player.node == number and self.loop.now >= player.script.at:
                self._play(player, node)
        for one in self.staff:
            if one.node == number:
                node.playing[one] = node.begin(one.play(node))

    def _resume(self, player: Player) -> None:
        node = self.nodes[player.node]
        if node.is_up:
            self._play(player, node)

    def _play(self, player: Player, node: Node) -> None:
        # Of each script, one process plays at a time: the others of its node are over.
        if not player.is_over and player not in node.playing:
            node.playing[player] = node.begin(player.play(node))

    # --- faults ---

    def _on_write(self, number: int, line: Line) -> None:
        blow = self._by_write.get(number)
        if blow is None or self.network.is_quiet:
            return
        for at, node in enumerate(self.nodes):
            if node.store.line is line:
                self.network.counts[f"fault {blow.fault} at a write"] += 1
                self._context_of_world.run(self._strike, replace(blow, node=at))
                return

    def _strike(self, blow: Blow) -> None:
        node = self.nodes[blow.node]
        lasts = min(blow.lasts, self.plan.faults_end - self.loop.now)
        match blow.fault:
            case Fault.CRASH | Fault.STOP if node.is_over:
                return
            case Fault.CRASH:
                node.end()
                self._replace_later(blow.node, lasts)
            case Fault.STOP if node.is_up:
                node.is_up = False
                for playing in node.playing.values():
                    playing.cancel()
                node.begin(self._stop(node, blow.node, lasts))
            case Fault.FREEZE | Fault.STALL:
                self._later(lasts, node.hold(whole=blow.fault is Fault.FREEZE))
            case Fault.CUT:
                node.store.line.is_cut = True
                self._later(lasts, lambda: setattr(node.store.line, "is_cut", False))
            case Fault.CLOCK:
                self._jump(node, blow.amount)
                self._later(lasts, lambda: self._jump_back(node, blow.amount))
            case Fault.OUTAGE | Fault.FULL | Fault.DEAF as fault:
                name = {Fault.OUTAGE: "is_down", Fault.FULL: "is_full", Fault.DEAF: "is_deaf"}
                setattr(self.network, name[fault], True)
                self._later(lasts, lambda: setattr(self.network, name[fault], False))
            case _:
                return
        self.network.counts[f"fault {blow.fault}"] += 1

    def _jump_back(self, node: Node, amount: float) -> None:
        # Once all is quiet, every clock is right.
        if not self.network.is_quiet:
            self._jump(node, -amount)

    def _jump(self, node: Node, amount: float) -> None:
        node.jump(amount)
        self.network.jumps.append(self.loop.micros)

    def _later(self, seconds: float, callback: Callable[[], None]) -> None:
        self.loop.call_later(max(seconds, 0.0), callback)

    def _replace_later(self, number: int, seconds: float) -> None:
        dead = self.nodes[number]

        def replace_it() -> None:
            if self.nodes[number] is not dead:
                return
            self.graveyard.append(dead)
            self.nodes[number] = self._new_node(number)
            self._start_node(number)

        self._later(seconds, replace_it)

    async def _stop(self, node: Node, number: int, lasts: float) -> None:
        try:
            await node.close()
        finally:
            self._context_of_world.run(self._replace_later, number, lasts)

    # --- coming to rest ---

    def _be_quiet(self) -> None:
        network = self.network
        network.is_quiet = True
        network.is_down = network.is_full = network.is_deaf = False
        for number, node in enumerate(self.nodes):
            node.store.line.is_cut = False
            self._jump(node, -node.clock.error / MICROS_PER_SECOND)
            if node.is_over:
                self._replace_later(number, 0.0)
        self._dumps.append(self._dump())
        self._look()

    def _look(self) -> None:
        """Whether all is over."""
        if all(player.is_over for player in self.players) and self.store.is_at_rest(self._excused):
            self._has_ended = True
        else:
            self._later(0.5, self._look)

    @property
    def _excused(self) -> frozenset[str]:
        return frozenset(s.workflow_id for s in self.plan.scripts if Deed.POISON in s.deeds)

    @property
    def _slack(self) -> Micros:
        """Clocks may be as wrong as the furthest jump has made them."""
        jumps = [abs(blow.amount) for blow in self.plan.blows if blow.fault is Fault.CLOCK]
        return round((5 + 2 * max(jumps, default=0)) * MICROS_PER_SECOND)

    def _dump(self) -> Dump:
        return self.store.drive(take_dump(self.store.repository, self.loop.micros))

    def _labels(self, dump: Dump) -> dict[RunKey, Labels]:
        keys = [run.run.run_key for run in dump.runs]
        return dict(zip(keys, self.store.drive(self._read_labels(keys)), strict=True))

    async def _read_labels(self, keys: list[RunKey]) -> Sequence[Labels]:
        return await self.store.repository.read_labels(keys)

    # --- what is to be said of it ---

    def _report(self, stuck: list[Violation]) -> Report:
        loop, network, plan = self.loop, self.network, self.plan
        # As if they were there still: what has ended may be deleted, and has had its effect.
        dump = self._dump()
        evidence = Evidence(
            replace(dump, runs=(*network.collected, *dump.runs)),
            [told for player in self.players for told in player.told],
            tuple(WORLD.executions),
            earlier=self._dumps,
            commits=network.commits,
            poisoned=self._excused,
            left=network.left,
            slack=self._slack,
        )
        violations = [
            *stuck,
            *check(evidence, replayer=_REPLAYER),
            *self._oddities(),
            *cancelled_runs_are_cancelled(evidence.dump),
            *tries_are_counted(plan, evidence.dump),
            *times_were_up(plan, evidence.dump),
            *timers_take_their_time(plan, evidence.dump, network),
            *children_end_as_they_should(evidence.dump),
            *runs_end_as_they_were_told(plan, evidence.dump, network),
            *tags_are_as_history_says(dump, self._labels(dump)),
            *answers_had_one_effect(WORLD.handed, plan, evidence.dump),
            *self._losses(),
        ]
        for script in plan.scripts:
            network.counts.update(f"program {kind}" for kind in kinds(script.program))
        for run in evidence.dump.runs:
            network.counts[f"run {run.run.status.value}"] += 1
            network.counts.update(event.type for event in run.events)
            if run.started is not None and run.started.attempt > 1:
                network.counts["runs tried again"] += 1
            if run.run.status is RunStatus.TIMED_OUT and run.run.continued_from:
                network.counts["runs timed out in a chain"] += 1
        for told in evidence.told:
            network.counts[f"told {told.outcome.value} {told.asked.value}"] += 1
        loop.note(repr([run.events for run in evidence.dump.runs]))
        return Report(plan, violations, loop.trace, loop.steps, loop.now, network.counts)

    def _losses(self) -> Iterator[Violation]:
        lost = self.network.counts["transition lost"]
        # Who ends another's process leaves what it holds to others.
        is_alone = not self.network.counts["processes ended by a workflow"]
        if lost > (0 if is_alone else 3) and self.plan.is_calm:
            what = f"{lost} turns were lost although nothing went wrong"
            yield Violation(Invariant.GAPLESS_AND_FENCED, what)
        deaths = self.network.counts["processes ended by a workflow"]
        # Once it looks harmless: to whoever takes it over while its activity is to be run again.
        if deaths > self.settings.max_lost_owners + 1 and self.plan.is_calm:
            what = f"{deaths} processes were ended by one workflow, and nothing else went wrong"
            yield Violation(Invariant.POISON_STOPS_ALONE, what)

    def _oddities(self) -> Iterator[Violation]:
        for player in self.players:
            script = player.script
            yield from (
                Violation(Invariant.ACKNOWLEDGED_IS_KEPT, f"{script.workflow_id!r}: {odd}")
                for odd in player.odd
            )
            if not player.is_over:
                what = f"a client of {script.workflow_id!r} never got on"
                yield Violation(Invariant.MOVES_ON, what)
            wanted = expected(script.program)
            for result in player.results:
                if result != wanted or Ending.RESULT not in script.endings:
                    what = f"{script.workflow_id!r} has returned {result!r} and not {wanted!r}"
                    yield Violation(Invariant.CLOSED_IS_CLOSED, what)
        for one in self.staff:
            yield from (Violation(Invariant.ONE_EFFECT, odd) for odd in one.odd)
        for context in self.loop.unhandled:
            if "handle" in context:
                yield Violation(Invariant.MOVES_ON, f"a callback raised {context['exception']!r}")


def run_plan(plan: Plan, tier: Tier = Tier.MEMORY) -> Report:
    return Trial(plan, tier).run()
