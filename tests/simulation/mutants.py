"""Mistakes that are planted in the engine, the runner and the store, and must each be found.

``python -m tests.simulation.mutants`` says by which seed each is found, and how; the proof that the
simulation can see. ``--only NAME`` plants one of them.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from loom.engine.timers import Timers
from loom.errors import StoreUnavailableError
from loom.identifiers import END_OF_TIME, MICROS_PER_SECOND
from loom.runner import relations
from loom.runner.group_writer import GroupWriter
from loom.runner.instance_cache import InstanceCache
from loom.runner.leases import LeaseKeeper
from loom.runner.owned_run import OwnedRun
from loom.runner.starts import LocalStarter
from loom.runner.turns import Turns
from loom.runner.workflow_tasks import WorkflowTasks
from loom.storage.memory import MemoryRepository
from loom.storage.memory_state import StoredRun, StoredTask
from loom.storage.records import WriteOutcome
from tests.simulation.family_mutants import FAMILY_MUTANTS
from tests.simulation.kept import Kept, write
from tests.simulation.more_extras import make_plan
from tests.simulation.more_mutants import MORE_MUTANTS
from tests.simulation.mutant import Mutant
from tests.simulation.shrink import shrunk
from tests.simulation.stores import Tier
from tests.simulation.trial import Report, run_plan
from tests.simulation.unmended import UNMENDED

# --- the store -----------------------------------------------------------------------------------


def _fence_without_token(original: Any) -> Any:
    return lambda self, run, t: run.is_open and run.record.sequence == t.expected_sequence


def _fence_without_sequence(original: Any) -> Any:
    def fence(self: Any, run: StoredRun, transition: Any) -> bool:
        return run.is_open and run.token == transition.token

    return fence


def _no_malformed(original: Any) -> Any:
    """What a store without a check of its own would take."""
    return lambda self, effects: None


def _written_although_lost(original: Any) -> Any:
    def write(self: Any, transition: Any) -> WriteOutcome:
        original(self, transition)
        return WriteOutcome.WRITTEN

    return write


def _all_consumed(original: Any) -> Any:
    return lambda self, through: original(self, through=END_OF_TIME if through else 0)


def _nothing_consumed(original: Any) -> Any:
    return lambda self, through: None


def _nothing_taken(original: Any) -> Any:
    return lambda self, message_id: False


def _inbox_alone_is_known(original: Any) -> Any:
    return lambda self, message_id: any(m.message_id == message_id for m in self.inbox)


def _chain_of_one(original: Any) -> Any:
    return lambda self, run: [run]


def _no_messages_out(original: Any) -> Any:
    return lambda self, effects, messages: original(self, effects, ())


def _no_starts_out(original: Any) -> Any:
    def reach_out(self: Any, effects: Any, messages: Any) -> None:
        original(self, replace(effects, starts=()), messages)

    return reach_out


def _task_stays(original: Any) -> Any:
    def complete(self: Any, completion: Any) -> WriteOutcome:
        run = self._runs.get(completion.run_key)
        tasks = dict(run.tasks) if run is not None else {}
        outcome: WriteOutcome = original(self, completion)
        if run is not None:
            run.tasks.update(tasks)
        return outcome

    return complete


def _dead_hold_on(original: Any) -> Any:
    def is_held(self: StoredRun, owner: str, now: int) -> bool:
        return self.record.lease_owner not in (None, owner)

    return is_held


def _dead_hold_tasks(original: Any) -> Any:
    def due_at(self: StoredTask) -> int:
        return self.available_at if self.lease_expires_at is None else END_OF_TIME

    return property(due_at)


def _attempts_forgotten(original: Any) -> Any:
    def lease(self: StoredTask, owner: str, expires_at: int | None) -> None:
        original(self, owner, expires_at)
        self.attempt = 1

    return lease


def _released_for_its_timer(original: Any) -> Any:
    return lambda self, now: self.free(self.record.wake_at)


def _kept_until_its_lease_ends(original: Any) -> Any:
    def keep(self: StoredRun, effects: Any, owner: str) -> None:
        original(self, effects, owner)
        if self.is_open and effects.lease_expires_at is not None:
            self.due_at = END_OF_TIME

    return keep


def _no_wake_time(original: Any) -> Any:
    return lambda self, effects, owner: original(self, replace(effects, wake_at=None), owner)


def _answers_forgotten(original: Any) -> Any:
    return lambda self, effects, owner: original(self, replace(effects, answers=()), owner)


def _tasks_outlive_runs(original: Any) -> Any:
    def keep(self: StoredRun, effects: Any, owner: str) -> None:
        tasks = dict(self.tasks)
        original(self, effects, owner)
        self.tasks = tasks

    return keep


def _positions_repeat(original: Any) -> Any:
    def receive(self: StoredRun, message_id: str, arrival: Any, now: int) -> None:
        original(self, message_id, arrival, now)
        self.last_position = len(self.inbox)

    return receive


def _nobody_is_lost(original: Any) -> Any:
    return lambda self, owner: False


def _left_behind(original: Any) -> Any:
    def fill(self: Any, run: StoredRun, new: Any) -> None:
        left = {key: (one, one.left) for key, one in self._runs.items()}
        for one, _ in left.values():
            one.left = []
        original(self, run, new)
        for one, messages in left.values():
            one.left = messages

    return fill


def _two_open_of_one_id(original: Any) -> Any:
    def start(self: Any, new: Any) -> Any:
        with patch.object(self, "_find", lambda *_: None):
            return original(self, new)

    return start


# --- the runner ----------------------------------------------------------------------------------


def _told_before_it_is_written(original: Any) -> Any:
    async def write(self: Any, batch: Any) -> None:
        if getattr(self._write, "__name__", "") == "method" and all(
            type(item).__name__ == "Transition" for item, _ in batch
        ):
            for _, future in batch:
                if not future.done():
                    future.set_result(WriteOutcome.WRITTEN)
        await original(self, batch)

    return write


def _first_of_a_batch_answers(original: Any) -> Any:
    async def write(self: Any, batch: Any) -> None:
        real = self._write

        async def first(items: Sequence[Any]) -> Sequence[Any]:
            outcomes = await real(items)
            return [outcomes[0]] * len(outcomes)

        self._write = first
        try:
            await original(self, batch)
        finally:
            self._write = real

    return write


def _spoiled_together(original: Any) -> Any:
    async def apart(self: Any, batch: Any, error: Exception) -> None:
        for _, future in batch:
            if not future.done():
                future.set_exception(error)

    return apart


def _lost_counts_as_written(original: Any) -> Any:
    async def write(self: Any, owned: Any, effects: Any, consumed: Any) -> bool:
        await original(self, owned, effects, consumed)
        return True

    return write


def _unknown_counts_as_written(original: Any) -> Any:
    async def write(self: Any, owned: Any, effects: Any, consumed: Any) -> bool:
        try:
            return bool(await original(self, owned, effects, consumed))
        except StoreUnavailableError:
            return True

    return write


def _stale_instance(original: Any) -> Any:
    def take(self: Any, run_key: int, sequence: int) -> Any:
        entry = self._instances.pop(run_key, None)
        return None if entry is None else entry[1]

    return take


def _leases_run_out(original: Any) -> Any:
    async def renew(self: Any, repository: Any) -> None:
        return

    return renew


def _delivered_to_nobody(original: Any) -> Any:
    def deliver(self: Any, attempt: Any, outcome: Any) -> bool:
        original(self, attempt, outcome)
        return True

    return deliver


def _arrivals_backwards(original: Any) -> Any:
    def receive(self: OwnedRun, messages: Sequence[Any]) -> bool:
        before = len(self.arrivals)
        news = bool(original(self, messages))
        self.arrivals[before:] = reversed(self.arrivals[before:])
        return news

    return receive


def _only_the_first(original: Any) -> Any:
    def take(self: OwnedRun) -> Any:
        taken = original(self)
        del taken[1:]
        return taken

    return take


def _all_are_ours(original: Any) -> Any:
    return lambda self, outcome, turn, request: outcome.created


def _sequence_stands_still(original: Any) -> Any:
    def carry_out(self: Any, turn: Any, owned: Any) -> None:
        before = owned.sequence
        original(self, turn, owned)
        if len(turn.effects.events) > 3:
            owned.sequence = before + 1

    return carry_out


# --- the engine, and between it and the store ----------------------------------------------------


def _timers_early(original: Any) -> Any:
    return lambda self, now: original(self, now + 3 * MICROS_PER_SECOND)


def _timers_dropped(original: Any) -> Any:
    def take(self: Any, now: int) -> list[int]:
        return list(original(self, now))[:1]

    return take


def _parents_not_told(original: Any) -> Any:
    return lambda *args, **options: ()


def _no_signals_carried(original: Any) -> Any:
    def successor(asked: Any, run: Any, at: int) -> Any:
        return original(asked, replace(run, carried=replace(run.carried, signals=())), at)

    return successor


_RUN, _TASK, _STORE = StoredRun, StoredTask, MemoryRepository

MUTANTS: Final = (
    *MORE_MUTANTS,
    *FAMILY_MUTANTS,
    *UNMENDED,
    Mutant("the fence does not look at the token", _STORE, "_fence_holds", _fence_without_token),
    Mutant(
        "the fence does not compare sequences",
        _STORE,
        "_fence_holds",
        _fence_without_sequence,
        Mutant("", _RUN, "refuse_malformed", _no_malformed),
    ),
    Mutant("a store says it has written what it has not", _STORE, "_write", _written_although_lost),
    Mutant("more messages are consumed than were taken", _RUN, "consume", _all_consumed),
    Mutant("messages that were taken stay in the inbox", _RUN, "consume", _nothing_consumed),
    Mutant("a repeated message is a new one", _RUN, "has_taken", _nothing_taken),
    Mutant("a message that was consumed may come again", _RUN, "has_taken", _inbox_alone_is_known),
    Mutant("a successor does not know what came before", _STORE, "_chain_of", _chain_of_one),
    Mutant("messages to other runs are lost", _STORE, "_reach_out", _no_messages_out),
    Mutant("runs that a turn starts are lost", _STORE, "_reach_out", _no_starts_out),
    Mutant("a completed activity keeps its task", _STORE, "_complete", _task_stays),
    Mutant("the dead keep their runs", _RUN, "is_held_by_another", _dead_hold_on),
    Mutant("the dead keep their activities", _TASK, "due_at", _dead_hold_tasks),
    Mutant("attempts are not counted", _TASK, "lease", _attempts_forgotten),
    Mutant("a released run forgets its inbox", _RUN, "release", _released_for_its_timer),
    Mutant("a kept run is never due", _RUN, "_keep_or_give_back", _kept_until_its_lease_ends),
    Mutant("the wake time is not written", _RUN, "apply", _no_wake_time),
    Mutant("answers are not kept", _RUN, "apply", _answers_forgotten),
    Mutant("a closed run keeps its tasks", _RUN, "_keep_or_give_back", _tasks_outlive_runs),
    Mutant("lost owners are not counted", _RUN, "is_taken_over_by", _nobody_is_lost),
    Mutant("two messages have one position", _RUN, "receive", _positions_repeat),
    Mutant("a closed run's inbox is left behind", _STORE, "_fill_inbox", _left_behind),
    Mutant("two open runs have one id", _STORE, "_start", _two_open_of_one_id),
    Mutant(
        "acknowledged before the commit", GroupWriter, "_write_batch", _told_before_it_is_written
    ),
    Mutant("outcomes of a batch mixed up", GroupWriter, "_write_batch", _first_of_a_batch_answers),
    Mutant("one item spoils its batch", GroupWriter, "_write_apart", _spoiled_together),
    Mutant("a lost write counts as written", WorkflowTasks, "_write", _lost_counts_as_written),
    Mutant(
        "an unknown write counts as written", WorkflowTasks, "_write", _unknown_counts_as_written
    ),
    Mutant("a stale instance is used again", InstanceCache, "take", _stale_instance),
    Mutant("leases are not renewed", LeaseKeeper, "_renew", _leases_run_out),
    Mutant("outcomes go to runs that are not here", WorkflowTasks, "deliver", _delivered_to_nobody),
    Mutant("messages arrive in the wrong order", OwnedRun, "receive", _arrivals_backwards),
    Mutant("of several arrivals one is taken", OwnedRun, "take_arrivals", _only_the_first),
    Mutant("a start takes over what others have", LocalStarter, "_is_ours", _all_are_ours),
    Mutant("a long turn is not counted in full", Turns, "carry_out", _sequence_stands_still),
    Mutant("timers fire early", Timers, "take_due", _timers_early),
    Mutant("of timers due together one fires", Timers, "take_due", _timers_dropped),
    Mutant("parents are not told of their children", relations, "farewells", _parents_not_told),
    Mutant("unread signals are not carried on", relations, "_successor", _no_signals_carried),
)


def find(mutant: Mutant, seeds: range, tier: Tier = Tier.MEMORY) -> Report | None:
    """The first of those trials that shows it."""
    with mutant.planted():
        for seed in seeds:
            report = run_plan(make_plan(seed), tier)
            if report.violations:
                return report
    return None


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="at most so many for each")
    parser.add_argument("--from", type=int, default=0, dest="first")
    parser.add_argument("--only", help="those whose name has this in it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tier", type=Tier, default=Tier.MEMORY, choices=list(Tier))
    parser.add_argument("--keep", type=Path, help="where the smallest plan is kept that shows it")
    asked = parser.parse_args()
    wanted = [n for n, m in enumerate(MUTANTS) if not asked.only or asked.only in m.name]
    seeds = range(asked.first, asked.first + asked.seeds)
    if asked.keep is not None:
        [number] = wanted
        return keep(MUTANTS[number], seeds, asked.tier, asked.keep)
    missed = 0
    with ProcessPoolExecutor(asked.jobs) as pool:
        for was_found, line in pool.map(_told, wanted, [seeds] * len(wanted)):
            missed += not was_found
            print(line, flush=True)
    print(f"{len(wanted)} mutants, {missed} missed")
    return 1 if missed else 0


def keep(mutant: Mutant, seeds: range, tier: Tier, path: Path) -> int:
    """Keep the smallest plan that shows it, and nothing without it."""
    report = find(mutant, seeds, tier)
    if report is None:
        return 1
    with mutant.planted():
        plan, report = shrunk(report.plan, tier)
    write(path, Kept(tier, plan, mutant.name))
    print(f"{path}, of seed {plan.seed}:", *report.violations, sep="\n  ")
    return 1 if run_plan(plan, tier).violations else 0


def _told(number: int, seeds: range) -> tuple[bool, str]:
    mutant = MUTANTS[number]
    report = find(mutant, seeds)
    if report is None:
        return False, f"MISSED  {mutant.name}"
    violation = str(report.violations[0])[:110]
    return True, f"{report.plan.seed:>6}  {mutant.name}: {violation}"


if __name__ == "__main__":
    sys.exit(main())
