"""Bringing a run to life: an instance, fresh or replayed from the store."""

from __future__ import annotations

import random
from contextlib import nullcontext, suppress
from typing import Final

from loom.authoring.compiled import CompiledWorkflow
from loom.authoring.forbidden import GuardMode
from loom.engine.instance import WorkflowInstance
from loom.errors import HistoryError
from loom.history.events import Stamped
from loom.history.payloads import PayloadConverter
from loom.history.records import EventRecord
from loom.identifiers import RunId, WorkflowId
from loom.runner.slow_turns import SlowTurnWatch
from loom.runner.transitions import stamped_event
from loom.storage.records import RunRecord
from loom.storage.repository import HistoryRepository

_PAGE: Final = 1_000


def new_instance(
    workflow: CompiledWorkflow,
    *,
    workflow_id: WorkflowId,
    run_id: RunId,
    queue: str,
    converter: PayloadConverter,
    guards: GuardMode = "error",
) -> WorkflowInstance:
    """An instance to which nothing has happened yet."""
    return WorkflowInstance(
        workflow,
        workflow_id=workflow_id,
        run_id=run_id,
        queue=queue,
        converter=converter,
        # Seeded with text, the sequence is the same on every platform and Python version.
        random=lambda: random.Random(run_id),
        guards=guards,
    )


async def revive(
    workflow: CompiledWorkflow,
    run: RunRecord,
    repository: HistoryRepository,
    converter: PayloadConverter,
    *,
    guards: GuardMode = "error",
    slow_turns: SlowTurnWatch | None = None,
) -> WorkflowInstance:
    """Replay a run's history, which is empty before its first turn.

    Raises ``HistoryError`` when the history is damaged and ``NonDeterministicWorkflowError`` when
    the code does not fit it.
    """
    _check_row(run)
    history = await read_history(run, repository)
    instance = new_instance(
        workflow,
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        queue=run.queue,
        converter=converter,
        guards=guards,
    )
    with slow_turns.turn(instance) if slow_turns else nullcontext():
        instance.replay_until_block(history)
    return instance


def _check_row(run: RunRecord) -> None:
    """SQLite keeps whatever somebody puts into a column, and nobody can use bytes as an id."""
    for what in ("workflow_id", "run_id", "name", "version", "queue"):
        if not isinstance(getattr(run, what), str):
            raise HistoryError(f"The row of run {run.run_id!r} is damaged: its {what} is no text.")


async def read_history(run: RunRecord, repository: HistoryRepository) -> list[tuple[int, Stamped]]:
    """All events of a run. Raises ``HistoryError`` when one is missing or cannot be read."""
    return [stamped_event(record) for record in await read_records(run, repository)]


async def read_what_is_readable(run: RunRecord, repository: HistoryRepository) -> list[Stamped]:
    """Those events of a run that can be read: of a damaged history not all."""
    found: list[Stamped] = []
    after = 0
    while after < run.sequence and (
        page := await repository.read_history(run.run_key, after=after, limit=_PAGE)
    ):
        for record in page:
            with suppress(HistoryError):
                found.append(stamped_event(record)[1])
        after = page[-1].sequence
    return found


async def read_records(run: RunRecord, repository: HistoryRepository) -> list[EventRecord]:
    """All events of a run as they are stored. Raises ``HistoryError`` when one is missing."""
    records: list[EventRecord] = []
    while len(records) < run.sequence:
        # No more than that: somebody else may be adding to it.
        left = run.sequence - len(records)
        page = await repository.read_history(
            run.run_key, after=len(records), limit=min(left, _PAGE)
        )
        if not page:
            break
        for record in page:
            if record.sequence != len(records) + 1:
                raise _gap(run, len(records) + 1)
            records.append(record)
    if len(records) != run.sequence:
        raise _gap(run, len(records) + 1)
    return records


def _gap(run: RunRecord, sequence: int) -> HistoryError:
    return HistoryError(
        f"The history of run {run.run_id} is damaged: it should have {run.sequence} events, and "
        f"event {sequence} is missing."
    )
