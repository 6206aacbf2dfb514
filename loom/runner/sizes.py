"""How much the writes of the port carry, in bytes of payloads: all that can be large in them."""

from __future__ import annotations

from loom.storage.records import (
    ActivityCompletion,
    Effects,
    Heartbeat,
    Message,
    NewRun,
    Transition,
)


def of_message(message: Message) -> int:
    return len(message.arrival.payload or b"")


def of_transition(turn: Transition) -> int:
    return of_effects(turn.effects)


def of_start(new: NewRun) -> int:
    return of_effects(new.effects) + len(new.memo or b"")


def of_completion(done: ActivityCompletion) -> int:
    arrival = b"" if done.arrival is None else done.arrival.payload or b""
    return len(arrival) + len(done.failure or b"") + len(done.details or b"")


def of_heartbeat(heartbeat: Heartbeat) -> int:
    return len(heartbeat.details or b"")


def of_effects(effects: Effects) -> int:
    size = 0
    for event in effects.events:
        if event.payload is not None:
            size += len(event.payload)
    for message in effects.messages:
        size += of_message(message)
    for new in effects.starts:
        size += of_start(new)
    for answer in effects.answers:
        size += len(answer.content.payload or b"")
    return size
