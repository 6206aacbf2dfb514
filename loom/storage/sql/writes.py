"""Writing turns, messages and the ends of attempts.

Every row lock of a transaction is taken first thing and in one order, runs by their keys and then
tasks by theirs; and whatever depends on them is read by a later statement, which sees what others
committed while we waited.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loom.identifiers import Micros, RunKey
from loom.storage.records import (
    ActivityCompletion,
    Heartbeat,
    Message,
    SendOutcome,
    Transition,
    WriteOutcome,
)
from loom.storage.sql.changes import Address, Changes, Delivery, TaskKey
from loom.storage.sql.rows import RunState, TaskState, run_state
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Query, Transaction


def write_transitions(
    s: Statements, transitions: Sequence[Transition]
) -> Transaction[list[WriteOutcome]]:
    """Each turn whole, or not at all when its fence does not hold."""
    messages = [message for turn in transitions for message in turn.effects.messages]
    changes = yield from begin(s, {turn.run_key for turn in transitions}, messages)
    outcomes = [_write(changes, transition) for transition in transitions]
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


# --- taking the locks ----------------------------------------------------------------------------


def begin(
    s: Statements, keys: Iterable[RunKey], messages: Sequence[Message]
) -> Transaction[Changes]:
    """Lock those runs and the ones that the messages are for."""
    addresses = yield from _resolve(s, messages)
    runs = yield from lock_runs(s, {*keys, *addresses.values()})
    taken = yield from _find_taken(s, messages, addresses)
    return Changes(runs, addresses, taken)


def lock_runs(s: Statements, keys: Iterable[RunKey]) -> Transaction[list[RunState]]:
    """The rows of those runs that exist, locked until the end of the transaction."""
    ordered = sorted(keys)
    if not ordered:
        return []
    rows = yield Query(s.runs.lock, {"keys": s.array(ordered)})
    return [run_state(row) for row in rows]


def lock_tasks(s: Statements, keys: Iterable[TaskKey]) -> Transaction[dict[TaskKey, TaskState]]:
    """The rows of those tasks that exist, locked until the end of the transaction."""
    ordered = sorted(set(keys))
    if not ordered:
        return {}
    rows = yield Query(s.tasks.lock, s.pairs(ordered))
    return {(row[0], row[1]): TaskState(*row) for row in rows}


def _resolve(s: Statements, messages: Sequence[Message]) -> Transaction[dict[Address, RunKey]]:
    """Which runs the messages are for."""
    addresses: dict[Address, RunKey] = {}
    run_ids = {message.run_id for message in messages if message.run_id is not None}
    if run_ids:
        rows = yield Query(s.runs.find_by_run_ids, {"run_ids": s.array(sorted(run_ids))})
        addresses |= {(workflow_id, run_id): key for workflow_id, run_id, key in rows}
    workflow_ids = {message.workflow_id for message in messages if message.run_id is None}
    # The open run; if there is none, the newest, which may have taken the message long ago.
    for statement in (s.runs.find_open, s.runs.find_newest):
        if workflow_ids:
            rows = yield Query(statement, {"workflow_ids": s.array(sorted(workflow_ids))})
            addresses |= {(workflow_id, None): key for workflow_id, key in rows}
            workflow_ids -= {workflow_id for workflow_id, _ in rows}
    return addresses


def _find_taken(
    s: Statements, messages: Sequence[Message], addresses: dict[Address, RunKey]
) -> Transaction[set[Delivery]]:
    """Which of the messages were delivered before."""
    deliveries = {
        (addresses[address], message.message_id)
        for message in messages
        if (address := (message.workflow_id, message.run_id)) in addresses
    }
    if not deliveries:
        return set()
    rows = yield Query(s.history.find_taken, s.pairs(sorted(deliveries)))
    return {(key, message_id) for key, message_id in rows}


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
    if task is None or task.lease_token != completion.token:
        return WriteOutcome.LOST
    if completion.arrival is not None:
        del tasks[key]
        changes.finish_task(key)
        run, message_id = changes.runs[completion.run_key], f"activity:{completion.activity_id}"
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
    if task is None or task.lease_token != heartbeat.token:
        return WriteOutcome.LOST
    task.hear(heartbeat)
    changes.save_task(task)
    return WriteOutcome.WRITTEN
