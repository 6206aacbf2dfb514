"""``@activity``: an ordinary function whose result is worth remembering."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from types import GenericAlias
from typing import Any, Final, NotRequired, TypedDict, cast, overload

from loom.authoring.names import check_name, type_hints
from loom.errors import DefinitionError, LoomError, PayloadError
from loom.identifiers import RunId, WorkflowId
from loom.retry import RetryPolicy

_ATTRIBUTE: Final = "__loom_activity__"


class ActivityDefinition:
    """A function as an activity: its name, its types and how it is tried."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str,
        retry: RetryPolicy,
        timeout: timedelta | None,
    ) -> None:
        self.function = function
        self.name = name
        self.retry = retry
        self.timeout = timeout
        """How long one attempt may take, from its start to its end."""
        self.is_async = inspect.iscoroutinefunction(function)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by the names of their parameters; ``PayloadError`` when they do not fit."""
        try:
            return dict(self._signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise PayloadError(f"Activity {self.name!r}: {error}.") from error

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Call the function with arguments by name, as ``bind`` made them."""
        bound = inspect.BoundArguments(self._signature, dict(arguments))
        return self.function(*bound.args, **bound.kwargs)

    @cached_property
    def arguments_type(self) -> Any:
        """A ``TypedDict`` of the parameters, by which arguments are validated and stored."""
        hints = type_hints(self.function)
        fields: dict[str, Any] = {}
        optional: Any = NotRequired
        for name, parameter in self._signature.parameters.items():
            hint: Any = hints.get(name, Any)
            if parameter.kind is parameter.VAR_POSITIONAL:
                fields[name] = optional[GenericAlias(tuple, (hint, ...))]
            elif parameter.kind is parameter.VAR_KEYWORD:
                fields[name] = optional[GenericAlias(dict, (str, hint))]
            elif parameter.default is not parameter.empty:
                fields[name] = optional[hint]
            else:
                fields[name] = hint
        # The functional form with a computed body is what pydantic reads; mypy wants a literal.
        arguments = cast(Any, TypedDict)(self.name, fields)
        arguments.__module__ = self.function.__module__
        return arguments

    @cached_property
    def result_type(self) -> Any:
        return type_hints(self.function).get("return", Any)

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function)


@dataclass(frozen=True, slots=True)
class ActivityInfo:
    """Which attempt is running. ``activity_key`` is the same for every attempt of one call, and
    for no other call: a good idempotency key towards other systems."""

    activity: str
    workflow_id: WorkflowId
    run_id: RunId
    activity_id: int
    attempt: int

    @property
    def activity_key(self) -> str:
        return f"{self.run_id}/{self.activity_id}"


CURRENT_ACTIVITY: Final[ContextVar[ActivityInfo]] = ContextVar("loom_current_activity")


def activity_info() -> ActivityInfo:
    """Which activity attempt this code runs in. Raises ``LoomError`` outside of any."""
    try:
        return CURRENT_ACTIVITY.get()
    except LookupError:
        raise LoomError("activity_info() was called outside of an activity.") from None


@overload
def activity[F: Callable[..., Any]](function: F, /) -> F: ...


@overload
def activity[F: Callable[..., Any]](
    *,
    name: str | None = None,
    retry: RetryPolicy | None = None,
    retry_count: int | None = None,
    timeout_seconds: float | None = None,
) -> Callable[[F], F]: ...


def activity(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry: RetryPolicy | None = None,
    retry_count: int | None = None,
    timeout_seconds: float | None = None,
) -> Any:
    """Make a function an activity: run outside the workflow, retried, its result recorded.

    The function stays what it was and can be called and tested as before. It may be ``async``, or
    plain, in which case it runs in a thread.

    Args:
        name: under which it is recorded; by default the function's own name.
        retry: when a failed attempt is tried again; by default never.
        retry_count: short for a policy with so many attempts after the first.
        timeout_seconds: how long one attempt may take; by default without limit.

    Raises:
        DefinitionError: the options or the function cannot work.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.isfunction(function):
            raise DefinitionError(
                f"@activity was put on {function!r}, which is not a function. Options are given by "
                'name, as in @activity(name="...").'
            )
        definition = ActivityDefinition(
            function,
            name=check_name("activity", function.__name__ if name is None else name),
            retry=_retry_policy(retry, retry_count),
            timeout=_timeout(timeout_seconds),
        )
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise DefinitionError(f"Activity {definition.name!r} is a generator; return a value.")
        setattr(function, _ATTRIBUTE, definition)
        return function

    return decorate if function is None else decorate(function)


def is_activity(candidate: object) -> bool:
    """Whether something was decorated with ``@activity``."""
    return isinstance(getattr(candidate, _ATTRIBUTE, None), ActivityDefinition)


def activity_definition(function: Callable[..., Any]) -> ActivityDefinition:
    """The definition behind a decorated function. Raises ``DefinitionError`` when there is none."""
    definition = getattr(function, _ATTRIBUTE, None)
    if isinstance(definition, ActivityDefinition):
        return definition
    raise DefinitionError(f"{function!r} is not an activity: decorate it with @loom.activity.")


def _retry_policy(retry: RetryPolicy | None, retry_count: int | None) -> RetryPolicy:
    if retry is not None and retry_count is not None:
        raise DefinitionError("Give either retry or retry_count, not both.")
    if retry_count is None:
        return retry or RetryPolicy()
    if retry_count < 0:
        raise DefinitionError("retry_count must not be negative.")
    return RetryPolicy(maximum_attempts=retry_count + 1)


def _timeout(seconds: float | None) -> timedelta | None:
    if seconds is None:
        return None
    if not 0 < seconds < timedelta.max.total_seconds():
        raise DefinitionError("timeout_seconds must be greater than 0.")
    return timedelta(seconds=seconds)
