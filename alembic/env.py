"""How Alembic reaches the database: on the connection it is given, or on one of its own.

On its own, as from the command line in a checkout, it opens the DSN of ``-x dsn=...``, else that
of ``LOOM_DSN``, else ``sqlite:///workflows.db``.
"""

from __future__ import annotations

import asyncio
import os

from alembic import context
from sqlalchemy import Connection

from loom.storage.sql import migrations
from loom.storage.sql.dsn import PostgresDsn, SqliteDsn, parse_dsn
from loom.storage.sql.schema import VERSION_TABLE, metadata


def chosen_dsn() -> SqliteDsn | PostgresDsn:
    default = os.environ.get("LOOM_DSN", "sqlite:///workflows.db")
    return parse_dsn(context.get_x_argument(as_dictionary=True).get("dsn", default))


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        include_object=migrations.is_ours,
        # On SQLite too: all or nothing.
        transactional_ddl=True,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_on_own_connection() -> None:
    async with migrations.open_connection(chosen_dsn()) as connection:
        await connection.run_sync(migrate)


def print_migrations() -> None:
    dialect = "sqlite" if isinstance(chosen_dsn(), SqliteDsn) else "postgresql"
    context.configure(
        dialect_name=dialect,
        version_table=VERSION_TABLE,
        transactional_ddl=True,
        literal_binds=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if context.is_offline_mode():
    print_migrations()
elif given is not None:
    migrate(given)
else:
    asyncio.run(migrate_on_own_connection())
