"""The token by which one attempt of an activity is ended from outside."""

from __future__ import annotations

import base64
import json
from dataclasses import astuple
from typing import Self

from loom.errors import PayloadError
from loom.identifiers import END_OF_TIME, Micros, RunId, WorkflowId
from loom.values import value

_VERSION = 1


@value(frozen=True, slots=True)
class TaskToken:
    """Which attempt it is, and until when somebody may take his time. As text it may be sent
    anywhere; it names no secret, and whoever has it may end the attempt."""

    workflow_id: WorkflowId
    run_id: RunId
    activity_id: int
    token: int
    """The lease token of the attempt's claim."""
    attempt: int
    close_by: Micros | None
    """When the attempt runs out of time."""
    heartbeat: Micros | None
    """How long it may be silent."""

    def retry_at(self, now: Micros) -> Micros:
        """When the attempt is given up unless it says again, after now, that it lives."""
        silence = END_OF_TIME if self.heartbeat is None else now + self.heartbeat
        return min(silence, self.parked_until)

    @property
    def parked_until(self) -> Micros:
        return END_OF_TIME if self.close_by is None else self.close_by

    def __str__(self) -> str:
        plain = json.dumps([_VERSION, *astuple(self)], separators=(",", ":"))
        return base64.urlsafe_b64encode(plain.encode()).decode("ascii").rstrip("=")

    @classmethod
    def read(cls, text: object) -> Self:
        """Raises ``PayloadError`` for what is no token."""
        try:
            if not isinstance(text, str):
                raise TypeError("it is no text")
            plain = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            version, *parts = json.loads(plain)
            if version != _VERSION:
                raise ValueError(f"it is of version {version!r}")
            kinds = (str, str, int, int, int, int | None, int | None)
            if not all(isinstance(p, k) for p, k in zip(parts, kinds, strict=True)):
                raise ValueError("its parts are not those of a token")
            return cls(*parts)
        except Exception as error:
            raise PayloadError(
                f"{text!r} is not the task token of an activity: {error}."
            ) from error
