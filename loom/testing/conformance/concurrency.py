"""Many callers at once.

Nothing here waits for a moment: each test starts everything together and states what must hold
however the calls were interleaved. Two calls that wait for each other show as a time-out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from dataclasses import replace

from loom.identifiers import WorkflowId, new_id
from loom.storage.records import Effects, Leases, Message, NewRun
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.scene import (
    ACCEPTED,
    ALICE,
    BOB,
    CLOSED,
    LEASE,
    LOST,
    NOW,
    RUNNING,
    WRITTEN,
    Scene,
    arrival,
    closing,
    completion,
    following,
    held_by,
    message,
    run_lease,
    turn,
)

PATIENCE = 60.0
ROUNDS = 10


async def together[T](*calls: Coroutine[object, object, T]) -> list[T]:
    """The results of calls that are all under way at once."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*calls)


async def both[A, B](
    first: Coroutine[object, object, A], second: Coroutine[object, object, B]
) -> tuple[A, B]:
    """As ``together``, of two calls of different kinds."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(first, second)


def keeping(*messages: Message) -> Effects:
    """A turn without events, so that it can be written again, that keeps the run."""
    return Effects(RUNNING, NOW, messages=messages, lease_expires_at=NOW + LEASE)


class ConcurrencyConformance(Conformance):
    """What holds however calls are interleaved."""

    async def test_concurrent_claimers_get_disjoint_work(self, scene: Scene) -> None:
        runs = {(await scene.start()).run_id for _ in range(40)}

        async def claim_all(owner: str) -> list[str]:
            claim = replace(scene.workflow_claim(owner), limit=3)
            claimed: list[str] = []
            while tasks := (await scene.repository.claim_workflow_tasks(claim)).tasks:
                claimed.extend(task.run.run_id for task in tasks)
            return claimed

        shares = await together(*(claim_all(f"worker {number}") for number in range(8)))
        # One that found everything locked stopped early, so that some may be left.
        shares.append(await claim_all("the last"))
        claimed = Counter(run_id for share in shares for run_id in share)
        assert claimed == Counter(runs)

    async def test_concurrent_activity_claimers_get_disjoint_work(self, scene: Scene) -> None:
        await scene.start_with_tasks(*(scene.task(number) for number in range(1, 41)))

        async def claim_all(owner: str) -> list[int]:
            claim = replace(scene.activity_claim(owner), limit=3)
            claimed: list[int] = []
            while tasks := (await scene.repository.claim_activity_tasks(claim)).tasks:
                claimed.extend(task.activity_id for task in tasks)
            return claimed

        shares = await together(*(claim_all(f"worker {number}") for number in range(8)))
        shares.append(await claim_all("the last"))
        claimed = Counter(activity_id for share in shares for activity_id in share)
        assert claimed == Counter(range(1, 41))

    async def test_concurrent_claims_of_one_run_have_one_winner(self, scene: Scene) -> None:
        run = await scene.start()
        owners = [f"worker {number}" for number in range(8)]
        claims = [replace(scene.workflow_claim(o), run_key=run.run_key) for o in owners]
        found = await together(*(scene.repository.claim_workflow_tasks(c) for c in claims))
        assert sum(len(tasks.tasks) for tasks in found) == 1

    async def test_concurrent_senders_leave_no_gap_and_keep_their_order(self, scene: Scene) -> None:
        run = await scene.start()

        async def send_all(sender: int) -> None:
            for number in range(8):
                await scene.send(message(run, f"{sender}/{number}"))

        await together(*(send_all(sender) for sender in range(8)))
        inbox = await scene.inbox_of(run)
        assert [got.position for got in inbox] == list(range(1, 65))
        for sender in range(8):
            own = [got.message_id for got in inbox if got.message_id.startswith(f"{sender}/")]
            assert own == [f"{sender}/{number}" for number in range(8)]

    async def test_concurrent_sends_of_one_message_deliver_it_once(self, scene: Scene) -> None:
        run = await scene.start()
        outcomes = await together(*(scene.send(message(run, "once")) for _ in range(10)))
        assert outcomes == [[ACCEPTED]] * 10
        assert len(await scene.inbox_of(run)) == 1

    async def test_concurrent_starts_of_one_workflow_id_make_one_run(self, scene: Scene) -> None:
        news = [scene.new_run("same" + scene.queue) for _ in range(8)]
        found = await together(*(scene.repository.start_runs([new]) for new in news))
        outcomes = [outcome for [outcome] in found]
        assert sum(outcome.created for outcome in outcomes) == 1
        assert len({outcome.run.run_key for outcome in outcomes}) == 1

    async def test_concurrent_tries_of_one_start_make_one_run(self, scene: Scene) -> None:
        new = scene.new_run()
        found = await together(*(scene.repository.start_runs([new]) for _ in range(8)))
        assert all(outcome.created for [outcome] in found)
        assert len({outcome.run.run_key for [outcome] in found}) == 1
        assert (await scene.inbox_of(found[0][0].run)) == []

    async def test_concurrent_writes_of_one_turn_have_one_winner(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        outcomes = await together(*(scene.write(turn(task)) for _ in range(8)))
        assert sorted(outcomes, key=str) == sorted([[WRITTEN], *[[LOST]] * 7], key=str)
        assert len(await scene.repository.read_history(task.run.run_key)) == 2

    async def test_concurrent_ends_of_one_attempt_have_one_winner(self, scene: Scene) -> None:
        run = await scene.start_with_tasks(scene.task())
        end = completion(await scene.claim_activity())
        outcomes = await together(*(scene.complete(end) for _ in range(8)))
        assert outcomes.count([WRITTEN]) == 1
        assert len(await scene.inbox_of(run)) == 1

    async def test_crossing_messages_do_not_lock_each_other_out(self, scene: Scene) -> None:
        one, two = await scene.start_claimed(), await scene.start_claimed()
        for number in range(ROUNDS):
            to_two = turn(one, keeping(message(two.run, f"m{number}")))
            to_one = turn(two, keeping(message(one.run, f"m{number}")))
            outcomes = await together(scene.write(to_two), scene.write(to_one))
            assert outcomes == [[WRITTEN], [WRITTEN]]
        for task in (one, two):
            assert len(await scene.inbox_of(task.run)) == ROUNDS

    async def test_batches_in_crossing_orders_do_not_lock_each_other_out(
        self, scene: Scene
    ) -> None:
        runs = [await scene.start() for _ in range(6)]
        for number in range(ROUNDS):
            batch = [message(run, f"{number}") for run in runs]
            back = [message(run, f"{number} back") for run in reversed(runs)]
            await together(scene.send(*batch), scene.send(*back))
        for run in runs:
            assert [got.position for got in await scene.inbox_of(run)] == [
                *range(1, 2 * ROUNDS + 1)
            ]

    async def test_writes_and_sends_to_the_same_runs_do_not_lock_each_other_out(
        self, scene: Scene
    ) -> None:
        tasks = [await scene.start_claimed() for _ in range(4)]
        turns = [turn(task, keeping()) for task in tasks]
        held = Leases(runs=[run_lease(task) for task in tasks])
        for number in range(ROUNDS):
            sent = [message(task.run, f"{number}") for task in reversed(tasks)]
            writes = together(scene.write(*turns), scene.write(*reversed(turns)))
            others = both(
                scene.send(*sent), scene.repository.extend_leases(held, ALICE, NOW + LEASE)
            )
            assert (await both(writes, others))[0] == [[WRITTEN] * 4] * 2
        for task in tasks:
            assert len(await scene.inbox_of(task.run)) == ROUNDS

    # Races that must not lose a wake-up or a message

    async def test_a_message_that_races_the_giving_back_is_not_forgotten(
        self, scene: Scene
    ) -> None:
        for number in range(ROUNDS):
            task = await scene.start_claimed()
            await both(scene.write(turn(task)), scene.send(message(task.run, "m")))
            [again] = await scene.claim(f"worker {number}")
            assert [got.message_id for got in again.messages] == ["m"]

    async def test_a_message_that_races_the_release_is_not_forgotten(self, scene: Scene) -> None:
        for number in range(ROUNDS):
            task = await scene.claim_run(await scene.start_waiting())
            release = scene.repository.release_leases(held_by(task), NOW)
            await both(release, scene.send(message(task.run, "m")))
            [again] = await scene.claim(f"worker {number}")
            assert [got.message_id for got in again.messages] == ["m"]

    async def test_a_completion_that_races_the_giving_back_is_not_forgotten(
        self, scene: Scene
    ) -> None:
        for number in range(ROUNDS):
            run = await scene.start_with_tasks(scene.task())
            end = completion(await scene.claim_activity())
            await together(scene.write(turn(await scene.claim_run(run))), scene.complete(end))
            [again] = await scene.claim(f"worker {number}")
            assert len(again.messages) == 1

    async def test_a_message_that_races_the_close_is_accepted_or_refused(
        self, scene: Scene
    ) -> None:
        for _ in range(ROUNDS):
            task = await scene.start_claimed()
            written, sent = await both(
                scene.write(closing(task)), scene.send(message(task.run, "m"))
            )
            assert written == [WRITTEN]
            assert sent in ([ACCEPTED], [CLOSED])
            assert await scene.send(message(task.run, "later")) == [CLOSED]

    async def test_a_zombie_that_races_a_claim_writes_before_it_or_not_at_all(
        self, scene: Scene
    ) -> None:
        for _ in range(ROUNDS):
            zombie = await scene.start_claimed(ALICE)
            claim = replace(scene.workflow_claim(BOB, NOW + LEASE), run_key=zombie.run.run_key)
            kept = Effects(RUNNING, NOW, events=following(zombie.run), lease_expires_at=NOW + LEASE)
            outcome, found = await both(
                scene.write(turn(zombie, kept)), scene.repository.claim_workflow_tasks(claim)
            )
            [task] = found.tasks
            assert task.run.sequence == (2 if outcome == [WRITTEN] else 1)
            assert await scene.write(turn(task)) == [WRITTEN]

    async def test_what_a_start_says_to_the_run_in_its_way_is_not_lost_in_a_race(
        self, scene: Scene
    ) -> None:
        """Also when that run begins while this start is under way."""
        for _ in range(ROUNDS):
            workflow_id = new_id()

            def new_run(n: int, workflow_id: WorkflowId = workflow_id) -> NewRun:
                said = Message(workflow_id, f"request:{n}", arrival(b"said"))
                return replace(scene.new_run(workflow_id), on_conflict=[said])

            outcomes = await together(
                *(scene.repository.start_runs([new_run(n)]) for n in range(4))
            )
            assert sum(outcome.created for [outcome] in outcomes) == 1
            run = await scene.claim_run(outcomes[0][0].run)
            assert len(run.messages) == 3
