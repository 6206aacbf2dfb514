"""The application as commands open it: what is not found is told with where it was looked for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import loom
from loom.cli.exits import CommandError, Exit


@asynccontextmanager
async def opened(
    dsn: str | None, *, codecs: Sequence[loom.PayloadCodec] = ()
) -> AsyncIterator[loom.Loom]:
    """An open application. The commonest reason to find nothing is to look elsewhere."""
    async with loom.Loom(dsn, codecs=codecs) as app:
        try:
            yield app
        except loom.WorkflowNotFoundError as error:
            where = f"The database is {without_password(app.dsn)}."
            raise CommandError(f"{error} {where}", Exit.NOT_FOUND) from error


@asynccontextmanager
async def looked_at(
    dsn: str | None, *, codecs: Sequence[loom.PayloadCodec] = ()
) -> AsyncIterator[loom.Loom]:
    """An open application of which nothing is to be changed: a SQLite file that is not there is
    not made, and an older schema is not brought up to date. Both are told as errors."""
    from loom.storage.sql import migrations

    place = dsn or loom.Settings.load().dsn
    if place.startswith("sqlite"):
        await migrations.check(place)
    async with opened(place, codecs=codecs) as app:
        yield app


def without_password(dsn: str) -> str:
    """A DSN that may be shown: without the password, and without options, which may hold one."""
    return re.sub(r"//([^:@/?]*):.*@", r"//\1@", dsn, count=1, flags=re.DOTALL).partition("?")[0]
