"""Sound histories, to be damaged: those that are kept as files."""

from __future__ import annotations

from typing import Final

from loom.history.codec import encode_attributes
from loom.history.events import FINAL_STATUS, Stamped, WorkflowStarted
from loom.history.export import RunHistory
from loom.history.status import RunStatus
from loom.runner.transitions import event_records
from tests.golden_histories import files


def _history(name: str, history: list[Stamped]) -> RunHistory:
    started, last = history[0].event, history[-1].event
    assert isinstance(started, WorkflowStarted)
    return RunHistory(
        workflow_id=name,
        run_id=f"{name:0>32}"[:32],
        name=started.name,
        version=started.version,
        queue="default",
        status=FINAL_STATUS.get(type(last), RunStatus.RUNNING),
        events=tuple(event_records(history, 0)),
    )


_READ: Final = {path.stem: files.read(path) for path in sorted(files.FOLDER.glob("*.json"))}

HISTORIES: Final = [_history(name, history) for name, history in _READ.items()]

EVENTS: Final = [
    (s.event.type, s.event.schema_version, encode_attributes(s.event), s.event.payload_bytes)
    for history in _READ.values()
    for s in history
]
"""Every event in them, as it is stored: type, schema version, attributes, payload."""
