"""Waking up those who wait: a hint, never the truth.

A notification may be lost, repeated or late, and nothing is lost with it: whoever waits also looks
again by itself from time to time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Final

from loom.identifiers import MessageId, RunId

type Listener = Callable[[str], None]
"""Called on the event loop with the topic; must not block or raise."""


def workflow_topic(queue: str) -> str:
    """Runs of this queue may have become due."""
    return f"workflow:{queue}"


def activity_topic(queue: str) -> str:
    """Activity tasks of this queue may have become due."""
    return f"activity:{queue}"


MESSAGES: Final = "messages"
"""Some run's inbox has grown."""

CALLED_OFF: Final = "called off"
"""Some attempts of activities, wherever they run, are no longer wanted."""


def run_topic(run_id: RunId) -> str:
    """This run has closed."""
    return f"run:{run_id}"


def answer_topic(message_id: MessageId) -> str:
    """Somebody has answered this message."""
    return f"answer:{message_id}"


OF_ONE: Final = (run_topic(""), answer_topic(""))
"""How topics begin that somebody waits for who waits for nothing else."""


class Notifier(ABC):
    """Carries topics from those who write to those who wait."""

    crosses_processes: bool = False
    """Whether other processes hear of it. When not, waiters look more often by themselves."""

    @abstractmethod
    def publish(self, topics: Iterable[str]) -> None:
        """Tell listeners, after the write that concerns them is durable. Never blocks or raises."""

    @abstractmethod
    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` when ``topic`` is published; returns what ends that."""


class InProcessNotifier(Notifier):
    """Reaches listeners of this process at once, and no others."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Listener]] = {}

    def publish(self, topics: Iterable[str]) -> None:
        for topic in topics:
            for listener in tuple(self._listeners.get(topic, ())):
                listener(topic)

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        listeners = self._listeners.setdefault(topic, [])
        listeners.append(listener)

        def unsubscribe() -> None:
            if listener in listeners:
                listeners.remove(listener)
            if not listeners and self._listeners.get(topic) is listeners:
                del self._listeners[topic]

        return unsubscribe
