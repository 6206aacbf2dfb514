"""Answers to messages: written with the turn that gives them, and kept with the run."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loom.storage.records import Effects
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.chains import continue_run
from loom.testing.conformance.scene import (
    ACCEPTED,
    BOB,
    COMPLETED,
    LEASE,
    LOST,
    NOW,
    RUNNING,
    WRITTEN,
    Scene,
    answer,
    closing,
    event,
    message,
    turn,
)


class AnswersConformance(Conformance):
    """What senders are told of their messages."""

    async def test_an_answer_is_found_once_its_turn_is_written(self, scene: Scene) -> None:
        task, other = await scene.start_claimed(), await scene.start_claimed()
        find = scene.repository.find_answer
        assert await find(task.run.run_id, "m") is None
        effects = Effects(RUNNING, NOW, answers=[answer("m"), answer("n", None)])
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        assert await find(task.run.run_id, "m") == answer("m")
        assert await find(task.run.run_id, "n") == answer("n", None)
        assert await find(task.run.run_id, "o") is None
        assert await find(other.run.run_id, "m") is None

    async def test_the_answer_of_a_lost_turn_is_lost_with_it(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        stale = replace(turn(task, Effects(RUNNING, NOW, answers=[answer("m")])), token=77)
        assert await scene.write(stale) == [LOST]
        assert await scene.repository.find_answer(task.run.run_id, "m") is None

    @pytest.mark.parametrize("payload", [None, b"", bytes(range(256))])
    async def test_an_answer_comes_back_as_it_was_given(
        self, scene: Scene, payload: bytes | None
    ) -> None:
        task = await scene.start_claimed()
        given = answer("m", payload)
        await scene.write(turn(task, Effects(RUNNING, NOW, answers=[given])))
        assert await scene.repository.find_answer(task.run.run_id, "m") == given

    async def test_a_message_that_was_answered_is_not_delivered_again(self, scene: Scene) -> None:
        """Also when history does not know of it."""
        run = await scene.start()
        await scene.send(message(run, "answered"))
        task = await scene.claim_run(run)
        effects = Effects(RUNNING, NOW, answers=[answer("answered")])
        assert await scene.write(turn(task, effects, consumed_through=1)) == [WRITTEN]
        assert await scene.send(message(run, "answered")) == [ACCEPTED]
        assert await scene.claim(BOB) == []
        assert await scene.inbox_of(run) == []

    async def test_the_first_answer_to_a_message_is_kept(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        given = [answer("m", b"first"), answer("m", b"second")]
        answering = turn(task, Effects(RUNNING, NOW, answers=given))
        assert await scene.write(answering) == [WRITTEN]
        again = Effects(RUNNING, NOW, events=[event(2)], answers=[answer("m", b"third")])
        assert await scene.write(turn(await scene.claim_run(task.run), again)) == [WRITTEN]
        assert await scene.repository.find_answer(task.run.run_id, "m") == answer("m", b"first")

    async def test_a_turn_that_only_answers_may_be_written_again(self, scene: Scene) -> None:
        """Its sequence does not fence it."""
        run = await scene.start()
        await scene.send(message(run, "m"))
        effects = Effects(RUNNING, NOW, answers=[answer("m")], lease_expires_at=NOW + LEASE)
        answering = turn(await scene.claim_run(run), effects, consumed_through=1)
        for _ in range(2):
            assert await scene.write(answering) == [WRITTEN]
        assert await scene.repository.find_answer(run.run_id, "m") == answer("m")
        assert await scene.inbox_of(run) == []

    async def test_answers_outlive_the_end_of_their_run(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        effects = Effects(COMPLETED, NOW, events=[event(2)], answers=[answer("last")])
        assert await scene.write(turn(task, effects)) == [WRITTEN]
        assert await scene.repository.find_answer(task.run.run_id, "last") == answer("last")

    async def test_a_run_may_be_born_with_answers(self, scene: Scene) -> None:
        effects = Effects(RUNNING, NOW, events=[event(1)], answers=[answer("first")], wake_at=NOW)
        [started] = await scene.repository.start_runs([scene.new_run(effects=effects)])
        run_id = started.run.run_id
        assert await scene.repository.find_answer(run_id, "first") == answer("first")

    async def test_answers_are_deleted_with_their_run(self, scene: Scene) -> None:
        task = await scene.start_claimed()
        await scene.write(turn(task, Effects(RUNNING, NOW, answers=[answer("m")])))
        await scene.write(closing(await scene.claim_run(task.run)))
        assert await scene.repository.delete_runs([task.run.run_key]) == 1
        assert await scene.repository.find_answer(task.run.run_id, "m") is None

    async def test_an_answer_of_one_run_of_a_chain_is_that_of_the_chain(self, scene: Scene) -> None:
        first = await scene.start()
        await scene.send(message(first, "early"), message(first, "late"))
        task = await scene.claim_run(first)
        effects = Effects(RUNNING, NOW, events=[event(2)], answers=[answer("early")])
        assert await scene.write(turn(task, effects, consumed_through=1)) == [WRITTEN]
        second = await continue_run(scene, await scene.look(first))
        task = await scene.claim_run(second)
        effects = Effects(RUNNING, NOW, answers=[answer("late")])
        assert await scene.write(turn(task, effects, consumed_through=2)) == [WRITTEN]
        for message_id in ("early", "late"):
            assert await scene.send(message(first, message_id)) == [ACCEPTED]
            found = await scene.repository.find_answer(first.run_id, message_id)
            assert found == answer(message_id)
            assert await scene.repository.find_answer(second.run_id, message_id) is None
        assert await scene.inbox_of(second) == []
