"""Those who are no clients of a run: who completes activities from outside, and who deletes what
has ended long ago."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Final, Protocol

import loom
from loom.identifiers import RunKey
from loom.runner.task_tokens import TaskToken
from loom.storage.records import RunFilter, RunRecord
from tests.proof.records import RAISED, Execution, Outcome
from tests.simulation.network import Network
from tests.simulation.nodes import Node
from tests.simulation.plan import Retention
from tests.simulation.world import WORLD, Handed, ask, ask_in_vain

PATIENCE: Final = 40.0
FINAL: Final = ("complete", "fail")
"""What ends an activity, and not an attempt alone."""


class Staff(Protocol):
    """Whoever is at work for as long as a trial lasts."""

    node: int
    """Whose process it is part of."""
    odd: list[str]
    """What it should not have been told."""

    async def play(self, node: Node) -> None:
        """Be at work in that process, until it ends."""


class Office:
    """Ends activities by the tokens that their attempts have given out: some at once, some late,
    some twice, some only after saying that it takes longer, and not always with the right token."""

    def __init__(self, node: int, network: Network, chance: Random) -> None:
        self.node = node
        self.odd: list[str] = []
        self._network = network
        self._chance = chance
        self._plans: dict[int, tuple[float, list[str]]] = {}

    async def play(self, node: Node) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for handed in tuple(WORLD.handed):
                due, verbs = self._plan(handed)
                while verbs and due <= loop.time():
                    if await self._ask(handed, verbs[0], node):
                        verbs.pop(0)
            await asyncio.sleep(0.1)

    def _plan(self, handed: Handed) -> tuple[float, list[str]]:
        """When it is dealt with, and how. What dies meanwhile is gone on with by the next."""
        if handed.serial not in self._plans:
            chance, final = self._chance, FINAL[handed.is_refused]
            first = chance.choice((None, None, None, final, "heartbeat", "wrong", "again"))
            due = handed.at + chance.choice((0.0, 0.0, 0.02, 0.5, 3.0))
            self._plans[handed.serial] = due, [final] if first is None else [first, final]
        return self._plans[handed.serial]

    async def _ask(self, handed: Handed, verb: str, node: Node) -> bool:
        """Whether there was an answer, whatever it is."""
        is_stale = any(_follows(other, handed) for other in WORLD.handed)
        is_over = any(said in (*FINAL, "again") and how is Outcome.OK for said, how in handed.told)
        handed.told.append((verb, Outcome.UNKNOWN))
        try:
            async with asyncio.timeout(PATIENCE):
                await self._do(handed, verb, node)
        except (loom.StoreUnavailableError, TimeoutError):
            return False
        except loom.ActivityClosedError:
            handed.told[-1] = verb, Outcome.FAILED
            self._network.counts[f"token refused, {verb}{' of a stale one' * is_stale}"] += 1
            return True
        except Exception as error:
            self.odd.append(f"to {verb} activity {handed.activity_key} raised {error!r}")
            return True
        handed.told[-1] = verb, Outcome.OK
        self._network.counts[f"token accepted, {verb}"] += 1
        if is_stale or is_over or verb == "wrong":
            self.odd.append(
                f"to {verb} activity {handed.activity_key} was taken, and came too late"
            )
        return True

    async def _do(self, handed: Handed, verb: str, node: Node) -> None:
        app, token = node.app, handed.token
        match verb:
            case "heartbeat":
                await app.heartbeat_activity(token, {"of": handed.serial})
            case "wrong":
                await app.complete_activity(self._wrong(token), handed.answer)
            case "again":
                await app.fail_activity(token, loom.ActivityError("later", retry_after=0.2))
            case "fail":
                self._note(handed, RAISED)
                await app.fail_activity(token, handed.refusal)
            case _:
                self._note(handed, handed.answer)
                activity = ask_in_vain if handed.is_refused else ask
                await app.complete_activity(token, handed.answer, activity=activity)

    def _note(self, handed: Handed, returned: object) -> None:
        WORLD.executions.append(Execution(handed.activity_key, handed.attempt, returned))

    def _wrong(self, token: str) -> str:
        """What names no attempt that is under way."""
        right = TaskToken.read(token)
        wrong = (
            replace(right, token=right.token - 1),
            replace(right, token=right.token + 1000),
            replace(right, activity_id=right.activity_id + 1000),
            replace(right, run_id=right.run_id[::-1]),
        )
        return str(self._chance.choice(wrong))


def _follows(other: Handed, handed: Handed) -> bool:
    """Whether a later attempt of the same activity has begun."""
    is_same = other.activity_key == handed.activity_key
    return is_same and TaskToken.read(other.token).token > TaskToken.read(handed.token).token


class Collector:
    """Deletes runs that have ended, so long after it has first seen that they had."""

    def __init__(self, retention: Retention, network: Network, chance: Random) -> None:
        self.node = retention.node
        self.odd: list[str] = []
        self._retention = retention
        self._network = network
        self._chance = chance
        self._seen: dict[RunKey, float] = {}

    async def play(self, node: Node) -> None:
        repository, mine = (
            node.store.repository,
            RunFilter(workflow_id_prefix=self._retention.prefix, limit=1000),
        )
        while True:
            await asyncio.sleep(0.3)
            try:
                async with asyncio.timeout(PATIENCE):
                    due = list(self._due(await repository.list_runs(mine)))
                    if due:
                        await repository.delete_runs(due)
            except (loom.StoreUnavailableError, TimeoutError):
                continue

    def _due(self, runs: list[RunRecord]) -> Iterator[RunKey]:
        now = asyncio.get_running_loop().time()
        going_on = {run.first_run_id or run.run_id for run in runs if run.status.is_open}
        for run in runs:
            if run.status.is_open:
                # It stays if it has not ended by then, whoever thinks that it has.
                if not self._retention.spares_chains and self._chance.random() < 0.1:
                    yield run.run_key
                continue
            ended = self._seen.setdefault(run.run_key, now)
            is_spared = (run.first_run_id or run.run_id) in going_on
            if ended + self._retention.keep <= now and not (
                is_spared and self._retention.spares_chains
            ):
                yield run.run_key
