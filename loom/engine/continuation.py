"""How a run's code says that another run shall go on from here."""

from __future__ import annotations

from loom.history.events import WorkflowContinuedAsNew


class ContinueAsNew(BaseException):
    """Ends the code that asked for it. Not an ``Exception``, so that hardly anything catches it."""

    def __init__(self, event: WorkflowContinuedAsNew, *, keeps_state: bool) -> None:
        super().__init__("the run continues as new")
        self.event = event
        self.keeps_state = keeps_state


def continuation_in(error: BaseException | None) -> ContinueAsNew | None:
    """What an error asks for: itself, or alone in the group that a ``TaskGroup`` makes of it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        [error] = error.exceptions
    return error if isinstance(error, ContinueAsNew) else None
