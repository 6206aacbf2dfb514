"""Which runs a worker owns, and how it gives them back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from loom.engine.instance import WorkflowInstance
from loom.errors import LoomError
from loom.identifiers import Micros, RunId, RunKey
from loom.runner.context import WorkerContext
from loom.runner.group_writer import GroupWriter
from loom.runner.instance_cache import InstanceCache
from loom.runner.owned_run import OwnedRun
from loom.storage.records import Leases, RunLease, RunRecord, TaskLease
from loom.storage.repository import LeaseRepository

_log = logging.getLogger("loom.worker")


class Ownership:
    """The runs that a worker owns, and the idle ones that it keeps in memory."""

    def __init__(self, worker: WorkerContext) -> None:
        self._repository: LeaseRepository = worker.repository
        self._clock = worker.clock
        self._held = worker.held
        self._limit = worker.options.max_owned_runs
        self._owned: dict[RunKey, OwnedRun] = {}
        self._owned_ids: set[RunId] = set()
        self._cache = InstanceCache(worker.options.max_cached_runs)
        self._releases = GroupWriter(self._release_together)
        self._was_full = False
        self._forgotten: set[RunLease] | None = None
        """What was let go of since the claim was begun that is under way, if one is."""
        self._releasing: set[RunLease] = set()
        """What is being given back in the store."""
        self.on_released: Callable[[], None] = lambda: None
        """Told when a run was given back that may be due again at once, or when there is room for
        others again."""
        self.on_due_at: Callable[[Micros], None] = lambda moment: None
        """Told when a run that was given back will be due."""

    def __contains__(self, run_id: RunId) -> bool:
        return run_id in self._owned_ids

    def __iter__(self) -> Iterator[OwnedRun]:
        return iter(tuple(self._owned.values()))

    def get(self, run_key: RunKey) -> OwnedRun | None:
        return self._owned.get(run_key)

    def holds(self, owned: OwnedRun) -> bool:
        """Whether this very ownership is the one that counts."""
        return self._owned.get(owned.run_key) is owned

    def room(self) -> int:
        """How many more runs may be owned. When there is none, ``on_released`` is called as soon
        as there is."""
        room = self._limit - len(self._owned)
        self._was_full = room <= 0
        return max(room, 0)

    @contextmanager
    def claiming(self) -> Iterator[set[RunLease]]:
        """While the store is asked for runs, and what it says is taken in; once at a time.

        Gives what is let go of meanwhile, and what is being given back. Where the answer has that,
        it is stale: whoever has the run now, be it the same worker again, has another token.
        """
        forgotten = set(self._releasing)
        self._forgotten = forgotten
        try:
            yield forgotten
        finally:
            self._forgotten = None

    def add(self, owned: OwnedRun) -> None:
        self._held.add_run(owned.run_key, owned.token)
        self._owned[owned.run_key] = owned
        self._owned_ids.add(owned.run.run_id)

    def forget(self, owned: OwnedRun) -> None:
        """Own a run no more, whatever the store says of it."""
        if owned.alarm is not None:
            owned.alarm.cancel()
        if not self.holds(owned):
            return
        del self._owned[owned.run_key]
        self._owned_ids.discard(owned.run.run_id)
        self._held.drop_run(owned.run_key)
        if self._forgotten is not None:
            self._forgotten.add(RunLease(owned.run_key, owned.token))
        if self._was_full and len(self._owned) < self._limit:
            self._was_full = False
            self.on_released()

    def remember(self, owned: OwnedRun) -> None:
        """Keep the live instance of a run that nobody owns now."""
        instance = owned.instance
        if instance is None or not instance.is_open:
            return
        # Asked first: the instance may be evicted at once, which ends its timers.
        wake_at = instance.wake_at
        self._cache.put(owned.run_key, owned.sequence, instance)
        if wake_at is not None:
            self.on_due_at(wake_at)

    def recall(self, owned: OwnedRun) -> WorkflowInstance | None:
        """The live instance that was kept, if the run stands where it saw it last."""
        return self._cache.take(owned.run_key, owned.run.sequence)

    def live_instance(self, run: RunRecord) -> WorkflowInstance | None:
        """The instance of a run that is here between two turns, where the record says it is."""
        owned = self._owned.get(run.run_key)
        if owned is None:
            return self._cache.look(run.run_key, run.sequence)
        is_there = not owned.busy and not owned.is_void and owned.sequence == run.sequence
        return owned.instance if is_there else None

    def discard(self, owned: OwnedRun) -> None:
        """Own a run no more, and throw its instance away."""
        self.forget(owned)
        throw_away(owned)

    async def release(self, owned: OwnedRun) -> None:
        """Give a run's lease back, so that anybody may claim it at once."""
        run = RunLease(owned.run_key, owned.token)
        self._releasing.add(run)
        try:
            await self._releases.submit(Leases((run,), tuple(owned.unstarted)))
        finally:
            self._releasing.discard(run)
        self.on_released()

    async def release_all(self, tasks: Sequence[TaskLease]) -> None:
        """Give everything back, and these tasks with it, at once and in one go."""
        runs = [RunLease(owned.run_key, owned.token) for owned in self]
        # Before anything is awaited: their alarms must not begin new turns.
        self.discard_all()
        await self._releases.submit(Leases(tuple(runs), tuple(tasks)))

    def discard_all(self) -> None:
        for owned in self:
            self.discard(owned)
        self._cache.clear()

    async def _release_together(self, batch: Sequence[Leases]) -> list[None]:
        """Never fails: a lease that cannot be given back runs out by itself."""
        runs = tuple(lease for leases in batch for lease in leases.runs)
        tasks = tuple(lease for leases in batch for lease in leases.tasks)
        leases = Leases(runs, tasks)
        try:
            if leases:
                await self._repository.release_leases(leases, self._clock.now())
        except LoomError as error:
            _log.warning("leases could not be given back, they run out by themselves: %s", error)
        return [None] * len(batch)


def throw_away(owned: OwnedRun) -> None:
    """End a run's coroutines where they stand."""
    if owned.calls is not None:
        owned.calls.give_up()
    if owned.instance is not None:
        owned.instance.unwind()
        owned.instance = None
