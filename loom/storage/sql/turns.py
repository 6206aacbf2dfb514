"""Turns that change nothing but their own run, which most do: written without a look at it first.

What they make of the run's row is told to the database as a rule, and whether the fence holds is
found out by writing. Postgres takes a batch of them in one statement, in one round trip.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

from loom.identifiers import RunKey
from loom.storage.records import Transition
from loom.storage.sql.dialects import Row
from loom.storage.sql.inserts import event_row, task_row
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Database, Many, Query, Transaction, Unmatched


def are_plain(transitions: Sequence[Transition]) -> bool:
    """Whether they change nothing but their own runs, each another one."""
    keys = {turn.run_key for turn in transitions}
    return len(keys) == len(transitions) and all(map(_is_plain, transitions))


def _is_plain(turn: Transition) -> bool:
    effects = turn.effects
    reaches_out = effects.starts or effects.messages or effects.answers
    # Whose it is, where that is not said, is told by the run's row alone.
    if not turn.owner or reaches_out or effects.tags or effects.logs:
        return False
    # What does not follow what was there is refused, unless it is too late anyway.
    first, sequences = turn.expected_sequence + 1, [event.sequence for event in effects.events]
    return sequences == list(range(first, first + len(sequences)))


async def write_plain_turns(database: Database, transitions: Sequence[Transition]) -> set[RunKey]:
    """The keys of the runs whose turns are written. Of the others nothing is known but that they
    cannot be written in this way."""
    at_once = database.statements.turns_at_once
    rows = TurnRows.of(transitions)
    if at_once is not None:
        written = await database.write_at_once(Query(at_once.write, rows.tables()))
        return {key for (key,) in written}
    with suppress(Unmatched):
        await database.write(_write_in_steps(database.statements, rows))
        return {turn.run_key for turn in transitions}
    return set()


def _write_in_steps(s: Statements, rows: TurnRows) -> Transaction[None]:
    """All of them, or none."""
    yield Many(s.turns.save, rows.turns, each=True)
    for statement, each in (
        (s.history.insert_event, rows.events),
        (s.tasks.delete, rows.finished),
        (s.turns.end_tasks, rows.closed),
        (s.tasks.insert, rows.tasks),
        (s.history.consume, rows.consumed),
    ):
        if each:
            yield Many(statement, each)


_ALL_ACTIVITIES: Final = 0, 2**63 - 1


@dataclass(slots=True)
class TurnRows:
    """What turns write, by table."""

    turns: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)
    finished: list[Row] = field(default_factory=list)
    tasks: list[Row] = field(default_factory=list)
    closed: list[Row] = field(default_factory=list)
    consumed: list[Row] = field(default_factory=list)

    @classmethod
    def of(cls, transitions: Sequence[Transition]) -> Self:
        rows = cls()
        for turn in transitions:
            rows._add(turn)
        return rows

    def tables(self) -> dict[str, list[Row]]:
        return {
            "turns": self.turns,
            "events": self.events,
            "ended": [
                *((key, activity_id, activity_id) for key, activity_id in self.finished),
                *((key, *_ALL_ACTIVITIES) for (key,) in self.closed),
            ],
            "tasks": self.tasks,
        }

    def _add(self, turn: Transition) -> None:
        key, effects, owner = turn.run_key, turn.effects, turn.owner
        self.turns.append(_turn_row(turn))
        self.events += [event_row(key, event) for event in effects.events]
        if effects.status.is_open:
            self.finished += [(key, activity_id) for activity_id in effects.finished_tasks]
            until = effects.task_lease_expires_at
            self.tasks += [task_row(key, task, owner, until) for task in effects.tasks]
        else:
            self.closed.append((key,))
        if turn.consumed_through is not None:
            self.consumed.append((key, turn.consumed_through))


def _turn_row(turn: Transition) -> Row:
    """As ``TURN_ROW`` has it."""
    effects = turn.effects
    is_open = effects.status.is_open
    expires_at = effects.lease_expires_at if is_open else None
    return (
        turn.run_key,
        turn.token,
        turn.expected_sequence,
        turn.consumed_through or 0,
        effects.status.value,
        turn.expected_sequence + len(effects.events),
        effects.recorded_at,
        None if is_open else effects.recorded_at,
        effects.wake_at,
        effects.blocked_reason,
        None if expires_at is None else turn.owner,
        expires_at,
    )
