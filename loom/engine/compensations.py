"""What a saga would undo, recorded when it is registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loom.authoring.activity import ActivityDefinition
from loom.engine.recorder import Recorder
from loom.history.events import CompensationRegistered


def register_compensation(
    recorder: Recorder, activity: ActivityDefinition, arguments: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Record an activity that undoes something; gives its arguments as history holds them."""
    payload = recorder.encode(
        arguments, activity.arguments_type, "The arguments of activity", activity.name
    )
    asked = CompensationRegistered(recorder.next_id(), activity.name, payload)
    recorded: Mapping[str, Any] = recorder.decode(
        recorder.record(asked).payload, activity.arguments_type
    )
    return recorded
