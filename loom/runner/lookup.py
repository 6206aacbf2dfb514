"""Runs as they are looked for by those outside of them: one that is not there is an error."""

from __future__ import annotations

from loom.errors import WorkflowNotFoundError
from loom.identifiers import RunId, WorkflowId
from loom.storage.records import RunRecord
from loom.storage.repository import RunRepository


async def found_run(
    repository: RunRepository, workflow_id: WorkflowId, run_id: RunId | None = None
) -> RunRecord:
    """The run, or without a run id the newest. Raises ``WorkflowNotFoundError``."""
    run = await repository.find_run(workflow_id, run_id)
    if run is None or run.workflow_id != workflow_id:
        raise not_found(workflow_id, run_id)
    return run


def not_found(workflow_id: WorkflowId, run_id: RunId | None) -> WorkflowNotFoundError:
    run = f" and run id {run_id!r}" if run_id else ""
    return WorkflowNotFoundError(f"There is no run with the workflow id {workflow_id!r}{run}.")


def named(workflow_id: WorkflowId, run_id: RunId | None) -> str:
    """A run in the beginning of a sentence."""
    return f"Workflow {workflow_id!r}" + (f" (run {run_id})" if run_id else "")
