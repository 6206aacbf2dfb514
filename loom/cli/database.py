"""``loom db``: the schema of a database."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import click

import loom
from loom.cli.application import without_password
from loom.cli.exits import CommandError
from loom.cli.options import dsn_option

NEWER = "newer than this Loom, which can work with it"


@click.group()
def db() -> None:
    """Make, look at and take back the database's schema."""


@db.command()
@click.argument("revision", default="head")
@dsn_option
def upgrade(dsn: str | None, revision: str) -> None:
    """Bring the schema up to REVISION, by default the newest.

    Safe to run again, and by several deployers at once.
    """
    from loom.storage.sql import migrations

    place = _place(dsn)
    _migrate(migrations.upgrade(place, revision))
    _tell(place)


@db.command()
@click.argument("revision")
@click.option("--yes", is_flag=True, help="Do it although runs are stored.")
@dsn_option
def downgrade(dsn: str | None, revision: str, yes: bool) -> None:
    """Take the schema back to REVISION. What only newer schemas hold is lost: `base` deletes all.

    Where runs are stored it is refused, unless --yes is given.
    """
    from loom.storage.sql import migrations

    place = _place(dsn)
    back = asyncio.run(migrations.ways_back(place))
    if revision not in back:
        raise click.UsageError(f"The schema can be taken back to {' or '.join(back)}.")
    stored = 0 if yes else asyncio.run(migrations.count_runs(place))
    if stored:
        them = "it" if stored == 1 else "them"
        lost = f"deletes {them}" if revision == back[-1] else "loses what only newer schemas hold"
        raise CommandError(
            f"{without_password(place)} holds {stored:,} run{'s' * (stored != 1)}: going back to "
            f"{revision} {lost}. Repeat with --yes to do it; `loom history export --all` saves "
            f"{them} before."
        )
    _migrate(migrations.downgrade(place, revision))
    _tell(place)


@db.command()
@dsn_option
def current(dsn: str | None) -> None:
    """Print the schema's revision."""
    from loom.storage.sql import migrations

    click.echo(asyncio.run(migrations.current(_place(dsn))) or "none")


@db.command()
@dsn_option
def check(dsn: str | None) -> None:
    """Tell whether the schema is one that this version of Loom can work with.

    Ends with 0 if it is, with 1 if it is not, and with 4 if the database cannot be asked.
    """
    from loom.storage.sql import migrations

    try:
        version = asyncio.run(migrations.check(_place(dsn)))
    except loom.SchemaVersionError as error:
        raise CommandError(str(error)) from error
    says = "up to date" if version == migrations.head() else NEWER
    click.echo(f"The schema is {says} ({version}).")


def _place(dsn: str | None) -> str:
    return loom.Settings.load().dsn if dsn is None else dsn


def _migrate(migration: Coroutine[Any, Any, None]) -> None:
    from alembic.util import CommandError as UnknownRevision

    try:
        asyncio.run(migration)
    except UnknownRevision as error:
        raise click.UsageError(f"{error}.") from error


def _tell(dsn: str) -> None:
    from loom.storage.sql import migrations
    from loom.storage.sql.versions import is_newer

    version = asyncio.run(migrations.current(dsn))
    if version is None:
        click.echo("There is no schema now.")
    elif version == migrations.head():
        click.echo(f"The schema is at {version} (the newest).")
    else:
        click.echo(f"The schema is at {version}{' (' + NEWER + ')' if is_newer(version) else ''}.")
