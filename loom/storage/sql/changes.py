"""What a batch changes: gathered in memory under the locks of its runs, then written in bulk.

Items of a batch are applied one after the other to the locked rows, so that each sees what the
ones before it did, and the database sees one statement per table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from loom.identifiers import MessageId, Micros, RunId, RunKey, WorkerId, WorkflowId
from loom.storage.records import (
    Answer,
    Arrival,
    Effects,
    EventRecord,
    LogRecord,
    Message,
    NewRun,
    NewTask,
    SendOutcome,
)
from loom.storage.sql.dialects import Statement
from loom.storage.sql.rows import RunState, TaskState
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Many, Query, Transaction

type Address = tuple[WorkflowId, RunId | None]
type TaskKey = tuple[RunKey, int]
type Delivery = tuple[RunKey, MessageId]


class Changes:
    """Locked runs, and what shall become of them."""

    def __init__(
        self,
        runs: Iterable[RunState],
        addresses: Mapping[Address, RunKey] | None = None,
        taken: Iterable[Delivery] = (),
    ) -> None:
        self.runs = {run.run_key: run for run in runs}
        self._addresses: dict[Address, RunKey] = {
            (run.workflow_id, run.run_id): run.run_key for run in self.runs.values()
        }
        self._addresses |= addresses or {}
        self._taken = set(taken)
        self._turned: set[RunKey] = set()
        self._reached: set[RunKey] = set()
        self._closed: set[RunKey] = set()
        self._closing: dict[WorkflowId, RunKey] = {}
        self._left: dict[RunKey, int] = {}
        self._events: list[dict[str, Any]] = []
        self._logs: list[dict[str, Any]] = []
        self._messages: list[dict[str, Any]] = []
        self._answers: list[dict[str, Any]] = []
        self._consumed: dict[RunKey, int] = {}
        self._new_tasks: dict[TaskKey, dict[str, Any]] = {}
        self._saved_tasks: dict[TaskKey, TaskState] = {}
        self._finished_tasks: set[TaskKey] = set()
        self._tags: dict[tuple[RunKey, str], str | None] = {}
        self._memos: list[dict[str, Any]] = []

    # --- turns -----------------------------------------------------------------------------------

    def turn(
        self, run: RunState, effects: Effects, owner: WorkerId, consumed_through: int = 0
    ) -> None:
        """Take a turn of a run that was there before."""
        consumed_before = run.inbox_consumed
        run.apply(effects, owner, consumed_through)
        if run.inbox_consumed > consumed_before:
            self._consumed[run.run_key] = run.inbox_consumed
        self._turned.add(run.run_key)
        self._record(run, effects, owner)
        if not run.is_open:
            self._closing[run.workflow_id] = run.run_key
            if run.inbox_count > (consumed := max(consumed_before, consumed_through)):
                self._left[run.run_key] = consumed

    def start(self, run: RunState, new: NewRun) -> None:
        """Take in a run that has just been inserted: first turn and own messages included."""
        self.runs[run.run_key] = run
        if new.continues is not None:
            self._redirect((run.workflow_id, new.continues), run)
        self._addresses[run.workflow_id, run.run_id] = run.run_key
        if run.is_open:
            self._addresses[run.workflow_id, None] = run.run_key
        self._record(run, new.effects, new.owner or "")
        if new.memo is not None:
            self._memos.append({"run_key": run.run_key, "memo": new.memo})
        for position, message in enumerate(new.own_messages[: run.inbox_count], start=1):
            self._put(run, position, message.message_id, message.arrival)

    def _redirect(self, address: Address, successor: RunState) -> None:
        """Let what is for a run go to the one that continues it, unless the former has it."""
        old = self._addresses.get(address)
        for other, key in tuple(self._addresses.items()):
            if key == old:
                self._addresses[other] = successor.run_key
        self._taken |= {(successor.run_key, taken) for key, taken in self._taken if key == old}

    # --- chains ----------------------------------------------------------------------------------

    def find(self, workflow_id: WorkflowId, run_id: RunId) -> RunState | None:
        """One of the runs that are locked or new."""
        return self.runs.get(self._addresses.get((workflow_id, run_id), 0))

    def left_by(self, workflow_id: WorkflowId, run_id: RunId) -> tuple[RunKey, int] | None:
        """The key of a run that this transaction closes, and the inbox position through which it
        has taken messages, if others are left."""
        run = self.find(workflow_id, run_id)
        if run is None or run.run_key not in self._left:
            return None
        return run.run_key, self._left[run.run_key]

    def frees(self, workflow_id: WorkflowId) -> bool:
        """Whether a run of that workflow id is closed here, which is still to be written."""
        return workflow_id in self._closing

    def flush_closings(
        self, s: Statements, workflow_ids: Iterable[WorkflowId]
    ) -> Transaction[None]:
        """Write the ends of runs ahead, so that their workflow ids can be used again."""
        keys = [self._closing.pop(workflow_id) for workflow_id in workflow_ids]
        self._turned -= set(keys)
        yield from _many(s.runs.save_turn, [saved_turn(self.runs[key]) for key in keys])

    def _record(self, run: RunState, effects: Effects, owner: WorkerId) -> None:
        """Gather what a turn leaves outside its run's own row."""
        self._events += (_event(run.run_key, event) for event in effects.events)
        self._logs += (_log(run.run_key, line) for line in effects.logs)
        self._tags |= {(run.run_key, name): value for name, value in effects.tags.items()}
        self._taken.update(
            (run.run_key, event.message_id) for event in effects.events if event.message_id
        )
        for answer in effects.answers:
            self._answer(run.run_key, answer, effects.recorded_at)
        for activity_id in effects.finished_tasks:
            self.finish_task((run.run_key, activity_id))
        if run.is_open:
            for task in effects.tasks:
                new = _new_task(run.run_key, task, owner, effects.task_lease_expires_at)
                self._new_tasks[run.run_key, task.activity_id] = new
        else:
            self._closed.add(run.run_key)
            self._new_tasks = {k: v for k, v in self._new_tasks.items() if k[0] != run.run_key}

    def _answer(self, run_key: RunKey, answer: Answer, now: Micros) -> None:
        self._taken.add((run_key, answer.message_id))
        self._answers.append(
            {
                "run_key": run_key,
                "message_id": answer.message_id,
                "answered_at": now,
                **_carried(answer.content),
            }
        )

    # --- messages --------------------------------------------------------------------------------

    def send(self, message: Message, now: Micros) -> SendOutcome:
        """Put a message into the inbox of the run it is meant for."""
        key = self._addresses.get((message.workflow_id, message.run_id))
        run = None if key is None else self.runs.get(key)
        if run is None:
            return SendOutcome.NOT_FOUND
        if (run.run_key, message.message_id) in self._taken:
            return SendOutcome.ACCEPTED
        if not run.is_open:
            return SendOutcome.CLOSED
        self.deliver(run, message.message_id, message.arrival, now)
        return SendOutcome.ACCEPTED

    def deliver(self, run: RunState, message_id: MessageId, arrival: Arrival, now: Micros) -> None:
        """Put into the inbox what is known not to be there."""
        self._reached.add(run.run_key)
        self._put(run, run.receive(now), message_id, arrival)

    def _put(self, run: RunState, position: int, message_id: MessageId, arrival: Arrival) -> None:
        self._taken.add((run.run_key, message_id))
        self._messages.append(
            {
                "run_key": run.run_key,
                "position": position,
                "message_id": message_id,
                **_carried(arrival),
            }
        )

    # --- tasks -----------------------------------------------------------------------------------

    def finish_task(self, key: TaskKey) -> None:
        self._new_tasks.pop(key, None)
        self._saved_tasks.pop(key, None)
        self._finished_tasks.add(key)

    def save_task(self, task: TaskState) -> None:
        self._saved_tasks[task.run_key, task.activity_id] = task

    # --- writing ---------------------------------------------------------------------------------

    def flush(self, s: Statements) -> Transaction[None]:
        """Write everything, rows of one table in the order of their keys."""
        yield from _many(s.runs.save_turn, [saved_turn(self.runs[k]) for k in sorted(self._turned)])
        reached = sorted(self._reached - self._turned)
        yield from _many(s.runs.save_inbox, [_inbox(self.runs[key]) for key in reached])
        yield from _many(s.history.insert_event, self._events)
        yield from self._flush_tasks(s)
        # In this order, so that what was sent to a run that then closed goes too.
        yield from _many(s.history.insert_message, self._messages)
        consumed = [{"key": key, "through": self._consumed[key]} for key in sorted(self._consumed)]
        yield from _many(s.history.consume, consumed)
        yield from _many(s.history.insert_log, self._logs)
        yield from _many(s.history.insert_answer, self._answers)
        yield from _many(s.labels.insert_memo, self._memos)
        yield from self._flush_tags(s)

    def _flush_tags(self, s: Statements) -> Transaction[None]:
        tags = [
            {"run_key": key, "name": name, "value": value}
            for (key, name), value in sorted(self._tags.items())
        ]
        yield from _many(s.labels.put_tag, [tag for tag in tags if tag["value"] is not None])
        yield from _many(s.labels.remove_tag, [tag for tag in tags if tag["value"] is None])

    def _flush_tasks(self, s: Statements) -> Transaction[None]:
        finished = self._finished_tasks
        if self._closed:
            # Looked up instead of deleted by run: whoever locks tasks does so in this order.
            keys = s.array(sorted(self._closed))
            rows = yield Query(s.tasks.of_runs, {"keys": keys})
            finished = finished | {(key, activity_id) for key, activity_id in rows}
        deletes = [{"key": key, "id": activity_id} for key, activity_id in sorted(finished)]
        yield from _many(s.tasks.delete, deletes)
        saved = [task.parameters() for _, task in sorted(self._saved_tasks.items())]
        yield from _many(s.tasks.save, saved)
        yield from _many(s.tasks.insert, list(self._new_tasks.values()))


def _many(statement: Statement, parameters: list[dict[str, Any]]) -> Transaction[None]:
    if parameters:
        yield Many(statement, parameters)


def _carried(arrival: Arrival) -> dict[str, Any]:
    return {
        "type": arrival.type,
        "schema_version": arrival.schema_version,
        "attributes": arrival.attributes,
        "payload": arrival.payload,
    }


def _event(run_key: RunKey, event: EventRecord) -> dict[str, Any]:
    return {
        "run_key": run_key,
        "sequence": event.sequence,
        "type": event.type,
        "schema_version": event.schema_version,
        "recorded_at": event.recorded_at,
        "attributes": event.attributes,
        "payload": event.payload,
        "message_id": event.message_id,
    }


def _log(run_key: RunKey, line: LogRecord) -> dict[str, Any]:
    return {
        "run_key": run_key,
        "position": line.position,
        "logged_at": line.logged_at,
        "level": line.level,
        "message": line.message,
    }


def _new_task(
    run_key: RunKey, task: NewTask, owner: WorkerId, lease_expires_at: Micros | None
) -> dict[str, Any]:
    expires_at = lease_expires_at if task.leased else None
    return {
        "run_key": run_key,
        "activity_id": task.activity_id,
        "sequence": task.sequence,
        "name": task.name,
        "queue": task.queue,
        "available_at": task.available_at,
        "due_at": task.available_at if expires_at is None else expires_at,
        "attempt": int(task.leased),
        "failures": 0,
        "lease_owner": owner if task.leased else None,
        "lease_token": int(task.leased),
        "lease_expires_at": expires_at,
        "last_failure": None,
        "details": None,
        "start_by": None if task.leased else task.start_by,
        "parked_until": None,
    }


def saved_turn(run: RunState) -> dict[str, Any]:
    return {
        "key": run.run_key,
        "status": run.status.value,
        "sequence": run.sequence,
        "updated_at": run.updated_at,
        "closed_at": run.closed_at,
        "wake_at": run.wake_at,
        "blocked_reason": run.blocked_reason,
        "lease_owner": run.lease_owner,
        "lease_expires_at": run.lease_expires_at,
        "due_at": run.due_at,
        "inbox_count": run.inbox_count,
        "inbox_consumed": run.inbox_consumed,
    }


def _inbox(run: RunState) -> dict[str, Any]:
    return {"key": run.run_key, "due_at": run.due_at, "inbox_count": run.inbox_count}
