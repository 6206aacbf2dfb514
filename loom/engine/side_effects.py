"""Small things that a run computes once, outside of its own world, and remembers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Final

from loom.engine.recorder import Recorder
from loom.errors import PayloadError, SideEffectFailedError, StopReplay
from loom.history.events import SideEffectRecorded
from loom.history.failures import Failure, failure_from

_RESULT: Final = "The result of a side effect"

_INSTEAD: Final = (
    "It is not called on replay, so nothing of the run may depend on it but what it returns."
)


class SideEffects:
    """Calls functions whose results are recorded, and never called again."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def record(self, function: Callable[[], Any], declared: Any) -> Any:
        """A function's result, as history holds it.

        Raises ``SideEffectFailedError`` when the function raised, or its result cannot be stored.
        """
        recorder = self._recorder
        recorder.check_writable()
        if recorder.loop.halted:
            # Called from a ``finally`` while the run is let go: nothing real may happen any more.
            raise StopReplay
        side_effect_id = recorder.next_id()
        if recorder.is_replaying:
            asked = SideEffectRecorded(side_effect_id, b"")
        else:
            asked = self._compute(side_effect_id, function, declared)
        recorded = recorder.record(asked)
        if recorded.failure is not None:
            raise _error_of(recorded.failure)
        return recorder.decode(recorded.payload, declared, _RESULT)

    def _compute(
        self, side_effect_id: int, function: Callable[[], Any], declared: Any
    ) -> SideEffectRecorded:
        # A failure is recorded like a result: code that caught it must go the same way again.
        recorder = self._recorder
        try:
            with recorder.reading("A side effect's function", _INSTEAD):
                result = function()
            return SideEffectRecorded(side_effect_id, self._stored(result, declared))
        except Exception as error:
            nothing = recorder.encode(None, Any)
            return SideEffectRecorded(side_effect_id, nothing, failure_from(error))

    def _stored(self, result: Any, declared: Any) -> bytes:
        if inspect.iscoroutine(result):
            result.close()
            raise TypeError("A side effect's function must be a plain one; use an activity.")
        payload = self._recorder.encode(result, declared, _RESULT)
        if declared is Any:
            kind = type(self._recorder.decode(payload, Any))
            if kind is not type(result):
                raise PayloadError(
                    f"A side effect's result of type {type(result).__qualname__} would come back "
                    f"as {kind.__qualname__}: annotate what the function returns, or give type=."
                )
        return payload


def _error_of(failure: Failure) -> SideEffectFailedError:
    return SideEffectFailedError(
        f"A side effect failed: {failure.type}: {failure.message}",
        cause_type=failure.type,
        cause_message=failure.message,
        cause_traceback=failure.traceback,
    )
