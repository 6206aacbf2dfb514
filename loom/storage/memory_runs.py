"""All runs of the reference store, found by key, by id, and by the workflow that they are of."""

from __future__ import annotations

from collections.abc import Sequence

from loom.identifiers import RunId, RunKey, WorkflowId
from loom.storage.memory_state import StoredRun


class StoredRuns(dict[RunKey, StoredRun]):
    """Runs by key, in the order in which they were started; put in and deleted one by one."""

    def __init__(self) -> None:
        super().__init__()
        self._by_id: dict[RunId, StoredRun] = {}
        self._by_workflow: dict[WorkflowId, list[StoredRun]] = {}

    def __setitem__(self, key: RunKey, run: StoredRun) -> None:
        super().__setitem__(key, run)
        self._by_id[run.record.run_id] = run
        self._by_workflow.setdefault(run.record.workflow_id, []).append(run)

    def __delitem__(self, key: RunKey) -> None:
        record = self[key].record
        self._by_workflow[record.workflow_id].remove(self[key])
        del self._by_id[record.run_id]
        if not self._by_workflow[record.workflow_id]:
            del self._by_workflow[record.workflow_id]
        super().__delitem__(key)

    def of_id(self, run_id: RunId) -> StoredRun | None:
        return self._by_id.get(run_id)

    def of_workflow(self, workflow_id: WorkflowId) -> Sequence[StoredRun]:
        """Its runs, the newest last: the only one that may be open."""
        return self._by_workflow.get(workflow_id, ())
