"""The application as commands open it: what is not found is told with where it was looked for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import loom
from loom.cli.exits import CommandError, Exit


@asynccontextmanager
async def opened(dsn: str | None, *, codecs: str | None = None) -> AsyncIterator[loom.Loom]:
    """An open application, with what ``--codecs`` was given. The commonest reason to find nothing
    is to look elsewhere."""
    async with loom.Loom(dsn, codecs=_loaded(codecs)) as app:
        try:
            yield app
        except loom.WorkflowNotFoundError as error:
            where = f"The database is {without_password(app.dsn)}."
            raise CommandError(f"{error} {where}", Exit.NOT_FOUND) from error


@asynccontextmanager
async def looked_at(dsn: str | None, *, codecs: str | None = None) -> AsyncIterator[loom.Loom]:
    """An open application for what is there already: a SQLite file that is not there is not made,
    since its name is mistyped, and an older schema is not brought up to date. Both are errors."""
    place = loom.Settings.load().dsn if dsn is None else dsn
    if place.startswith("sqlite"):
        await _check_file(place)
    async with opened(place, codecs=codecs) as app:
        yield app


def _loaded(codecs: str | None) -> Sequence[loom.PayloadCodec]:
    if codecs is None:
        return ()
    # Imported here, for it takes longer than all of `loom --help`.
    from loom.cli.loading import load_codecs

    return load_codecs(codecs)


async def _check_file(place: str) -> None:
    # Imported here, for they take longer than all of `loom --help`.
    from loom.storage.sql.dsn import SqliteDsn, parse_dsn
    from loom.storage.sql.schema import SCHEMA_VERSION
    from loom.storage.sql.sqlite import stored_version

    file = parse_dsn(place)
    version = await stored_version(file) if isinstance(file, SqliteDsn) else None
    if version is None:
        raise CommandError(
            f"there is no Loom database {without_password(place)}. Look at --dsn or LOOM_DSN; a "
            "new database is made by the first start or worker, or by `loom db upgrade`.",
            Exit.STORE,
        )
    if version != SCHEMA_VERSION:
        # Alembic takes as long again, and is needed only to say what is wrong.
        from loom.storage.sql import migrations

        await migrations.check(place)


def without_password(dsn: str) -> str:
    """A DSN that may be shown: without the password, and without options, which may hold one."""
    return re.sub(r"//([^:@/?]*):.*@", r"//\1@", dsn, count=1, flags=re.DOTALL).partition("?")[0]
