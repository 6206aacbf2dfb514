"""Stores that list, count or label runs wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from loom.identifiers import RunKey
from loom.storage.memory_state import StoredRun
from loom.storage.records import (
    InboxRecord,
    Labels,
    NewRun,
    RunFilter,
    RunRecord,
    StartOutcome,
    Transition,
    WriteOutcome,
)
from tests.conformance.broken_stores import Broken


class AnyTagWillDo(Broken):
    caught_by = "test_runs_are_found_by_all_the_tags_that_are_asked_for"

    async def list_runs(self, where: RunFilter) -> Sequence[RunRecord]:
        if not where.tags:
            return await super().list_runs(where)
        lists = [
            await super(AnyTagWillDo, self).list_runs(replace(where, tags={name: value}))
            for name, value in where.tags.items()
        ]
        return list({run.run_key: run for runs in lists for run in runs}.values())

    async def count_runs(self, where: RunFilter) -> int:
        return len(await self.list_runs(where))


class TagsAreOnlySetAtStart(Broken):
    caught_by = "test_a_turn_sets_and_takes_away_tags"

    def _write(self, transition: Transition) -> WriteOutcome:
        return super()._write(replace(transition, effects=replace(transition.effects, tags={})))


class RemovedTagsStay(Broken):
    caught_by = "test_a_turn_sets_and_takes_away_tags"

    def _write(self, transition: Transition) -> WriteOutcome:
        tags = {name: value or "" for name, value in transition.effects.tags.items()}
        return super()._write(replace(transition, effects=replace(transition.effects, tags=tags)))


class TagsAreWrittenBeforeTheFence(Broken):
    caught_by = "test_a_lost_turn_changes_no_tags"

    def _write(self, transition: Transition) -> WriteOutcome:
        run = self._runs[transition.run_key]
        tags = {k: v for k, v in transition.effects.tags.items() if v is not None}
        run.labels = replace(run.labels, tags={**run.labels.tags, **tags})
        return super()._write(transition)


class RepeatedStartsLabelAgain(Broken):
    caught_by = "test_a_start_tried_again_leaves_the_labels_as_they_are"

    def _start(self, new: NewRun) -> StartOutcome:
        outcome = super()._start(new)
        tags = {k: v for k, v in new.effects.tags.items() if v is not None}
        self._runs[outcome.run.run_key].labels = Labels(tags, new.memo)
        return outcome


class RefusedStartsLabelTheOpenRun(Broken):
    caught_by = "test_a_refused_start_tags_nothing"

    def _start(self, new: NewRun) -> StartOutcome:
        outcome = super()._start(new)
        tags = {k: v for k, v in new.effects.tags.items() if v is not None}
        self._runs[outcome.run.run_key].labels = Labels(tags, new.memo)
        return outcome


class ClosedRunsLoseTheirLabels(Broken):
    caught_by = "test_a_closed_run_keeps_its_labels"

    def _write(self, transition: Transition) -> WriteOutcome:
        outcome = super()._write(transition)
        run = self._runs[transition.run_key]
        if not run.is_open:
            run.labels = Labels()
        return outcome


class LabelsComeAsTheyWereWritten(Broken):
    caught_by = "test_labels_come_in_the_order_of_the_keys"

    async def read_labels(self, run_keys: Sequence[RunKey]) -> Sequence[Labels]:
        return await super().read_labels(sorted(run_keys))


class QueuesAreMatchedByTheirBeginning(Broken):
    caught_by = "test_runs_are_found_by_queue"

    async def list_runs(self, where: RunFilter) -> Sequence[RunRecord]:
        runs = await super().list_runs(replace(where, queue=None))
        return [run for run in runs if run.queue.startswith(where.queue or "")]


class WhoLooksTakesTheMessages(Broken):
    caught_by = "test_what_waits_for_a_run_is_listed_and_stays"

    async def list_messages(self, run_key: RunKey) -> Sequence[InboxRecord]:
        listed = await super().list_messages(run_key)
        if run := self._runs.get(run_key):
            run.inbox.clear()
        return listed


class PrefixesAreMatchedWithLike(Broken):
    caught_by = "test_runs_are_found_by_how_their_ids_begin"
    arguments = {"prefix": "Z"}

    async def list_runs(self, where: RunFilter) -> Sequence[RunRecord]:
        prefix = (where.workflow_id_prefix or "").lower()
        runs = await super().list_runs(replace(where, workflow_id_prefix=None))
        return [run for run in runs if run.workflow_id.lower().startswith(prefix)]


class BoundsAreTakenIn(Broken):
    caught_by = "test_runs_are_found_by_when_they_were_created_and_closed"
    arguments = {"bounds": {"created_before": 2}, "wanted": {0, 1}}

    async def list_runs(self, where: RunFilter) -> Sequence[RunRecord]:
        end = where.created_before
        return await super().list_runs(
            replace(where, created_before=None if end is None else end + 1)
        )


class OpenRunsCloseInTheEnd(Broken):
    caught_by = "test_an_open_run_was_closed_at_no_time"

    async def list_runs(self, where: RunFilter) -> Sequence[RunRecord]:
        runs = await super().list_runs(replace(where, closed_before=None))
        end = where.closed_before
        return [run for run in runs if end is None or (run.closed_at or 0) < end]


class PagesAreCountedOff(Broken):
    """By how many were shown, as OFFSET does, instead of by the last that was."""

    caught_by = "test_a_filtered_list_is_read_in_pages_while_runs_come"
    _shown = 0

    async def list_runs(self, where: RunFilter) -> Sequence[RunRecord]:
        skipped = self._shown if where.before is not None else 0
        more = replace(where, before=None, limit=skipped + where.limit)
        page = (await super().list_runs(more))[skipped:]
        self._shown = skipped + len(page)
        return page


class CountsAreOfOnePage(Broken):
    caught_by = "test_a_count_knows_no_pages"

    async def count_runs(self, where: RunFilter) -> int:
        return len(await super().list_runs(where))


class DeletedRunsLeaveTheirLabels(Broken):
    caught_by = "test_a_deleted_run_leaves_no_labels"

    def __init__(self) -> None:
        super().__init__()
        self._deleted: dict[RunKey, StoredRun] = {}

    async def delete_runs(self, run_keys: Sequence[RunKey]) -> int:
        self._deleted |= {key: run for key in run_keys if (run := self._runs.get(key))}
        return await super().delete_runs(run_keys)

    async def read_labels(self, run_keys: Sequence[RunKey]) -> Sequence[Labels]:
        labels = await super().read_labels(run_keys)
        return [
            self._deleted[key].labels if key in self._deleted else one
            for key, one in zip(run_keys, labels, strict=True)
        ]
