"""Waiting for what the workflow's own code brings about."""

from __future__ import annotations

import inspect
from collections.abc import Callable


def holds(condition: Callable[[], bool]) -> bool:
    """Whether a condition holds. Raises ``TypeError`` for one that would have to be awaited."""
    try:
        answer: object = condition()
    except StopIteration as error:
        # As a coroutine would turn it into, since no future can carry it.
        raise RuntimeError(f"{condition!r} raised StopIteration") from error
    if inspect.iscoroutine(answer):
        answer.close()
        raise TypeError(
            "wait_until() takes a plain function, which is called often and must not wait: "
            f"{condition!r} is an async one."
        )
    return bool(answer)
