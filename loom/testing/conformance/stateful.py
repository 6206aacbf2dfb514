"""Any sequence of operations, compared with the reference store.

Hypothesis makes up the operations in a thread of its own, and each is carried out on the test's
event loop, where the store under test lives. Every example has a queue and workflow ids to itself,
so that all of them use one database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from loom.history.status import RunStatus
from loom.identifiers import Micros, WorkerId
from loom.storage.memory import MemoryRepository
from loom.storage.records import (
    ActivityCompletion,
    ActivityTask,
    Effects,
    Heartbeat,
    Leases,
    Message,
    NewRun,
    RunFilter,
    WorkflowTask,
    WorkflowTasks,
    WriteOutcome,
)
from loom.storage.repository import Repository
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.pairs import (
    MESSAGE_IDS,
    TAG,
    Pair,
    Plan,
    a_run,
    after,
    aged,
    an_attempt,
    everything_of,
    planned,
    workflow_id,
)
from loom.testing.conformance.scene import (
    BLOCKED,
    COMPLETED,
    LEASE,
    NOW,
    RUNNING,
    SECOND,
    WRITTEN,
    Scene,
    arrival,
    completion,
    event,
    failure,
    held_by,
)

OWNERS = ("alice", "bob")
DELAYS = (0, SECOND, LEASE, 3 * LEASE)

# What is drawn more often is given more often: most turns go on, and most writers are no zombies.
a_workflow = st.integers(1, 2)
an_owner = st.sampled_from(OWNERS)
a_delay = st.sampled_from(DELAYS)
a_status = st.sampled_from([RUNNING] * 6 + [BLOCKED, COMPLETED])
an_age = st.sampled_from([0] * 6 + [1, 1, 2, 3])
an_end = st.sampled_from(["completed", "failed", "parked", "heartbeat"])
a_plan = st.builds(
    Plan,
    status=a_status,
    keep=st.booleans(),
    consume=st.integers(0, 3),
    schedule=st.sampled_from(["", "free", "leased", "late"]),
    finish=st.sets(st.integers(1, 4), max_size=2),
    to=st.none() | a_workflow,
    wake_in=st.none() | a_delay,
    tag=st.sampled_from(["", "", "", "new", "old", None]),
    start=st.none() | a_workflow,
    go_on=st.booleans(),
)


class Run(Protocol):
    """Runs a coroutine to its end, on the event loop where the store lives."""

    def __call__[T](self, coroutine: Coroutine[object, object, T]) -> T: ...


class Comparison(RuleBasedStateMachine):
    """Does everything twice."""

    def __init__(self, tested: Repository, run: Run) -> None:
        super().__init__()
        self.run = run
        reference = Scene(MemoryRepository())
        self.scenes = Pair(reference, Scene(tested, reference.queue))
        self.now: Micros = NOW
        self.started: list[NewRun] = []
        self.turns: list[Pair[WorkflowTask]] = []
        self.attempts: list[Pair[ActivityTask]] = []
        self.held: list[Pair[Leases]] = []

    def each[T](self, call: Callable[[Scene], Coroutine[object, object, T]]) -> Pair[T]:
        return Pair(self.run(call(self.scenes.reference)), self.run(call(self.scenes.tested)))

    def compare(self, call: Callable[[Scene], Coroutine[object, object, object]]) -> None:
        """Do the same to both, of which the same must come."""
        came = self.each(call)
        assert came.reference == came.tested

    # Runs

    @initialize(workflow=a_workflow, worker=st.sampled_from([*OWNERS, None]))
    def begin(self, workflow: int, worker: WorkerId | None) -> None:
        """Two runs, one of them with an activity, which most examples have begun already: much can
        go wrong with attempts alone, and an attempt is several steps from nothing."""
        self.start(workflow, None, RUNNING, 0)
        self.start(3 - workflow, OWNERS[0], RUNNING, SECOND)
        if worker is not None:
            self.claim_activities(worker)

    @rule(
        workflow=a_workflow,
        owner=st.none() | an_owner,
        status=a_status,
        delay=a_delay,
        refused_after=st.sampled_from([(), (), (COMPLETED,)]),
        begins_in=st.sampled_from([None, None, SECOND, LEASE]),
    )
    def start(
        self,
        workflow: int,
        owner: WorkerId | None,
        status: RunStatus,
        delay: Micros,
        refused_after: Sequence[RunStatus] = (),
        begins_in: Micros | None = None,
    ) -> None:
        effects = Effects(
            status if owner else RUNNING,
            self.now,
            events=[event(1)],
            tasks=[replace(self.scenes.reference.task(), sequence=1)] if owner else (),
            wake_at=self.now + delay,
            lease_expires_at=self.now + LEASE if owner and status is RUNNING else None,
            tags={TAG: "new"} if delay else {},
        )
        name = workflow_id(self.scenes.reference, workflow)
        new = self.scenes.reference.new_run(name, effects, owner=owner)
        memo = b"memo" if delay else None
        start_at = None if begins_in is None else self.now + begins_in
        new = replace(new, memo=memo, refused_after=refused_after, start_at=start_at)
        self.started.append(new)
        self.start_again(0)

    @rule(age=an_age)
    def start_again(self, age: int) -> None:
        # Only a turn can let a run be continued.
        new = replace(aged(self.started, age), continues=None)

        async def start(scene: Scene) -> tuple[object, ...]:
            [outcome] = await scene.repository.start_runs([new])
            return outcome.created, outcome.repeated, a_run(outcome.run)

        self.compare(start)

    @rule(
        age=an_age,
        message_id=st.sampled_from(MESSAGE_IDS),
        exact=st.booleans(),
        urgent=st.booleans(),
    )
    def send(self, age: int, message_id: str, exact: bool, urgent: bool) -> None:
        new = aged(self.started, age)
        run_id = new.run_id if exact else None
        sent = Message(new.workflow_id, message_id, arrival(), run_id, urgent)
        self.compare(lambda scene: scene.send(sent, now=self.now))

    @rule(workflow=a_workflow, tag=st.none() | st.sampled_from(["new", "old"]), limit=a_workflow)
    def list(self, workflow: int, tag: str | None, limit: int) -> None:
        where = RunFilter(
            workflow_id=workflow_id(self.scenes.reference, workflow),
            tags={} if tag is None else {TAG: tag},
            created_before=self.now,
            limit=limit,
        )

        async def look(scene: Scene) -> tuple[object, ...]:
            runs = await scene.repository.list_runs(where)
            return [a_run(run) for run in runs], await scene.repository.count_runs(where)

        self.compare(look)

    @rule(age=an_age)
    def delete(self, age: int) -> None:
        new = aged(self.started, age)

        async def delete(scene: Scene) -> int:
            run = await scene.repository.find_run(new.workflow_id, new.run_id)
            return await scene.repository.delete_runs([run.run_key] if run else [])

        self.compare(delete)

    @rule(delay=a_delay)
    def time_passes(self, delay: Micros) -> None:
        self.now += delay

    # Turns

    @rule(owner=an_owner, blocked_for=st.none() | a_delay, suspects=st.booleans())
    def claim(self, owner: WorkerId, blocked_for: Micros | None, suspects: bool = True) -> None:
        claim = self.scenes.reference.workflow_claim(owner, self.now)
        claim = replace(claim, suspects=suspects)
        if blocked_for is not None:
            claim = replace(claim, blocked_before=self.now - blocked_for)
        self.take(lambda scene: scene.repository.claim_workflow_tasks(claim))

    @rule(age=an_age, owner=an_owner)
    def claim_one(self, age: int, owner: WorkerId) -> None:
        new = aged(self.started, age)

        async def claim(scene: Scene) -> WorkflowTasks:
            run = await scene.repository.find_run(new.workflow_id, new.run_id)
            claim = scene.workflow_claim(owner, self.now)
            claim = replace(claim, run_key=run.run_key if run else 0)
            return await scene.repository.claim_workflow_tasks(claim)

        self.take(claim)

    def take(self, claim: Callable[[Scene], Coroutine[object, object, WorkflowTasks]]) -> None:
        found = self.each(claim)
        one = {task.run.run_id: task for task in found.reference.tasks}
        two = {task.run.run_id: task for task in found.tested.tasks}
        assert one.keys() == two.keys()
        for pair in (Pair(one[run_id], two[run_id]) for run_id in one):
            assert a_run(pair.reference.run) == a_run(pair.tested.run)
            assert list(pair.reference.messages) == list(pair.tested.messages)
            assert pair.reference.owner_lost == pair.tested.owner_lost
            self.turns.append(pair)
            self.held.append(Pair(held_by(pair.reference), held_by(pair.tested)))

    @precondition(lambda self: self.turns)
    @rule(age=an_age, plan=a_plan)
    def write(self, age: int, plan: Plan) -> None:
        pair, scenes = aged(self.turns, age), self.scenes
        one = planned(scenes.reference, pair.reference, plan, self.now)
        two = planned(scenes.tested, pair.tested, plan, self.now)
        outcomes = Pair(self.run(scenes.reference.write(one)), self.run(scenes.tested.write(two)))
        assert outcomes.reference == outcomes.tested
        self.started += one.effects.starts
        if outcomes.reference == [WRITTEN]:
            # As a live instance goes on after its own write, whether or not it still holds the run.
            self.turns.append(Pair(after(pair.reference, one), after(pair.tested, two)))

    # Attempts

    @rule(owner=an_owner)
    def claim_activities(self, owner: WorkerId) -> None:
        found = self.each(lambda scene: scene.claim_activities(owner, self.now))
        one = {(task.run_id, task.activity_id): task for task in found.reference}
        two = {(task.run_id, task.activity_id): task for task in found.tested}
        assert one.keys() == two.keys()
        for pair in (Pair(one[key], two[key]) for key in one):
            assert an_attempt(pair.reference) == an_attempt(pair.tested)
            self.attempts.append(pair)
            self.held.append(Pair(held_by(pair.reference), held_by(pair.tested)))

    @precondition(lambda self: self.attempts)
    @rule(age=an_age, end=an_end, due_in=a_delay)
    def go_on(self, age: int, end: str, due_in: Micros) -> None:
        """An attempt ends, is parked, or says that it lives."""
        self.attempt_goes_on(aged(self.attempts, age), end, due_in)

    @precondition(lambda self: self.attempts)
    @rule(age=an_age, owner=an_owner, end=an_end, due_in=a_delay)
    def overtake(self, age: int, owner: WorkerId, end: str, due_in: Micros) -> None:
        """An attempt goes on that was silent for so long that another has begun."""
        overtaken = aged(self.attempts, age)
        self.now += LEASE
        self.claim_activities(owner)
        self.attempt_goes_on(overtaken, end, due_in)

    def attempt_goes_on(self, pair: Pair[ActivityTask], end: str, due_in: Micros) -> None:
        due_at = self.now + due_in

        def complete(task: ActivityTask) -> ActivityCompletion:
            if end == "completed":
                return completion(task, self.now)
            failed = replace(failure(task, due_at), now=self.now)
            return replace(failed, parked_until=due_at + SECOND) if end == "parked" else failed

        def act(scene: Scene, task: ActivityTask) -> list[WriteOutcome]:
            if end != "heartbeat":
                return self.run(scene.complete(complete(task)))
            details = b"%d" % due_in
            heartbeat = Heartbeat(task.run_key, task.activity_id, task.token, details, due_at)
            return list(self.run(scene.repository.record_heartbeats([heartbeat])))

        one = act(self.scenes.reference, pair.reference)
        assert one == act(self.scenes.tested, pair.tested)

    # Leases

    @precondition(lambda self: self.held)
    @rule(age=an_age, owner=an_owner)
    def extend(self, age: int, owner: WorkerId) -> None:
        held, until = aged(self.held, age), self.now + LEASE
        one = self.run(self.scenes.reference.repository.extend_leases(held.reference, owner, until))
        two = self.run(self.scenes.tested.repository.extend_leases(held.tested, owner, until))
        assert (len(one.runs), len(one.tasks)) == (len(two.runs), len(two.tasks))

    @precondition(lambda self: self.held)
    @rule(age=an_age)
    def release(self, age: int) -> None:
        held = aged(self.held, age)
        self.run(self.scenes.reference.repository.release_leases(held.reference, self.now))
        self.run(self.scenes.tested.repository.release_leases(held.tested, self.now))

    # What is left

    def teardown(self) -> None:
        for owner in OWNERS:
            self.claim(owner, None)
        # When each thing becomes due shows what the stores never tell.
        for delay in DELAYS:
            self.now += delay
            self.claim("onlooker", None)
            self.claim_activities("onlooker")
        for new in self.started:
            self.compare(partial(everything_of, new=new))


class StatefulConformance(Conformance):
    """The store against the reference, over operations that nobody thought of."""

    comparison = settings(
        max_examples=30,
        stateful_step_count=30,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    """Override it to look longer."""

    async def test_any_sequence_of_operations_does_what_the_reference_does(
        self, scene: Scene
    ) -> None:
        loop = asyncio.get_running_loop()

        def run[T](coroutine: Coroutine[object, object, T]) -> T:
            return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

        class ComparisonWithTested(Comparison):
            def __init__(self) -> None:
                super().__init__(scene.repository, run)

        await asyncio.to_thread(
            run_state_machine_as_test, ComparisonWithTested, settings=self.comparison
        )
