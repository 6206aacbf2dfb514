"""Stores that let the wrong runs start."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from loom.history.status import RunStatus
from loom.identifiers import MessageId
from loom.storage.memory_state import StoredRun
from loom.storage.records import NewRun, StartOutcome
from tests.conformance.broken_stores import Broken

COMPLETED = RunStatus.COMPLETED


class NothingIsRefused(Broken):
    caught_by = "test_a_start_is_refused_after_the_ends_that_it_names"
    arguments = {"ended": COMPLETED}

    def _start(self, new: NewRun) -> StartOutcome:
        return super()._start(replace(new, refused_after=()))


class WhatWasHeardStartsAnother(Broken):
    caught_by = "test_a_start_is_not_repeated_whose_message_the_newest_run_has_taken"

    def _start(self, new: NewRun) -> StartOutcome:
        return super()._start(replace(new, unless_heard=None))


class PredecessorsHaveHeardNothing(Broken):
    caught_by = "test_a_start_is_not_repeated_whose_message_any_run_of_the_chain_has_taken"

    def _has_heard(self, run: StoredRun, message_id: MessageId | None) -> bool:
        return message_id is not None and run.has_taken(message_id)


class AnyOldRunRefuses(Broken):
    caught_by = "test_only_the_newest_run_can_refuse_a_start"

    def _start(self, new: NewRun) -> StartOutcome:
        for run in self._runs.values():
            is_namesake = run.record.workflow_id == new.workflow_id
            if is_namesake and run.record.status in new.refused_after:
                return StartOutcome(run.shown, created=False)
        return super()._start(new)


class AnEndIsInTheWayOfTheOpenRun(Broken):
    caught_by = "test_an_open_run_is_in_the_way_before_any_that_has_ended"

    def _start(self, new: NewRun) -> StartOutcome:
        for run in self._runs.values():
            if run.record.workflow_id == new.workflow_id and not run.is_open:
                return StartOutcome(run.shown, created=False)
        return super()._start(new)


class RefusedStartsReachOut(Broken):
    caught_by = "test_a_start_refused_after_an_end_leaves_nothing_behind"

    def _start(self, new: NewRun) -> StartOutcome:
        outcome = super()._start(new)
        if not outcome.created:
            self._send_all(new.on_conflict, new.effects.recorded_at)
        return outcome


class RefusalsAreDecidedBeforehand(Broken):
    caught_by = "test_of_many_starts_at_once_one_is_let_through"
    arguments = {"status": COMPLETED}

    async def start_runs(self, runs: Sequence[NewRun]) -> Sequence[StartOutcome]:
        newest = {new.run_id: await self.find_run(new.workflow_id) for new in runs}
        await asyncio.sleep(0)
        decided = [
            new
            for new in runs
            if (other := newest[new.run_id]) is None or other.status not in new.refused_after
        ]
        return await super().start_runs([replace(new, refused_after=()) for new in decided])


class RepetitionsAreNotTold(Broken):
    caught_by = "test_a_start_that_was_there_already_is_told_from_the_first"

    def _start(self, new: NewRun) -> StartOutcome:
        return replace(super()._start(new), repeated=False)


class ABatchIsFirstAsAWhole(Broken):
    caught_by = "test_of_equal_starts_in_one_batch_one_is_the_first"

    async def start_runs(self, runs: Sequence[NewRun]) -> Sequence[StartOutcome]:
        outcomes = {new.run_id: outcome for new, outcome in await self._pairs(runs)}
        return [outcomes[new.run_id] for new in runs]

    async def _pairs(self, runs: Sequence[NewRun]) -> list[tuple[NewRun, StartOutcome]]:
        once = list({new.run_id: new for new in runs}.values())
        return list(zip(once, await super().start_runs(once), strict=True))
