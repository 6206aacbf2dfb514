"""All scenarios by their names."""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.clocks import clock_jumps
from tests.chaos.failover import failover
from tests.chaos.kills import kills, orphans
from tests.chaos.poison import damaged_histories, deadly_activities, deadly_workflows
from tests.chaos.servers import crashes, doubts, terminated_backends
from tests.chaos.sqlite_faults import failing_syncs, full_disk, power_cuts, rivals
from tests.chaos.stage import STORES, Scenario
from tests.chaos.system_calls import system_calls, ways_back
from tests.chaos.upgrades import from_the_last_release, to_the_next_release, upgrades
from tests.chaos.zombies import drains, stuck_loops, zombies

POSTGRES = ("postgres",)
SQLITE = ("sqlite",)


@dataclass(frozen=True)
class Entry:
    scenario: Scenario
    stores: tuple[str, ...] = STORES
    is_alone: bool = False
    """Whether its faults would hit the trials beside it."""
    seeds: tuple[int, ...] = (0,)
    """Those of the short dose; none where it takes too long for one."""

    @property
    def is_for_ci(self) -> bool:
        return bool(self.seeds)


SCENARIOS: dict[str, Entry] = {
    "kills": Entry(kills),
    "orphans": Entry(orphans),
    "system-calls": Entry(system_calls, seeds=(62, 78, 94, 110, 126)),
    "ways-back": Entry(ways_back, seeds=(4, 40)),
    "zombies": Entry(zombies),
    "drains": Entry(drains),
    "stuck-loops": Entry(stuck_loops),
    "postgres-crashes": Entry(crashes, POSTGRES, is_alone=True),
    "terminated-backends": Entry(terminated_backends, POSTGRES),
    "full-disk": Entry(full_disk, SQLITE),
    "failing-syncs": Entry(failing_syncs, SQLITE),
    "rivals": Entry(rivals, SQLITE),
    "power-cuts": Entry(power_cuts, SQLITE),
    "deadly-activities": Entry(deadly_activities),
    "deadly-workflows": Entry(deadly_workflows),
    "damaged-histories": Entry(damaged_histories),
    "clock-jumps": Entry(clock_jumps),
    "upgrades": Entry(upgrades),
    "from-the-last-release": Entry(from_the_last_release),
    "to-the-next-release": Entry(to_the_next_release),
    "failover": Entry(failover, POSTGRES, is_alone=True, seeds=()),
    "commits-in-doubt": Entry(doubts, POSTGRES),
}
