"""How long a run, and the chain that it belongs to, may take."""

from __future__ import annotations

from loom.identifiers import END_OF_TIME, Micros
from loom.values import value


@value(frozen=True, slots=True)
class RunLimits:
    """When a run is ended if it is still open, and what that follows from."""

    deadline: Micros
    run_timeout: Micros | None = None
    """How long each run of the chain may take."""
    execution_deadline: Micros | None = None
    """When the chain is ended, whichever run of it is open then."""

    @property
    def is_of_chain(self) -> bool:
        """Whether it is the chain whose time is up at the deadline."""
        return self.deadline == self.execution_deadline

    def of_next(self, begins_at: Micros) -> RunLimits | None:
        """Those of the next run of the chain."""
        return limits(begins_at, self.run_timeout, self.execution_deadline)


def limits(
    begins_at: Micros, run_timeout: Micros | None, execution_deadline: Micros | None
) -> RunLimits | None:
    """The limits of a run that begins then, if it has any."""
    ends = [] if run_timeout is None else [min(begins_at + run_timeout, END_OF_TIME)]
    if execution_deadline is not None:
        ends.append(min(execution_deadline, END_OF_TIME))
    return RunLimits(min(ends), run_timeout, execution_deadline) if ends else None
