"""Tags and memos: what runs carry for those who look for them."""

from __future__ import annotations

from functools import cached_property
from typing import Final

from sqlalchemy import bindparam, delete, select

from loom.storage.sql.dialects import Statement
from loom.storage.sql.schema import memos, tags
from loom.storage.sql.statements.base import StatementSet, micros, text

_tag: Final = tags.c


class LabelStatements(StatementSet):
    """Statements on tags and memos."""

    @cached_property
    def insert_memo(self) -> Statement:
        return self._insert(memos)

    @cached_property
    def put_tag(self) -> Statement:
        query = self.dialect.insert(tags).values({c.name: bindparam(c.name) for c in tags.columns})
        changed = {_tag.value: query.excluded.value}
        key = [_tag.run_key, _tag.name]
        return self._compile(query.on_conflict_do_update(index_elements=key, set_=changed))

    @cached_property
    def remove_tag(self) -> Statement:
        return self._compile(
            delete(tags).where(_tag.run_key == micros("run_key"), _tag.name == text("name"))
        )

    @cached_property
    def read_tags(self) -> Statement:
        query = select(_tag.run_key, _tag.name, _tag.value).where(self._any_key(tags))
        return self._compile(query.order_by(_tag.run_key, _tag.name))

    @cached_property
    def read_memos(self) -> Statement:
        return self._compile(select(memos.c.run_key, memos.c.memo).where(self._any_key(memos)))
