"""Trees of other releases: Loom as it was last released, and as the next release may be.

A tree has a release's ``loom`` and ``alembic`` and the tests of this one, so that both do the same.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Final

from loom.storage.sql.schema import SCHEMA_VERSION
from loom.storage.sql.versions import Version
from tests.chaos.nursery import ROOT

THIS: Final = "this"

LAST: Final = "4becfc452a57d01c9370dd87f5b615c91d636e50"
"""The commit of release 0.1.0."""

SCRIPTS: Final = ("loom", "alembic")


class ReleaseUnavailable(Exception):
    """The last release cannot be had here, and why."""


def git(*arguments: str) -> bytes:
    """What Git says of this repository, which knows the last release."""
    if not (ROOT / ".git").exists():
        raise ReleaseUnavailable(f"{ROOT} is no Git repository, which has the last release")
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def last_release(folder: Path) -> None:
    """Loom as it was last released."""
    with tarfile.open(fileobj=BytesIO(git("archive", LAST, *SCRIPTS))) as archive:
        archive.extractall(folder, filter="data")


def next_release(folder: Path) -> None:
    """This Loom with a migration more, which adds what this one does not miss."""
    for name in SCRIPTS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    schema = folder / "loom/storage/sql/schema.py"
    text, count = re.subn(
        r"^(SCHEMA_VERSION: Final = ).*$", rf'\1"{NEXT_VERSION}"', schema.read_text(), flags=re.M
    )
    assert count == 1
    schema.write_text(text)
    migration = MIGRATION.format(revision=NEXT_VERSION, down_revision=SCHEMA_VERSION)
    (folder / "alembic/versions" / f"{NEXT_VERSION}.py").write_text(migration)


_NUMBER: Final = Version.parse(SCHEMA_VERSION).number
NEXT_VERSION: Final = f"{int(_NUMBER) + 1:04}_from_{_NUMBER}"

MIGRATION: Final = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{down_revision}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    priority = sa.Column("priority", sa.BigInteger(), nullable=False, server_default="0")
    op.add_column("workflows", priority)
    op.add_column("tasks", sa.Column("rate_key", sa.Text()))
    op.create_index("ix_workflows_priority", "workflows", ["queue", "priority"])
    op.create_table("schedules", sa.Column("name", sa.Text(), primary_key=True))


def downgrade() -> None:
    op.drop_table("schedules")
    op.drop_index("ix_workflows_priority", "workflows")
    op.drop_column("tasks", "rate_key")
    op.drop_column("workflows", "priority")
"""

RELEASES: Final[dict[str, Callable[[Path], None]]] = {"last": last_release, "next": next_release}


def lay_out(release: str, folder: Path) -> Path:
    """A folder in which Python finds that release's ``loom``, with these tests."""
    tree = folder / release
    tree.mkdir()
    RELEASES[release](tree)
    (tree / "tests").symlink_to(ROOT / "tests")
    return tree
