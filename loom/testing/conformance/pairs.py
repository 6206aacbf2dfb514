"""Two stores side by side: what is done to both, and what must then be equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from loom.history.status import RunStatus
from loom.identifiers import Micros, RunId, WorkflowId
from loom.storage.records import (
    ActivityTask,
    Effects,
    LogRecord,
    Message,
    NewRun,
    RunFilter,
    RunRecord,
    Transition,
    WorkflowTask,
)
from loom.testing.conformance.scene import LEASE, Scene, answer, arrival, event, turn

MESSAGE_IDS = ("a", "b", "c", "d")
"""Few, so that they meet again."""

TAG = "stage"


@dataclass(frozen=True)
class Pair[T]:
    """The same thing in the reference store and in the store under test, which differ in the keys
    and tokens that they choose."""

    reference: T
    tested: T


def aged[T](items: Sequence[T], age: int) -> T:
    """The last of them, or one that is so much older."""
    return items[max(len(items) - 1 - age, 0)]


@dataclass(frozen=True)
class Plan:
    """What a turn shall do."""

    status: RunStatus
    keep: bool
    consume: int
    schedule: str
    finish: set[int]
    to: int | None
    wake_in: Micros | None
    start: int | None
    go_on: bool
    tag: str | None = ""
    """The value that the run's tag gets; empty leaves it, ``None`` takes it away."""


def workflow_id(scene: Scene, number: int) -> WorkflowId:
    """One of the few workflow ids that an example has."""
    return f"{scene.queue}/{number}"


def started_by(scene: Scene, run: RunRecord, plan: Plan, now: Micros) -> list[NewRun]:
    """The runs that a turn shall start: the one that continues its own, and one of a workflow id
    that may be taken. Their run ids follow from the turn, so that both stores are given the same.
    """
    news = []
    if plan.go_on and not plan.status.is_open:
        news.append(_started(scene, run, run.workflow_id, now, continues=run.run_id))
    if plan.start is not None:
        news.append(_started(scene, run, workflow_id(scene, plan.start), now))
    return news


def _started(
    scene: Scene, run: RunRecord, name: WorkflowId, now: Micros, continues: RunId | None = None
) -> NewRun:
    run_id = f"{'next' if continues else 'new'} {run.sequence} {run.run_id}"
    start = Message(name, "start", arrival(), run_id)
    instead = Message(run.workflow_id, MESSAGE_IDS[run.sequence % 4], arrival(), run.run_id)
    return replace(
        scene.new_run(name, Effects(RunStatus.RUNNING, now, messages=[start])),
        run_id=run_id,
        on_conflict=[instead],
        continues=continues,
    )


def planned(scene: Scene, task: WorkflowTask, plan: Plan, now: Micros) -> Transition:
    """The turn that the plan makes of a claimed run."""
    inbox = task.messages[: plan.consume]
    first = task.run.sequence + 1
    events = [event(first + n, message_id=got.message_id) for n, got in enumerate(inbox)]
    events.append(event(first + len(events)))
    new = replace(
        scene.task(first, available_at=now),
        sequence=events[-1].sequence,
        leased=plan.schedule == "leased",
        start_by=now + LEASE if plan.schedule == "late" else None,
    )
    said = Message(workflow_id(scene, plan.to or 0), MESSAGE_IDS[first % 4], arrival())
    effects = Effects(
        plan.status,
        now,
        events=events,
        tasks=[new] if plan.schedule else (),
        finished_tasks=sorted(plan.finish),
        starts=started_by(scene, task.run, plan, now),
        messages=[said] if plan.to else (),
        answers=[answer(inbox[0].message_id)] if plan.consume == 1 and inbox else (),
        logs=[LogRecord(events[-1].sequence, now, "INFO", "a turn")],
        tags={} if plan.tag == "" else {TAG: plan.tag},
        wake_at=None if plan.wake_in is None else now + plan.wake_in,
        lease_expires_at=now + LEASE if plan.keep else None,
        task_lease_expires_at=now + LEASE,
    )
    return turn(task, effects, consumed_through=inbox[-1].position if inbox else None)


# --- what must be equal --------------------------------------------------------------------------


def a_run(run: RunRecord | None) -> RunRecord | None:
    """A run without the key that the store chose for it."""
    return run and replace(run, run_key=0)


def an_attempt(task: ActivityTask) -> ActivityTask:
    """A claimed activity task without the key and token that the store chose for it."""
    return replace(task, run_key=0, token=0)


async def everything_of(scene: Scene, new: NewRun) -> tuple[object, ...]:
    """All that a store tells of a run."""
    repository = scene.repository
    run = await repository.find_run(new.workflow_id, new.run_id)
    if run is None:
        return ()
    history = await repository.read_history(run.run_key)
    listed = await repository.list_runs(RunFilter(workflow_id=new.workflow_id))
    [labels] = await repository.read_labels([run.run_key])
    return (
        a_run(run),
        list(history),
        list(await repository.read_logs(run.run_key)),
        list(await repository.list_tasks(run.run_key)),
        [a_run(one) for one in listed],
        dict(labels.tags),
        labels.memo,
        await scene.inbox_of(run) if run.status.is_open else None,
        [await repository.find_answer(run.run_id, message_id) for message_id in MESSAGE_IDS],
    )


def after(task: WorkflowTask, written: Transition) -> WorkflowTask:
    """A claimed run as its owner knows it after a turn."""
    consumed = written.consumed_through or 0
    return replace(
        task,
        run=replace(task.run, sequence=task.run.sequence + len(written.effects.events)),
        messages=[message for message in task.messages if message.position > consumed],
    )
