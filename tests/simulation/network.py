"""Between the nodes and the store: calls that take time, go wrong, and are done all the same."""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from random import Random
from typing import Any, Final

from loom.errors import StoreError, StoreUnavailableError
from loom.identifiers import Micros, RunId, RunKey, WorkflowId
from loom.storage.notifier import InProcessNotifier
from loom.storage.records import (
    Effects,
    InboxRecord,
    NewRun,
    RunRecord,
    StartOutcome,
    Transition,
    WriteOutcome,
)
from loom.storage.repository import LeaseRepository
from loom.storage.store import Store
from loom.testing.processes import Call, InterceptedRepository
from tests.faults import READS
from tests.proof.records import Commit, Dump, RunDump
from tests.simulation.loop import SimulatedLoop, Strand
from tests.simulation.plan import CallFault, Plan
from tests.simulation.stores import SimulatedStore

WRITES: Final = frozenset(
    {"write_transitions", "start_runs", "complete_activity_tasks", "send_messages"}
)
LONGEST: Final = 1_000
"""Events; no program's history is nearly as long."""

BATCHES: Final = frozenset({"write_transitions", "start_runs", "complete_activity_tasks"})


class Network:
    """What all nodes share: the store, and the ways to it."""

    def __init__(
        self, loop: SimulatedLoop, plan: Plan, store: SimulatedStore, chance: Random
    ) -> None:
        self.loop = loop
        self.plan = plan
        self.store = store
        self.repository = store.repository
        self.chance = chance
        self.commits: list[Commit] = []
        self.counts: Counter[str] = Counter()
        self.is_down = False
        self.is_full = False
        self.is_deaf = False
        self.is_quiet = False
        self.peers: list[NodeNotifier] = []
        self.writes = 0
        self.written: dict[tuple[RunKey, int], Micros] = {}
        """When the store took each event, by its run and sequence, and by the true time."""
        self.jumps: list[Micros] = []
        """When some node's clock has jumped."""
        self.retried: dict[WorkflowId, Micros] = {}
        """When a client was told last that its run is tried again."""
        self.collected: list[RunDump] = []
        """The runs that were deleted, as they were when that happened."""
        self.left: dict[RunKey, Sequence[InboxRecord]] = {}
        """What runs that closed for good had not taken from their inboxes."""
        self._unread: dict[RunKey, Sequence[InboxRecord]] = {}
        self.dump: Callable[[], Dump] = lambda: Dump((), 0)
        """What the store holds."""
        self._claimed: dict[RunKey, int] = {}
        self.on_write: Callable[[int, Line], None] = lambda number, line: None
        """Told of each write, once it is done and before anybody has heard of it."""
        self._context = loop.context(loop.strand("store"))

    def latency(self) -> float:
        return self.chance.expovariate(1.0) * self.plan.latency + 0.0001

    def fault_of(self, method: str, arguments: tuple[Any, ...]) -> CallFault | None:
        """How a call goes wrong, if it does."""
        plan = self.plan
        # Reads are many, and little depends on them.
        rate = plan.fault_rate * (0.2 if method in READS else 1.0)
        if self.is_quiet or not plan.call_faults or self.chance.random() >= rate:
            return None
        fault = self.chance.choice(plan.call_faults)
        if fault is CallFault.SPOILED and (method not in BATCHES or len(arguments[0]) < 2):
            # One item alone that is refused is its run's own misfortune.
            return None
        # Where there are no statements, it fails before it is done.
        is_before = fault is CallFault.BROKEN and not self.store.has_statements
        return CallFault.BEFORE if is_before else fault

    def count_call(self, fault: CallFault, method: str) -> None:
        self.counts[f"call {fault.name.lower()} {method}"] += 1

    def perform_broken(
        self, method: str, call: Call, arguments: tuple[Any, ...]
    ) -> tuple[Any, Any]:
        """Do it, but for its last statements, if it has so many."""
        with self.store.breaking(self.chance.randrange(8)) as breaks:
            done = self.perform(method, call, arguments)
        if breaks.has_failed:
            self.count_call(CallFault.BROKEN, method)
        return done

    def perform(self, method: str, call: Call, arguments: tuple[Any, ...]) -> tuple[Any, Any]:
        """Do it, at once: its answer, and the error that it raised."""
        self.loop.note(method)
        try:
            if self.is_full and method not in READS:
                raise StoreUnavailableError("the disk is full")
            answer = self._collect(call) if method == "delete_runs" else _run(call)
        except StoreError as error:
            return None, error
        if method == "claim_workflow_tasks":
            self._claimed.update({task.run.run_key: task.token for task in answer.tasks})
        if method == "write_transitions":
            self._note_commits(arguments[0], answer)
        if method == "start_runs":
            self._note_starts(arguments[0], answer)
        return answer, None

    def _collect(self, call: Call) -> Any:
        before = self.dump()
        answer = _run(call)
        left = self.dump().by_run_id()
        gone = [run for run in before.runs if run.key not in left]
        self.collected += gone
        self.counts["runs deleted"] += len(gone)
        return answer

    def look(
        self, workflow_id: WorkflowId, run_id: RunId
    ) -> tuple[RunRecord | None, RunRecord | None]:
        """That run and the newest of its id as they are in the store, which hears nothing of it."""
        find = self.repository.find_run
        return _run(lambda: find(workflow_id, run_id)), _run(lambda: find(workflow_id))

    def look_at_inboxes(self, method: str, arguments: tuple[Any, ...]) -> None:
        """Of runs that are about to close for good: what they have not taken."""
        self._unread.clear()
        for one in arguments[0] if method == "write_transitions" else ():
            goes_on = any(new.continues is not None for new in one.effects.starts)
            if not one.effects.status.is_open and not goes_on:
                inbox = _run(partial(self.repository.list_messages, one.run_key))
                taken = one.consumed_through or 0
                self._unread[one.run_key] = [m for m in inbox if m.position > taken]

    def _note_commits(
        self, transitions: Sequence[Transition], outcomes: Sequence[WriteOutcome]
    ) -> None:
        if any(transition.expected_sequence > LONGEST for transition in transitions):
            self.loop.is_stuck = True
        for transition, outcome in zip(transitions, outcomes, strict=True):
            self.counts[f"transition {outcome.value}"] += 1
            if outcome is WriteOutcome.WRITTEN:
                if transition.run_key in self._unread:
                    self.left[transition.run_key] = self._unread[transition.run_key]
                self._note_events(transition.run_key, transition.effects)
                self.commits.append(
                    Commit(
                        transition.run_key,
                        transition.token,
                        transition.owner,
                        transition.expected_sequence,
                        len(transition.effects.events),
                        self._claimed.get(transition.run_key),
                    )
                )

    def _note_starts(self, runs: Sequence[NewRun], outcomes: Sequence[StartOutcome]) -> None:
        for new, outcome in zip(runs, outcomes, strict=True):
            if outcome.created and not outcome.repeated:
                self._note_events(outcome.run.run_key, new.effects)

    def _note_events(self, run_key: RunKey, effects: Effects) -> None:
        now = self.loop.micros
        self.written.update({(run_key, event.sequence): now for event in effects.events})


def _run(call: Call) -> Any:
    """A call that waits for nothing but to let others run first, which here they do anyway."""
    coroutine: Any = call()
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value


class Line:
    """One node's way to the store."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.is_cut = False

    async def __call__(self, method: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        network, loop = self._network, self._network.loop
        answered: asyncio.Future[Any] = loop.create_future()
        fault = network.fault_of(method, arguments)
        if fault is not None and fault is not CallFault.BROKEN:
            network.count_call(fault, method)
        home = contextvars.copy_context()

        def hear(answer: Any, error: BaseException | None) -> None:
            if answered.done():
                return
            if error is None:
                answered.set_result(answer)
            else:
                answered.set_exception(error)

        def reply(answer: Any, error: BaseException | None) -> None:
            if self.is_cut or network.is_down:
                network.counts["answer cut off"] += 1
                answer, error = None, _unavailable()
            loop.call_later(network.latency(), hear, answer, error, context=home)

        def arrive() -> None:
            network.look_at_inboxes(method, arguments)
            if self.is_cut or network.is_down or fault is CallFault.BEFORE:
                reply(None, _unavailable())
                return
            if fault is CallFault.SPOILED:
                reply(None, StoreError("something in it is wrong"))
                return
            is_broken = fault is CallFault.BROKEN
            perform = network.perform_broken if is_broken else network.perform
            answer, error = perform(method, call, arguments)
            if method in WRITES:
                network.writes += 1
                network.on_write(network.writes, self)
            if fault is CallFault.TWICE:
                again = network.perform(method, call, arguments)
                if network.chance.random() < 0.5:
                    answer, error = again
            if fault is CallFault.AFTER:
                answer, error = None, _unavailable()
            reply(answer, error)

        wait = network.latency()
        if fault is CallFault.SLOW:
            wait += network.chance.choice((0.05, 0.5, 3.0))
        loop.call_later(wait, arrive, context=network._context)
        return await answered


def _unavailable() -> StoreUnavailableError:
    return StoreUnavailableError("the simulation has pulled the plug")


class NodeStore(Store):
    """The store as one node sees it."""

    def __init__(self, network: Network, notifier: NodeNotifier) -> None:
        self.line = Line(network)
        self.repository = InterceptedRepository(network.repository, self.line)
        self.notifier = notifier

    @asynccontextmanager
    async def lease_repository(self) -> AsyncIterator[LeaseRepository]:
        yield self.repository

    async def close(self) -> None:
        """Nothing to give back."""


class NodeNotifier(InProcessNotifier):
    """Reaches its own node at once, and the others sometimes."""

    def __init__(self, network: Network, strand: Strand) -> None:
        super().__init__()
        self._network = network
        self._context = network.loop.context(strand)
        self.crosses_processes = network.plan.crosses
        network.peers.append(self)

    def publish(self, topics: Iterable[str]) -> None:
        topics = list(topics)
        super().publish(topics)
        if not self.crosses_processes:
            return
        for peer in self._network.peers:
            if peer is not self:
                peer.expect(topics)

    def expect(self, topics: Sequence[str]) -> None:
        """Something was said elsewhere."""
        network = self._network
        drawn = 1.0 if network.is_quiet else network.chance.random()
        if network.is_deaf or drawn < 0.1:
            network.counts["notification lost"] += 1
            return
        times = 1
        if drawn < 0.2:
            network.counts["notification repeated"] += 1
            times = 2
        for _ in range(times):
            wait = network.latency() * (50 if drawn < 0.3 else 1)
            network.loop.call_later(wait, self._hear, topics, context=self._context)

    def _hear(self, topics: Sequence[str]) -> None:
        super().publish(topics)

    def leave(self) -> None:
        self._network.peers.remove(self)
