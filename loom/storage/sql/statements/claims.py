"""Claims of runs: looking for those that are due, and locking them."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from loom.storage.sql.dialects import Statement
from loom.storage.sql.schema import workflows
from loom.storage.sql.statements.base import StatementSet, micros, text
from loom.storage.sql.statements.runs import RUN_STATE

_run: Final = workflows.c

_NOTHING: Final[ColumnElement[int]] = literal_column("0")
_ONE: Final[ColumnElement[int]] = literal_column("1")


class ClaimStatements(StatementSet):
    """Statements with the parameters of a ``WorkflowClaim``."""

    @cached_property
    def look_for_due(self) -> Statement:
        """When the next runs are due, leaving out those due now that somebody else holds."""
        is_within_reach = or_(_run.due_at > micros("now"), self._is_free_for_claimer)
        query = select(_run.due_at, _run.lease_owner, _run.lease_expires_at).where(
            self._is_meant, _run.due_at.is_not(None), is_within_reach
        )
        return self._compile(query.order_by(_run.due_at).limit(micros("limit")))

    @cached_property
    def claim_due(self) -> Statement:
        query = self._claim(self._is_meant, self._is_due).order_by(_run.due_at, _run.run_key)
        return self._compile(query)

    @cached_property
    def look_for_blocked(self) -> Statement:
        return self._compile(select(_run.run_key).where(self._is_blocked_and_free).limit(1))

    @cached_property
    def claim_blocked(self) -> Statement:
        query = self._claim(self._is_blocked_and_free)
        return self._compile(query.order_by(_run.updated_at, _run.run_key))

    @cached_property
    def claim_one(self) -> Statement:
        """Waits for the row, since it is this run or none."""
        is_free = or_(
            _run.lease_owner.is_(None),
            _run.lease_owner == text("owner"),
            _run.lease_expires_at <= micros("now"),
        )
        query = select(*RUN_STATE).where(
            _run.run_key == micros("key"), _run.closed_at.is_(None), is_free
        )
        return self._compile(query.with_for_update())

    def _claim(self, *conditions: ColumnElement[bool]) -> Select[Any]:
        query = select(*RUN_STATE).where(*conditions).limit(micros("limit"))
        return query.with_for_update(skip_locked=True)

    @property
    def _is_due(self) -> ColumnElement[bool]:
        return and_(_run.due_at <= micros("now"), self._is_free_for_claimer)

    @property
    def _is_meant(self) -> ColumnElement[bool]:
        pairs = self.dialect.pairs(str, str)
        kinds = select(pairs.c.first, pairs.c.second)
        return and_(_run.queue == text("queue"), tuple_(_run.name, _run.version).in_(kinds))

    @property
    def _is_free_for_claimer(self) -> ColumnElement[bool]:
        has_messages = _run.inbox_count > _run.inbox_consumed
        return or_(
            _run.lease_owner.is_(None),
            _run.lease_expires_at <= micros("now"),
            and_(_run.lease_owner == text("owner"), has_messages),
        )

    @property
    def _is_blocked_and_free(self) -> ColumnElement[bool]:
        return and_(
            self._is_meant,
            # Not a parameter: Postgres must see that the partial index fits.
            _run.status == literal_column("'BLOCKED'"),
            _run.updated_at < micros("blocked_before"),
            _run.lease_owner.is_(None),
            or_(_run.due_at.is_(None), _run.due_at > micros("now")),
        )


class ClaimsAtOnce(ClaimStatements):
    """Statements that are transactions by themselves, for Postgres."""

    @cached_property
    def lease_due(self) -> Statement:
        """What ``claim_due`` finds, with the lease that ``RunState.lease`` would give; each row is
        followed by when it was due."""
        locked = (
            select(_run.run_key, _run.due_at)
            .where(self._is_meant, self._is_due)
            .order_by(_run.due_at, _run.run_key)
            .limit(micros("limit"))
            .with_for_update(skip_locked=True)
            .cte("locked")
        )
        is_renewed = _run.lease_owner == text("owner")
        leased = update(workflows).where(_run.run_key == locked.c.run_key)
        leased = leased.values(
            lease_token=_run.lease_token + case((is_renewed, _NOTHING), else_=_ONE),
            lease_owner=text("owner"),
            lease_expires_at=micros("lease_expires_at"),
            due_at=micros("lease_expires_at"),
        )
        return self._compile(leased.returning(*RUN_STATE, locked.c.due_at.label("was_due_at")))
