"""Claims of runs: looking for those that are due, and locking them."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    exists,
    func,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from loom.storage.sql.dialects import Statement
from loom.storage.sql.schema import inbox, workflows
from loom.storage.sql.statements.base import StatementSet, is_open, micros, text
from loom.storage.sql.statements.runs import RUN_STATE

_run: Final = workflows.c

_NOTHING: Final[ColumnElement[int]] = literal_column("0")
_ONE: Final[ColumnElement[int]] = literal_column("1")

OUTLOOK: Final = ("next_due_at", "due_beyond", "is_blocked_due", "is_suspect_due")
"""When the next run is due that is not yet; when the one is that the limit leaves out; and whether
there is a blocked run to be had, or one that may be what its owners were lost of."""

_is_no_suspect: Final[ColumnElement[bool]] = _run.lost_owners == _NOTHING


class ClaimStatements(StatementSet):
    """Statements with the parameters of a ``WorkflowClaim``."""

    @cached_property
    def look_for_due(self) -> Statement:
        """When the next runs are due, leaving out those due now that somebody else holds."""
        query = self._within_reach(
            _run.due_at, _run.lease_owner, _run.lease_expires_at, _run.lost_owners
        )
        return self._compile(query.limit(micros("limit")))

    @cached_property
    def claim_due(self) -> Statement:
        query = self._claim(self._is_meant, self._is_due, _is_no_suspect)
        return self._compile(query.order_by(_run.due_at, _run.run_key))

    @cached_property
    def claim_suspect(self) -> Statement:
        query = self._claim(self._is_meant, self._is_due, ~_is_no_suspect)
        return self._compile(query.order_by(_run.run_key))

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
        is_this = _run.run_key == micros("key")
        query = select(*RUN_STATE).where(is_this, is_open(), is_free, self._can_be_leased)
        return self._compile(query.with_for_update())

    def _within_reach(self, *columns: ColumnElement[Any]) -> Select[Any]:
        is_within_reach = or_(_run.due_at > micros("now"), self._is_free_for_claimer)
        is_wanted = _run.lost_owners <= micros("most_lost_owners")
        query = select(*columns).where(
            self._is_meant, _run.due_at.is_not(None), is_within_reach, is_wanted
        )
        return query.order_by(_run.due_at)

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
        is_of_kind = tuple_(_run.name, _run.version).in_(kinds)
        return and_(_run.queue == text("queue"), is_of_kind, self._can_be_leased)

    @property
    def _can_be_leased(self) -> ColumnElement[bool]:
        counted = _run.lease_token, _run.inbox_count, _run.inbox_consumed, _run.lost_owners
        return self.dialect.are_numbers(*counted)

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
            _is_no_suspect,
            # Not a parameter: Postgres must see that the partial index fits.
            _run.status == literal_column("'BLOCKED'"),
            _run.updated_at < micros("blocked_before"),
            _run.lease_owner.is_(None),
            or_(_run.due_at.is_(None), _run.due_at > micros("now")),
        )


class ClaimsAtOnce(ClaimStatements):
    """A statement that is a transaction by itself, for Postgres."""

    @cached_property
    def lease_due(self) -> Statement:
        """What ``claim_due`` finds, with the lease that ``RunState.lease`` would give, oldest due
        first. One row for each message that a run has, at least one for each run; and if there is
        no run, one with nothing in these columns. Before them come the columns of ``OUTLOOK``, and
        between a run and its message whether its owner was lost."""
        leased = self._leased.cte("leased")
        run = [leased.c[column.name] for column in (*RUN_STATE, leased.c.owner_lost)]
        has_messages = leased.c.inbox_count > leased.c.inbox_consumed
        is_for_it = and_(inbox.c.run_key == leased.c.run_key, has_messages)
        outlook = select(*self._outlook).cte("outlook")
        always: ColumnElement[bool] = literal_column("true")
        every = outlook.outerjoin(leased, always).outerjoin(inbox, is_for_it)
        query = select(*outlook.c, *run, *inbox.c).select_from(every)
        return self._compile(
            query.order_by(leased.c.was_due_at, leased.c.run_key, inbox.c.position)
        )

    @property
    def _leased(self) -> ReturningUpdate[Any]:
        was_held_by_another = _run.lease_owner != text("owner")
        is_lost = and_(_run.lease_owner.is_not(None), was_held_by_another)
        locked = (
            select(_run.run_key, _run.due_at, is_lost.label("owner_lost"))
            .where(self._is_meant, self._is_due, _is_no_suspect)
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
            lost_owners=case((locked.c.owner_lost, _ONE), else_=_NOTHING),
        )
        told = locked.c.due_at.label("was_due_at"), locked.c.owner_lost
        return leased.returning(*RUN_STATE, *told)

    @property
    def _outlook(self) -> list[ColumnElement[Any]]:
        """The columns of ``OUTLOOK``, from before anything is claimed."""
        # A row may be looked at before the lease on it ends, but not be had.
        later = func.greatest(_run.due_at, _run.lease_expires_at)
        at = case((_run.due_at > micros("now"), later), else_=_run.due_at).label("at")
        query = self._within_reach(at, _run.lost_owners).limit(micros("limit") + _ONE)
        within_reach = query.cte("within_reach")
        moment = within_reach.c.at
        next_one = select(func.min(moment)).where(moment > micros("now"))
        beyond = select(moment).order_by(moment).offset(micros("limit")).limit(_ONE)
        blocked = exists(select(_ONE).select_from(workflows).where(self._is_blocked_and_free))
        is_suspect = and_(within_reach.c.lost_owners > _NOTHING, moment <= micros("now"))
        suspect = exists(select(_ONE).where(is_suspect))
        columns = next_one.scalar_subquery(), beyond.scalar_subquery(), blocked, suspect
        return [c.label(name) for c, name in zip(columns, OUTLOOK, strict=True)]
