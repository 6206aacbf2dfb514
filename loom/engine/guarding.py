"""Putting guards up: one for each run, and the watchers that report to them for the process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from loom.authoring.forbidden import GuardMode
from loom.engine.audit_watch import watch_audit_events
from loom.engine.call_watch import CallWatch
from loom.engine.guards import Guard
from loom.errors import StopReplay


def new_guard(
    workflow: type,
    mode: GuardMode,
    *,
    workflow_id: str,
    halt: Callable[[Exception], StopReplay],
) -> Guard | None:
    """The guard of a run of a workflow; none where guards are off.

    Args:
        halt: stops the run for good, for the reason given; its result ends the code.
    """
    if mode == "off":
        return None
    _watch().watch(workflow)
    if mode == "strict":
        _audit()
    return Guard(mode, workflow_id, halt)


@cache
def _watch() -> CallWatch:
    return CallWatch()


@cache
def _audit() -> None:
    watch_audit_events()
