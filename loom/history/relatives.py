"""How runs know of each other: the parent of a run, and its children."""

from __future__ import annotations

from enum import StrEnum

from loom.identifiers import RunId, WorkflowId
from loom.values import value


class ParentClosePolicy(StrEnum):
    """What becomes of a child that is open when its parent closes."""

    TERMINATE = "terminate"
    CANCEL = "cancel"
    ABANDON = "abandon"


@value(frozen=True, slots=True)
class ParentRun:
    """Whom a run tells how it has ended, and as which of the children it does."""

    workflow_id: WorkflowId
    run_id: RunId
    child_id: int
    child_run_id: RunId
    """The run that the parent has started: the first, when others have continued it."""


@value(frozen=True, slots=True)
class ChildRun:
    """A child that has not told how it ended."""

    workflow_id: WorkflowId
    run_id: RunId
    policy: ParentClosePolicy
