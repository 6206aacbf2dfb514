"""Runs as they are looked for by those outside of them: one that is not there is an error."""

from __future__ import annotations

from loom.errors import WorkflowNotFoundError
from loom.identifiers import RunId, RunKey, WorkflowId
from loom.storage.records import RunFilter, RunRecord
from loom.storage.repository import RunRepository


async def found_run(
    repository: RunRepository, workflow_id: WorkflowId, run_id: RunId | None = None
) -> RunRecord:
    """The run, or without a run id the newest. Raises ``WorkflowNotFoundError``."""
    run = await repository.find_run(workflow_id, run_id)
    if run is None or run.workflow_id != workflow_id:
        raise not_found(workflow_id, run_id)
    return run


async def found_in_chain(
    repository: RunRepository, workflow_id: WorkflowId, run_id: RunId | None
) -> RunRecord:
    """The same, for those who follow a chain: when the run that began it has been deleted, the
    newest that continues it."""
    run = await repository.find_run(workflow_id, run_id)
    if run is None and run_id is not None:
        run = await newest_of_chain(repository, workflow_id, run_id)
    if run is None:
        raise not_found(workflow_id, run_id)
    return run


async def newest_of_chain(
    repository: RunRepository, workflow_id: WorkflowId, chain: RunId
) -> RunRecord | None:
    """The newest run of the chain that began with a run, also when its workflow id has been used
    again since; ``None`` when none of them is there."""
    before: RunKey | None = None
    while runs := await repository.list_runs(RunFilter(workflow_id=workflow_id, before=before)):
        for run in runs:
            if chain_of(run) == chain:
                return run
        before = runs[-1].run_key
    return None


def chain_of(run: RunRecord) -> RunId:
    """The first run of the chain that a run belongs to."""
    return run.first_run_id or run.run_id


def not_found(workflow_id: WorkflowId, run_id: RunId | None) -> WorkflowNotFoundError:
    run = f" and run id {run_id!r}" if run_id else ""
    return WorkflowNotFoundError(f"There is no run with the workflow id {workflow_id!r}{run}.")


def named(workflow_id: WorkflowId, run_id: RunId | None) -> str:
    """A run in the beginning of a sentence."""
    return f"Workflow {workflow_id!r}" + (f" (run {run_id})" if run_id else "")
