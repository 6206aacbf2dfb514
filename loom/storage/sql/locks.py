"""Taking the locks of a transaction, and looking up what its messages need.

Every row lock of a transaction is taken first thing and in one order, runs by their keys and then
tasks by theirs; and whatever depends on them is read by a later statement, which sees what others
committed while we waited. Workflow ids that are taken or given up come next, in their order, and
only then anything else is changed (see ``starts.py``): so nobody waits for one who waits for him.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from loom.identifiers import RunId, RunKey, WorkflowId
from loom.storage.records import Message
from loom.storage.sql.changes import Address, Changes, Delivery, TaskKey
from loom.storage.sql.rows import RunState, TaskState, run_state
from loom.storage.sql.statements import Statements
from loom.storage.sql.transactions import Overtaken, Query, Transaction


def begin(
    s: Statements, keys: Iterable[RunKey], messages: Sequence[Message]
) -> Transaction[Changes]:
    """Lock those runs and the ones that the messages are for.

    Raises ``Overtaken`` when one of the latter has been continued or deleted meanwhile.
    """
    found = yield from _resolve(s, messages)
    addresses = {address: recipient.run_key for address, recipient in found.items()}
    runs = yield from lock_runs(s, {*keys, *addresses.values()})
    yield from _check_chains(s, runs, found)
    taken = yield from _find_taken(s, messages, addresses, runs)
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


# --- whom messages are for -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Recipient:
    """A run as it was found, before it was locked."""

    run_key: RunKey
    is_open: bool
    chain: RunId | None = None


def _resolve(s: Statements, messages: Sequence[Message]) -> Transaction[dict[Address, _Recipient]]:
    """Which runs the messages are for."""
    found: dict[Address, _Recipient] = {}
    run_ids = {message.run_id for message in messages if message.run_id is not None}
    if run_ids:
        found |= yield from _find_runs(s, run_ids)
    workflow_ids = {message.workflow_id for message in messages if message.run_id is None}
    if workflow_ids:
        open_ones = yield from _find_open(s, workflow_ids)
        found |= open_ones
        workflow_ids -= {workflow_id for workflow_id, _ in open_ones}
    if workflow_ids:
        # The newest, which may have taken the message long ago.
        rows = yield Query(s.runs.find_newest, {"workflow_ids": s.array(sorted(workflow_ids))})
        found |= {(row[0], None): _Recipient(row[1], is_open=False) for row in rows}
    return found


def _find_runs(s: Statements, run_ids: set[RunId]) -> Transaction[dict[Address, _Recipient]]:
    """Those very runs, and in place of one that others have continued the open one; in place of
    one that is gone, and began a chain, the newest of that."""
    found: dict[Address, _Recipient] = {}
    rows = yield Query(s.runs.find_by_run_ids, {"run_ids": s.array(sorted(run_ids))})
    for workflow_id, run_id, key, closed_at, first_run_id in rows:
        is_open = closed_at is None
        found[workflow_id, run_id] = _Recipient(key, is_open, first_run_id or run_id)
    gone = run_ids.difference(run_id for _, run_id in found)
    if gone:
        rows = yield Query(s.runs.find_by_chains, {"run_ids": s.array(sorted(gone))})
        for workflow_id, chain, key, closed_at in rows:
            found[workflow_id, chain] = _Recipient(key, closed_at is None, chain)
    closed = {address: run for address, run in found.items() if not run.is_open}
    if closed:
        open_ones = yield from _find_open(s, {workflow_id for workflow_id, _ in closed})
        for (workflow_id, run_id), run in closed.items():
            last = open_ones.get((workflow_id, None))
            if last is not None and last.chain == run.chain:
                found[workflow_id, run_id] = last
    return found


def _find_open(
    s: Statements, workflow_ids: set[WorkflowId]
) -> Transaction[dict[Address, _Recipient]]:
    rows = yield Query(s.runs.find_open, {"workflow_ids": s.array(sorted(workflow_ids))})
    return {
        (workflow_id, None): _Recipient(key, is_open=True, chain=first_run_id or run_id)
        for workflow_id, key, run_id, first_run_id in rows
    }


def _check_chains(
    s: Statements, runs: Sequence[RunState], found: dict[Address, _Recipient]
) -> Transaction[None]:
    """Raises ``Overtaken`` when a run that was found open has been continued by another, or may
    have been, since it has been deleted."""
    found_open = {recipient.run_key for recipient in found.values() if recipient.is_open}
    if not found_open <= {run.run_key for run in runs}:
        raise Overtaken
    closed = {run.workflow_id: run for run in runs if not run.is_open and run.run_key in found_open}
    if closed:
        open_ones = yield from _find_open(s, set(closed))
        for (workflow_id, _), recipient in open_ones.items():
            if recipient.chain == closed[workflow_id].chain:
                raise Overtaken


def _find_taken(
    s: Statements,
    messages: Sequence[Message],
    addresses: dict[Address, RunKey],
    runs: Sequence[RunState],
) -> Transaction[set[Delivery]]:
    """Which of the messages were delivered before, to their run or to another of its chain."""
    deliveries = {
        (addresses[address], message.message_id)
        for message in messages
        if (address := (message.workflow_id, message.run_id)) in addresses
    }
    if not deliveries:
        return set()
    rows = yield Query(s.history.find_taken, s.pairs(sorted(deliveries)))
    taken = {(key, message_id) for key, message_id in rows}
    # A run that is open and has no predecessor is a chain by itself.
    chains = {run.run_key: run.chain for run in runs if run.first_run_id or not run.is_open}
    chained = {(chains[key], message_id) for key, message_id in deliveries if key in chains}
    if chained:
        rows = yield Query(s.history.find_taken_by_chain, s.pairs(sorted(chained)))
        by_chain = {(chain, message_id) for chain, message_id in rows}
        taken |= {
            (key, message_id)
            for key, message_id in deliveries
            if key in chains and (chains[key], message_id) in by_chain
        }
    return taken
