"""``Loom``: the application, where everything is put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import Token
from dataclasses import replace
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, Unpack, overload

from loom.authoring.compiled import compiled_workflow
from loom.authoring.lint.at_start import check_order
from loom.authoring.names import check_id
from loom.authoring.registry import Registry
from loom.authoring.starting import ConflictPolicy, ReusePolicy, StartKeywords, StartOptions
from loom.authoring.workflow import CURRENT_STARTER, Given, Runnable, Starter, Workflow
from loom.client import Client
from loom.errors import ConfigurationError
from loom.filters import FilterKeywords, run_filter
from loom.handle import Call, WorkflowHandle, WorkflowInfo
from loom.history.export import RunHistory
from loom.history.payloads import PayloadCodec, PayloadConverter
from loom.history.status import RunStatus
from loom.history.tags import TagValue
from loom.identifiers import MICROS_PER_SECOND, RunId, WorkflowId
from loom.retry import RetryPolicy
from loom.runner.clock import Clock, SystemClock
from loom.runner.closings import Closings
from loom.runner.leases import LeaseKeeper
from loom.runner.options import RunnerOptions
from loom.runner.outside import OutsideActivities
from loom.runner.queries import Serving
from loom.runner.replayer import Replayer, ReplayResult
from loom.settings import Settings
from loom.starts import Starts
from loom.storage.store import Store, open_store
from loom.worker import Worker


class Loom:
    """An application: one database, and what is done with it.

    ``async with Loom("sqlite:///loom.db") as app:`` opens the database and closes it again. Any
    number of them may be open in one process.

    Args:
        dsn: where runs are stored; by default ``LOOM_DSN``, else ``./workflows.db``.
        settings: everything else; by default from ``LOOM_*`` in the environment.
        codecs: applied to every payload before it is stored, for example to encrypt it. Workers
            and clients that share runs must share them.
    """

    _lease_keeper: type[LeaseKeeper] = LeaseKeeper

    def __init__(
        self,
        dsn: str | None = None,
        *,
        settings: Settings | None = None,
        codecs: Sequence[PayloadCodec] = (),
    ) -> None:
        self.settings = settings or Settings.load()
        self.dsn = dsn or self.settings.dsn
        self._codecs = tuple(codecs)
        self._converter = PayloadConverter(codecs)
        self._closings = Closings()
        self._workers: list[Worker] = []
        self._opened: _Opened | None = None
        self._starter_token: Token[Starter] | None = None

    async def __aenter__(self) -> Self:
        if self._opened is not None:
            raise ConfigurationError("This Loom is open already; make another for another use.")
        self._opened = await self._open()
        self._starter_token = CURRENT_STARTER.set(self._start)
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        opened = self._open_parts()
        self._forget_starter()
        for worker in tuple(self._workers):
            await worker.close()
        self._opened = None
        await opened.starts.drain()
        await opened.store.close()

    def _forget_starter(self) -> None:
        token, self._starter_token = self._starter_token, None
        # Left in another task than it was entered, as fixtures are, there is nothing to undo here.
        if token is not None:
            with suppress(ValueError):
                CURRENT_STARTER.reset(token)

    def worker(
        self,
        *,
        workflows: Iterable[type[Any]] = (),
        activities: Iterable[Callable[..., Any]] = (),
        queue: str = "default",
        concurrency: int | None = None,
    ) -> Worker:
        """A worker for these workflows and activities; it works inside ``async with``.

        Args:
            queue: whose runs and activities it takes.
            concurrency: how many activities of each kind, ``async`` and plain, it runs at a time;
                by default ``LOOM_CONCURRENCY`` and ``LOOM_THREADS``. Of those in processes never
                more than ``LOOM_PROCESSES``.

        Raises:
            DefinitionError: something given is no workflow or activity, two share a name, or a
                workflow's code goes through a set, so that it would not replay.
        """
        opened = self._open_parts()
        registry = Registry(workflows, activities)
        check_order((each.cls for each in registry.workflows.values()), self.settings.guards)
        return Worker(
            store=opened.store,
            registry=registry,
            converter=self._converter,
            closings=self._closings,
            clock=opened.clock,
            options=_runner_options(self.settings, concurrency),
            queue=check_id("queue", queue),
            on_started=self._workers.append,
            on_stopped=self._workers.remove,
            lease_keeper=self._lease_keeper,
        )

    @overload
    async def start[I, R](
        self,
        workflow: type[Runnable[I, R]],
        input: Given[I] = ...,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[R]: ...

    @overload
    async def start[I, S](
        self,
        workflow: type[Workflow[I, S]],
        input: Given[I] = ...,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[S]: ...

    @overload
    async def start(
        self,
        workflow: str,
        input: Any = None,
        *,
        version: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[Any]: ...

    async def start(
        self,
        workflow: Any,
        input: Any = None,
        *,
        id: WorkflowId | None = None,
        queue: str = "default",
        version: str | None = None,
        on_conflict: ConflictPolicy = "use_existing",
        reuse: ReusePolicy = "allow",
        idempotency_key: str | None = None,
        delay: timedelta | float | None = None,
        start_at: datetime | None = None,
        run_timeout: timedelta | float | None = None,
        execution_timeout: timedelta | float | None = None,
        retry: RetryPolicy | None = None,
        memo: Any = None,
        tags: Mapping[str, TagValue] | None = None,
    ) -> WorkflowHandle[Any]:
        """Start a run; it is durable when this returns.

        Args:
            workflow: the class, or its name when the class is not at hand.
            input: what the code gets as ``ctx.input``.
            id: at most one open run has it; by default a new one is made up.
            queue: which workers may take it.
            version: of a workflow given by name; by default "1".
            on_conflict: what to do when an open run of the same workflow has the id: return that
                run, raise, or terminate it first.
            reuse: whether the id may be used again when its newest run has ended: always, only
                when that run did not complete, or never.
            idempotency_key: of starts of the same workflow and id with the same key, the first
                starts a run and the others return it, even when it has ended.
            delay, start_at: the run is there at once, and its code begins so much later, or then.
            run_timeout: how long the run may take from when it may begin; then it ends as
                TIMED_OUT. As ``timedelta`` or seconds; a run that continues it has as much again.
            execution_timeout: the same for all the runs of a chain together.
            retry: when its code fails, another run of the same id follows in its chain, as the
                policy says; handles and parents wait for the last.
            memo: any JSON value, to be read beside the run by those who look at it, and by its
                code as ``ctx.memo``. It never changes.
            tags: small values by which the run is found; its code changes them by
                ``ctx.set_tags``. Numbers are told by value, moments are given back in UTC.

        Raises:
            PayloadError: the input does not fit the workflow's input type, or something given
                cannot be stored; nothing was written.
            WorkflowAlreadyStartedError: the id is taken by another workflow, or by the same one
                and ``on_conflict`` is ``"fail"``; or it may not be used again.
            ConfigurationError: options contradict each other.
            DefinitionError: the class is no workflow.
            StoreUnavailableError: the outcome is unknown; starting again with the same id is safe.
        """
        options = StartOptions(
            id=id,
            queue=queue,
            on_conflict=on_conflict,
            reuse=reuse,
            idempotency_key=idempotency_key,
            delay=delay,
            start_at=start_at,
            run_timeout=run_timeout,
            execution_timeout=execution_timeout,
            retry=retry,
            memo=memo,
            tags=tags,
        )
        if isinstance(workflow, str):
            starts = self._open_parts().starts
            return await starts.start_by_name(workflow, version or "1", input, options)
        compiled_workflow(workflow).version_for(version)
        return await self._start(workflow, input, options)

    @overload
    async def start_with_signal[I, R, T](
        self,
        workflow: type[Runnable[I, R]],
        input: Given[I],
        signal: Callable[[Any, T], object],
        payload: Given[T],
        *,
        request_id: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[R]: ...

    @overload
    async def start_with_signal[I, S, T](
        self,
        workflow: type[Workflow[I, S]],
        input: Given[I],
        signal: Callable[[Any, T], object],
        payload: Given[T],
        *,
        request_id: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[S]: ...

    @overload
    async def start_with_signal[I, R](
        self,
        workflow: type[Runnable[I, R]],
        input: Given[I],
        signal: str | Callable[[Any], object],
        payload: Any = None,
        *,
        request_id: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[R]: ...

    @overload
    async def start_with_signal[I, S](
        self,
        workflow: type[Workflow[I, S]],
        input: Given[I],
        signal: str | Callable[[Any], object],
        payload: Any = None,
        *,
        request_id: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[S]: ...

    @overload
    async def start_with_signal(
        self,
        workflow: str,
        input: Any,
        signal: str,
        payload: Any = None,
        *,
        request_id: str | None = None,
        version: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[Any]: ...

    async def start_with_signal(
        self,
        workflow: Any,
        input: Any,
        signal: Any,
        payload: Any = None,
        *,
        request_id: str | None = None,
        version: str | None = None,
        **options: Unpack[StartKeywords],
    ) -> WorkflowHandle[Any]:
        """Start a run that finds a signal waiting, or send the signal to the open run of that id:
        one or the other, in one commit.

        Args:
            signal: the handler, as in ``Order.add_item``, or a name; one with several parameters is
                given by name, with a dict of its arguments.
            payload: what the signal carries.
            request_id: a run that has had a signal with the same one gets it no second time.
            options: as for ``start``. With ``on_conflict="fail"`` an open run gets no signal.

        Raises:
            WorkflowAlreadyStartedError, PayloadError, DefinitionError, StoreUnavailableError: as
                ``start`` does. When the outcome is unknown, doing it again with the same id and
                ``request_id`` is safe.
            ConfigurationError: there is an ``idempotency_key``, which cannot speak for the signal.
        """
        if isinstance(signal, str):
            call = Call(signal, payload=payload)
        else:
            call = Call(signal, () if payload is None else (payload,))
        return await self._open_parts().starts.start_with_signal(
            workflow, version or "1", input, call, request_id, StartOptions(**options)
        )

    async def _start(
        self, workflow: type[Any], input: Any, options: StartOptions
    ) -> WorkflowHandle[Any]:
        return await self._open_parts().starts.start(workflow, input, options)

    def handle(
        self,
        id: WorkflowId,
        *,
        run_id: RunId | None = None,
        workflow: type[Any] | None = None,
    ) -> WorkflowHandle[Any]:
        """A handle to a run that was started anywhere, at any time.

        Args:
            run_id: one run in particular; by default the newest with the id.
            workflow: the class, so that its result is read as the type it declares, and queries
                are answered here without a worker.
        """
        client, checked = self._open_parts().client, check_id("workflow id", id)
        if workflow is None:
            return WorkflowHandle(client, checked, run_id)
        code = compiled_workflow(workflow)
        return WorkflowHandle(client, checked, run_id, code.result_type, code=code)

    async def list(
        self,
        *,
        status: RunStatus | str | None = None,
        open: bool | None = None,
        name: str | None = None,
        version: str | None = None,
        id: WorkflowId | None = None,
        id_prefix: str | None = None,
        tags: Mapping[str, TagValue] | None = None,
        started_after: datetime | None = None,
        started_before: datetime | None = None,
        closed_after: datetime | None = None,
        closed_before: datetime | None = None,
        limit: int = 100,
        before: WorkflowInfo | None = None,
    ) -> list[WorkflowInfo]:
        """Runs that match all that is asked for, newest first.

        Args:
            open: whether they have not ended yet.
            name, version: of their workflow.
            id, id_prefix: the workflow id that they have, or with which it begins.
            tags: what their tags of these names are now.
            started_after, started_before: when they were started: at that moment or after, and
                before that moment; so spans can be put end to end. With a time zone.
            closed_after, closed_before: the same of when they ended.
            limit: how many at most.
            before: the last run of the previous page. What starts meanwhile moves no page.

        Raises:
            ConfigurationError: there is no such status, or a moment has no time zone.
            PayloadError: what is asked for cannot be a tag.
        """
        where = run_filter(
            status=status,
            open=open,
            name=name,
            version=version,
            id=id,
            id_prefix=id_prefix,
            tags=tags,
            started_after=started_after,
            started_before=started_before,
            closed_after=closed_after,
            closed_before=closed_before,
        )
        client = self._open_parts().client
        if before is not None:
            before_key = await client.run_key(before.workflow_id, before.run_id)
            where = replace(where, before=before_key)
        return await client.list_runs(replace(where, limit=limit))

    async def count(self, **filters: Unpack[FilterKeywords]) -> int:
        """How many runs match; the filters are those of ``list``."""
        return await self._open_parts().client.count_runs(run_filter(**filters))

    def histories(
        self,
        *,
        open: bool | None = None,
        status: RunStatus | str | None = None,
        name: str | None = None,
        id: WorkflowId | None = None,
    ) -> AsyncIterator[RunHistory]:
        """The histories of runs, one after the other, newest first: ``async for history in ...``.

        Args:
            open: only runs that are open, or only those that have closed.
            status, name, id: only runs with these.

        Raises:
            HistoryError: events are missing from a history.
        """
        where = run_filter(open=open, status=status, name=name, id=id)
        return self._open_parts().client.histories(where)

    def check(
        self,
        workflows: Iterable[type[Any]],
        *,
        name: str | None = None,
        queue: str | None = None,
        sample: int = 0,
    ) -> AsyncIterator[ReplayResult]:
        """Replay every open run against this code, before it is deployed: ``async for result in
        ...``, newest first. Nothing is leased and nothing written, so that workers may go on.

        An open run of which no workflow here has the name and version comes with the outcome
        ``UNSERVED``, without being replayed.

        Args:
            workflows: all that the workers to be deployed will have.
            name: only runs of the workflow of that name.
            queue: only runs of that queue.
            sample: how many closed runs of each workflow to replay as well, the newest.

        Raises:
            DefinitionError: something given is no workflow, or two share a name and version.
        """
        replayer = Replayer(workflows, codecs=self._codecs, guards=self.settings.guards)
        client = self._open_parts().client
        return client.check(replayer, name=name, queue=queue, sample=sample)

    async def import_history(
        self, history: RunHistory, *, id: WorkflowId | None = None, open: bool = False
    ) -> WorkflowHandle[Any]:
        """Put a run that was exported elsewhere into this database, to be looked at and debugged.

        A closed run comes as it was. An open one is terminated here, so that no worker takes it
        for its own: its activities would be run once more.

        Args:
            history: what ``WorkflowHandle.export()`` gave, in another database.
            id: another workflow id; by default its own.
            open: leave an open run open: workers go on with it from where its history ends.

        Raises:
            HistoryFormatError: the history is none that a run can have.
            HistoryError: it was written by a newer version of Loom.
            PayloadError: an id or name in it cannot be stored.
            WorkflowAlreadyStartedError: the run is here already, or an open one has its id.
        """
        client = self._open_parts().client
        workflow_id = history.workflow_id if id is None else id
        run = await client.import_history(history, workflow_id, stays_open=open)
        return WorkflowHandle(client, run.workflow_id, run.run_id)

    # --- activities that are completed from outside ---

    async def complete_activity(
        self, token: str, result: Any = None, *, activity: Callable[..., Any] | None = None
    ) -> None:
        """Complete the attempt that raised ``CompleteLater``, from any process, at any time.

        Args:
            token: its ``activity_info().task_token``.
            activity: the activity, so that the result is checked against the type it declares.

        Raises:
            ActivityClosedError: the attempt is over; nothing was written.
            PayloadError: the result cannot be stored, or does not fit, or the token is none.
            StoreUnavailableError: the outcome is unknown. Repeating it is safe, and says
                ``ActivityClosedError`` if it had been written.
        """
        await self._open_parts().outside.complete(token, result, activity)

    async def fail_activity(self, token: str, error: BaseException | str) -> None:
        """Fail the attempt that raised ``CompleteLater``, and the activity with it.

        Retry policies judge what happens in a worker. From outside it is tried again when the error
        is an ``ActivityError`` with ``retry_after``. Raises as ``complete_activity``.
        """
        await self._open_parts().outside.fail(token, error)

    async def heartbeat_activity(self, token: str, details: Any = None) -> None:
        """Say that the attempt which raised ``CompleteLater`` is alive, and how far it is: what
        ``loom.heartbeat`` does inside of it. Raises as ``complete_activity``."""
        await self._open_parts().outside.heartbeat(token, details)

    # --- opening ---

    async def _open(self) -> _Opened:
        store = await self._open_store()
        clock = self._make_clock()
        await clock.synchronise(store.repository)
        client = Client(
            store=store,
            converter=self._converter,
            closings=self._closings,
            clock=clock,
            is_worked_on_here=self._is_worked_on_here,
            workers=self._serving(),
        )
        starts = Starts(
            store=store,
            converter=self._converter,
            clock=clock,
            client=client,
            workers=self._workers,
        )
        outside = OutsideActivities(store.repository, store.notifier, self._converter, clock)
        return _Opened(store, clock, client, starts, outside)

    async def _open_store(self) -> Store:
        return await open_store(self.dsn)

    def _serving(self) -> Iterable[Serving]:
        """Who answers queries; looked through at each."""
        return self._workers

    def _make_clock(self) -> Clock:
        return SystemClock()

    def _open_parts(self) -> _Opened:
        if self._opened is None:
            raise ConfigurationError(
                "This Loom is not open: use it inside `async with Loom(...) as app:`."
            )
        return self._opened

    def _is_worked_on_here(self, run_id: RunId) -> bool:
        return any(worker.owns(run_id) for worker in self._workers)


class _Opened:
    """What exists while the application is open."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        client: Client,
        starts: Starts,
        outside: OutsideActivities,
    ) -> None:
        self.store = store
        self.clock = clock
        self.client = client
        self.starts = starts
        self.outside = outside


def _runner_options(settings: Settings, concurrency: int | None) -> RunnerOptions:
    if concurrency is not None and concurrency < 1:
        raise ConfigurationError("A worker's concurrency must be at least 1.")

    def micros(seconds: float) -> int:
        return round(seconds * MICROS_PER_SECOND)

    return RunnerOptions(
        lease=micros(settings.lease_seconds),
        stall=micros(settings.stall_seconds),
        poll=micros(settings.poll_seconds),
        shutdown_grace=micros(settings.shutdown_grace_seconds),
        concurrency=concurrency or settings.concurrency,
        threads=concurrency or settings.threads,
        # A process takes memory of its own: those are not multiplied by what is meant for others.
        processes=min(concurrency or settings.processes, settings.processes),
        max_owned_runs=settings.max_owned_runs,
        max_cached_runs=settings.max_cached_runs,
        max_lost_attempts=settings.max_lost_attempts,
        guards=settings.guards,
        slow_turn=micros(settings.slow_turn_seconds),
    )
