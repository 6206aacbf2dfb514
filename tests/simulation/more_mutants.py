"""Mistakes in what only some runs need: completion from outside, retention, limits of time, tries,
and starts that bring a signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

from loom.engine.instance import WorkflowInstance
from loom.engine.retry import WorkflowRetry
from loom.engine.timers import Timers
from loom.history.events import WorkflowFailed, WorkflowTimedOut
from loom.history.limits import RunLimits, limits
from loom.identifiers import END_OF_TIME, MICROS_PER_SECOND, derived_id
from loom.runner import outside, relations, transitions
from loom.runner.clock import SystemClock
from loom.runner.starts import StartRequest
from loom.storage.memory import MemoryRepository
from loom.storage.memory_state import StoredRun, StoredTask
from tests.simulation.mutant import Mutant

# --- from outside --------------------------------------------------------------------------------


def _any_token_will_do(original: Any) -> Any:
    def is_under_way(self: StoredTask, token: int) -> bool:
        return bool(original(self, self.token))

    return is_under_way


def _nobody_is_refused(original: Any) -> Any:
    return lambda outcome, task: None


def _parked_for_good(original: Any) -> Any:
    def end(self: StoredTask, completion: Any) -> None:
        original(self, completion)
        if completion.failure is not None:
            self.available_at = END_OF_TIME

    return end


# --- retention -----------------------------------------------------------------------------------


def _open_ones_too(original: Any) -> Any:
    async def delete(self: MemoryRepository, run_keys: Sequence[int]) -> int:
        found = [key for key in set(run_keys) if key in self._runs]
        for key in found:
            del self._runs[key]
        return len(found)

    return delete


def _keys_again(original: Any) -> Any:
    async def delete(self: MemoryRepository, run_keys: Sequence[int]) -> int:
        count: int = await original(self, run_keys)
        self._last_key = max(self._runs, default=0)
        return count

    return delete


def _forgotten_with_the_end(original: Any) -> Any:
    def has_taken(self: StoredRun, message_id: str) -> bool:
        return self.is_open and bool(original(self, message_id))

    return has_taken


def _keys_count_for_open_runs(original: Any) -> Any:
    """Of a start that comes again when its run has ended another is made."""

    def start(self: MemoryRepository, new: Any) -> Any:
        same = self._runs.of_id(new.run_id)
        if same is not None and not same.is_open:
            new = replace(new, run_id=derived_id(new.run_id, str(self._last_key)))
        return original(self, new)

    return start


# --- time that is up -----------------------------------------------------------------------------


def _early(original: Any) -> Any:
    def take_due(self: WorkflowInstance, now: int) -> Any:
        end = None if self._limits is None else self._limits.deadline
        is_near = end is not None and now < end <= now + 2 * MICROS_PER_SECOND
        due = original(self, now)
        return [*due, WorkflowTimedOut(self._limits.is_of_chain)] if is_near else due  # type: ignore[union-attr]

    return take_due


def _never(original: Any) -> Any:
    def take_due(self: WorkflowInstance, now: int) -> Any:
        return [event for event in original(self, now) if not isinstance(event, WorkflowTimedOut)]

    return take_due


def _time_left_is_all(original: Any) -> Any:
    return lambda self, begins_at: self


def _chain_has_no_time(original: Any) -> Any:
    def of_next(self: RunLimits, begins_at: int) -> RunLimits | None:
        return limits(begins_at, self.run_timeout, None)

    return of_next


# --- time that passes ----------------------------------------------------------------------------


def _half_the_time(original: Any) -> Any:
    def start_timer(self: Timers, fire_at: int, callback: Any) -> Any:
        now = self._recorder.now
        return original(self, now + (fire_at - now) // 2, callback)

    return start_timer


def _never_set(original: Any) -> Any:
    async def synchronise(self: SystemClock, repository: Any, **options: Any) -> None:
        return

    return synchronise


# --- tries ---------------------------------------------------------------------------------------


def _tries_are_not_counted(original: Any) -> Any:
    return lambda self, *given: original(replace(self, attempt=1), *given)


def _one_try_too_few(original: Any) -> Any:
    return lambda self, *given: original(replace(self, attempt=self.attempt + 1), *given)


def _tried_at_once(original: Any) -> Any:
    def next_try(failed: Any, again: Any, run: Any, at: int) -> Any:
        return original(replace(failed, retry_at=at), again, run, at)

    return next_try


def _unread_is_lost(original: Any) -> Any:
    def next_try(failed: Any, again: Any, run: Any, at: int) -> Any:
        carried = replace(run.carried, signals=())
        return original(failed, again, replace(run, carried=carried), at)

    return next_try


def _tried_by_two(original: Any) -> Any:
    def starts_of(events: Any, run: Any, at: int, chain: str) -> Any:
        news = original(events, run, at, chain)
        is_failed = any(isinstance(stamped.event, WorkflowFailed) for stamped in events)
        return [*news, *(_another(new) for new in news if new.continues and is_failed)]

    return starts_of


def _another(new: Any) -> Any:
    run_id = derived_id(new.run_id, "twin")
    messages = [replace(message, run_id=run_id) for message in new.effects.messages]
    return replace(new, run_id=run_id, effects=replace(new.effects, messages=messages))


def _any_number_continue(original: Any) -> Any:
    def start(self: Any, new: Any) -> Any:
        find = self._find
        if new.continues is None:
            return original(self, new)
        blind = lambda id_, run_id: None if run_id is None else find(id_, run_id)  # noqa: E731
        with patch.object(self, "_find", blind):
            return original(self, new)

    return start


# --- starts that bring a signal ------------------------------------------------------------------


def _dropped_where_a_run_is(original: Any) -> Any:
    return lambda self, new: original(self, replace(new, on_conflict=()))


def _repeated_it_starts_another(original: Any) -> Any:
    return lambda self, new: original(self, replace(new, unless_heard=None))


def _started_without(original: Any) -> Any:
    return property(lambda self: original.__get__(self)[:1])


_STORE: Final = MemoryRepository

MORE_MUTANTS: Final = (
    Mutant(
        "a late completion ends the next attempt", StoredTask, "is_under_way", _any_token_will_do
    ),
    Mutant("whoever comes too late is told that he did not", outside, "_check", _nobody_is_refused),
    Mutant("what failed is not tried again", StoredTask, "end", _parked_for_good),
    Mutant("retention deletes open runs", _STORE, "delete_runs", _open_ones_too),
    Mutant("keys of deleted runs are used again", _STORE, "delete_runs", _keys_again),
    Mutant("an ended run has heard nothing", StoredRun, "has_taken", _forgotten_with_the_end),
    Mutant("a start is known while its run is open", _STORE, "_start", _keys_count_for_open_runs),
    Mutant("runs time out early", WorkflowInstance, "take_due", _early),
    Mutant("no run times out", WorkflowInstance, "take_due", _never),
    Mutant("the next run has no time of its own", RunLimits, "of_next", _time_left_is_all),
    Mutant("a chain's time is forgotten", RunLimits, "of_next", _chain_has_no_time),
    Mutant("timers are set for half the time", Timers, "start_timer", _half_the_time),
    Mutant("clocks are never set by the store's", SystemClock, "synchronise", _never_set),
    Mutant("tries are not counted", WorkflowRetry, "next_at", _tries_are_not_counted),
    Mutant("the last try is not made", WorkflowRetry, "next_at", _one_try_too_few),
    Mutant("a run is tried again at once", relations, "_next_try", _tried_at_once),
    Mutant(
        "the next try hears nothing of what was unread", relations, "_next_try", _unread_is_lost
    ),
    Mutant(
        "a failed run is tried again by two",
        transitions,
        "starts_of",
        _tried_by_two,
        Mutant("", _STORE, "_start", _any_number_continue),
    ),
    Mutant("a start's signal is dropped where a run is", _STORE, "_start", _dropped_where_a_run_is),
    Mutant(
        "a start's signal that comes again starts another",
        *(_STORE, "_start", _repeated_it_starts_another),
    ),
    Mutant("a start loses its signal", StartRequest, "first_messages", _started_without),
)
