"""What a run carries for those who look for it, as its own code sees and changes it."""

from __future__ import annotations

from collections.abc import Mapping

from loom.engine.recorder import Recorder
from loom.history.events import TagsSet, WorkflowStarted


class RunLabels:
    """The tags of a run as they stand, and its memo."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.tags: dict[str, str] = {}
        self.memo: bytes | None = None

    def begin(self, event: WorkflowStarted) -> None:
        """Take what the run was started with."""
        self.tags = dict(event.tags or {})
        self.memo = None if event.memo is None else event.memo.encode()

    def set(self, changes: Mapping[str, str | None]) -> None:
        """Change tags, as history holds it."""
        self._recorder.check_writable()
        recorded = self._recorder.record(TagsSet(dict(changes)))
        tags = {**self.tags, **recorded.tags}
        self.tags = {name: value for name, value in tags.items() if value is not None}
