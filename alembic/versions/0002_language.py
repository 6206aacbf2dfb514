"""What the whole workflow language needs: chains, delays, heartbeats, answers, tags."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workflows", sa.Column("continued_from", sa.Text()))
    op.add_column("workflows", sa.Column("first_run_id", sa.Text()))
    op.add_column("workflows", sa.Column("start_at", sa.BigInteger()))
    op.add_column("workflows", sa.Column("deadline", sa.BigInteger()))
    lost_owners = sa.Column("lost_owners", sa.Integer(), nullable=False, server_default="0")
    op.add_column("workflows", lost_owners)
    op.add_column("tasks", sa.Column("details", sa.LargeBinary()))
    op.add_column("tasks", sa.Column("start_by", sa.BigInteger()))
    op.add_column("tasks", sa.Column("parked_until", sa.BigInteger()))
    in_a_chain = sa.text("first_run_id IS NOT NULL")
    op.create_index(
        "ix_workflows_chain",
        "workflows",
        ["first_run_id"],
        sqlite_where=in_a_chain,
        postgresql_where=in_a_chain,
    )
    _create_answers()
    _create_labels()
    op.drop_index("ix_workflows_workflow_id", "workflows")
    op.create_index(
        "ix_workflows_workflow_id",
        "workflows",
        ["workflow_id", "run_key"],
        postgresql_ops={"workflow_id": "text_pattern_ops"},
    )


def downgrade() -> None:
    op.drop_index("ix_workflows_workflow_id", "workflows")
    op.create_index("ix_workflows_workflow_id", "workflows", ["workflow_id", "run_key"])
    op.drop_table("tags")
    op.drop_table("memos")
    op.drop_table("answers")
    op.drop_column("tasks", "parked_until")
    op.drop_index("ix_workflows_chain", "workflows")
    op.drop_column("tasks", "start_by")
    op.drop_column("tasks", "details")
    op.drop_column("workflows", "lost_owners")
    op.drop_column("workflows", "deadline")
    op.drop_column("workflows", "start_at")
    op.drop_column("workflows", "first_run_id")
    op.drop_column("workflows", "continued_from")


def _create_answers() -> None:
    op.create_table(
        "answers",
        sa.Column("run_key", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("schema_version", sa.Integer(), nullable=False),
        sa.Column("attributes", sa.LargeBinary(), nullable=False),
        sa.Column("payload", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("run_key", "message_id", name="pk_answers"),
        sqlite_with_rowid=False,
    )


def _create_labels() -> None:
    op.create_table(
        "memos",
        sa.Column("run_key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("memo", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("run_key", name="pk_memos"),
    )
    sorted_text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "tags",
        sa.Column("run_key", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sorted_text, nullable=False),
        sa.PrimaryKeyConstraint("run_key", "name", name="pk_tags"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_tags_value", "tags", ["name", "value", "run_key"])
