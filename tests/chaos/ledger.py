"""What activities have done, told by themselves, outside of Loom's database.

One line for each execution, appended in one write, so that processes neither mix nor lose lines.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from tests.proof.records import NOTHING, Execution


class Ledger:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def note(self, activity_key: str, attempt: int, returned: Any = NOTHING) -> None:
        """``returned`` is what the execution gives, or is about to, where it gives anything."""
        line = [activity_key, attempt, *([] if returned is NOTHING else [returned])]
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, f"{json.dumps(line)}\n".encode())
        finally:
            os.close(file)

    def lines(self) -> list[str]:
        """The keys of the activities, as often as they were run."""
        return [execution.activity_key for execution in self.executions()]

    def counts(self) -> Counter[str]:
        return Counter(self.lines())

    def executions(self) -> list[Execution]:
        return [Execution(*json.loads(line)) for line in self.path.read_text().splitlines()]
