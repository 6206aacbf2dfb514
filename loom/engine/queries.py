"""Answering queries from what a run's code has made, without changing any of it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable
from typing import Any

from loom.authoring.handlers import HandlerDefinition, HandlerKind, HandlerTable
from loom.errors import QueryError, QueryFailedError, ReadOnlyError, StopReplay
from loom.history.payloads import PayloadConverter


def answer(
    handlers: HandlerTable, workflow: object, name: str, payload: bytes, converter: PayloadConverter
) -> bytes:
    """What the handler of that name returns, called on that object.

    Raises ``QueryError`` when there is none, and ``QueryFailedError`` when it raises.
    """
    handler = query_handler(handlers, name)
    arguments = handler.read(name, payload, converter.decode)
    try:
        result = handler.call(workflow, arguments)
        if inspect.isawaitable(result):
            _drop(result)
            raise ReadOnlyError(f"The query {name!r} returned something to be awaited.")
        return converter.encode(result, handler.result_type, "The result of query", name)
    except (StopReplay, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise QueryFailedError(
            f"The query {name!r} failed: {type(error).__name__}: {error}"
        ) from error


def query_handler(handlers: HandlerTable, name: str) -> HandlerDefinition:
    """The handler that answers queries of that name. Raises ``QueryError`` when there is none."""
    handler = handlers.find(HandlerKind.QUERY, name)
    if handler is None:
        known = ", ".join(map(repr, handlers.names(HandlerKind.QUERY))) or "none"
        raise QueryError(f"The workflow has no query {name!r}; it has: {known}.")
    return handler


def copied(workflow: object, shared: Iterable[object]) -> Any:
    """A copy of a workflow's object, with these things as they are; ``None`` when something in it
    cannot be copied, such as a task."""
    try:
        return copy.deepcopy(workflow, {id(kept): kept for kept in shared})
    except Exception:
        return None


def best_copy(workflow: object, shared: Iterable[object]) -> Any:
    """The same, but with those attributes as they are that cannot be copied."""
    whole = copied(workflow, shared)
    if whole is not None:
        return whole
    partial = object.__new__(type(workflow))
    kept = [*shared, partial]
    for name, value in vars(workflow).items():
        one = copied([value], kept)
        vars(partial)[name] = value if one is None else one[0]
    return partial


def _drop(result: object) -> None:
    if inspect.iscoroutine(result):
        result.close()
