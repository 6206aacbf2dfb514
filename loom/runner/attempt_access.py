"""What the code of one attempt reaches of its worker, from whichever thread it runs in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from loom.authoring.activity_info import HEARTBEAT, AttemptAccess
from loom.errors import ActivityCancelledError
from loom.history.payloads import PayloadConverter
from loom.runner.attempts import Attempt
from loom.runner.clock import Clock
from loom.runner.task_tokens import TaskToken


class WorkerAccess(AttemptAccess):
    """An attempt that runs in this process."""

    def __init__(
        self,
        attempt: Attempt,
        *,
        token: Callable[[], TaskToken],
        converter: PayloadConverter,
        clock: Clock,
        on_details: Callable[[Attempt], None],
        raises: bool,
    ) -> None:
        self._attempt = attempt
        self._token = token
        self._converter = converter
        self._clock = clock
        self._on_details = on_details
        self._raises = raises
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        # The next attempt is told of this one; this one is told of those before.
        self._before = attempt.details

    @property
    def cancelled(self) -> bool:
        return self._attempt.is_unwanted

    @property
    def task_token(self) -> str:
        return str(self._token())

    @property
    def task_token_or_none(self) -> str | None:
        return None if self._attempt.scheduled.local else self.task_token

    def heartbeat(self, details: Any) -> None:
        self.beat(None if details is None else self._converter.encode(details, Any, HEARTBEAT))

    def beat(self, details: bytes | None) -> None:
        """A sign of life whose details are encoded already."""
        attempt = self._attempt
        if attempt.is_unwanted and self._raises:
            raise ActivityCancelledError(
                f"Nobody wants the outcome of activity {attempt.name!r} any more."
            )
        attempt.beat_at = self._clock.now()
        if details is not None:
            attempt.details = details
        # Written without details too: the answer tells whether the attempt is still wanted.
        if not attempt.unsaved:
            attempt.unsaved = True
            self._tell()

    def heartbeat_details(self, declared: Any) -> Any:
        return (
            None
            if self._before is None
            else self._converter.decode(self._before, declared, HEARTBEAT)
        )

    @property
    def details_before(self) -> bytes | None:
        """What an earlier attempt last said."""
        return self._before

    def _tell(self) -> None:
        if threading.get_ident() == self._thread:
            self._on_details(self._attempt)
            return
        try:
            self._loop.call_soon_threadsafe(self._on_details, self._attempt)
        except RuntimeError:
            # The worker's loop has closed, and with it the worker.
            return
