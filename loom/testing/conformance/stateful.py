"""Any sequence of operations, compared with the reference store.

Hypothesis makes up the operations in a thread of its own, and each is carried out on the test's
event loop, where the store under test lives. Every example has a queue and workflow ids to itself,
so that all of them use one database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from functools import partial
from typing import Protocol

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    multiple,
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
    Leases,
    Message,
    NewRun,
    WorkflowTask,
)
from loom.storage.repository import Repository
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.pairs import (
    MESSAGE_IDS,
    Pair,
    Plan,
    a_run,
    after,
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

a_workflow = st.integers(1, 3)
an_owner = st.sampled_from(["alice", "bob", "carol"])
a_message_id = st.sampled_from(MESSAGE_IDS)
a_status = st.sampled_from([RUNNING, RUNNING, RUNNING, BLOCKED, COMPLETED])
a_delay = st.sampled_from([0, SECOND, LEASE, 3 * LEASE])


a_plan = st.builds(
    Plan,
    status=a_status,
    keep=st.booleans(),
    consume=st.integers(0, 3),
    schedule=st.sampled_from(["", "free", "leased"]),
    finish=st.sets(st.integers(1, 4), max_size=2),
    to=st.none() | a_workflow,
    wake_in=st.none() | a_delay,
)


class Run(Protocol):
    """Runs a coroutine to its end, on the event loop where the store lives."""

    def __call__[T](self, coroutine: Coroutine[object, object, T]) -> T: ...


# --- the machine ---------------------------------------------------------------------------------


class Comparison(RuleBasedStateMachine):
    """Does everything twice."""

    starts = Bundle[NewRun]("starts")
    turns = Bundle[Pair[WorkflowTask]]("turns")
    attempts = Bundle[Pair[ActivityTask]]("attempts")

    def __init__(self, tested: Repository, run: Run) -> None:
        super().__init__()
        self.run = run
        reference = Scene(MemoryRepository())
        self.scenes = Pair(reference, Scene(tested, reference.queue))
        self.now: Micros = NOW
        self.started: list[NewRun] = []

    def each[T](self, call: Callable[[Scene], Coroutine[object, object, T]]) -> Pair[T]:
        return Pair(self.run(call(self.scenes.reference)), self.run(call(self.scenes.tested)))

    # Runs

    @rule(
        target=starts,
        workflow=a_workflow,
        owner=st.none() | an_owner,
        status=a_status,
        delay=a_delay,
    )
    def start(
        self, workflow: int, owner: WorkerId | None, status: RunStatus, delay: Micros
    ) -> NewRun:
        effects = Effects(
            status if owner else RUNNING,
            self.now,
            events=[event(1)],
            tasks=[replace(self.scenes.reference.task(), sequence=1)] if owner else (),
            wake_at=self.now + delay,
            lease_expires_at=self.now + LEASE if owner and status is not BLOCKED else None,
        )
        new = self.scenes.reference.new_run(
            workflow_id(self.scenes.reference, workflow), effects, owner=owner
        )
        self.started.append(new)
        self.start_again(new)
        return new

    @rule(new=starts)
    def start_again(self, new: NewRun) -> None:
        found = self.each(lambda scene: scene.repository.start_runs([new]))
        [one], [two] = found.reference, found.tested
        assert (one.created, a_run(one.run)) == (two.created, a_run(two.run))

    @rule(new=starts, message_id=a_message_id, exact=st.booleans())
    def send(self, new: NewRun, message_id: str, exact: bool) -> None:
        sent = Message(new.workflow_id, message_id, arrival(), run_id=new.run_id if exact else None)
        outcomes = self.each(lambda scene: scene.send(sent, now=self.now))
        assert outcomes.reference == outcomes.tested

    @rule(new=starts)
    def delete(self, new: NewRun) -> None:
        async def delete(scene: Scene) -> int:
            run = await scene.repository.find_run(new.workflow_id, new.run_id)
            return await scene.repository.delete_runs([run.run_key] if run else [])

        deleted = self.each(delete)
        assert deleted.reference == deleted.tested

    @rule(delay=a_delay)
    def time_passes(self, delay: Micros) -> None:
        self.now += delay

    # Turns

    @rule(target=turns, owner=an_owner, blocked_for=st.none() | a_delay)
    def claim(
        self, owner: WorkerId, blocked_for: Micros | None
    ) -> MultipleResults[Pair[WorkflowTask]]:
        claim = self.scenes.reference.workflow_claim(owner, self.now)
        if blocked_for is not None:
            claim = replace(claim, blocked_before=self.now - blocked_for)
        found = self.each(lambda scene: scene.repository.claim_workflow_tasks(claim))
        return multiple(*self.pair_turns(found.reference.tasks, found.tested.tasks))

    @rule(target=turns, new=starts, owner=an_owner)
    def claim_one(self, new: NewRun, owner: WorkerId) -> MultipleResults[Pair[WorkflowTask]]:
        async def claim(scene: Scene) -> Iterable[WorkflowTask]:
            run = await scene.repository.find_run(new.workflow_id, new.run_id)
            claim = scene.workflow_claim(owner, self.now)
            claim = replace(claim, run_key=run.run_key if run else 0)
            return (await scene.repository.claim_workflow_tasks(claim)).tasks

        found = self.each(claim)
        return multiple(*self.pair_turns(found.reference, found.tested))

    def pair_turns(
        self, reference: Iterable[WorkflowTask], tested: Iterable[WorkflowTask]
    ) -> list[Pair[WorkflowTask]]:
        one = {task.run.run_id: task for task in reference}
        two = {task.run.run_id: task for task in tested}
        for run_id in one.keys() | two.keys():
            assert (run_id in one) == (run_id in two), f"only one store gave {run_id}"
            assert a_run(one[run_id].run) == a_run(two[run_id].run)
            assert list(one[run_id].messages) == list(two[run_id].messages)
        return [Pair(one[run_id], two[run_id]) for run_id in one]

    @rule(target=turns, pair=turns, plan=a_plan)
    def write(self, pair: Pair[WorkflowTask], plan: Plan) -> MultipleResults[Pair[WorkflowTask]]:
        scenes, now = self.scenes, self.now
        one = planned(scenes.reference, pair.reference, plan, now)
        two = planned(scenes.tested, pair.tested, plan, now)
        outcomes = Pair(self.run(scenes.reference.write(one)), self.run(scenes.tested.write(two)))
        assert outcomes.reference == outcomes.tested
        if outcomes.reference != [WRITTEN]:
            return multiple()
        # As a live instance goes on after its own write, whether or not it still holds the run.
        return multiple(Pair(after(pair.reference, one), after(pair.tested, two)))

    # Attempts

    @rule(target=attempts, owner=an_owner)
    def claim_activities(self, owner: WorkerId) -> MultipleResults[Pair[ActivityTask]]:
        found = self.each(lambda scene: scene.claim_activities(owner, self.now))
        one = {(task.run_id, task.activity_id): task for task in found.reference}
        two = {(task.run_id, task.activity_id): task for task in found.tested}
        assert {k: an_attempt(t) for k, t in one.items()} == {
            k: an_attempt(t) for k, t in two.items()
        }
        return multiple(*(Pair(one[key], two[key]) for key in one))

    @rule(pair=attempts, retry_in=st.none() | a_delay)
    def complete(self, pair: Pair[ActivityTask], retry_in: Micros | None) -> None:
        def end(task: ActivityTask) -> ActivityCompletion:
            if retry_in is None:
                return completion(task, self.now)
            return replace(failure(task, self.now + retry_in), now=self.now)

        one = self.run(self.scenes.reference.complete(end(pair.reference)))
        two = self.run(self.scenes.tested.complete(end(pair.tested)))
        assert one == two

    # Leases

    @rule(pair=turns | attempts, owner=an_owner)
    def extend(self, pair: Pair[WorkflowTask] | Pair[ActivityTask], owner: WorkerId) -> None:
        one, two = (
            self.run(scene.repository.extend_leases(held, owner, self.now + LEASE))
            for scene, held in self.leases(pair)
        )
        assert (len(one.runs), len(one.tasks)) == (len(two.runs), len(two.tasks))

    @rule(pair=turns | attempts)
    def release(self, pair: Pair[WorkflowTask] | Pair[ActivityTask]) -> None:
        for scene, held in self.leases(pair):
            self.run(scene.repository.release_leases(held, self.now))

    def leases(self, pair: Pair[WorkflowTask] | Pair[ActivityTask]) -> list[tuple[Scene, Leases]]:
        return [
            (self.scenes.reference, held_by(pair.reference)),
            (self.scenes.tested, held_by(pair.tested)),
        ]

    # What is left

    def teardown(self) -> None:
        for new in self.started:
            seen = self.each(partial(everything_of, new=new))
            assert seen.reference == seen.tested


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
