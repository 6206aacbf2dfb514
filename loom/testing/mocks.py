"""Activities as an environment runs them: recorded, and some of them mocked.

An outcome, as ``mocks`` takes it, is one of these:

- a function, plain or ``async``: called in the activity's place, with its arguments;
- an exception, or a class of them: raised;
- a list: outcomes one after the other, one for each time that the activity is tried;
- ``HANGS``: the attempt never ends by itself;
- anything else: returned.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from loom.authoring.activity import (
    ACTIVITY_ATTRIBUTE,
    ActivityDefinition,
    activity_definition,
)
from loom.authoring.activity_info import ActivityInfo, activity_info
from loom.errors import DefinitionError, MockError
from loom.testing.virtual_clock import CURRENT_WORK


class _Hangs(Enum):
    HANGS = "hangs"


HANGS: Final = _Hangs.HANGS
"""An outcome that never comes: the attempt ends by a timeout or a cancellation, or not at all."""


@dataclass(frozen=True, slots=True)
class Call:
    """One attempt of an activity."""

    arguments: Mapping[str, Any]
    """By the names of the activity's parameters; those left to their defaults are not in it."""
    info: ActivityInfo


class Activities:
    """The activities of an environment."""

    def __init__(
        self,
        activities: Iterable[Callable[..., Any]],
        mocks: Mapping[Callable[..., Any], Any],
        *,
        allow_unmocked: bool,
    ) -> None:
        self._calls: dict[str, list[Call]] = {}
        self.functions: list[Callable[..., Any]] = []
        """As a worker takes them."""
        mocked = {activity_definition(function).name for function in mocks}
        for function, outcome in mocks.items():
            definition = activity_definition(function)
            self._add(definition, _mocked(definition, outcome))
        for function in activities:
            definition = activity_definition(function)
            if definition.name not in mocked:
                self._add(definition, None if allow_unmocked else _refused(definition))

    def calls(self, activity: Callable[..., Any]) -> list[Call]:
        name = activity_definition(activity).name
        if name not in self._calls:
            raise DefinitionError(f"The environment was not given an activity {name!r}.")
        return list(self._calls[name])

    def _add(self, definition: ActivityDefinition, instead: Callable[..., Any] | None) -> None:
        calls = self._calls[definition.name] = []
        function = definition.function if instead is None else instead
        recorded = copy.copy(definition)
        recorded.is_async = inspect.iscoroutinefunction(function)
        # A process would import the activity itself, and tell nobody of the call.
        recorded.in_process = False
        recorded.function = _recorded(function, definition, calls)
        setattr(recorded.function, ACTIVITY_ATTRIBUTE, recorded)
        self.functions.append(recorded.function)


def _recorded(
    function: Callable[..., Any], definition: ActivityDefinition, calls: list[Call]
) -> Callable[..., Any]:
    def note(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(Call(definition.bind(args, kwargs), activity_info()))

    # With the annotations and the signature of the activity itself.
    if inspect.iscoroutinefunction(function):

        @functools.wraps(definition.function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            note(args, kwargs)
            return await function(*args, **kwargs)

        return call_async

    @functools.wraps(definition.function)
    def call(*args: Any, **kwargs: Any) -> Any:
        note(args, kwargs)
        return function(*args, **kwargs)

    return call


# --- mocks ---------------------------------------------------------------------------------------


def _mocked(definition: ActivityDefinition, outcome: Any) -> Callable[..., Any]:
    """An async function that gives the outcome: mocks run on the event loop, one after another."""
    series = _Series(definition.name, outcome) if isinstance(outcome, list) else None
    for one in outcome if series is not None else [outcome]:
        _check(definition, one)

    async def run(*args: Any, **kwargs: Any) -> Any:
        return await _give(outcome if series is None else series.next(), args, kwargs)

    return run


def _refused(definition: ActivityDefinition) -> Callable[..., Any]:
    refusal = (
        f"Activity {definition.name!r} has no mock, and allow_unmocked=False refuses to run the "
        "activity itself: add it to mocks={...}."
    )
    return _mocked(definition, MockError(refusal))


async def _give(outcome: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if outcome is HANGS:
        with CURRENT_WORK.get().resting():
            await asyncio.get_running_loop().create_future()
    if _is_exception(outcome):
        raise outcome
    if not callable(outcome):
        return outcome
    result = outcome(*args, **kwargs)
    return await result if inspect.isawaitable(result) else result


class _Series:
    """Outcomes one after the other. An attempt that is made again because it was lost with its
    worker gets the outcome that it had."""

    def __init__(self, name: str, outcomes: list[Any]) -> None:
        self._name = name
        self._outcomes = list(outcomes)
        self._given: dict[tuple[str, int], int] = {}

    def next(self) -> Any:
        info = activity_info()
        number = self._given.setdefault((info.activity_key, info.failures), len(self._given))
        if number < len(self._outcomes):
            return self._outcomes[number]
        known = len(self._outcomes)
        raise MockError(
            f"The mock of activity {self._name!r} is a list of {known} "
            f"outcome{'s' * (known != 1)}, and this is attempt {number + 1}: give it another, or "
            "something that is no list, which is the outcome of every attempt."
        )


def _is_exception(outcome: Any) -> bool:
    is_class = isinstance(outcome, type) and issubclass(outcome, BaseException)
    return is_class or isinstance(outcome, BaseException)


def _check(definition: ActivityDefinition, outcome: Any) -> None:
    """Refuse a function that cannot be called as the activity is."""
    if _is_exception(outcome) or not callable(outcome):
        return
    try:
        taken = inspect.signature(outcome)
    except (TypeError, ValueError):
        return  # a builtin that does not tell
    for args, kwargs in _ways_to_call(inspect.signature(definition.function)):
        try:
            taken.bind(*args, **kwargs)
        except TypeError as error:
            raise DefinitionError(
                f"The mock of activity {definition.name!r} cannot be called as the activity is, "
                f"{definition.name}{inspect.signature(definition.function)}: {error}."
            ) from error


def _ways_to_call(signature: inspect.Signature) -> Iterable[tuple[list[Any], dict[str, Any]]]:
    """With all parameters, and with those alone that have no default."""
    every = list(signature.parameters.values())
    for parameters in (every, [p for p in every if p.default is p.empty]):
        args = [
            p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        kwargs = {p.name: None for p in parameters if p.kind is p.KEYWORD_ONLY}
        yield args, kwargs
