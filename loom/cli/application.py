"""The application as commands open it: what is not found is told with where it was looked for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import loom
from loom.cli.exits import CommandError, Exit


@asynccontextmanager
async def opened(dsn: str | None) -> AsyncIterator[loom.Loom]:
    """An open application. The commonest reason to find nothing is to look elsewhere."""
    async with loom.Loom(dsn) as app:
        try:
            yield app
        except loom.WorkflowNotFoundError as error:
            where = f"The database is {without_password(app.dsn)}."
            raise CommandError(f"{error} {where}", Exit.NOT_FOUND) from error


def without_password(dsn: str) -> str:
    """A DSN that may be shown: without the password, and without options, which may hold one."""
    return re.sub(r"//([^:@/?]*):.*@", r"//\1@", dsn, count=1, flags=re.DOTALL).partition("?")[0]
