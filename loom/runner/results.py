"""Waiting for the end of a run, wherever it is worked on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

from loom.durations import shown
from loom.errors import WorkflowNotFoundError
from loom.history.events import Event, WorkflowCompleted, continued_by
from loom.history.payloads import PayloadConverter
from loom.identifiers import RunId, WorkflowId
from loom.runner.clock import Clock
from loom.runner.closings import Closings
from loom.runner.lookup import chain_of, found_run, named, newest_of_chain, not_found
from loom.runner.obstacles import Obstacles
from loom.runner.transitions import event_of
from loom.runner.views import execution_error
from loom.storage.notifier import Notifier, run_topic
from loom.storage.records import RunRecord
from loom.storage.repository import Repository
from loom.storage.store import Store

FIRST_POLL: Final = 0.02  # seconds
LONGEST_POLL: Final = 1.0
LONGEST_POLL_WHEN_TOLD: Final = 10.0


@contextmanager
def told_of_end(run_id: RunId, notifier: Notifier, clock: Clock) -> Iterator[asyncio.Event]:
    """An event that is set when somebody says that the run has closed."""
    told = asyncio.Event()
    unsubscribe = notifier.subscribe(run_topic(run_id), lambda _: told.set())
    try:
        with clock.watching(run_id):
            yield told
    finally:
        unsubscribe()


@contextmanager
def told_of_timeout(what: str, seconds: float | None) -> Iterator[None]:
    """Say in a ``TimeoutError`` of the block what was waited for, and how long."""
    try:
        yield
    except TimeoutError:
        advice = "Only the waiting is over: handle.info() tells what it needs, or why it is BLOCKED"
        raise TimeoutError(f"{what} within {shown(seconds)}. {advice}.") from None


class Results:
    """What has become of runs, once they have closed."""

    def __init__(
        self,
        store: Store,
        converter: PayloadConverter,
        closings: Closings,
        clock: Clock,
        is_worked_on_here: Callable[[RunId], bool],
    ) -> None:
        self._repository: Repository = store.repository
        self._notifier = store.notifier
        self._converter = converter
        self._closings = closings
        self._clock = clock
        self._is_worked_on_here = is_worked_on_here

    async def wait(
        self, workflow_id: WorkflowId, run_id: RunId | None, declared: Any, timeout: float | None
    ) -> Any:
        """The result of a run, or of the last that continues it, once that has closed.

        Raises ``WorkflowExecutionError`` when it did not complete, and ``TimeoutError``.
        """
        if timeout is None:
            run_id, final = await self._end_of_chain(workflow_id, run_id)
        else:
            with told_of_timeout(f"{named(workflow_id, run_id)} has not ended", timeout):
                async with self._clock.timeout(timeout):
                    run_id, final = await self._end_of_chain(workflow_id, run_id)
        return self._result_of(final, declared, workflow_id, run_id)

    async def _end_of_chain(
        self, workflow_id: WorkflowId, run_id: RunId | None
    ) -> tuple[RunId, Event]:
        """The last run that continues this one, and how it has ended."""
        passed = set[RunId]()
        if run_id is None:
            run = await found_run(self._repository, workflow_id)
            chain, run_id = chain_of(run), run.run_id
        else:
            chain = run_id
        while True:
            try:
                final = await self._final_event(workflow_id, run_id)
            except WorkflowNotFoundError:
                # Deleted, while others continue it; or it never came here, nor what follows it.
                newest = await self._newest_like(workflow_id, chain)
                if newest is None or newest.run_id in passed | {run_id}:
                    raise
                run_id = newest.run_id
                continue
            next_run_id = continued_by(final)
            if next_run_id is None:
                return run_id, final
            passed.add(run_id)
            run_id = next_run_id

    async def _newest_like(self, workflow_id: WorkflowId, run_id: RunId) -> RunRecord | None:
        """The newest run of the chain that a run belongs to, or began if it is gone."""
        run = await self._repository.find_run(workflow_id, run_id)
        chain = run_id if run is None else chain_of(run)
        return await newest_of_chain(self._repository, workflow_id, chain)

    async def _final_event(self, workflow_id: WorkflowId, run_id: RunId) -> Event:
        with (
            self._clock.watching(run_id),
            _EndWatch(run_id, self._notifier, self._closings) as watch,
        ):
            return await self._wait_for_end(workflow_id, run_id, watch)

    async def _wait_for_end(
        self, workflow_id: WorkflowId, run_id: RunId, watch: _EndWatch
    ) -> Event:
        """The final event, from this process if the run ends here, else from the store."""
        longest = LONGEST_POLL_WHEN_TOLD if self._notifier.crosses_processes else LONGEST_POLL
        wait, obstacles = FIRST_POLL, Obstacles(self._clock.now())
        while watch.final is None:
            watch.told.clear()
            if self._is_worked_on_here(run_id):
                # Its end will be announced here: no need to ask the store.
                await self._clock.wait(watch.told, longest)
                continue
            run = await found_run(self._repository, workflow_id, run_id)
            if not run.status.is_open:
                return await self._last_event(run)
            obstacles.look(run, self._clock.now())
            await self._clock.wait(watch.told, wait)
            wait = min(wait * 2, longest)
        return watch.final

    async def _last_event(self, run: RunRecord) -> Event:
        last = await self._repository.read_history(run.run_key, after=run.sequence - 1)
        if not last:
            raise not_found(run.workflow_id, run.run_id)
        return event_of(last[-1])

    def _result_of(
        self, final: Event, declared: Any, workflow_id: WorkflowId, run_id: RunId
    ) -> Any:
        if isinstance(final, WorkflowCompleted):
            return self._converter.decode(
                final.payload, declared, "The result of workflow", workflow_id
            )
        raise execution_error(final, workflow_id, run_id)


class _EndWatch:
    """Hears of a run's end while it is entered.

    Attributes:
        told: set when somebody says that the run has closed.
        final: how, if it has closed in this process.
    """

    def __init__(self, run_id: RunId, notifier: Notifier, closings: Closings) -> None:
        self._run_id = run_id
        self._notifier = notifier
        self._closings = closings
        self._unsubscribe: tuple[Callable[[], None], ...] = ()
        self.told = asyncio.Event()
        self.final: Event | None = None

    def __enter__(self) -> Self:
        self._unsubscribe = (
            self._notifier.subscribe(run_topic(self._run_id), self._on_hint),
            self._closings.subscribe(self._run_id, self._on_end),
        )
        return self

    def __exit__(self, *error: object) -> None:
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        # They refer back to this.
        self._unsubscribe = ()

    def _on_hint(self, topic: str) -> None:
        self.told.set()

    def _on_end(self, final: Event) -> None:
        self.final = final
        self.told.set()
