"""Changes of a workflow's code that runs have, or have not, taken part in.

The rules, which are those of Temporal's patching:

1. A run that asks for a patch while it goes on has it, and a marker in its history says so.
2. A run that asks while it is replayed has it when its history holds the marker.
3. What a run was told the first time holds for all of it, so that a loop does not change half-way.
"""

from __future__ import annotations

from loom.engine.recorder import Recorder
from loom.history.events import PatchApplied


class Patches:
    """Which patches one run has."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._told: dict[str, bool] = {}

    def is_applied(self, patch_id: str, *, deprecated: bool = False) -> bool:
        """Whether the run has a patch; from now on it is the same for ever.

        ``deprecated`` is whether the code may forget the patch, and the history still replay.
        """
        told = self._told.get(patch_id)
        if told is None:
            told = self._told[patch_id] = self._ask(patch_id, deprecated)
        return told

    def _ask(self, patch_id: str, deprecated: bool) -> bool:
        recorder = self._recorder
        if recorder.is_replaying and not recorder.replays_patch(patch_id):
            return False
        recorder.record(PatchApplied(patch_id, deprecated))
        return True
