"""Taking a dump of whatever store, by nothing but the port."""

from __future__ import annotations

from loom.identifiers import Micros, RunKey
from loom.storage.records import EventRecord, RunFilter, RunRecord
from loom.storage.repository import Repository
from tests.proof.records import Dump, RunDump

_PAGE = 1_000


async def take_dump(repository: Repository, at: Micros) -> Dump:
    """All runs of a store, with their histories, tasks and inboxes. Nobody should be writing
    meanwhile."""
    runs = [await _dump_run(repository, run) for run in await _all_runs(repository)]
    return Dump(tuple(runs), at)


async def _all_runs(repository: Repository) -> list[RunRecord]:
    runs: list[RunRecord] = []
    before: RunKey | None = None
    while page := await repository.list_runs(RunFilter(limit=_PAGE, before=before)):
        runs += page
        before = page[-1].run_key
    return runs


async def _dump_run(repository: Repository, run: RunRecord) -> RunDump:
    events = await _all_events(repository, run.run_key)
    tasks = await repository.list_tasks(run.run_key)
    inbox = await repository.list_messages(run.run_key)
    return RunDump(run, events, tuple(tasks), tuple(inbox))


async def _all_events(repository: Repository, run_key: RunKey) -> tuple[EventRecord, ...]:
    events: list[EventRecord] = []
    after = 0
    while page := await repository.read_history(run_key, after=after, limit=_PAGE):
        events += page
        if page[-1].sequence <= after:
            break  # a damaged history, of which this is enough
        after = page[-1].sequence
    return tuple(events)
