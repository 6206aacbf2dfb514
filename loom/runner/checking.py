"""The runs of a store against the code about to be deployed. Nothing is leased, nothing written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from loom.errors import HistoryError
from loom.history.export import RunHistory
from loom.runner.replayer import Replayer, ReplayResult
from loom.runner.revival import read_records
from loom.runner.views import exported
from loom.storage.records import RunFilter, RunRecord
from loom.storage.repository import RunRepository

_PAGE: Final = 500


async def check_runs(
    repository: RunRepository,
    replayer: Replayer,
    *,
    name: str | None = None,
    queue: str | None = None,
    sample: int = 0,
) -> AsyncIterator[ReplayResult]:
    """Every open run, newest first, and then so many closed ones of each workflow.

    A run is replayed as far as it had come when it was found; what is added meanwhile was decided
    by the code that is running now. One that is deleted meanwhile is left out.
    """
    async for run in runs_of(repository, RunFilter(is_open=True, name=name, queue=queue)):
        result = await _checked(repository, replayer, run)
        if result is not None:
            yield result
    for sampled in sorted({known for known, _ in replayer.definitions}):
        if name in (None, sampled) and sample:
            async for run in _newest_closed(repository, sampled, queue, sample):
                if (run.name, run.version) in replayer.definitions:
                    result = await _checked(repository, replayer, run)
                    if result is not None:
                        yield result


async def histories_of(repository: RunRepository, where: RunFilter) -> AsyncIterator[RunHistory]:
    """The histories of the runs that match, newest first; ``where.limit`` counts for each page.

    Raises ``HistoryError`` when events are missing from one.
    """
    async for run in runs_of(repository, where):
        history = await _history(repository, run)
        if history is not None:
            yield history


async def runs_of(repository: RunRepository, where: RunFilter) -> AsyncIterator[RunRecord]:
    """All runs that match, newest first, of which only a page is in memory."""
    where = replace(where, limit=_PAGE)
    while page := await repository.list_runs(where):
        for run in page:
            yield run
        where = replace(where, before=page[-1].run_key)


async def _newest_closed(
    repository: RunRepository, name: str, queue: str | None, count: int
) -> AsyncIterator[RunRecord]:
    async for run in runs_of(repository, RunFilter(is_open=False, name=name, queue=queue)):
        yield run
        count -= 1
        if not count:
            return


async def _checked(
    repository: RunRepository, replayer: Replayer, run: RunRecord
) -> ReplayResult | None:
    """``None`` when the run was deleted since it was found."""
    if (run.name, run.version) not in replayer.definitions:
        # Its history, which may be long, would tell nothing.
        return replace(replayer.replay(exported(run, ())), history_length=run.sequence)
    try:
        history = await _history(repository, run)
    except HistoryError as error:
        return replayer.unreadable(exported(run, ()), error)
    return None if history is None else replayer.replay(history)


async def _history(repository: RunRepository, run: RunRecord) -> RunHistory | None:
    """``None`` when the run was deleted since it was found."""
    try:
        return exported(run, await read_records(run, repository))
    except HistoryError:
        if await repository.find_run(run.workflow_id, run.run_id) is None:
            return None
        raise
