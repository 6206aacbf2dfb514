"""Writing turns, messages and the ends of attempts."""

from __future__ import annotations

from collections.abc import Sequence

from loom.identifiers import Micros
from loom.storage.records import (
    ActivityCompletion,
    Heartbeat,
    Message,
    SendOutcome,
    Transition,
    WriteOutcome,
)
from loom.storage.sql.changes import Changes, TaskKey
from loom.storage.sql.locks import begin, lock_runs, lock_tasks
from loom.storage.sql.plain_completions import message_id_of
from loom.storage.sql.rows import TaskState
from loom.storage.sql.starts import messages_of, reach_out, start_all
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Transaction


def write_transitions(
    s: Statements, transitions: Sequence[Transition]
) -> Transaction[list[WriteOutcome]]:
    """Each turn whole, or not at all when its fence does not hold."""
    messages = [message for turn in transitions for message in messages_of(turn.effects)]
    changes = yield from begin(s, {turn.run_key for turn in transitions}, messages)
    outcomes = [_write(changes, transition) for transition in transitions]
    written = [
        turn.effects
        for turn, outcome in zip(transitions, outcomes, strict=True)
        if outcome is WriteOutcome.WRITTEN
    ]
    started = yield from start_all(s, changes, [new for turn in written for new in turn.starts])
    for effects in written:
        reach_out(changes, effects, started)
    yield from changes.flush(s)
    return outcomes


def _write(changes: Changes, transition: Transition) -> WriteOutcome:
    run = changes.runs.get(transition.run_key)
    fence = transition.token, transition.expected_sequence
    if run is None or not run.is_open or (run.lease_token, run.sequence) != fence:
        return WriteOutcome.LOST
    owner = transition.owner or run.lease_owner or ""
    changes.turn(run, transition.effects, owner, transition.consumed_through or 0)
    return WriteOutcome.WRITTEN


def send_messages(
    s: Statements, messages: Sequence[Message], now: Micros
) -> Transaction[list[SendOutcome]]:
    """In order, each delivered once however often it is sent."""
    changes = yield from begin(s, (), messages)
    outcomes = [changes.send(message, now) for message in messages]
    yield from changes.flush(s)
    return outcomes


# --- attempts of activities ----------------------------------------------------------------------


def complete_activity_tasks(
    s: Statements, completions: Sequence[ActivityCompletion]
) -> Transaction[list[WriteOutcome]]:
    """Message the runs of those that are over, and let the others be tried again."""
    keys = {done.run_key for done in completions if done.arrival is not None}
    changes = Changes((yield from lock_runs(s, keys)))
    tasks = yield from lock_tasks(s, ((done.run_key, done.activity_id) for done in completions))
    outcomes = [_complete(changes, tasks, completion) for completion in completions]
    yield from changes.flush(s)
    return outcomes


def _complete(
    changes: Changes, tasks: dict[TaskKey, TaskState], completion: ActivityCompletion
) -> WriteOutcome:
    key = completion.run_key, completion.activity_id
    task = tasks.get(key)
    if task is None or not task.is_under_way(completion.token):
        return WriteOutcome.LOST
    if completion.arrival is not None:
        del tasks[key]
        changes.finish_task(key)
        run, message_id = changes.runs[completion.run_key], message_id_of(completion)
        changes.deliver(run, message_id, completion.arrival, completion.now)
    else:
        task.end(completion)
        changes.save_task(task)
    return WriteOutcome.WRITTEN


def record_heartbeats(
    s: Statements, heartbeats: Sequence[Heartbeat]
) -> Transaction[list[WriteOutcome]]:
    """Keep what attempts say of how far they are."""
    tasks = yield from lock_tasks(s, ((beat.run_key, beat.activity_id) for beat in heartbeats))
    changes = Changes(())
    outcomes = [_hear(changes, tasks, heartbeat) for heartbeat in heartbeats]
    yield from changes.flush(s)
    return outcomes


def _hear(changes: Changes, tasks: dict[TaskKey, TaskState], heartbeat: Heartbeat) -> WriteOutcome:
    task = tasks.get((heartbeat.run_key, heartbeat.activity_id))
    if task is None or not task.is_under_way(heartbeat.token):
        return WriteOutcome.LOST
    task.hear(heartbeat)
    changes.save_task(task)
    return WriteOutcome.WRITTEN
