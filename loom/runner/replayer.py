"""``Replayer``: recorded histories against today's code."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from loom.authoring.compiled import CompiledWorkflow
from loom.authoring.forbidden import GuardMode
from loom.authoring.registry import Registry
from loom.engine.instance import WorkflowInstance
from loom.errors import (
    CodecError,
    HistoryError,
    NonDeterministicWorkflowError,
    WorkflowNotServedError,
)
from loom.history.events import Stamped
from loom.history.export import RunHistory
from loom.history.payloads import PayloadCodec, PayloadConverter
from loom.history.status import RunStatus
from loom.identifiers import RunId, WorkflowId
from loom.runner.histories import HistorySource, read_histories_from, read_history_from
from loom.runner.revival import new_instance
from loom.runner.transitions import stamped_event

type OnArrival = Callable[[int, Stamped], None]


class ReplayOutcome(StrEnum):
    """What came of replaying a history."""

    OK = "ok"
    """The code asks for exactly what was recorded."""
    BROKEN = "broken"
    """It does not: a worker with this code would leave the run BLOCKED."""
    UNSERVED = "unserved"
    """There is no code: a worker with these workflows would never take the run."""
    UNREADABLE = "unreadable"
    """The history, or a payload that the code reads, cannot be read: it is damaged, written by a
    newer version of Loom, or needs a codec that was not given."""


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """What came of replaying one history."""

    workflow_id: WorkflowId
    run_id: RunId
    name: str
    version: str
    status: RunStatus
    """Where the run stood when its history was taken."""
    history_length: int
    outcome: ReplayOutcome
    error: Exception | None = None
    """What is wrong; ``None`` when nothing is."""
    event: int | None = None
    """The event at which it went wrong: the one that the code does not ask for, or else the last
    that was delivered; ``None`` when nothing was."""

    @property
    def ok(self) -> bool:
        return self.outcome is ReplayOutcome.OK

    def raise_for_error(self) -> None:
        """Raise ``error``, if there is one."""
        if self.error is not None:
            self.error.add_note(f"run {self.run_id} of workflow {self.workflow_id!r}")
            raise self.error


class Replayer:
    """Replays histories against the code at hand, without a database, a worker or a clock.

    Activities are not run, no time passes and nothing is written: the workflow's code is given what
    was recorded, and what it asks for is compared with what was recorded.

    Args:
        workflows: the classes; a history is replayed by the one of its name and version.
        codecs: those that the payloads were stored with, as given to ``Loom``.
        guards: whether code that calls what would not be the same on replay counts as broken,
            with ``"error"``, or goes on; as ``Settings.guards``.

    Raises:
        DefinitionError: something given is no workflow, or two share a name and version.
    """

    def __init__(
        self,
        workflows: Iterable[type[Any]],
        *,
        codecs: Sequence[PayloadCodec] = (),
        guards: GuardMode = "error",
    ) -> None:
        self._registry = Registry(workflows)
        self._converter = PayloadConverter(codecs)
        self._guards = guards

    def replay(self, history: HistorySource) -> ReplayResult:
        """Replay one history, of a run that has closed or of one that is open.

        Args:
            history: what ``WorkflowHandle.export()`` gave, or its JSON as text or as plain values,
                or the path of a file with that.

        Raises:
            HistoryFormatError: it is no exported history.
            OSError: the file cannot be read.
        """
        return self._replay(read_history_from(history))

    def replay_all(self, histories: Iterable[HistorySource] | str | Path) -> Iterator[ReplayResult]:
        """Replay many, one after the other; none is kept in memory.

        Args:
            histories: one by one, or the path of a file that has one in each line, or of a folder,
                of which every ``.json`` and ``.jsonl`` is read.

        Raises:
            HistoryFormatError: something is no exported history, or the folder is empty.
            OSError: a file cannot be read.
        """
        return map(self._replay, read_histories_from(histories))

    @property
    def definitions(self) -> Collection[tuple[str, str]]:
        """The name and version of every workflow that it has the code of."""
        return self._registry.workflows.keys()

    def unreadable(self, history: RunHistory, error: HistoryError) -> ReplayResult:
        """The result for a history that cannot even be replayed."""
        return _result(history, error, None)

    def _replay(self, history: RunHistory) -> ReplayResult:
        delivered: deque[int] = deque(maxlen=1)
        problem: Exception | None = None
        try:
            with replayed(
                self._workflow_of(history),
                history,
                self._converter,
                on_arrival=lambda sequence, _: delivered.append(sequence),
                guards=self._guards,
            ):
                pass
        except Exception as error:
            problem = error
        return _result(history, problem, next(iter(delivered), None))

    def _workflow_of(self, history: RunHistory) -> CompiledWorkflow:
        workflow = self._registry.workflow(history.name, history.version)
        if workflow is None:
            raise not_served(history.name, history.version, self._registry)
        return workflow


def _result(history: RunHistory, problem: Exception | None, delivered: int | None) -> ReplayResult:
    differs_at = problem.event if isinstance(problem, NonDeterministicWorkflowError) else None
    return ReplayResult(
        workflow_id=history.workflow_id,
        run_id=history.run_id,
        name=history.name,
        version=history.version,
        status=history.status,
        history_length=len(history.events),
        outcome=_outcome_of(problem),
        error=problem,
        event=(differs_at or delivered) if problem else None,
    )


def _outcome_of(problem: Exception | None) -> ReplayOutcome:
    if problem is None:
        return ReplayOutcome.OK
    if isinstance(problem, WorkflowNotServedError):
        return ReplayOutcome.UNSERVED
    if isinstance(problem, HistoryError | CodecError):
        return ReplayOutcome.UNREADABLE
    return ReplayOutcome.BROKEN


@contextmanager
def replayed(
    workflow: CompiledWorkflow,
    history: RunHistory,
    converter: PayloadConverter,
    *,
    on_arrival: OnArrival | None = None,
    guards: GuardMode = "error",
) -> Iterator[WorkflowInstance]:
    """A fresh instance, brought to where a history ends, and let go at the end of the block.

    Raises whatever halts the instance: ``HistoryError``, ``NonDeterministicWorkflowError``,
    ``PayloadError``.
    """
    instance = new_instance(
        workflow,
        workflow_id=history.workflow_id,
        run_id=history.run_id,
        queue=history.queue,
        converter=converter,
        guards=guards,
    )
    try:
        instance.replay_until_block(map(stamped_event, history.events), on_arrival=on_arrival)
        yield instance
    finally:
        instance.unwind()


def not_served(name: str, version: str, registry: Registry) -> WorkflowNotServedError:
    """What is missing for a run, and what there is instead."""
    others = sorted(known for known_name, known in registry.workflows if known_name == name)
    if others:
        there_is = f"only its version{'s' * (len(others) > 1)} {', '.join(map(repr, others))}"
    else:
        there_is = (
            f"only {', '.join(sorted({name for name, _ in registry.workflows})) or 'nothing'}"
        )
    return WorkflowNotServedError(
        f"There is no workflow {name!r} in version {version!r} here, {there_is}. Keep the code of "
        "every version that still has open runs."
    )
