"""What a batch changes: gathered in memory under the locks of its runs, then written in bulk.

Items of a batch are applied one after the other to the locked rows, so that each sees what the
ones before it did, and the database sees one statement per table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from loom.identifiers import MessageId, Micros, RunId, RunKey, WorkerId, WorkflowId
from loom.storage.records import (
    Answer,
    Arrival,
    Effects,
    Message,
    NewRun,
    SendOutcome,
)
from loom.storage.sql.dialects import Row, RowsStatement
from loom.storage.sql.inserts import answer_row, event_row, log_row, message_row, task_row
from loom.storage.sql.rows import RunState, TaskState
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Many, Query, Transaction

type Address = tuple[WorkflowId, RunId | None]
type TaskKey = tuple[RunKey, int]
type Delivery = tuple[RunKey, MessageId]

MAX_BYTES: Final = 64 * 2**20
"""What a statement that inserts messages carries at the most, unless it is one message alone."""


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
        self._events: list[Row] = []
        self._logs: list[Row] = []
        self._messages: list[Row] = []
        self._answers: list[Row] = []
        self._consumed: dict[RunKey, int] = {}
        self._new_tasks: dict[TaskKey, Row] = {}
        self._saved_tasks: dict[TaskKey, TaskState] = {}
        self._finished_tasks: set[TaskKey] = set()
        self._tags: dict[tuple[RunKey, str], str | None] = {}
        self._memos: list[Row] = []

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
            self._memos.append((run.run_key, new.memo))
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
        yield from _many(s.runs.save_turn, [self.runs[key].turn_row() for key in keys])

    def _record(self, run: RunState, effects: Effects, owner: WorkerId) -> None:
        """Gather what a turn leaves outside its run's own row."""
        self._events += (event_row(run.run_key, event) for event in effects.events)
        self._logs += (log_row(run.run_key, line) for line in effects.logs)
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
                new = task_row(run.run_key, task, owner, effects.task_lease_expires_at)
                self._new_tasks[run.run_key, task.activity_id] = new
        else:
            self._closed.add(run.run_key)
            self._new_tasks = {k: v for k, v in self._new_tasks.items() if k[0] != run.run_key}

    def _answer(self, run_key: RunKey, answer: Answer, now: Micros) -> None:
        self._taken.add((run_key, answer.message_id))
        self._answers.append(answer_row(run_key, answer, now))

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
        self._reached.add(run.run_key)
        position = run.receive(now, urgent=message.urgent)
        self._put(run, position, message.message_id, message.arrival)
        return SendOutcome.ACCEPTED

    def deliver(self, run: RunState, message_id: MessageId, arrival: Arrival, now: Micros) -> None:
        """Put into the inbox what is known not to be there."""
        self._reached.add(run.run_key)
        self._put(run, run.receive(now), message_id, arrival)

    def _put(self, run: RunState, position: int, message_id: MessageId, arrival: Arrival) -> None:
        self._taken.add((run.run_key, message_id))
        self._messages.append(message_row(run.run_key, position, message_id, arrival))

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
        turned = [self.runs[key].turn_row() for key in sorted(self._turned)]
        yield from _many(s.runs.save_turn, turned)
        reached = sorted(self._reached - self._turned)
        yield from _many(s.runs.save_inbox, [_inbox(self.runs[key]) for key in reached])
        yield from _many(s.history.insert_event, self._events)
        yield from self._flush_tasks(s)
        # In this order, so that what was sent to a run that then closed goes too.
        for part in in_parts(self._messages):
            yield from _many(s.history.insert_message, part)
        yield from _many(s.history.consume, sorted(self._consumed.items()))
        yield from _many(s.history.insert_log, self._logs)
        yield from _many(s.history.insert_answer, self._answers)
        yield from _many(s.labels.insert_memo, self._memos)
        yield from self._flush_tags(s)

    def _flush_tags(self, s: Statements) -> Transaction[None]:
        tags = [(*tag, value) for tag, value in sorted(self._tags.items())]
        yield from _many(s.labels.put_tag, [tag for tag in tags if tag[2] is not None])
        yield from _many(s.labels.remove_tag, [tag[:2] for tag in tags if tag[2] is None])

    def _flush_tasks(self, s: Statements) -> Transaction[None]:
        finished = self._finished_tasks
        if self._closed:
            # Looked up instead of deleted by run: whoever locks tasks does so in this order.
            keys = s.array(sorted(self._closed))
            rows = yield Query(s.tasks.of_runs, {"keys": keys})
            finished = finished | {(row[0], row[1]) for row in rows}
        yield from _many(s.tasks.delete, sorted(finished))
        saved = [task.row() for _, task in sorted(self._saved_tasks.items())]
        yield from _many(s.tasks.save, saved)
        yield from _many(s.tasks.insert, list(self._new_tasks.values()))


def in_parts(messages: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows of messages, as many at a time as a statement may carry: a run that continues as new
    leaves all of its inbox at once."""
    begin = size = 0
    for index, row in enumerate(messages):
        payload = row[-1]
        size += len(payload or b"")
        if size > MAX_BYTES and index > begin:
            yield messages[begin:index]
            begin, size = index, len(payload or b"")
    yield messages[begin:]


def _many(statement: RowsStatement, rows: Sequence[Row]) -> Transaction[None]:
    if rows:
        yield Many(statement, rows)


def _inbox(run: RunState) -> Row:
    return run.run_key, run.due_at, run.inbox_count
