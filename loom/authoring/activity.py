"""``@activity``: an ordinary function whose result is worth remembering."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from functools import cached_property
from types import GenericAlias
from typing import Any, Final, Literal, NotRequired, TypedDict, cast, overload

from loom.authoring.activity_options import ActivityOptions, recorded_with
from loom.authoring.names import check_name, type_hints
from loom.durations import Duration, positive
from loom.errors import DefinitionError, PayloadError
from loom.history.events import ActivityScheduled
from loom.retry import RetryPolicy

type Executor = Literal["thread", "process"]
"""Where an activity that is a plain function runs."""

ACTIVITY_ATTRIBUTE: Final = "__loom_activity__"


class ActivityDefinition:
    """A function as an activity: its name, its types and how it is tried."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str,
        options: ActivityOptions,
        in_process: bool = False,
    ) -> None:
        self.function = function
        self.name = name
        self.options = options
        self.call_options: ActivityOptions | None = None
        """What ``with_options`` was given for some calls; ``None`` for the activity itself."""
        self.is_async = inspect.iscoroutinefunction(function)
        self.in_process = in_process
        self._types = self

    @property
    def kind(self) -> Literal["async", "thread", "process"]:
        """Where it runs."""
        if self.is_async:
            return "async"
        return "process" if self.in_process else "thread"

    def for_calls(self, options: ActivityOptions) -> ActivityDefinition:
        """The same activity, called with these options."""
        special = ActivityDefinition(
            self.function, name=self.name, options=self.options, in_process=self.in_process
        )
        special.call_options = options.over(self.call_options or _NO_OPTIONS)
        # Worked out once, however many calls there are.
        special._types = self._types
        return special

    def scheduled(self, activity_id: int, queue: str, payload: bytes) -> ActivityScheduled:
        """The event that asks for a call, in that queue unless an option names another."""
        event = ActivityScheduled(activity_id, self.name, self._queue or queue, payload)
        if not self._has_recorded_options:
            return event
        return recorded_with(event, self.options, self.call_options or _NO_OPTIONS)

    @cached_property
    def _queue(self) -> str | None:
        return (self.call_options or _NO_OPTIONS).queue or self.options.queue

    @cached_property
    def _has_recorded_options(self) -> bool:
        own = self.options
        holds_without_worker = own.schedule_to_start_timeout or own.schedule_to_close_timeout
        return self.call_options is not None or holds_without_worker is not None

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments by the names of their parameters; ``PayloadError`` when they do not fit."""
        names, fewest = self._types._plain_names
        if not kwargs and fewest <= len(args) <= len(names):
            return dict(zip(names, args, strict=False))
        try:
            return dict(self._types._signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise PayloadError(f"Activity {self.name!r}: {error}.") from error

    def call(self, arguments: Mapping[str, Any]) -> Any:
        """Call the function with arguments by name, as ``bind`` made them."""
        if self._types._plain_names[0]:
            return self.function(**arguments)
        bound = inspect.BoundArguments(self._types._signature, dict(arguments))
        return self.function(*bound.args, **bound.kwargs)

    @property
    def arguments_type(self) -> Any:
        """A ``TypedDict`` of the parameters, by which arguments are validated and stored."""
        return self._types._arguments_type

    @property
    def result_type(self) -> Any:
        return self._types._result_type

    @cached_property
    def _arguments_type(self) -> Any:
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
    def _result_type(self) -> Any:
        return type_hints(self.function).get("return", Any)

    @cached_property
    def _plain_names(self) -> tuple[tuple[str, ...], int]:
        """The parameters, if each may be given by its place or its name, as mostly; and how many
        must be given."""
        parameters = self._signature.parameters.values()
        if any(p.kind is not p.POSITIONAL_OR_KEYWORD for p in parameters):
            return (), 1
        return tuple(p.name for p in parameters), sum(p.default is p.empty for p in parameters)

    @cached_property
    def _signature(self) -> inspect.Signature:
        return inspect.signature(self.function)


@overload
def activity[F: Callable[..., Any]](function: F, /) -> F: ...


@overload
def activity[F: Callable[..., Any]](
    *,
    name: str | None = None,
    executor: Executor | None = None,
    queue: str | None = None,
    retry: RetryPolicy | None = None,
    retry_count: int | None = None,
    start_to_close_timeout: Duration | None = None,
    schedule_to_start_timeout: Duration | None = None,
    schedule_to_close_timeout: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
    timeout_seconds: float | None = None,
) -> Callable[[F], F]: ...


def activity(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    executor: Executor | None = None,
    queue: str | None = None,
    retry: RetryPolicy | None = None,
    retry_count: int | None = None,
    start_to_close_timeout: Duration | None = None,
    schedule_to_start_timeout: Duration | None = None,
    schedule_to_close_timeout: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
    timeout_seconds: float | None = None,
) -> Any:
    """Make a function an activity: run outside the workflow, retried, its result recorded.

    The function stays what it was and can be called and tested as before. It may be ``async``, or
    plain, in which case it runs in a thread, or in a process of its own. All times are a
    ``timedelta`` or seconds, and without limit by default.

    Args:
        name: under which it is recorded; by default the function's own name.
        executor: where a plain function runs: in a ``"thread"``, which is the default, or in a
            ``"process"``, which uses a core of its own and is killed when the activity is
            cancelled or runs out of time. A process imports the function by its module and name,
            and arguments and results are pickled on their way.
        queue: whose workers run it; by default the queue of the run that asks.
        retry: when a failed attempt is tried again; by default never.
        retry_count: short for a policy with so many attempts after the first.
        start_to_close_timeout: how long one attempt may take.
        schedule_to_start_timeout: how long it may wait for a worker to begin its first attempt.
        schedule_to_close_timeout: how long it may take in all, waits and retries included.
        heartbeat_timeout: how long an attempt may go without ``loom.heartbeat()``.
        timeout_seconds: the old name of ``start_to_close_timeout``.

    Raises:
        DefinitionError: the options or the function cannot work.
        DurationError: a time is none.
    """
    options = ActivityOptions.checked(
        queue=queue,
        retry=retry,
        retry_count=retry_count,
        start_to_close_timeout=_start_to_close(start_to_close_timeout, timeout_seconds),
        schedule_to_start_timeout=schedule_to_start_timeout,
        schedule_to_close_timeout=schedule_to_close_timeout,
        heartbeat_timeout=heartbeat_timeout,
    )

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.isfunction(function):
            raise DefinitionError(
                f"@activity was put on {function!r}, which is not a function. Options are given by "
                'name, as in @activity(name="...").'
            )
        _check_executor(function, executor)
        definition = ActivityDefinition(
            function,
            in_process=executor == "process",
            name=check_name("activity", function.__name__ if name is None else name),
            options=options,
        )
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise DefinitionError(f"Activity {definition.name!r} is a generator; return a value.")
        setattr(function, ACTIVITY_ATTRIBUTE, definition)
        return function

    return decorate if function is None else decorate(function)


def is_activity(candidate: object) -> bool:
    """Whether something was decorated with ``@activity``."""
    return isinstance(getattr(candidate, ACTIVITY_ATTRIBUTE, None), ActivityDefinition)


def activity_definition(function: Callable[..., Any]) -> ActivityDefinition:
    """The definition behind a decorated function. Raises ``DefinitionError`` when there is none."""
    definition = getattr(function, ACTIVITY_ATTRIBUTE, None)
    if isinstance(definition, ActivityDefinition):
        return definition
    name = getattr(function, "__qualname__", repr(function))
    raise DefinitionError(f"{name} is not an activity: decorate it with @loom.activity.")


def _start_to_close(limit: Duration | None, seconds: Duration | None) -> Duration | None:
    if seconds is None:
        return limit
    if limit is not None:
        raise DefinitionError("Give either start_to_close_timeout or timeout_seconds, not both.")
    return positive("timeout_seconds", seconds)


def _check_executor(function: Callable[..., Any], executor: object) -> None:
    if executor not in (None, "thread", "process"):
        raise DefinitionError(f"executor must be 'thread' or 'process', not {executor!r}.")
    if executor is not None and inspect.iscoroutinefunction(function):
        raise DefinitionError(
            f"{function.__qualname__} is async, so that it runs on the worker's event loop. "
            f"executor={executor!r} is for plain functions."
        )
    if executor == "process" and "<" in function.__qualname__:
        raise DefinitionError(
            f"{function.__qualname__} cannot run in a process, which imports it by its name: "
            "define it at the top level of its module."
        )


def with_options[**P, R](
    activity: Callable[P, R],
    /,
    *,
    queue: str | None = None,
    retry: RetryPolicy | None = None,
    retry_count: int | None = None,
    start_to_close_timeout: Duration | None = None,
    schedule_to_start_timeout: Duration | None = None,
    schedule_to_close_timeout: Duration | None = None,
    heartbeat_timeout: Duration | None = None,
    timeout_seconds: float | None = None,
) -> Callable[P, R]:
    """The same activity with other options, for single calls of it.

    ``ctx.activity(loom.with_options(charge, retry_count=5), order)``. The options mean what they
    mean to ``@activity`` and go with the call to whichever worker runs it; what is not given stays
    as the activity has it. The functions of a ``RetryPolicy`` cannot travel: those that the
    activity itself was given go on to judge.

    Raises:
        DefinitionError: the function is no activity, or the options cannot work.
        DurationError: a time is none.
    """
    definition = activity_definition(activity)
    options = ActivityOptions.checked(
        queue=queue,
        retry=retry,
        retry_count=retry_count,
        start_to_close_timeout=_start_to_close(start_to_close_timeout, timeout_seconds),
        schedule_to_start_timeout=schedule_to_start_timeout,
        schedule_to_close_timeout=schedule_to_close_timeout,
        heartbeat_timeout=heartbeat_timeout,
    )
    if retry is not None and (retry.retry_error or retry.retry_result):
        raise DefinitionError(
            "retry_error and retry_result are functions, which cannot travel to the worker that "
            f"runs {definition.name!r}: give them to @activity(retry=...)."
        )

    @functools.wraps(activity)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return activity(*args, **kwargs)

    setattr(call, ACTIVITY_ATTRIBUTE, definition.for_calls(options))
    return call


_NO_OPTIONS = ActivityOptions()
