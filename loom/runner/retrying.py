"""Having a run tried again at once that is BLOCKED."""

from __future__ import annotations

from typing import Final

from loom.errors import WorkflowClosedError
from loom.history.status import RunStatus
from loom.identifiers import MICROS_PER_SECOND, RunId, WorkflowId, new_id
from loom.runner.clock import Clock
from loom.runner.lookup import found_run, named
from loom.runner.transitions import blocked_effects
from loom.storage.notifier import workflow_topic
from loom.storage.records import Leases, RunLease, RunRecord, Transition, WorkflowClaim
from loom.storage.repository import Repository
from loom.storage.store import Store

_LEASE: Final = 10 * MICROS_PER_SECOND


class Retries:
    """Cuts short the time for which BLOCKED runs are left alone."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._repository: Repository = store.repository
        self._notifier = store.notifier
        self._clock = clock

    async def retry(self, workflow_id: WorkflowId, run_id: RunId | None) -> None:
        """Raises ``WorkflowClosedError``. What is not BLOCKED, or is being tried, is left as it
        is."""
        run = await found_run(self._repository, workflow_id, run_id)
        if not run.status.is_open:
            raise WorkflowClosedError(
                f"{named(workflow_id, run_id)} is {run.status}: there is nothing to try again."
            )
        if run.status is RunStatus.BLOCKED:
            await self._make_due(run)
            self._notifier.publish([workflow_topic(run.queue)])

    async def _make_due(self, run: RunRecord) -> None:
        now = self._clock.now()
        claim = WorkflowClaim(
            owner=new_id(),
            queue=run.queue,
            definitions=(),
            now=now,
            lease_expires_at=now + _LEASE,
            limit=1,
            run_key=run.run_key,
        )
        for task in (await self._repository.claim_workflow_tasks(claim)).tasks:
            key, sequence, reason = run.run_key, task.run.sequence, task.run.blocked_reason
            if task.run.status is not RunStatus.BLOCKED or reason is None:
                lease = RunLease(key, task.token)
                await self._repository.release_leases(Leases((lease,)), now)
                continue
            effects = blocked_effects(reason, at=now, retry_at=now)
            turn = Transition(key, task.token, sequence, effects, owner=claim.owner)
            await self._repository.write_transitions([turn])
