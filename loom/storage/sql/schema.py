"""The tables, as the newest migration leaves them.

Times are whole microseconds since the epoch. A run's integer key is what every other table refers
to; the workflow id, which is text, is looked up once. There are no foreign keys: every writer holds
the run's row, and checking them again on each insert would only cost time.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

SCHEMA_VERSION: Final = "0002"
"""The newest migration. Revisions are numbered, so that older and newer can be told apart without
reading the scripts."""

VERSION_TABLE: Final = "loom_schema_version"

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

# SQLite gives only INTEGER keys the row id's speed.
_Key = BigInteger().with_variant(Integer(), "sqlite")

workflows = Table(
    "workflows",
    metadata,
    Column("run_key", _Key, Identity(), primary_key=True),
    Column("workflow_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    Column("wake_at", BigInteger),
    Column("blocked_reason", Text),
    Column("lease_owner", Text),
    Column("lease_expires_at", BigInteger),
    Column("lease_token", BigInteger, nullable=False),
    # When somebody may claim the run, if nothing else happens; NULL when nobody need.
    Column("due_at", BigInteger),
    # Messages ever put into the inbox, and how many of those the run has taken.
    Column("inbox_count", BigInteger, nullable=False),
    Column("inbox_consumed", BigInteger, nullable=False),
    # The run before it in its chain, and the run that the chain began with; NULL in that one.
    Column("continued_from", Text),
    Column("first_run_id", Text),
    # No message makes it due before; NULL when there was nothing to wait for.
    Column("start_at", BigInteger),
    # When its owner is to end it; no statement asks for it.
    Column("deadline", BigInteger),
    # Owners that were lost with it in a row.
    Column("lost_owners", Integer, nullable=False, server_default="0"),
    UniqueConstraint("run_id"),
    # Keys of deleted runs are never given out again.
    sqlite_autoincrement=True,
    # Room for updates in place: a turn that leaves due_at alone touches no index.
    postgresql_with={"fillfactor": "70"},
)

Index(
    "ix_workflows_open",
    workflows.c.workflow_id,
    unique=True,
    sqlite_where=text("closed_at IS NULL"),
    postgresql_where=text("closed_at IS NULL"),
)
Index(
    "ix_workflows_workflow_id",
    workflows.c.workflow_id,
    workflows.c.run_key,
    # By code points, whatever the database's collation: so it serves prefixes too.
    postgresql_ops={"workflow_id": "text_pattern_ops"},
)
Index(
    "ix_workflows_chain",
    workflows.c.first_run_id,
    sqlite_where=text("first_run_id IS NOT NULL"),
    postgresql_where=text("first_run_id IS NOT NULL"),
)
Index(
    "ix_workflows_due",
    workflows.c.queue,
    workflows.c.due_at,
    sqlite_where=text("due_at IS NOT NULL"),
    postgresql_where=text("due_at IS NOT NULL"),
)
Index(
    "ix_workflows_blocked",
    workflows.c.queue,
    sqlite_where=text("status = 'BLOCKED'"),
    postgresql_where=text("status = 'BLOCKED'"),
)

events = Table(
    "events",
    metadata,
    Column("run_key", BigInteger, primary_key=True, autoincrement=False),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("type", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    Column("attributes", LargeBinary, nullable=False),
    Column("payload", LargeBinary),
    Column("message_id", Text),
    sqlite_with_rowid=False,
)

Index(
    "ix_events_message",
    events.c.run_key,
    events.c.message_id,
    unique=True,
    sqlite_where=text("message_id IS NOT NULL"),
    postgresql_where=text("message_id IS NOT NULL"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("run_key", BigInteger, primary_key=True, autoincrement=False),
    Column("activity_id", BigInteger, primary_key=True, autoincrement=False),
    # The event that asked for the activity: its input is there, not copied here.
    Column("sequence", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("available_at", BigInteger, nullable=False),
    # When somebody may claim the task: its lease's end while leased.
    Column("due_at", BigInteger, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("failures", BigInteger, nullable=False),
    Column("lease_owner", Text),
    Column("lease_token", BigInteger, nullable=False),
    Column("lease_expires_at", BigInteger),
    Column("last_failure", LargeBinary),
    # What the last heartbeat said, for the next attempt.
    Column("details", LargeBinary),
    # Nobody is the first to claim it from then on; NULL when it may wait for ever, or was claimed.
    Column("start_by", BigInteger),
    # Not NULL while an attempt goes on that no worker holds.
    Column("parked_until", BigInteger),
    sqlite_with_rowid=False,
)

Index("ix_tasks_due", tasks.c.queue, tasks.c.due_at)

inbox = Table(
    "inbox",
    metadata,
    Column("run_key", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("message_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("attributes", LargeBinary, nullable=False),
    Column("payload", LargeBinary),
    UniqueConstraint("run_key", "message_id"),
    sqlite_with_rowid=False,
)

logs = Table(
    "logs",
    metadata,
    Column("run_key", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("logged_at", BigInteger, nullable=False),
    Column("level", Text, nullable=False),
    Column("message", Text, nullable=False),
    sqlite_with_rowid=False,
)

# What became of messages whose senders wait for an answer.
answers = Table(
    "answers",
    metadata,
    Column("run_key", BigInteger, primary_key=True, autoincrement=False),
    Column("message_id", Text, primary_key=True),
    Column("answered_at", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("attributes", LargeBinary, nullable=False),
    Column("payload", LargeBinary),
    sqlite_with_rowid=False,
)

# Beside the run's own row, which is written anew with every turn.
memos = Table(
    "memos",
    metadata,
    Column("run_key", BigInteger, primary_key=True, autoincrement=False),
    Column("memo", LargeBinary, nullable=False),
)

tags = Table(
    "tags",
    metadata,
    Column("run_key", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    # What Loom writes here sorts by code points.
    Column("value", Text().with_variant(Text(collation="C"), "postgresql"), nullable=False),
    sqlite_with_rowid=False,
)

Index("ix_tags_value", tags.c.name, tags.c.value, tags.c.run_key)
