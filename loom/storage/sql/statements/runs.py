"""Runs: their rows, and how they are found and listed."""

from __future__ import annotations

from dataclasses import fields
from functools import cached_property
from typing import Final

from sqlalchemy import (
    BigInteger,
    Text,
    and_,
    case,
    column,
    delete,
    func,
    literal_column,
    select,
    table,
    union_all,
    update,
)

from loom.storage.records import RunRecord
from loom.storage.sql.dialects import RowsStatement, Statement
from loom.storage.sql.schema import answers, events, inbox, logs, memos, tags, tasks, workflows
from loom.storage.sql.statements.base import StatementSet, micros, text, types_of

_run: Final = workflows.c

RUN_RECORD: Final = [_run[field.name] for field in fields(RunRecord)]
"""The columns of a ``RunRecord``, in its order."""

RUN_STATE: Final = list(workflows.columns)
"""The columns of a ``RunState``, in its order."""

TURN: Final = (
    _run.status,
    _run.sequence,
    _run.updated_at,
    _run.closed_at,
    _run.wake_at,
    _run.blocked_reason,
    _run.lease_owner,
    _run.lease_expires_at,
    _run.due_at,
    _run.inbox_count,
    _run.inbox_consumed,
    _run.lost_owners,
)
"""What a turn may change."""


class RunStatements(StatementSet):
    """Statements on the table of runs."""

    @cached_property
    def lock(self) -> Statement:
        query = select(*RUN_STATE).where(self._any_key(workflows))
        return self._compile(query.order_by(_run.run_key).with_for_update())

    # --- finding ---------------------------------------------------------------------------------

    @cached_property
    def find_by_run_ids(self) -> Statement:
        wanted = self.dialect.any_of(_run.run_id, "run_ids")
        columns = _run.workflow_id, _run.run_id, _run.run_key, _run.closed_at, _run.first_run_id
        return self._compile(select(*columns).where(wanted))

    @cached_property
    def find_by_chains(self) -> Statement:
        """The runs of chains, by the runs that those began with; the newest come last."""
        wanted = self.dialect.any_of(_run.first_run_id, "run_ids")
        columns = _run.workflow_id, _run.first_run_id, _run.run_key, _run.closed_at
        query = select(*columns).where(wanted, _run.first_run_id.is_not(None))
        return self._compile(query.order_by(_run.run_key))

    @cached_property
    def find_open(self) -> Statement:
        wanted = self.dialect.any_of(_run.workflow_id, "workflow_ids")
        columns = _run.workflow_id, _run.run_key, _run.run_id, _run.first_run_id
        return self._compile(select(*columns).where(wanted, _run.closed_at.is_(None)))

    @cached_property
    def find_newest(self) -> Statement:
        wanted = self.dialect.any_of(_run.workflow_id, "workflow_ids")
        query = select(_run.workflow_id, func.max(_run.run_key)).where(wanted)
        return self._compile(query.group_by(_run.workflow_id))

    @cached_property
    def find_standing(self) -> Statement:
        """Runs that stand where new ones would: with the same run id, or open."""
        same = select(*RUN_RECORD).where(self.dialect.any_of(_run.run_id, "run_ids"))
        is_namesake = self.dialect.any_of(_run.workflow_id, "workflow_ids")
        namesakes = select(*RUN_RECORD).where(is_namesake, _run.closed_at.is_(None))
        return self._compile(union_all(same, namesakes))

    @cached_property
    def find_newest_but(self) -> Statement:
        """The newest runs of some workflow ids, other than these very runs."""
        wanted = self.dialect.any_of(_run.workflow_id, "workflow_ids")
        left_out = self.dialect.any_of(_run.run_id, "run_ids")
        newest = select(func.max(_run.run_key)).where(wanted, ~left_out)
        keys = newest.group_by(_run.workflow_id).scalar_subquery()
        return self._compile(select(*RUN_RECORD).where(_run.run_key.in_(keys)))

    @cached_property
    def find_one(self) -> Statement:
        """The open run of a workflow id, if there is one, and the one with the greatest key.

        That need not be the same: Postgres gives a run its key before it waits for whoever has its
        workflow id, and another with a greater one may have begun and ended by then."""
        same = select(*RUN_RECORD).where(_run.workflow_id == text("workflow_id"))
        last = same.order_by(_run.run_key.desc()).limit(1).subquery()
        return self._compile(union_all(same.where(_run.closed_at.is_(None)), select(last)))

    @cached_property
    def find_one_by_run_id(self) -> Statement:
        same = and_(_run.run_id == text("run_id"), _run.workflow_id == text("workflow_id"))
        return self._compile(select(*RUN_RECORD).where(same))

    # --- writing ---------------------------------------------------------------------------------

    @cached_property
    def insert(self) -> RowsStatement:
        """Rows of a ``RunState`` without its key. Those that are in nobody's way are inserted, and
        come back with the keys that they were given."""
        columns = types_of(RUN_STATE[1:])
        query = self.dialect.insert_rows(workflows, self.dialect.values(columns))
        returned = query.on_conflict_do_nothing().returning(_run.run_id, _run.run_key)
        return self.dialect.compile_rows(returned, columns)

    @cached_property
    def last_key(self) -> Statement:
        """The last key that SQLite has given out, also to a run that is gone; no row before the
        first."""
        sequence = table("sqlite_sequence", column("name", Text()), column("seq", BigInteger()))
        is_ours = sequence.c.name == literal_column(f"'{workflows.name}'")
        return self._compile(select(sequence.c.seq).where(is_ours))

    @cached_property
    def insert_keyed(self) -> RowsStatement:
        """Rows of a ``RunState``; those that are in somebody's way are passed over."""
        columns = types_of(RUN_STATE)
        query = self.dialect.insert_rows(workflows, self.dialect.values(columns))
        return self.dialect.compile_rows(query.on_conflict_do_nothing(), columns)

    @cached_property
    def save_turn(self) -> RowsStatement:
        """All that a turn may have changed."""
        return self._update(workflows, [_run.run_key], TURN)

    @cached_property
    def save_inbox(self) -> RowsStatement:
        """What messages have changed."""
        return self._update(workflows, [_run.run_key], [_run.due_at, _run.inbox_count])

    @cached_property
    def save_lease(self) -> RowsStatement:
        """What a claim or a release has changed."""
        lease = _run.lease_owner, _run.lease_expires_at, _run.lease_token, _run.due_at
        return self._update(workflows, [_run.run_key], [*lease, _run.lost_owners])

    @cached_property
    def extend_leases(self) -> Statement:
        # With messages waiting, the run stays due at once to its owner's own claims.
        has_messages = _run.inbox_count > _run.inbox_consumed
        expires_at = micros("expires_at")
        query = update(workflows).where(self._any_key(workflows))
        return self._compile(
            query.values(
                lease_expires_at=expires_at,
                due_at=case((has_messages, _run.due_at), else_=expires_at),
            )
        )

    @cached_property
    def deletes(self) -> tuple[Statement, ...]:
        """Everything that belongs to runs, and the runs themselves."""
        tables = (events, tasks, inbox, logs, answers, tags, memos, workflows)
        return tuple(self._compile(delete(t).where(self._any_key(t))) for t in tables)
