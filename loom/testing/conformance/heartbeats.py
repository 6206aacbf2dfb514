"""Attempts that say how far they are, that go on without their worker, or that nobody begins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loom.identifiers import END_OF_TIME, Micros
from loom.storage.records import ActivityCompletion, ActivityTask, Effects, Heartbeat
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
    completion,
    failure,
    following,
    held_by,
    turn,
)


def heartbeat(
    task: ActivityTask, details: bytes | None = b"half", retry_at: Micros | None = None
) -> Heartbeat:
    """A sign of life of a claimed attempt."""
    return Heartbeat(task.run_key, task.activity_id, task.token, details, retry_at)


def parking(
    task: ActivityTask, retry_at: Micros = END_OF_TIME, until: Micros = END_OF_TIME
) -> ActivityCompletion:
    """The attempt goes on without its worker."""
    return replace(failure(task, retry_at), failure=None, parked_until=until)


class HeartbeatsConformance(Conformance):
    """What becomes of an attempt between its claim and its end."""

    async def beat(self, scene: Scene, *heartbeats: Heartbeat) -> list[object]:
        return list(await scene.repository.record_heartbeats(heartbeats))

    # Heartbeats

    async def test_what_a_heartbeat_brings_is_given_to_the_next_attempt(self, scene: Scene) -> None:
        await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity(ALICE)
        assert task.details is None
        assert await self.beat(scene, heartbeat(task, b"\x00one\xff")) == [WRITTEN]
        assert await self.beat(scene, heartbeat(task, b"two")) == [WRITTEN]
        assert (await scene.claim_activity(BOB, NOW + LEASE)).details == b"two"

    async def test_a_heartbeat_without_details_keeps_the_last_ones(self, scene: Scene) -> None:
        await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity(ALICE)
        await self.beat(scene, heartbeat(task, b"one"))
        await self.beat(scene, heartbeat(task, None))
        assert (await scene.claim_activity(BOB, NOW + LEASE)).details == b"one"

    async def test_a_failed_attempt_may_leave_details(self, scene: Scene) -> None:
        await scene.start_with_tasks(scene.task())
        first = await scene.claim_activity()
        await scene.complete(replace(failure(first, NOW), details=b"one"))
        second = await scene.claim_activity()
        assert second.details == b"one"
        await scene.complete(failure(second, NOW))
        assert (await scene.claim_activity()).details == b"one"

    async def test_the_heartbeat_of_an_attempt_that_was_overtaken_is_lost(
        self, scene: Scene
    ) -> None:
        await scene.start_with_tasks(scene.task())
        zombie = await scene.claim_activity(ALICE)
        owner = await scene.claim_activity(BOB, NOW + LEASE)
        assert await self.beat(scene, heartbeat(owner, b"mine")) == [WRITTEN]
        assert await self.beat(scene, heartbeat(zombie, b"stale")) == [LOST]
        assert (await scene.claim_activity(ALICE, NOW + 2 * LEASE)).details == b"mine"

    async def test_the_heartbeat_of_an_activity_that_is_over_is_lost(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task(1), scene.task(2))
        ended, called_off = await scene.claim_activities()
        await scene.complete(completion(ended))
        effects = Effects(RUNNING, NOW, events=following(run), finished_tasks=[2])
        await scene.write(turn(await scene.claim_run(run), effects))
        assert await self.beat(scene, heartbeat(ended), heartbeat(called_off)) == [LOST, LOST]

    async def test_a_lost_heartbeat_harms_no_neighbour(self, scene: Scene) -> None:
        await scene.start_with_tasks(*(scene.task(number) for number in (1, 2, 3)))
        one, two, three = await scene.claim_activities()
        lost = replace(two, token=two.token + 1)
        outcomes = await self.beat(
            scene, heartbeat(one, b"1"), heartbeat(lost, b"2"), heartbeat(three, b"3")
        )
        assert outcomes == [WRITTEN, LOST, WRITTEN]
        again = await scene.claim_activities(BOB, NOW + LEASE)
        assert {task.activity_id: task.details for task in again} == {
            one.activity_id: b"1",
            two.activity_id: None,
            three.activity_id: b"3",
        }

    async def test_a_heartbeat_does_not_extend_a_lease(self, scene: Scene) -> None:
        """That is for its worker to do, which may be cut off from what it runs."""
        await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity(ALICE)
        await self.beat(scene, heartbeat(task, retry_at=NOW + 9 * LEASE))
        assert len(await scene.claim_activities(BOB, NOW + LEASE)) == 1

    async def test_no_heartbeats_are_no_work(self, scene: Scene) -> None:
        assert await self.beat(scene) == []

    # Parked attempts

    async def test_a_parked_attempt_is_held_by_nobody_and_claimed_when_it_says(
        self, scene: Scene
    ) -> None:
        run = await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity(ALICE)
        retry_at = NOW + 5 * LEASE
        assert await scene.complete(parking(task, retry_at, retry_at + SECOND)) == [WRITTEN]
        assert await scene.claim_activities(BOB, retry_at - 1) == []
        [pending] = await scene.repository.list_tasks(run.run_key)
        assert (pending.lease_owner, pending.attempt, pending.failures) == (None, 1, 0)
        assert pending.parked_until == retry_at + SECOND
        assert await scene.inbox_of(run) == []
        ended = await scene.claim_activity(BOB, retry_at)
        assert (ended.attempt, ended.failures) == (1, 0)
        assert ended.parked_until == retry_at + SECOND
        assert ended.token > task.token

    async def test_the_attempt_after_a_parked_one_is_an_ordinary_one(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task())
        await scene.complete(parking(await scene.claim_activity(), NOW + SECOND))
        ended = await scene.claim_activity(BOB, NOW + SECOND)
        await scene.complete(failure(ended, NOW + SECOND, b"too late"))
        second = await scene.claim_activity(BOB, NOW + SECOND)
        assert (second.attempt, second.failures, second.parked_until) == (2, 1, None)
        [pending] = await scene.repository.list_tasks(run.run_key)
        assert pending.parked_until is None

    async def test_a_parked_attempt_is_completed_by_its_token(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity()
        await scene.complete(parking(task))
        later = NOW + 1000 * LEASE
        assert await scene.complete(completion(task, later)) == [WRITTEN]
        assert await scene.complete(completion(task, later)) == [LOST]
        assert [m.message_id for m in await scene.inbox_of(run, later)] == ["activity:1"]

    async def test_a_parked_attempt_that_was_claimed_is_over(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity()
        await scene.complete(parking(task, NOW + SECOND))
        await scene.claim_activity(BOB, NOW + SECOND)
        assert await scene.complete(completion(task)) == [LOST]
        assert await self.beat(scene, heartbeat(task)) == [LOST]
        assert await scene.inbox_of(run) == []

    @pytest.mark.parametrize("is_released", [True, False])
    async def test_the_end_of_a_parked_attempt_is_claimed_again_when_its_claimer_is_gone(
        self, scene: Scene, is_released: bool
    ) -> None:
        await scene.start_with_tasks(scene.task())
        await scene.complete(parking(await scene.claim_activity(), NOW + SECOND, NOW + SECOND))
        first = await scene.claim_activity(ALICE, NOW + SECOND)
        if is_released:
            await scene.repository.release_leases(held_by(first), NOW + SECOND)
        later = NOW + SECOND + (0 if is_released else LEASE)
        again = await scene.claim_activity(BOB, later)
        assert (again.attempt, again.failures) == (1, 0)
        assert again.parked_until == NOW + SECOND
        assert again.token > first.token

    async def test_heartbeats_put_the_end_of_a_parked_attempt_off(self, scene: Scene) -> None:
        await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity()
        await scene.complete(parking(task, NOW + SECOND))
        later = NOW + 5 * SECOND
        assert await self.beat(scene, heartbeat(task, b"half", later)) == [WRITTEN]
        assert await scene.claim_activities(BOB, later - 1) == []
        assert (await scene.claim_activity(BOB, later)).details == b"half"

    async def test_a_parked_attempt_has_no_lease_to_extend_or_release(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity(ALICE)
        await scene.complete(parking(task))
        lost = await scene.repository.extend_leases(held_by(task), ALICE, NOW + 2 * LEASE)
        assert list(lost.tasks) == list(held_by(task).tasks)
        await scene.repository.release_leases(held_by(task), NOW)
        [pending] = await scene.repository.list_tasks(run.run_key)
        assert (pending.attempt, pending.available_at) == (1, END_OF_TIME)

    # First attempts that come too late

    @pytest.mark.parametrize("late", [0, 1, LEASE])
    async def test_nobody_is_the_first_to_claim_a_task_from_its_start_by(
        self, scene: Scene, late: Micros
    ) -> None:
        start_by = NOW + SECOND
        run = await scene.start_with_tasks(replace(scene.task(), start_by=start_by))
        assert await scene.claim_activities(ALICE, start_by + late) == []
        [pending] = await scene.repository.list_tasks(run.run_key)
        assert (pending.attempt, pending.start_by) == (0, start_by)

    async def test_a_task_that_was_claimed_in_time_is_claimed_again_at_any_time(
        self, scene: Scene
    ) -> None:
        start_by = NOW + SECOND
        run = await scene.start_with_tasks(
            *(replace(scene.task(number), start_by=start_by) for number in (1, 2, 3))
        )
        one, two, three = await scene.claim_activities(ALICE, start_by - 1)
        assert {t.start_by for t in await scene.repository.list_tasks(run.run_key)} == {None}
        await scene.complete(failure(one, NOW))
        # Even when the attempt is taken back.
        await scene.repository.release_leases(held_by(two), NOW)
        again = await scene.claim_activities(BOB, start_by + LEASE)
        expected = sorted(task.activity_id for task in (one, two, three))
        assert sorted(task.activity_id for task in again) == expected

    async def test_a_task_that_was_born_leased_has_been_claimed(self, scene: Scene) -> None:
        new = replace(scene.task(), start_by=NOW + SECOND, leased=True)
        await scene.start_with_tasks(new, lease=NOW + LEASE)
        assert len(await scene.claim_activities(BOB, NOW + LEASE)) == 1

    async def test_what_nobody_may_begin_is_not_announced_as_due(self, scene: Scene) -> None:
        await scene.start_with_tasks(replace(scene.task(), start_by=NOW + SECOND))
        claim = scene.activity_claim(ALICE, NOW + SECOND)
        assert (await scene.repository.claim_activity_tasks(claim)).next_due_at is None
