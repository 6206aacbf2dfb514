"""Holding on to runs and activity tasks, and giving them back."""

from __future__ import annotations

import time
from dataclasses import replace

from loom.storage.records import Effects, Leases, RunLease, TaskLease
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.scene import (
    ALICE,
    BOB,
    LEASE,
    LOST,
    NOW,
    RUNNING,
    SECOND,
    WRITTEN,
    Scene,
    closing,
    completion,
    following,
    held_by,
    run_lease,
    task_lease,
    turn,
)

UNTIL = NOW + 5 * LEASE


class LeasesConformance(Conformance):
    """Leases are extended, released and lost."""

    async def test_the_clock_of_the_store_tells_the_time(self, scene: Scene) -> None:
        first = await scene.repository.current_time()
        second = await scene.repository.current_time()
        assert first <= second
        # A day apart at most: the point is the unit and the epoch.
        assert abs(first / SECOND - time.time()) < 86_400

    async def test_no_leases_are_no_work(self, scene: Scene) -> None:
        assert not await scene.repository.extend_leases(Leases(), ALICE, UNTIL)
        await scene.repository.release_leases(Leases(), NOW)

    # Runs

    async def test_an_extended_lease_holds_until_its_new_end(self, scene: Scene) -> None:
        task = await scene.start_claimed(ALICE)
        held = held_by(task)
        assert not await scene.repository.extend_leases(held, ALICE, UNTIL)
        assert (await scene.look(task.run)).lease_expires_at == UNTIL
        assert await scene.claim(BOB, UNTIL - 1) == []
        assert len(await scene.claim(BOB, UNTIL)) == 1

    async def test_a_lease_that_ran_out_unclaimed_can_be_extended(self, scene: Scene) -> None:
        """Whatever the store's own clock says: there is no ``now`` to ask it about."""
        task = await scene.start_claimed(ALICE)
        held = held_by(task)
        assert not await scene.repository.extend_leases(held, ALICE, UNTIL)
        assert await scene.claim(BOB, UNTIL - 1) == []

    async def test_exactly_the_lost_leases_are_returned(self, scene: Scene) -> None:
        names = ("held", "claimed", "released", "closed", "kept")
        tasks = {name: await scene.start_claimed(ALICE) for name in names}
        leases = {name: run_lease(task) for name, task in tasks.items()}
        await scene.claim_run(tasks["claimed"].run, BOB, NOW + LEASE)
        await scene.repository.release_leases(Leases(runs=[leases["released"]]), NOW)
        await scene.write(closing(tasks["closed"]))
        unknown = RunLease(leases["kept"].run_key + 1_000_000, 1)
        held = Leases(runs=[*leases.values(), unknown])
        lost = await scene.repository.extend_leases(held, ALICE, UNTIL)
        wanted = {leases["claimed"], leases["released"], leases["closed"], unknown}
        assert set(lost.runs) == wanted
        assert list(lost.tasks) == []
        assert (await scene.look(tasks["kept"].run)).lease_expires_at == UNTIL

    async def test_extending_a_lost_lease_does_not_touch_the_new_one(self, scene: Scene) -> None:
        lost = await scene.start_claimed(ALICE)
        new = await scene.claim_run(lost.run, BOB, NOW + LEASE)
        await scene.repository.extend_leases(held_by(lost), ALICE, UNTIL)
        assert await scene.look(lost.run) == new.run

    async def test_nobody_extends_the_lease_of_another(self, scene: Scene) -> None:
        task = await scene.start_claimed(ALICE)
        held = held_by(task)
        lost = await scene.repository.extend_leases(held, BOB, UNTIL)
        assert list(lost.runs) == [run_lease(task)]
        assert await scene.look(task.run) == task.run

    async def test_a_released_run_is_due_when_its_timer_is(self, scene: Scene) -> None:
        waiting = await scene.start_waiting(wake_at=NOW + SECOND)
        due = await scene.start(due_at=NOW - SECOND)
        for run in (waiting, due):
            task = await scene.claim_run(run, ALICE)
            await scene.repository.release_leases(held_by(task), NOW)
            assert await scene.look(run) == run
        assert [task.run.run_id for task in await scene.claim(BOB)] == [due.run_id]
        [later] = await scene.claim(BOB, NOW + SECOND)
        assert later.run.run_id == waiting.run_id

    async def test_releasing_a_lost_lease_does_not_free_the_new_one(self, scene: Scene) -> None:
        lost = await scene.start_claimed(ALICE)
        new = await scene.claim_run(lost.run, BOB, NOW + LEASE)
        await scene.repository.release_leases(held_by(lost), NOW + LEASE)
        assert await scene.look(lost.run) == new.run

    async def test_a_released_run_has_a_new_token_for_its_next_owner(self, scene: Scene) -> None:
        first = await scene.start_claimed(ALICE)
        await scene.repository.release_leases(held_by(first), NOW)
        [second] = await scene.claim(BOB)
        assert second.token > first.token
        assert await scene.write(turn(first)) == [LOST]

    async def test_a_write_after_the_release_stands_while_nobody_has_claimed(
        self, scene: Scene
    ) -> None:
        task = await scene.start_claimed(ALICE)
        await scene.repository.release_leases(held_by(task), NOW)
        assert await scene.write(turn(task)) == [WRITTEN]

    # Activity tasks

    async def test_an_extended_task_lease_holds_until_its_new_end(self, scene: Scene) -> None:
        await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity(ALICE)
        held = held_by(task)
        assert not await scene.repository.extend_leases(held, ALICE, UNTIL)
        assert await scene.claim_activities(BOB, UNTIL - 1) == []
        assert len(await scene.claim_activities(BOB, UNTIL)) == 1

    async def test_a_task_lease_that_ran_out_unclaimed_can_be_extended(self, scene: Scene) -> None:
        await scene.start_with_tasks(scene.task())
        held = held_by(await scene.claim_activity(ALICE))
        assert not await scene.repository.extend_leases(held, ALICE, NOW + LEASE)
        assert not await scene.repository.extend_leases(held, ALICE, UNTIL)
        assert await scene.claim_activities(BOB, UNTIL - 1) == []

    async def test_exactly_the_lost_task_leases_are_returned(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(*(scene.task(number) for number in range(1, 6)))
        tasks = {task.activity_id: task for task in await scene.claim_activities(ALICE)}
        leases = {number: task_lease(task) for number, task in tasks.items()}
        await scene.repository.release_leases(Leases(tasks=[leases[2], leases[3]]), NOW)
        again = await scene.claim_activities(BOB)
        await scene.repository.release_leases(held_by(again[1]), NOW)
        await scene.complete(completion(tasks[4]))
        unknown = TaskLease(run.run_key, 99, 1)
        held = Leases(tasks=[*leases.values(), unknown])
        lost = await scene.repository.extend_leases(held, ALICE, UNTIL)
        assert set(lost.tasks) == {leases[2], leases[3], leases[4], unknown}
        assert list(lost.runs) == []

    async def test_nobody_extends_the_task_lease_of_another(self, scene: Scene) -> None:
        await scene.start_with_tasks(scene.task())
        held = held_by(await scene.claim_activity(ALICE))
        lost = await scene.repository.extend_leases(held, BOB, UNTIL)
        assert list(lost.tasks) == list(held.tasks)

    async def test_runs_and_tasks_are_extended_together(self, scene: Scene) -> None:
        await scene.start_with_tasks(scene.task())
        activity, run = await scene.claim_activity(ALICE), await scene.start_claimed(ALICE)
        held = Leases([run_lease(run)], [task_lease(activity)])
        assert not await scene.repository.extend_leases(held, ALICE, UNTIL)
        other = Leases([replace(held.runs[0], token=99)], [replace(held.tasks[0], token=99)])
        lost = await scene.repository.extend_leases(other, ALICE, UNTIL)
        assert (list(lost.runs), list(lost.tasks)) == (list(other.runs), list(other.tasks))

    async def test_a_released_task_takes_its_attempt_back(self, scene: Scene) -> None:
        await scene.start_with_tasks(scene.task())
        first = await scene.claim_activity(ALICE)
        await scene.repository.release_leases(held_by(first), NOW)
        second = await scene.claim_activity(BOB)
        assert (second.attempt, second.failures) == (1, 0)
        assert second.token > first.token
        assert await scene.complete(completion(first)) == [LOST]

    async def test_releasing_a_lost_task_lease_does_not_free_the_new_one(
        self, scene: Scene
    ) -> None:
        run = await scene.start_with_tasks(scene.task())
        lost = await scene.claim_activity(ALICE)
        await scene.claim_activity(BOB, NOW + LEASE)
        await scene.repository.release_leases(held_by(lost), NOW + LEASE)
        [pending] = await scene.repository.list_tasks(run.run_key)
        assert (pending.lease_owner, pending.attempt) == (BOB, 2)

    async def test_releasing_twice_takes_one_attempt_back(self, scene: Scene) -> None:
        await scene.start_with_tasks(scene.task())
        lease = held_by(await scene.claim_activity(ALICE))
        await scene.repository.release_leases(lease, NOW)
        await scene.repository.release_leases(lease, NOW)
        assert (await scene.claim_activity(BOB)).attempt == 1

    async def test_a_run_is_released_while_its_activity_runs_on(self, scene: Scene) -> None:
        task = await scene.start_claimed(ALICE)
        effects = Effects(RUNNING, NOW, events=following(task.run), tasks=[scene.task()])
        await scene.write(turn(task, effects))
        activity = await scene.claim_activity(ALICE)
        again = await scene.claim_run(task.run, ALICE)
        await scene.repository.release_leases(held_by(again), NOW)
        assert await scene.complete(completion(activity)) == [WRITTEN]
        assert len(await scene.claim(BOB)) == 1
