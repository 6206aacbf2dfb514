"""The token by which one attempt of an activity is ended from outside."""

from __future__ import annotations

import base64
import json
from dataclasses import astuple
from typing import Any, Final, Self

from loom.errors import PayloadError
from loom.given import check_id, check_number, shown
from loom.identifiers import END_OF_TIME, Micros, RunId, WorkflowId
from loom.values import value

_VERSION: Final = 1
_LARGEST: Final = 2**63 - 1


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
            return cls(*_checked(parts))
        except Exception as error:
            raise PayloadError(
                f"{shown(text)} is not the task token of an activity: {error}. It is given by "
                "loom.activity_info().task_token, inside the activity."
            ) from error


def _checked(parts: list[Any]) -> list[Any]:
    """What was read, if all of it is what a token is made of. Raises ``LoomError``, or any."""
    workflow_id, run_id, activity_id, token, attempt, *times = parts
    check_id("workflow id", workflow_id)
    check_id("run id", run_id)
    for name, number in (("activity", activity_id), ("token", token), ("attempt", attempt)):
        check_number(name, number, least=0, most=_LARGEST)
    close_by, heartbeat = times
    for name, time in (("close_by", close_by), ("heartbeat", heartbeat)):
        if time is not None:
            check_number(name, time, least=0, most=END_OF_TIME)
    return parts
