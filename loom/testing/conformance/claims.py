"""Which runs a claim takes, and which it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loom.identifiers import new_id
from loom.storage.records import Effects, RunRecord, WorkflowClaim, WorkflowTask
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.scene import (
    ALICE,
    BLOCKED,
    BOB,
    KIND,
    LEASE,
    NOW,
    RUNNING,
    SECOND,
    WRITTEN,
    Scene,
    consuming,
    following,
    held_by,
    message,
    turn,
)


async def take(scene: Scene, claim: WorkflowClaim) -> list[WorkflowTask]:
    return list((await scene.repository.claim_workflow_tasks(claim)).tasks)


def run_ids(tasks: Sequence[WorkflowTask]) -> list[str]:
    return [task.run.run_id for task in tasks]


async def blocked(scene: Scene, *, at: int = NOW, wake_at: int | None = None) -> RunRecord:
    """A run that was left BLOCKED, unleased, with a message it has not taken."""
    run = await scene.start()
    await scene.send(message(run, "not understood"))
    effects = Effects(BLOCKED, at, wake_at=wake_at, blocked_reason="other code")
    assert await scene.write(turn(await scene.claim_run(run), effects)) == [WRITTEN]
    return await scene.look(run)


class ClaimsConformance(Conformance):
    """Claims of runs: by what they match, when it is due, and who holds it."""

    # What matches

    async def test_a_claim_leases_what_it_takes(self, scene: Scene) -> None:
        run = await scene.start()
        [task] = await scene.claim(ALICE)
        until = NOW + LEASE
        leased = replace(run, lease_owner=ALICE, lease_expires_at=until, due_at=until)
        assert task.run == leased == await scene.look(run)
        assert task.token > 0

    async def test_the_oldest_due_is_taken_first(self, scene: Scene) -> None:
        ages = [3, 1, 5, 2, 4]
        runs = {age: await scene.start(due_at=NOW - age * SECOND) for age in ages}
        taken = await scene.claim()
        assert run_ids(taken) == [runs[age].run_id for age in (5, 4, 3, 2, 1)]

    async def test_a_claim_takes_no_more_than_its_limit(self, scene: Scene) -> None:
        runs = [await scene.start(due_at=NOW - 9 + number) for number in range(5)]
        claim = replace(scene.workflow_claim(), limit=2)
        taken = [run_ids(await take(scene, claim)) for _ in range(4)]
        ids = [run.run_id for run in runs]
        assert taken == [ids[:2], ids[2:4], ids[4:], []]

    async def test_a_claim_keeps_to_its_queue(self, scene: Scene) -> None:
        await scene.start()
        assert await Scene(scene.repository).claim() == []
        assert len(await scene.claim()) == 1

    async def test_a_claim_keeps_to_its_names_and_versions(self, scene: Scene) -> None:
        kinds = [("order", "1"), ("order", "2"), ("refund", "1"), ("refund", "2")]
        runs = {kind: await scene.start(kind=kind) for kind in kinds}
        claim = replace(scene.workflow_claim(), definitions=[("order", "2"), ("refund", "1")])
        wanted = {runs["order", "2"].run_id, runs["refund", "1"].run_id}
        assert set(run_ids(await take(scene, claim))) == wanted

    async def test_a_claim_without_definitions_takes_nothing(self, scene: Scene) -> None:
        await scene.start()
        assert await take(scene, replace(scene.workflow_claim(), definitions=[])) == []

    async def test_a_claim_may_have_many_definitions(self, scene: Scene) -> None:
        run = await scene.start()
        many = [(f"workflow {number}", "1") for number in range(500)]
        claim = replace(scene.workflow_claim(), definitions=[*many, KIND])
        assert run_ids(await take(scene, claim)) == [run.run_id]

    async def test_closed_runs_are_not_taken(self, scene: Scene) -> None:
        await scene.start_closed()
        assert await scene.claim(BOB, NOW + 10 * LEASE) == []

    # When it is due

    async def test_a_timer_makes_a_run_due_at_its_moment(self, scene: Scene) -> None:
        run = await scene.start_waiting(wake_at=NOW + SECOND)
        assert await scene.claim(BOB, NOW + SECOND - 1) == []
        assert run_ids(await scene.claim(BOB, NOW + SECOND)) == [run.run_id]

    async def test_a_run_without_a_timer_waits_for_a_message(self, scene: Scene) -> None:
        await scene.start_waiting(wake_at=None)
        assert await scene.claim(BOB, 9 * NOW) == []

    async def test_a_claim_brings_the_run_as_it_was_last_written(self, scene: Scene) -> None:
        task = await scene.start_claimed(ALICE)
        effects = Effects(RUNNING, NOW, events=following(task.run, 3), wake_at=NOW)
        await scene.write(turn(task, effects))
        [again] = await scene.claim(BOB)
        assert again.run.sequence == 4
        history = await scene.repository.read_history(again.run.run_key)
        assert history[-1].sequence == again.run.sequence

    # Who holds it

    async def test_a_leased_run_is_left_until_its_lease_runs_out(self, scene: Scene) -> None:
        run = await scene.start()
        await scene.claim(ALICE)
        assert await scene.claim(BOB, NOW + LEASE - 1) == []
        assert run_ids(await scene.claim(BOB, NOW + LEASE)) == [run.run_id]

    async def test_the_token_grows_with_every_change_of_hands(self, scene: Scene) -> None:
        await scene.start()
        tokens = []
        for number, owner in enumerate([ALICE, BOB, ALICE, BOB]):
            [task] = await scene.claim(owner, NOW + number * LEASE)
            tokens.append(task.token)
        assert tokens == sorted(set(tokens))

    async def test_the_token_grows_though_the_run_was_given_back(self, scene: Scene) -> None:
        tokens = []
        run = await scene.start()
        for _ in range(3):
            task = await scene.claim_run(run, ALICE)
            await scene.write(turn(task))
            tokens.append(task.token)
        assert tokens == sorted(set(tokens))

    async def test_an_owner_is_not_given_its_own_run_without_messages(self, scene: Scene) -> None:
        task = await scene.start_claimed(ALICE)
        effects = Effects(RUNNING, NOW, lease_expires_at=NOW + LEASE, wake_at=NOW)
        await scene.write(turn(task, effects))
        assert await scene.claim(ALICE) == []

    async def test_an_owner_is_given_its_messages_as_they_come(self, scene: Scene) -> None:
        task = await scene.start_claimed(ALICE)
        for count in (1, 2, 3):
            await scene.send(message(task.run, f"m{count}"))
            [again] = await scene.claim(ALICE, NOW + count)
            assert (again.token, len(again.messages)) == (task.token, count)
            assert again.run.lease_expires_at == NOW + count + LEASE
        # It is at work on them, and would be given them over and over.
        assert await scene.claim(ALICE, NOW + 4) == []

    async def test_an_owner_that_leaves_its_messages_is_given_them_again(
        self, scene: Scene
    ) -> None:
        """Perhaps it never heard of them, and extends its lease for another reason."""
        task = await scene.start_claimed(ALICE)
        await scene.send(message(task.run, "m"))
        await scene.claim(ALICE)
        held = held_by(task)
        await scene.repository.extend_leases(held, ALICE, NOW + 9 * LEASE)
        [again] = await scene.claim(ALICE, NOW + LEASE)
        assert [got.message_id for got in again.messages] == ["m"]

    async def test_an_owner_that_consumes_its_messages_is_not_given_them_again(
        self, scene: Scene
    ) -> None:
        task = await scene.start_claimed(ALICE)
        await scene.send(message(task.run, "m"))
        [again] = await scene.claim(ALICE)
        kept = replace(consuming(again).effects, lease_expires_at=NOW + 9 * LEASE)
        assert await scene.write(replace(consuming(again), effects=kept)) == [WRITTEN]
        assert await scene.claim(ALICE, NOW + 9 * LEASE - 1) == []

    async def test_an_owner_that_extends_its_lease_is_still_given_its_messages(
        self, scene: Scene
    ) -> None:
        task = await scene.start_claimed(ALICE)
        await scene.send(message(task.run, "m"))
        held = held_by(task)
        await scene.repository.extend_leases(held, ALICE, NOW + 2 * LEASE)
        assert run_ids(await scene.claim(ALICE)) == [task.run.run_id]

    async def test_an_owner_that_keeps_the_run_is_given_what_came_meanwhile(
        self, scene: Scene
    ) -> None:
        task = await scene.start_claimed(ALICE)
        await scene.send(message(task.run, "late"))
        effects = Effects(RUNNING, NOW, events=following(task.run), lease_expires_at=NOW + LEASE)
        await scene.write(turn(task, effects))
        [again] = await scene.claim(ALICE)
        assert [got.message_id for got in again.messages] == ["late"]

    async def test_an_owner_can_take_up_its_own_run_that_ran_out(self, scene: Scene) -> None:
        task = await scene.start_claimed(ALICE)
        [again] = await scene.claim(ALICE, NOW + LEASE)
        assert again.token >= task.token
        assert await scene.claim(BOB, NOW + LEASE) == []
        assert await scene.write(turn(again)) == [WRITTEN]

    # Blocked runs

    async def test_a_blocked_run_is_due_at_its_wake_up_alone(self, scene: Scene) -> None:
        run = await blocked(scene, wake_at=NOW + SECOND)
        await scene.send(message(run, "another"))
        assert await scene.claim(BOB, NOW + SECOND - 1) == []
        [task] = await scene.claim(BOB, NOW + SECOND)
        assert task.run.status is BLOCKED
        assert [got.message_id for got in task.messages] == ["not understood", "another"]

    async def test_a_blocked_run_without_a_wake_up_waits(self, scene: Scene) -> None:
        run = await blocked(scene)
        await scene.send(message(run, "another"))
        assert await scene.claim(BOB, 9 * NOW) == []

    async def test_new_code_takes_the_runs_that_were_blocked_before_it(self, scene: Scene) -> None:
        old, _ = await blocked(scene, at=NOW), await blocked(scene, at=NOW + SECOND)
        claim = replace(scene.workflow_claim(BOB), blocked_before=NOW + SECOND)
        assert run_ids(await take(scene, claim)) == [old.run_id]
        assert await take(scene, replace(claim, owner=ALICE)) == []

    async def test_running_runs_are_no_more_due_for_new_code(self, scene: Scene) -> None:
        await scene.start_waiting()
        claim = replace(scene.workflow_claim(BOB), blocked_before=9 * NOW)
        assert await take(scene, claim) == []

    async def test_a_run_that_got_past_its_block_heeds_messages_again(self, scene: Scene) -> None:
        run = await blocked(scene)
        await scene.write(consuming(await scene.claim_run(run)))
        await scene.send(message(run, "another"))
        assert run_ids(await scene.claim(BOB)) == [run.run_id]

    # One run alone

    async def test_one_run_can_be_claimed_though_nothing_is_due(self, scene: Scene) -> None:
        run = await scene.start_waiting()
        await scene.start()
        claim = replace(
            scene.workflow_claim(BOB), run_key=run.run_key, queue=new_id(), definitions=[]
        )
        assert run_ids(await take(scene, claim)) == [run.run_id]

    async def test_one_blocked_run_can_be_claimed(self, scene: Scene) -> None:
        run = await blocked(scene)
        assert (await scene.claim_run(run, BOB)).run.status is BLOCKED

    async def test_one_run_is_claimed_with_its_messages_and_a_new_token(self, scene: Scene) -> None:
        before = await scene.start_claimed()
        await scene.write(turn(before))
        await scene.send(message(before.run, "a"), message(before.run, "b"))
        task = await scene.claim_run(before.run, BOB)
        assert task.token > before.token
        assert [got.message_id for got in task.messages] == ["a", "b"]

    async def test_one_run_cannot_be_claimed_from_its_holder(self, scene: Scene) -> None:
        held = await scene.start_claimed(ALICE)
        claim = replace(scene.workflow_claim(BOB), run_key=held.run.run_key)
        assert await take(scene, claim) == []
        assert (await scene.claim_run(held.run, ALICE)).token == held.token
        assert (await scene.claim_run(held.run, BOB, NOW + LEASE)).token > held.token

    async def test_one_closed_or_unknown_run_is_not_claimed(self, scene: Scene) -> None:
        closed = await scene.start_closed()
        await scene.repository.delete_runs([(gone := await scene.start_closed()).run_key])
        for run in (closed, gone):
            claim = replace(scene.workflow_claim(BOB), run_key=run.run_key)
            assert await take(scene, claim) == []

    # When to look again

    async def test_a_claim_tells_no_later_time_than_the_next_timer(self, scene: Scene) -> None:
        await scene.start_waiting(wake_at=NOW + 9 * LEASE)
        await scene.start_waiting(wake_at=NOW + 3 * LEASE)
        found = await scene.repository.claim_workflow_tasks(scene.workflow_claim())
        assert found.next_due_at is None or NOW < found.next_due_at <= NOW + 3 * LEASE

    async def test_a_claim_tells_no_later_time_than_the_end_of_a_lease(self, scene: Scene) -> None:
        await scene.start_waiting(wake_at=NOW + 9 * LEASE)
        await scene.start_claimed(ALICE)
        found = await scene.repository.claim_workflow_tasks(scene.workflow_claim(BOB))
        assert found.next_due_at is None or NOW < found.next_due_at <= NOW + LEASE
