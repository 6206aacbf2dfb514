"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

# Numbered: Loom tells older from newer by comparing them.
revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_workflows()
    _create_events()
    _create_tasks()
    _create_inbox()
    _create_logs()


def downgrade() -> None:
    for table in ("logs", "inbox", "tasks", "events", "workflows"):
        op.drop_table(table)


def _create_workflows() -> None:
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "workflows",
        sa.Column("run_key", key, sa.Identity(), nullable=False),
        sa.Column("workflow_id", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger()),
        sa.Column("wake_at", sa.BigInteger()),
        sa.Column("blocked_reason", sa.Text()),
        sa.Column("lease_owner", sa.Text()),
        sa.Column("lease_expires_at", sa.BigInteger()),
        sa.Column("lease_token", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("inbox_count", sa.BigInteger(), nullable=False),
        sa.Column("inbox_consumed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("run_key", name="pk_workflows"),
        sa.UniqueConstraint("run_id", name="uq_workflows_run_id"),
        sqlite_autoincrement=True,
        postgresql_with={"fillfactor": "70"},
    )
    _create_partial_index("workflows", "open", ["workflow_id"], "closed_at IS NULL", unique=True)
    op.create_index("ix_workflows_workflow_id", "workflows", ["workflow_id", "run_key"])
    _create_partial_index("workflows", "due", ["queue", "due_at"], "due_at IS NOT NULL")
    _create_partial_index("workflows", "blocked", ["queue"], "status = 'BLOCKED'")


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("run_key", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("attributes", sa.LargeBinary(), nullable=False),
        sa.Column("payload", sa.LargeBinary()),
        sa.Column("message_id", sa.Text()),
        sa.PrimaryKeyConstraint("run_key", "sequence", name="pk_events"),
        sqlite_with_rowid=False,
    )
    columns = ["run_key", "message_id"]
    _create_partial_index("events", "message", columns, "message_id IS NOT NULL", unique=True)


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("run_key", sa.BigInteger(), nullable=False),
        sa.Column("activity_id", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("available_at", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("lease_owner", sa.Text()),
        sa.Column("lease_token", sa.BigInteger(), nullable=False),
        sa.Column("lease_expires_at", sa.BigInteger()),
        sa.Column("last_failure", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("run_key", "activity_id", name="pk_tasks"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tasks_due", "tasks", ["queue", "due_at"])


def _create_inbox() -> None:
    op.create_table(
        "inbox",
        sa.Column("run_key", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("attributes", sa.LargeBinary(), nullable=False),
        sa.Column("payload", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("run_key", "position", name="pk_inbox"),
        sa.UniqueConstraint("run_key", "message_id", name="uq_inbox_run_key_message_id"),
        sqlite_with_rowid=False,
    )


def _create_logs() -> None:
    op.create_table(
        "logs",
        sa.Column("run_key", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("logged_at", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("run_key", "position", name="pk_logs"),
        sqlite_with_rowid=False,
    )


def _create_partial_index(
    table: str, name: str, columns: list[str], where: str, *, unique: bool = False
) -> None:
    op.create_index(
        f"ix_{table}_{name}",
        table,
        columns,
        unique=unique,
        sqlite_where=sa.text(where),
        postgresql_where=sa.text(where),
    )
