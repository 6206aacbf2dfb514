"""What it takes to import a library."""

from __future__ import annotations

import json
import subprocess
import sys
from statistics import median

from benchmarks.records import Case, Work
from benchmarks.scenarios.base import Scenario
from benchmarks.subjects.imports import Imports
from benchmarks.subjects.session import Session

_PROGRAM = """
import json, sys, time
before, wall, cpu = set(sys.modules), time.perf_counter(), time.process_time()
{statement}
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps([wall, cpu, len(set(sys.modules) - before)]))
"""


class Importing(Scenario):
    """Each statement by which programs import it, in a fresh interpreter, so many times."""

    name = "import"
    operation = "import"
    stores = frozenset({"none"})
    most_repeats = 1

    def cases(self, n: int | None, concurrency: int | None) -> list[Case]:
        return [Case(self.name, n or 10)]

    def warm_up(self, case: Case) -> Case | None:
        # Compiled files are written, and the disk's cache is warm.
        return Case(self.name, 1) if case.n > 1 else None

    async def run(self, session: Session, case: Case) -> Work:
        figures: dict[str, float] = {}
        total = 0.0
        latencies: list[float] = []
        assert isinstance(session, Imports)
        for statement in session.statements:
            taken = [_import(statement) for _ in range(case.n)]
            latencies += [wall for wall, _, _ in taken]
            total += sum(cpu for _, cpu, _ in taken)
            figures[f"{statement}: cpu_ms"] = 1000 * median(cpu for _, cpu, _ in taken)
            figures[f"{statement}: modules"] = taken[0][2]
        return Work(len(latencies), sum(latencies), total, 1, latencies, figures)


def _import(statement: str) -> tuple[float, float, int]:
    command = [sys.executable, "-c", _PROGRAM.format(statement=statement)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    wall, cpu, modules = json.loads(done.stdout)
    return wall, cpu, modules
