"""Tags and memos: what runs carry for those who look for them."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from sqlalchemy import BigInteger, Text, delete, select

from loom.storage.sql.dialects import RowsStatement, SqlType, Statement
from loom.storage.sql.schema import memos, tags
from loom.storage.sql.statements.base import StatementSet, types_of

_tag: Final = tags.c


class LabelStatements(StatementSet):
    """Statements on tags and memos."""

    @cached_property
    def insert_memo(self) -> RowsStatement:
        return self._insert(memos)

    @cached_property
    def put_tag(self) -> RowsStatement:
        columns = types_of(tags.columns)
        query = self.dialect.insert_rows(tags, self.dialect.values(columns))
        changed = {_tag.value: query.excluded.value}
        key = [_tag.run_key, _tag.name]
        put = query.on_conflict_do_update(index_elements=key, set_=changed)
        return self.dialect.compile_rows(put, columns)

    @cached_property
    def remove_tag(self) -> RowsStatement:
        """Rows of a run's key and a tag's name."""
        columns: dict[str, SqlType] = {"key": BigInteger(), "called": Text()}
        values = self.dialect.values(columns)
        query = delete(tags).where(_tag.run_key == values["key"], _tag.name == values["called"])
        return self.dialect.compile_rows(query, columns)

    @cached_property
    def read_tags(self) -> Statement:
        query = select(_tag.run_key, _tag.name, _tag.value).where(self._any_key(tags))
        return self._compile(query.order_by(_tag.run_key, _tag.name))

    @cached_property
    def read_memos(self) -> Statement:
        return self._compile(select(memos.c.run_key, memos.c.memo).where(self._any_key(memos)))
