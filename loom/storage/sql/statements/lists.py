"""Lists of runs: one statement for each set of filters, compiled when first used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, FromClause, Select, and_, func, select

from loom.storage.sql.dialects import SqlDialect, Statement
from loom.storage.sql.schema import tags, workflows
from loom.storage.sql.statements.base import StatementSet, micros, text
from loom.storage.sql.statements.runs import RUN_RECORD

_run: Final = workflows.c

type Filters = tuple[tuple[str, ...], int]
"""The names of parameters that are given, and of how many tags."""


class ListStatements(StatementSet):
    """Statements with the parameters of a ``RunFilter``."""

    def __init__(self, dialect: SqlDialect) -> None:
        super().__init__(dialect)
        self._lists: dict[Filters, Statement] = {}
        self._counts: dict[Filters, Statement] = {}

    def list(self, filters: Filters) -> Statement:
        """Newest first."""
        if filters not in self._lists:
            matching, key = self._matching(RUN_RECORD, filters)
            query = matching.order_by(key.desc()).limit(micros("limit"))
            self._lists[filters] = self._compile(query)
        return self._lists[filters]

    def count(self, filters: Filters) -> Statement:
        """How many there are."""
        if filters not in self._counts:
            matching, _ = self._matching([func.count()], filters)
            self._counts[filters] = self._compile(matching)
        return self._counts[filters]

    def _matching(
        self, columns: Sequence[ColumnElement[Any]], filters: Filters
    ) -> tuple[Select[Any], Column[Any]]:
        """Those columns of the runs that match, and the key to sort them by."""
        names, tag_count = filters
        source: FromClause = workflows
        key: Column[Any] = _run.run_key
        conditions = []
        for number in range(tag_count):
            tag = tags.alias(f"tag_{number}")
            source = source.join(tag, tag.c.run_key == _run.run_key)
            conditions.append(
                and_(tag.c.name == text(f"name_{number}"), tag.c.value == text(f"value_{number}"))
            )
            # The index of tags has the runs of a value in order: it need not be sorted.
            key = tag.c.run_key
        conditions += [self._condition(name, key) for name in names]
        return select(*columns).select_from(source).where(*conditions), key

    def _condition(self, name: str, key: Column[Any]) -> ColumnElement[bool]:
        match name:
            case "before":
                return key < micros(name)
            case "open":
                return _run.closed_at.is_(None)
            case "closed":
                return _run.closed_at.is_not(None)
            case "prefix":
                return self.dialect.reaches(_run.workflow_id, name)
            case "prefix_end":
                return self.dialect.precedes(_run.workflow_id, name)
            case "created_from" | "closed_from":
                return _run[f"{name.removesuffix('_from')}_at"] >= micros(name)
            case "created_before" | "closed_before":
                return _run[f"{name.removesuffix('_before')}_at"] < micros(name)
        return _run[name] == text(name)
