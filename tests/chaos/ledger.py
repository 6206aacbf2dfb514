"""What activities have done, told by themselves, outside of Loom's database.

One line for each execution, appended in one write, so that processes neither mix nor lose lines.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path


class Ledger:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def note(self, line: str) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, f"{line}\n".encode())
        finally:
            os.close(file)

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    def counts(self) -> Counter[str]:
        return Counter(self.lines())
