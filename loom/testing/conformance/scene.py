"""What the conformance tests are told with: records with sensible defaults, and a scene of runs.

Every scene has a queue and workflow ids of its own, so that tests may share one database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from loom.history.status import RunStatus
from loom.identifiers import MICROS_PER_SECOND, Micros, WorkerId, WorkflowId, new_id
from loom.storage.records import (
    ActivityClaim,
    ActivityCompletion,
    ActivityTask,
    Answer,
    Arrival,
    Effects,
    EventRecord,
    InboxRecord,
    Leases,
    Message,
    NewRun,
    NewTask,
    RunLease,
    RunRecord,
    SendOutcome,
    TaskLease,
    Transition,
    WorkflowClaim,
    WorkflowTask,
    WriteOutcome,
)
from loom.storage.repository import Repository

SECOND: Final[Micros] = MICROS_PER_SECOND
NOW: Final[Micros] = 1_700_000_000 * SECOND
LEASE: Final[Micros] = 30 * SECOND

ALICE: Final[WorkerId] = "alice"
BOB: Final[WorkerId] = "bob"

KIND: Final = ("order", "1")
ACTIVITY: Final = "charge"

RUNNING, BLOCKED = RunStatus.RUNNING, RunStatus.BLOCKED
COMPLETED, FAILED = RunStatus.COMPLETED, RunStatus.FAILED
WRITTEN, LOST = WriteOutcome.WRITTEN, WriteOutcome.LOST
ACCEPTED, CLOSED = SendOutcome.ACCEPTED, SendOutcome.CLOSED
NOT_FOUND = SendOutcome.NOT_FOUND

# --- records -------------------------------------------------------------------------------------


def event(sequence: int, *, message_id: str | None = None) -> EventRecord:
    """An event that can be told from its neighbours."""
    return EventRecord(
        sequence=sequence,
        type="HAPPENED",
        schema_version=1,
        recorded_at=NOW + sequence,
        attributes=b"attributes %d" % sequence,
        payload=b"payload %d" % sequence,
        message_id=message_id,
    )


def following(run: RunRecord, count: int = 1) -> list[EventRecord]:
    """The next events of that run."""
    return [event(run.sequence + number) for number in range(1, count + 1)]


def arrival(payload: bytes = b"hello") -> Arrival:
    """What a message carries."""
    return Arrival("SIGNAL_RECEIVED", 1, b"attributes", payload)


def message(run: RunRecord, message_id: str, payload: bytes = b"hello") -> Message:
    """A message to whichever run has that run's workflow id."""
    return Message(run.workflow_id, message_id, arrival(payload))


def answer(message_id: str, payload: bytes | None = b"yes") -> Answer:
    """An answer to that message."""
    return Answer(message_id, Arrival("ANSWERED", 1, b"attributes", payload))


def taken(inbox: Sequence[InboxRecord], first: int) -> list[EventRecord]:
    """The events that messages become when they are consumed, from sequence ``first``."""
    return [event(first + n, message_id=got.message_id) for n, got in enumerate(inbox)]


def turn(
    task: WorkflowTask, effects: Effects | None = None, *, consumed_through: int | None = None
) -> Transition:
    """One turn by the task's owner: unless told otherwise it adds an event and gives the run back
    without a timer."""
    if effects is None:
        effects = Effects(RUNNING, NOW, events=following(task.run))
    return Transition(
        run_key=task.run.run_key,
        token=task.token,
        expected_sequence=task.run.sequence,
        effects=effects,
        consumed_through=consumed_through,
        owner=task.run.lease_owner or "",
    )


def consuming(task: WorkflowTask, count: int | None = None) -> Transition:
    """A turn that takes the first ``count`` messages of the inbox (all of them by default) into
    history and gives the run back."""
    inbox = task.messages[:count]
    effects = Effects(RUNNING, NOW, events=taken(inbox, task.run.sequence + 1))
    return turn(task, effects, consumed_through=inbox[-1].position)


def closing(task: WorkflowTask) -> Transition:
    """The last turn of a run."""
    return turn(task, Effects(COMPLETED, NOW, events=following(task.run)))


def run_lease(task: WorkflowTask) -> RunLease:
    """What its claimer holds."""
    return RunLease(task.run.run_key, task.token)


def task_lease(task: ActivityTask) -> TaskLease:
    """What its claimer holds."""
    return TaskLease(task.run_key, task.activity_id, task.token)


def held_by(task: WorkflowTask | ActivityTask) -> Leases:
    """What its claimer holds, to be extended or released."""
    if isinstance(task, WorkflowTask):
        return Leases(runs=[run_lease(task)])
    return Leases(tasks=[task_lease(task)])


def completion(task: ActivityTask, now: Micros = NOW) -> ActivityCompletion:
    """The good end of an attempt."""
    return ActivityCompletion(task.run_key, task.activity_id, task.token, now, arrival(b"done"))


def failure(task: ActivityTask, retry_at: Micros, why: bytes = b"why") -> ActivityCompletion:
    """The bad end of an attempt that another shall follow."""
    return ActivityCompletion(
        task.run_key, task.activity_id, task.token, NOW, retry_at=retry_at, failure=why
    )


# --- the scene -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """A repository, and a queue in it that nobody else uses."""

    repository: Repository
    queue: str = field(default_factory=new_id)

    def new_run(
        self,
        workflow_id: WorkflowId | None = None,
        effects: Effects | None = None,
        *,
        due_at: Micros = NOW,
        owner: WorkerId | None = None,
        kind: tuple[str, str] = KIND,
    ) -> NewRun:
        """A run to start; by default with its first event alone, for any worker to take."""
        return NewRun(
            workflow_id=new_id() if workflow_id is None else workflow_id,
            run_id=new_id(),
            name=kind[0],
            version=kind[1],
            queue=self.queue,
            effects=effects or Effects(RUNNING, NOW, events=[event(1)], wake_at=due_at),
            owner=owner,
        )

    async def start(
        self,
        workflow_id: WorkflowId | None = None,
        *,
        due_at: Micros = NOW,
        kind: tuple[str, str] = KIND,
    ) -> RunRecord:
        """A new run that nobody has taken yet."""
        new = self.new_run(workflow_id, due_at=due_at, kind=kind)
        [outcome] = await self.repository.start_runs([new])
        assert outcome.created
        return outcome.run

    async def start_claimed(
        self, owner: WorkerId = ALICE, *, workflow_id: WorkflowId | None = None
    ) -> WorkflowTask:
        """A new run that has been claimed by its owner."""
        run = await self.start(workflow_id)
        return await self.claim_run(run, owner)

    async def start_waiting(self, *, wake_at: Micros | None = None) -> RunRecord:
        """A run that has had a turn and waits, unleased, for its timer or for a message."""
        task = await self.start_claimed()
        effects = Effects(RUNNING, NOW, events=following(task.run), wake_at=wake_at)
        assert await self.write(turn(task, effects)) == [WRITTEN]
        return await self.look(task.run)

    async def start_closed(self, workflow_id: WorkflowId | None = None) -> RunRecord:
        """A run that has completed."""
        task = await self.start_claimed(workflow_id=workflow_id)
        assert await self.write(closing(task)) == [WRITTEN]
        return await self.look(task.run)

    async def start_with_tasks(self, *tasks: NewTask, lease: Micros | None = None) -> RunRecord:
        """A run that waits for these activities, and whose owner runs the leased ones."""
        task = await self.start_claimed()
        effects = Effects(
            RUNNING, NOW, events=following(task.run), tasks=tasks, task_lease_expires_at=lease
        )
        assert await self.write(turn(task, effects)) == [WRITTEN]
        return await self.look(task.run)

    def task(self, activity_id: int = 1, *, available_at: Micros = NOW) -> NewTask:
        """An activity of this scene's queue, asked for by the run's second event."""
        return NewTask(activity_id, 2, ACTIVITY, self.queue, available_at)

    async def look(self, run: RunRecord) -> RunRecord:
        """The run as it stands now."""
        found = await self.repository.find_run(run.workflow_id, run.run_id)
        assert found is not None
        return found

    async def write(self, *transitions: Transition) -> list[WriteOutcome]:
        return list(await self.repository.write_transitions(transitions))

    async def send(self, *messages: Message, now: Micros = NOW) -> list[SendOutcome]:
        return list(await self.repository.send_messages(messages, now))

    async def complete(self, *completions: ActivityCompletion) -> list[WriteOutcome]:
        return list(await self.repository.complete_activity_tasks(completions))

    # Claims

    def workflow_claim(self, owner: WorkerId = ALICE, now: Micros = NOW) -> WorkflowClaim:
        return WorkflowClaim(owner, self.queue, [KIND], now, now + LEASE, limit=1000)

    def activity_claim(self, owner: WorkerId = ALICE, now: Micros = NOW) -> ActivityClaim:
        return ActivityClaim(owner, self.queue, [ACTIVITY], now, now + LEASE, limit=1000)

    async def claim(self, owner: WorkerId = ALICE, now: Micros = NOW) -> list[WorkflowTask]:
        """All the runs of this scene that the owner can have."""
        claim = self.workflow_claim(owner, now)
        return list((await self.repository.claim_workflow_tasks(claim)).tasks)

    async def claim_run(
        self, run: RunRecord, owner: WorkerId = ALICE, now: Micros = NOW
    ) -> WorkflowTask:
        """That one run, due or not."""
        claim = replace(self.workflow_claim(owner, now), run_key=run.run_key)
        [task] = (await self.repository.claim_workflow_tasks(claim)).tasks
        return task

    async def claim_activities(
        self, owner: WorkerId = ALICE, now: Micros = NOW
    ) -> list[ActivityTask]:
        """All the activity tasks of this scene that the owner can have."""
        claim = self.activity_claim(owner, now)
        return list((await self.repository.claim_activity_tasks(claim)).tasks)

    async def claim_activity(self, owner: WorkerId = ALICE, now: Micros = NOW) -> ActivityTask:
        """The only activity task that is due."""
        [task] = await self.claim_activities(owner, now)
        return task

    async def inbox_of(self, run: RunRecord, now: Micros = NOW + 1000 * LEASE) -> list[InboxRecord]:
        """What waits for a run, as it is listed, and as whoever claims it is given it when every
        lease has long run out."""
        listed = list(await self.repository.list_messages(run.run_key))
        assert list((await self.claim_run(run, "onlooker", now)).messages) == listed
        return listed
