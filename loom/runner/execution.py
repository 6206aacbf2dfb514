"""Running the user's function for one attempt, within the times that it is held to."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from dataclasses import field, replace
from datetime import timedelta
from functools import partial
from typing import Any

from loom.authoring.activity import ActivityDefinition
from loom.authoring.activity_info import CURRENT_ACTIVITY, ActivityInfo
from loom.authoring.activity_options import ActivityOptions, with_recorded
from loom.errors import CompleteLater, LoomError
from loom.history.payloads import PayloadConverter
from loom.identifiers import Micros
from loom.runner.attempt_access import WorkerAccess
from loom.runner.attempts import Attempt, AttemptOutcome, Judge, Parked
from loom.runner.clock import Clock
from loom.runner.process_main import Request
from loom.runner.processes import ActivityProcesses, ProcessCall
from loom.runner.silence import Silence
from loom.runner.task_tokens import TaskToken
from loom.timeouts import TimeoutType
from loom.values import value


@value(frozen=True, slots=True, kw_only=True)
class Execution:
    """What every attempt of a worker is run with."""

    converter: PayloadConverter
    clock: Clock
    threads: Executor
    processes: ActivityProcesses
    on_heartbeat: Callable[[Attempt], None]
    surroundings: contextvars.Context = field(default_factory=contextvars.copy_context)
    """The context variables of whoever made the worker."""

    def begin[T](self, code: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """A task for an attempt, or for all of one call.

        It finds the worker's context variables: those of whoever happens to begin it are another
        activity's, or those of the caller who started the run.
        """
        return asyncio.create_task(code, name=name, context=self.surroundings.copy())

    async def run(self, attempt: Attempt, definition: ActivityDefinition) -> AttemptOutcome:
        """Run one attempt to its outcome.

        Raises only ``asyncio.CancelledError``, and only when the attempt itself was cancelled.
        """
        options = with_recorded(definition.options, attempt.scheduled)
        judge = Judge(attempt, options, self.converter)
        try:
            arguments = self.converter.decode(
                attempt.scheduled.payload,
                definition.arguments_type,
                "The arguments of activity",
                definition.name,
            )
        except LoomError as error:
            return judge.failed_for_good(error)
        token: Callable[[], TaskToken] = _no_token
        if not attempt.scheduled.local:
            token = partial(task_token, attempt, options, self.clock.now())
        access = self._introduce(attempt, definition, token)
        try:
            if options.start_to_close_timeout is None and options.heartbeat_timeout is None:
                result = await self._call(definition, arguments, access)
            else:
                call = partial(self._call, definition, arguments, access)
                result = await self._in_time(attempt, options, call)
        except _TimedOut as error:
            return judge.timed_out(error.which, error.limit)
        except asyncio.CancelledError as error:
            if attempt.given_up or _being_cancelled():
                raise
            return judge.raised(error)
        except CompleteLater as error:
            if attempt.scheduled.local:
                no_task = "A local activity has no task that could be completed later."
                return judge.failed_for_good(LoomError(no_task).with_traceback(error.__traceback__))
            return Parked(token())
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # `sys.exit()` and the like fail an activity, they do not end a worker.
            return judge.raised(error)
        return judge.returned(result, definition.result_type)

    def end_parked(
        self, attempt: Attempt, definition: ActivityDefinition, parked_until: Micros
    ) -> AttemptOutcome:
        """What follows from an attempt that nobody has ended in time."""
        options = with_recorded(definition.options, attempt.scheduled)
        which, limit = TimeoutType.HEARTBEAT, options.heartbeat_timeout
        if self.clock.now() >= parked_until:
            which, limit = TimeoutType.START_TO_CLOSE, options.start_to_close_timeout
        # The code may hold it to no time by now.
        judge = Judge(attempt, options, self.converter)
        return judge.timed_out(which, limit or timedelta(0))

    async def _in_time(
        self, attempt: Attempt, options: ActivityOptions, call: Callable[[], Any]
    ) -> Any:
        """What the call returns; raises ``_TimedOut`` when it takes too long or is too silent."""
        limit, silence = options.start_to_close_timeout, options.heartbeat_timeout
        scope: asyncio.Timeout | None = None
        watch = Silence(attempt, self.clock, silence) if silence is not None else None
        try:
            async with self.clock.timeout(limit.total_seconds() if limit else None) as scope:
                if watch is None:
                    return await call()
                async with watch:
                    return await call()
        except Exception as error:
            if watch is not None and silence is not None and watch.expired:
                attempt.timed_out = True
                raise _TimedOut(TimeoutType.HEARTBEAT, silence) from error
            if limit is not None and scope is not None and scope.expired():
                attempt.timed_out = True
                raise _TimedOut(TimeoutType.START_TO_CLOSE, limit) from error
            raise

    def _introduce(
        self, attempt: Attempt, definition: ActivityDefinition, token: Callable[[], TaskToken]
    ) -> WorkerAccess:
        """Let the code know where it is."""
        access = WorkerAccess(
            attempt,
            token=token,
            converter=self.converter,
            clock=self.clock,
            on_details=self.on_heartbeat,
            raises=not definition.is_async,
        )
        info = ActivityInfo(
            attempt.name,
            attempt.workflow_id,
            attempt.run_id,
            attempt.activity_id,
            attempt.number,
            attempt.failures,
            access,
        )
        CURRENT_ACTIVITY.set(info)
        return access

    async def _call(
        self, definition: ActivityDefinition, arguments: dict[str, Any], access: WorkerAccess
    ) -> Any:
        if definition.is_async:
            return await definition.call(arguments)
        if definition.in_process:
            return await self._call_in_process(definition, arguments, access)
        context = contextvars.copy_context()
        call = partial(context.run, _call_plain, definition, arguments)
        return await asyncio.get_running_loop().run_in_executor(self.threads, call)

    async def _call_in_process(
        self, definition: ActivityDefinition, arguments: dict[str, Any], access: WorkerAccess
    ) -> Any:
        details = access.details_before
        request = Request(
            function=definition.function,
            arguments=arguments,
            info=replace(CURRENT_ACTIVITY.get(), _access=None),
            task_token=access.task_token_or_none,
            details=None if details is None else self.converter.unwrap(details),
        )
        beat = partial(_beat_through, access, self.converter)
        call = ProcessCall(self.processes, request, beat)
        running = asyncio.get_running_loop().run_in_executor(self.threads, call.run)
        try:
            return await running
        except asyncio.CancelledError:
            call.kill()
            raise


def _beat_through(access: WorkerAccess, converter: PayloadConverter, details: bytes | None) -> None:
    """A heartbeat that was encoded where no codecs are."""
    access.beat(None if details is None else converter.wrap(details))


class _TimedOut(Exception):
    def __init__(self, which: TimeoutType, limit: timedelta) -> None:
        super().__init__(which)
        self.which = which
        self.limit = limit


def task_token(attempt: Attempt, options: ActivityOptions, started_at: Micros) -> TaskToken:
    """By which an attempt that began then may be ended from outside."""
    limit, silence = _micros(options.start_to_close_timeout), _micros(options.heartbeat_timeout)
    return TaskToken(
        workflow_id=attempt.workflow_id,
        run_id=attempt.run_id,
        activity_id=attempt.activity_id,
        token=attempt.token,
        attempt=attempt.number,
        close_by=None if limit is None else started_at + limit,
        heartbeat=silence,
    )


def _no_token() -> TaskToken:
    raise LoomError("A local activity has no task, and so no token by which it could be ended.")


def _micros(duration: timedelta | None) -> Micros | None:
    return None if duration is None else duration // timedelta(microseconds=1)


def _call_plain(definition: ActivityDefinition, arguments: dict[str, Any]) -> Any:
    try:
        return definition.call(arguments)
    except StopIteration as error:
        # A future cannot carry it.
        raise RuntimeError("The activity raised StopIteration.") from error


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
