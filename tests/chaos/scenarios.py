"""All scenarios by their names."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.clocks import clock_jumps
from tests.chaos.failover import failover
from tests.chaos.kills import kills, orphans
from tests.chaos.poison import damaged_rows, deadly_activities, deadly_workflows
from tests.chaos.servers import crashes, doubts, terminated_backends
from tests.chaos.sqlite_faults import failing_syncs, full_disk, power_cuts, rivals
from tests.chaos.stage import STORES, Report, Scenario
from tests.chaos.system_calls import STORIES, UPGRADE, WAY_BACK, system_calls, upgrade, ways_back
from tests.chaos.upgrades import from_the_last_release, to_the_next_release, upgrades
from tests.chaos.zombies import drains, stuck_loops, zombies

POSTGRES = ("postgres",)
SQLITE = ("sqlite",)


@dataclass(frozen=True)
class Entry:
    scenario: Scenario
    faults: tuple[str, ...]
    """How the names of those begin that each short dose must bring about."""
    stores: tuple[str, ...] = STORES
    is_alone: bool = False
    """Whether its faults would hit the trials beside it."""
    seeds: tuple[int, ...] = (0,)
    """Those of the short dose."""

    def missing(self, report: Report) -> list[str]:
        """Which of its faults have not come about: where nothing goes wrong, nothing is shown."""
        return [
            fault for fault in self.faults if not any(f.startswith(fault) for f in report.faults)
        ]


WAYS = ("migration", "way back")
DEATHS = tuple(f"deaths in a {story}" for story in STORIES)


SCENARIOS: dict[str, Entry] = {
    "kills": Entry(kills, ("SIGKILLs",)),
    "orphans": Entry(orphans, ("workers that died and left runs",)),
    "system-calls": Entry(system_calls, DEATHS, seeds=(62, 78, 94, 110, 126)),
    "ways-back": Entry(ways_back, (f"deaths in a {WAY_BACK}",), seeds=(4, 40)),
    "old-schemas": Entry(upgrade, (f"deaths in a {UPGRADE}",), seeds=(4, 40)),
    "zombies": Entry(zombies, ("zombies",)),
    "drains": Entry(drains, ("SIGTERMs",)),
    "stuck-loops": Entry(stuck_loops, ("blocked loops",)),
    "postgres-crashes": Entry(crashes, ("crashes of Postgres",), POSTGRES, is_alone=True),
    "terminated-backends": Entry(terminated_backends, ("terminated backends",), POSTGRES),
    "full-disk": Entry(full_disk, ("full disks",), SQLITE),
    "failing-syncs": Entry(failing_syncs, ("syncs ", "writes "), SQLITE),
    "rivals": Entry(rivals, ("locks held by a rival",), SQLITE),
    "power-cuts": Entry(power_cuts, ("power cuts",), SQLITE),
    "deadly-activities": Entry(deadly_activities, ("activities that ended their process",)),
    "deadly-workflows": Entry(deadly_workflows, ("workflows that ended their process",)),
    "damaged-rows": Entry(
        damaged_rows,
        ("type of events", "status of workflows", "type of inbox", "name of tasks"),
        seeds=(0, 3, 4, 6),
    ),
    "clock-jumps": Entry(clock_jumps, ("clock jumps",)),
    "upgrades": Entry(upgrades, ("workers replaced by new ones", "workers replaced by old ones")),
    "from-the-last-release": Entry(from_the_last_release, ("last-release", "this-release")),
    "to-the-next-release": Entry(
        to_the_next_release,
        ("this-release", "next-release", *(f"schemas changed under load ({way}" for way in WAYS)),
    ),
    "failover": Entry(failover, ("failovers",), POSTGRES, is_alone=True),
    "commits-in-doubt": Entry(doubts, ("COMMITs cut",), POSTGRES),
}
