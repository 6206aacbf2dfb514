"""What keeps runs from going on: what a test is told when it waits in vain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from typing import Any

from loom.app import Loom
from loom.authoring.registry import Registry
from loom.errors import DeadlockError, LoomError
from loom.history.payloads import PayloadConverter
from loom.history.status import RunStatus
from loom.identifiers import RunId, RunKey
from loom.info import WorkflowInfo
from loom.runner.revival import revive
from loom.runner.waits import waiting_at
from loom.storage.records import RunRecord, WriteOutcome
from loom.storage.repository import Repository

_MOST_TOLD = 10


class Obstacles:
    """Which runs cannot go on, as far as can be told from what is claimed and written."""

    def __init__(self) -> None:
        self.names: dict[RunKey, str] = {}
        """Of the runs that were claimed, for people."""
        self._run_ids: dict[RunKey, RunId] = {}
        self._blocked: Counter[RunKey] = Counter()

    def note(self, method: str, arguments: tuple[Any, ...], answer: Any) -> None:
        """A worker's call to the store has been answered."""
        if method == "claim_workflow_tasks":
            for task in answer.tasks:
                self.names[task.run.run_key] = f"{task.run.name} {task.run.workflow_id}"
                self._run_ids[task.run.run_key] = task.run.run_id
        elif method == "write_transitions":
            for transition, outcome in zip(arguments[0], answer, strict=True):
                if outcome is WriteOutcome.WRITTEN:
                    self._note_status(transition.run_key, transition.effects.status)

    def _note_status(self, run_key: RunKey, status: RunStatus) -> None:
        if status is RunStatus.BLOCKED:
            self._blocked[run_key] += 1
        else:
            self._blocked.pop(run_key, None)

    def block(self, watched: Container[RunId]) -> bool:
        """Whether waiting is in vain: a run that is waited for is blocked, or another has been
        tried again and was blocked once more."""
        return any(
            times > 1 or self._run_ids.get(run_key) in watched
            for run_key, times in self._blocked.items()
        )


class Explainer:
    """Says what each open run of an environment waits for."""

    def __init__(
        self, app: Loom, registry: Registry, repository: Repository, converter: PayloadConverter
    ) -> None:
        self._app = app
        self._registry = registry
        self._repository = repository
        self._converter = converter

    async def explain(self) -> DeadlockError:
        """Why nothing can go on."""
        runs = [run for run in await self._app.list(limit=1000) if run.status.is_open]
        lines = ["Nothing is going on, and nothing is due that would move these runs on:"]
        for run in runs[:_MOST_TOLD]:
            lines += await self._explain_run(run)
        if len(runs) > _MOST_TOLD:
            lines.append(f"and {len(runs) - _MOST_TOLD} others.")
        if not runs:
            lines = ["Nothing is going on, nothing is due, and no run is open."]
        return DeadlockError("\n".join(lines))

    async def _explain_run(self, run: WorkflowInfo) -> list[str]:
        info = await self._app.handle(run.workflow_id, run_id=run.run_id).info()
        lines = [f"workflow {run.workflow_id!r} ({run.name}) is {info.status}"]
        if info.status is RunStatus.BLOCKED:
            return [*lines, f"  {info.blocked_reason}"]
        if (run.name, run.version) not in self._registry.workflows:
            return [*lines, f"  no worker here was given {run.name!r} in version {run.version!r}"]
        lines += [
            f"  it waits for activity {a.name!r}{self._missing(a.name)}" for a in info.activities
        ]
        if info.wake_at is not None:
            lines.append(f"  its next timer is due at {info.wake_at}")
        return lines + [f"  it waits at {where}" for where in await self._places(run)]

    def _missing(self, activity: str) -> str:
        here = activity in self._registry.activities
        return "" if here else ", which no worker here was given"

    async def _places(self, info: WorkflowInfo) -> list[str]:
        """Where its code stands: it is replayed to find out."""
        run: RunRecord | None = await self._repository.find_run(info.workflow_id, info.run_id)
        workflow = self._registry.workflow(info.name, info.version)
        if run is None or workflow is None:
            return []
        try:
            instance = await revive(workflow, run, self._repository, self._converter, guards="off")
        except LoomError as error:
            return [f"an unknown place, as it cannot be replayed: {error}"]
        try:
            return [place for c in instance.coroutines if (place := waiting_at(c))]
        finally:
            instance.unwind()
