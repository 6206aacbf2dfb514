"""Attempts of activities: claimed, ended, tried again."""

from __future__ import annotations

from dataclasses import replace

from loom.storage.records import ActivityClaim, ActivityTask, Effects, PendingTask
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.scene import (
    ACTIVITY,
    ALICE,
    BLOCKED,
    BOB,
    LEASE,
    LOST,
    NOW,
    RUNNING,
    SECOND,
    WRITTEN,
    Scene,
    arrival,
    completion,
    event,
    failure,
    following,
    held_by,
    message,
    turn,
)


async def take(scene: Scene, claim: ActivityClaim) -> list[int]:
    tasks = (await scene.repository.claim_activity_tasks(claim)).tasks
    return [task.activity_id for task in tasks]


class ActivitiesConformance(Conformance):
    """An activity task from its scheduling to its completion."""

    # Claiming

    async def test_a_claimed_task_brings_what_it_needs(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task(7))
        task = await scene.claim_activity()
        assert task == ActivityTask(
            run_key=run.run_key,
            workflow_id=run.workflow_id,
            run_id=run.run_id,
            activity_id=7,
            attempt=1,
            failures=0,
            token=task.token,
            scheduled=event(2),
        )

    async def test_each_task_brings_its_own_event(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        new = [replace(scene.task(number), sequence=number + 1) for number in (1, 2, 3)]
        await scene.write(
            turn(task, Effects(RUNNING, NOW, events=following(task.run, 3), tasks=new))
        )
        claimed = await scene.claim_activities()
        assert {task.activity_id: task.scheduled for task in claimed} == {
            number: event(number + 1) for number in (1, 2, 3)
        }

    async def test_the_oldest_available_task_is_taken_first(self, scene: Scene) -> None:
        new = [scene.task(age, available_at=NOW - age) for age in (2, 3, 1)]
        await scene.start_with_tasks(*new)
        assert await take(scene, scene.activity_claim()) == [3, 2, 1]

    async def test_an_activity_claim_takes_no_more_than_its_limit(self, scene: Scene) -> None:
        await scene.start_with_tasks(*(scene.task(n, available_at=NOW - 9 + n) for n in (1, 2, 3)))
        claim = replace(scene.activity_claim(), limit=2)
        assert [await take(scene, claim) for _ in range(3)] == [[1, 2], [3], []]

    async def test_an_activity_claim_keeps_to_its_names(self, scene: Scene) -> None:
        new = [replace(scene.task(n), name=name) for n, name in enumerate("abc", start=1)]
        await scene.start_with_tasks(*new)
        claim = scene.activity_claim()
        assert await take(scene, replace(claim, names=[])) == []
        assert await take(scene, replace(claim, names=["b", "unknown"])) == [2]
        assert set(await take(scene, replace(claim, names=["a", "b", "c"]))) == {1, 3}

    async def test_an_activity_claim_keeps_to_its_queue(self, scene: Scene) -> None:
        elsewhere = Scene(scene.repository)
        await scene.start_with_tasks(scene.task(1), elsewhere.task(2))
        assert await take(scene, scene.activity_claim()) == [1]
        assert await take(scene, elsewhere.activity_claim()) == [2]

    async def test_a_task_waits_until_it_is_available(self, scene: Scene) -> None:
        await scene.start_with_tasks(scene.task(available_at=NOW + SECOND))
        assert await scene.claim_activities(now=NOW + SECOND - 1) == []
        assert len(await scene.claim_activities(now=NOW + SECOND)) == 1

    async def test_the_next_available_time_is_never_later_than_the_truth(
        self, scene: Scene
    ) -> None:
        later = (NOW + 2 * SECOND, NOW + SECOND)
        await scene.start_with_tasks(*(scene.task(n, available_at=t) for n, t in enumerate(later)))
        found = await scene.repository.claim_activity_tasks(scene.activity_claim())
        assert found.next_due_at is None or found.next_due_at <= NOW + SECOND

    async def test_tasks_of_a_blocked_run_go_on(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task())
        blocked = Effects(BLOCKED, NOW, blocked_reason="other code")
        await scene.write(turn(await scene.claim_run(run), blocked))
        assert await scene.complete(completion(await scene.claim_activity())) == [WRITTEN]
        assert len(await scene.inbox_of(run)) == 1

    # Leases and attempts

    async def test_a_leased_task_is_left_until_its_lease_runs_out(self, scene: Scene) -> None:
        await scene.start_with_tasks(scene.task())
        first = await scene.claim_activity(ALICE)
        assert await scene.claim_activities(BOB, NOW + LEASE - 1) == []
        assert await scene.claim_activities(ALICE, NOW + LEASE - 1) == []
        second = await scene.claim_activity(BOB, NOW + LEASE)
        assert (second.attempt, second.failures) == (2, 0)
        assert second.token > first.token

    async def test_a_task_can_be_born_leased(self, scene: Scene) -> None:
        born = replace(scene.task(1), leased=True)
        run = await scene.start_with_tasks(born, scene.task(2), lease=NOW + LEASE)
        leased, free = await scene.repository.list_tasks(run.run_key)
        assert (leased.attempt, leased.lease_owner, leased.lease_expires_at) == (
            1,
            ALICE,
            NOW + LEASE,
        )
        assert (free.attempt, free.lease_owner, free.lease_expires_at) == (0, None, None)
        assert await take(scene, scene.activity_claim(BOB)) == [2]
        again = await scene.claim_activities(BOB, NOW + LEASE)
        assert [(t.attempt, t.token) for t in again if t.activity_id == 1] == [(2, 2)]

    async def test_a_task_born_leased_is_completed_with_token_one(self, scene: Scene) -> None:
        born = replace(scene.task(), leased=True)
        run = await scene.start_with_tasks(born, lease=NOW + LEASE)
        task = ActivityTask(run.run_key, run.workflow_id, run.run_id, 1, 1, 0, 1, event(2))
        assert await scene.complete(completion(task)) == [WRITTEN]

    async def test_a_task_can_be_born_leased_with_its_run(self, scene: Scene) -> None:
        born = replace(scene.task(), leased=True)
        effects = Effects(
            RUNNING,
            NOW,
            events=[event(1), event(2)],
            tasks=[born],
            lease_expires_at=NOW + LEASE,
            task_lease_expires_at=NOW + LEASE,
        )
        await scene.repository.start_runs([scene.new_run(effects=effects, owner=ALICE)])
        assert await scene.claim_activities(BOB) == []
        assert (await scene.claim_activity(BOB, NOW + LEASE)).attempt == 2

    # Ending an attempt

    async def test_a_completion_makes_its_run_due_with_the_arrival(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity()
        assert await scene.claim(BOB) == []
        assert await scene.complete(completion(task)) == [WRITTEN]
        assert list(await scene.repository.list_tasks(run.run_key)) == []
        [woken] = await scene.claim(BOB)
        assert [got.arrival for got in woken.messages] == [arrival(b"done")]

    async def test_completions_and_messages_share_one_order(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(*(scene.task(number) for number in (1, 2, 3)))
        tasks = {task.activity_id: task for task in await scene.claim_activities()}
        await scene.complete(completion(tasks[2]))
        await scene.send(message(run, "between"))
        await scene.complete(completion(tasks[3]), completion(tasks[1]))
        inbox = await scene.inbox_of(run)
        assert [got.position for got in inbox] == [1, 2, 3, 4]
        ids = [got.message_id for got in inbox]
        assert ids == ["activity:2", "between", "activity:3", "activity:1"]

    async def test_an_attempt_ends_once(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity()
        assert await scene.complete(completion(task), completion(task)) == [WRITTEN, LOST]
        assert await scene.complete(completion(task)) == [LOST]
        assert len(await scene.inbox_of(run)) == 1

    async def test_an_attempt_fails_once(self, scene: Scene) -> None:
        """The answer may be lost, and the same be sent again."""
        run = await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity()
        assert await scene.complete(failure(task, NOW + SECOND)) == [WRITTEN]
        assert await scene.complete(failure(task, NOW + SECOND)) == [LOST]
        assert await scene.complete(completion(task)) == [LOST]
        [pending] = await scene.repository.list_tasks(run.run_key)
        assert (pending.attempt, pending.failures) == (1, 1)

    async def test_an_attempt_that_was_given_back_is_over(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity()
        await scene.repository.release_leases(held_by(task), NOW)
        assert await scene.complete(failure(task, NOW), completion(task)) == [LOST, LOST]
        [pending] = await scene.repository.list_tasks(run.run_key)
        assert (pending.attempt, pending.failures) == (0, 0)

    async def test_a_failed_attempt_is_tried_again_when_it_says(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task())
        retry_at = NOW + SECOND
        task = await scene.claim_activity(ALICE)
        assert await scene.complete(failure(task, retry_at, b"\x00why\xff")) == [WRITTEN]
        assert await scene.claim_activities(BOB, retry_at - 1) == []
        second = await scene.claim_activity(BOB, retry_at)
        assert (second.attempt, second.failures, second.last_failure) == (2, 1, b"\x00why\xff")
        assert second.token > task.token
        assert await scene.inbox_of(run) == []

    async def test_failures_are_counted_apart_from_lost_attempts(self, scene: Scene) -> None:
        await scene.start_with_tasks(scene.task())
        await scene.complete(failure(await scene.claim_activity(), NOW, b"first"))
        await scene.claim_activity(ALICE)
        third = await scene.claim_activity(BOB, NOW + LEASE)
        assert (third.attempt, third.failures, third.last_failure) == (3, 1, b"first")
        await scene.complete(failure(third, NOW, b"third"))
        fourth = await scene.claim_activity(BOB, NOW + LEASE)
        assert (fourth.attempt, fourth.failures, fourth.last_failure) == (4, 2, b"third")

    async def test_an_attempt_that_was_overtaken_is_lost(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task())
        zombie = await scene.claim_activity(ALICE)
        owner = await scene.claim_activity(BOB, NOW + LEASE)
        assert await scene.complete(completion(zombie)) == [LOST]
        assert await scene.complete(failure(zombie, NOW)) == [LOST]
        [pending] = await scene.repository.list_tasks(run.run_key)
        assert (pending.lease_owner, pending.failures) == (BOB, 0)
        assert await scene.complete(completion(owner)) == [WRITTEN]
        assert len(await scene.inbox_of(run)) == 1

    async def test_an_attempt_whose_lease_ran_out_unclaimed_still_counts(
        self, scene: Scene
    ) -> None:
        run = await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity()
        assert await scene.complete(completion(task, now=NOW + 100 * LEASE)) == [WRITTEN]
        assert len(await scene.inbox_of(run)) == 1

    async def test_an_attempt_is_lost_when_its_run_no_longer_waits_for_it(
        self, scene: Scene
    ) -> None:
        run = await scene.start_with_tasks(scene.task())
        task = await scene.claim_activity()
        finished = Effects(RUNNING, NOW, events=following(run), finished_tasks=[1])
        await scene.write(turn(await scene.claim_run(run), finished))
        assert await scene.complete(completion(task)) == [LOST]
        assert await scene.inbox_of(run) == []

    async def test_a_lost_attempt_harms_no_neighbour(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(*(scene.task(number) for number in (1, 2, 3)))
        one, two, three = await scene.claim_activities()
        lost = replace(two, token=two.token + 1)
        batch = [completion(one), completion(lost), failure(three, NOW + SECOND)]
        assert await scene.complete(*batch) == [WRITTEN, LOST, WRITTEN]
        left = await scene.repository.list_tasks(run.run_key)
        assert {t.activity_id: t.failures for t in left} == {
            two.activity_id: 0,
            three.activity_id: 1,
        }

    async def test_runs_number_their_activities_apart(self, scene: Scene) -> None:
        one = await scene.start_with_tasks(scene.task())
        two = await scene.start_with_tasks(scene.task())
        tasks = {task.run_key: task for task in await scene.claim_activities()}
        assert await scene.complete(completion(tasks[one.run_key])) == [WRITTEN]
        assert list(await scene.repository.list_tasks(one.run_key)) == []
        assert len(await scene.repository.list_tasks(two.run_key)) == 1

    # Looking

    async def test_pending_tasks_are_listed_in_order_of_their_ids(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(*(scene.task(number) for number in (3, 1, 2)))
        listed = list(await scene.repository.list_tasks(run.run_key))
        assert listed == [
            PendingTask(number, ACTIVITY, scene.queue, 0, 0, NOW, None, None, None)
            for number in (1, 2, 3)
        ]

    async def test_a_pending_task_shows_its_attempt(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task())
        await scene.complete(failure(await scene.claim_activity(ALICE), NOW))
        await scene.claim_activity(BOB)
        [shown] = await scene.repository.list_tasks(run.run_key)
        assert (shown.attempt, shown.failures, shown.last_failure) == (2, 1, b"why")
        assert (shown.lease_owner, shown.lease_expires_at) == (BOB, NOW + LEASE)

    async def test_a_run_that_is_unknown_waits_for_nothing(self, scene: Scene) -> None:
        run = await scene.start_closed()
        assert list(await scene.repository.list_tasks(run.run_key)) == []
        assert list(await scene.repository.list_tasks(run.run_key + 1_000_000)) == []
