"""What activities have done, told by themselves, outside of Loom's database.

One line for each execution, appended in one write, so that processes neither mix nor lose lines.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from tests.proof.records import Execution


class Ledger:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def note(self, activity_key: str, attempt: int) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, f"{activity_key} {attempt}\n".encode())
        finally:
            os.close(file)

    def lines(self) -> list[str]:
        """The keys of the activities, as often as they were run."""
        return [execution.activity_key for execution in self.executions()]

    def counts(self) -> Counter[str]:
        return Counter(self.lines())

    def executions(self) -> list[Execution]:
        pairs = (line.split() for line in self.path.read_text().splitlines())
        return [Execution(key, int(attempt)) for key, attempt in pairs]
