"""What the workflow is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """Index the text files below ``folder``; put the index and the ledger into ``output``.

    Attributes:
        parallel: how many files are worked on at a time.
        page: how many names one listing brings.
    """

    folder: Path
    output: Path
    parallel: int = 16
    page: int = 500

    @property
    def index(self) -> Path:
        """The index's database."""
        return self.output / "index.db"

    @property
    def ledger(self) -> Path:
        """The record, outside any database, of what was executed."""
        return self.output / "ledger.jsonl"
