"""Finding runs again: filters, counts, tags and memos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from loom.identifiers import new_id
from loom.storage.records import Effects, Labels, RunFilter, RunRecord
from loom.testing.conformance.base import Conformance
from loom.testing.conformance.scene import (
    ALICE,
    COMPLETED,
    NOW,
    RUNNING,
    SECOND,
    WRITTEN,
    Scene,
    closing,
    event,
    following,
    message,
    turn,
)

LAST_CHARACTER = "\U0010ffff"


async def start_tagged(
    scene: Scene, name: str, tags: Mapping[str, str], *, memo: bytes | None = None
) -> RunRecord:
    """A new run of the workflow ``name`` that carries these."""
    effects = Effects(RUNNING, NOW, events=[event(1)], wake_at=NOW, tags=tags)
    new = replace(scene.new_run(effects=effects, kind=(name, "1")), memo=memo)
    [outcome] = await scene.repository.start_runs([new])
    assert outcome.created
    return outcome.run


async def start_at(scene: Scene, name: str, seconds: int) -> RunRecord:
    """A run that was created, and has closed, so many seconds after now."""
    at = NOW + seconds * SECOND
    effects = Effects(COMPLETED, at, events=[event(1)])
    new = scene.new_run(effects=effects, owner=ALICE, kind=(name, "1"))
    [outcome] = await scene.repository.start_runs([new])
    return outcome.run


async def retag(scene: Scene, run: RunRecord, tags: Mapping[str, str | None]) -> None:
    """A turn that changes the tags of a run."""
    task = await scene.claim_run(run)
    effects = Effects(RUNNING, NOW, events=following(task.run), tags=tags)
    assert await scene.write(turn(task, effects)) == [WRITTEN]


async def labels_of(scene: Scene, run: RunRecord) -> Labels:
    [labels] = await scene.repository.read_labels([run.run_key])
    return Labels(dict(labels.tags), labels.memo)


async def found(scene: Scene, where: RunFilter) -> list[str]:
    """The workflow ids of what is listed, which must also be what is counted."""
    runs = await scene.repository.list_runs(where)
    assert await scene.repository.count_runs(where) == len(runs)
    return [run.workflow_id for run in runs]


class ListsConformance(Conformance):
    """What is listed and counted, and what runs carry for it."""

    # Tags and memos

    async def test_a_run_carries_its_tags_and_its_memo(self, scene: Scene) -> None:
        tags = {"customer": "Ærø/☃/𝄞", "empty": ""}
        run = await start_tagged(scene, new_id(), tags, memo=b"\x00\xff memo")
        assert await labels_of(scene, run) == Labels(tags, b"\x00\xff memo")

    async def test_a_run_without_tags_and_memo_carries_none(self, scene: Scene) -> None:
        run = await scene.start()
        assert await labels_of(scene, run) == Labels()

    async def test_labels_come_in_the_order_of_the_keys(self, scene: Scene) -> None:
        name = new_id()
        runs = [await start_tagged(scene, name, {"n": str(n)}) for n in range(3)]
        keys = [runs[2].run_key, runs[0].run_key, 0, runs[1].run_key]
        labels = await scene.repository.read_labels(keys)
        assert [one.tags.get("n") for one in labels] == ["2", "0", None, "1"]
        assert list(await scene.repository.read_labels([])) == []

    async def test_a_turn_sets_and_takes_away_tags(self, scene: Scene) -> None:
        run = await start_tagged(scene, new_id(), {"stage": "new", "by": "Ada"}, memo=b"memo")
        await retag(scene, run, {"stage": "paid", "by": None, "total": "5", "absent": None})
        assert await labels_of(scene, run) == Labels({"stage": "paid", "total": "5"}, b"memo")
        await retag(scene, run, {})
        assert await labels_of(scene, run) == Labels({"stage": "paid", "total": "5"}, b"memo")

    async def test_a_closed_run_keeps_its_labels(self, scene: Scene) -> None:
        run = await start_tagged(scene, new_id(), {"stage": "new"}, memo=b"memo")
        task = await scene.claim_run(run)
        ended = closing(task)
        ended = replace(ended, effects=replace(ended.effects, tags={"stage": "done"}))
        assert await scene.write(ended) == [WRITTEN]
        assert await labels_of(scene, run) == Labels({"stage": "done"}, b"memo")

    async def test_a_lost_turn_changes_no_tags(self, scene: Scene) -> None:
        run = await start_tagged(scene, new_id(), {"stage": "new"})
        task = await scene.claim_run(run)
        effects = Effects(RUNNING, NOW, events=following(run), tags={"stage": "late"})
        await scene.write(replace(turn(task, effects), token=task.token + 1))
        assert await labels_of(scene, run) == Labels({"stage": "new"})

    async def test_a_refused_start_tags_nothing(self, scene: Scene) -> None:
        run = await start_tagged(scene, new_id(), {"stage": "new"})
        effects = Effects(RUNNING, NOW, events=[event(1)], tags={"stage": "refused"})
        refused = replace(scene.new_run(run.workflow_id, effects), memo=b"refused")
        await scene.repository.start_runs([refused])
        assert await labels_of(scene, run) == Labels({"stage": "new"})

    async def test_a_start_tried_again_leaves_the_labels_as_they_are(self, scene: Scene) -> None:
        effects = Effects(RUNNING, NOW, events=[event(1)], wake_at=NOW, tags={"stage": "new"})
        new = replace(scene.new_run(effects=effects), memo=b"memo")
        [outcome] = await scene.repository.start_runs([new])
        await retag(scene, outcome.run, {"stage": "paid"})
        await scene.repository.start_runs([new])
        assert await labels_of(scene, outcome.run) == Labels({"stage": "paid"}, b"memo")

    async def test_a_deleted_run_leaves_no_labels(self, scene: Scene) -> None:
        run = await start_tagged(scene, name := new_id(), {"stage": "new"}, memo=b"memo")
        await scene.write(closing(await scene.claim_run(run)))
        await scene.repository.delete_runs([run.run_key])
        assert await labels_of(scene, run) == Labels()
        assert await found(scene, RunFilter(name=name, tags={"stage": "new"})) == []

    # Filters

    async def test_runs_are_found_by_all_the_tags_that_are_asked_for(self, scene: Scene) -> None:
        name = new_id()
        one = await start_tagged(scene, name, {"stage": "new", "by": "Ada"})
        two = await start_tagged(scene, name, {"stage": "new", "by": "Bob"})
        await start_tagged(scene, name, {"stage": "old", "by": "new"})
        await scene.start(kind=(name, "1"))
        where = RunFilter(name=name, tags={"stage": "new"})
        assert await found(scene, where) == [two.workflow_id, one.workflow_id]
        assert await found(scene, replace(where, tags={"stage": "new", "by": "Ada"})) == [
            one.workflow_id
        ]
        assert await found(scene, replace(where, tags={"stage": "ne"})) == []
        assert await found(scene, replace(where, tags={"stage": "new", "absent": "x"})) == []

    async def test_runs_are_found_by_the_tags_that_they_have_now(self, scene: Scene) -> None:
        run = await start_tagged(scene, name := new_id(), {"stage": "new"})
        await retag(scene, run, {"stage": "paid"})
        assert await found(scene, RunFilter(name=name, tags={"stage": "new"})) == []
        assert await found(scene, RunFilter(name=name, tags={"stage": "paid"})) == [run.workflow_id]

    async def test_runs_are_found_by_version(self, scene: Scene) -> None:
        name = new_id()
        one, two = [await scene.start(kind=(name, version)) for version in ("1", "1.0")]
        assert await found(scene, RunFilter(name=name, version="1")) == [one.workflow_id]
        assert await found(scene, RunFilter(name=name, version="1.0")) == [two.workflow_id]
        assert await found(scene, RunFilter(name=name, version="2")) == []

    async def test_runs_are_found_by_queue(self, scene: Scene) -> None:
        one = await scene.start(kind=(name := new_id(), "1"))
        new = replace(scene.new_run(kind=(name, "1")), queue=f"{scene.queue}/2")
        [two] = await scene.repository.start_runs([new])
        for run in (one, two.run):
            assert await found(scene, RunFilter(name=name, queue=run.queue)) == [run.workflow_id]
        assert await found(scene, RunFilter(name=name, queue=new_id())) == []

    @pytest.mark.parametrize(
        "prefix",
        ["order-", "order_%", "\N{SNOWMAN}", "Z", "\ud7ff", LAST_CHARACTER],
        ids=["text", "wildcards", "unicode", "capital", "before surrogates", "last"],
    )
    async def test_runs_are_found_by_how_their_ids_begin(self, scene: Scene, prefix: str) -> None:
        prefix = f"{new_id()}{prefix}"
        inside = [prefix, f"{prefix}1", f"{prefix}{LAST_CHARACTER}", f"{prefix}a"]
        outside = [prefix[:-1], f"{prefix[:-1]}a", prefix[:-1] + prefix[-1].swapcase() + "~"]
        for workflow_id in {*inside, *outside}:
            await scene.start(workflow_id)
        ids = await found(scene, RunFilter(workflow_id_prefix=prefix))
        wanted = {one for one in (*inside, *outside) if one.startswith(prefix)}
        assert set(ids) == wanted
        assert await found(scene, RunFilter(workflow_id_prefix=prefix, name=new_id())) == []

    @pytest.mark.parametrize(
        ("bounds", "wanted"),
        [
            ({"created_from": 1}, {1, 2, 3}),
            ({"created_before": 2}, {0, 1}),
            ({"created_from": 1, "created_before": 3}, {1, 2}),
            ({"created_from": 2, "created_before": 2}, set()),
            ({"closed_from": 2}, {2, 3}),
            ({"closed_before": 1}, {0}),
            ({"closed_from": 1, "closed_before": 3, "created_from": 2}, {2}),
        ],
    )
    async def test_runs_are_found_by_when_they_were_created_and_closed(
        self, scene: Scene, bounds: dict[str, int], wanted: set[int]
    ) -> None:
        """From a moment on, and before a moment."""
        name = new_id()
        runs = [await start_at(scene, name, seconds) for seconds in range(4)]
        moments: dict[str, Any] = {key: NOW + n * SECOND for key, n in bounds.items()}
        ids = await found(scene, RunFilter(name=name, **moments))
        assert set(ids) == {runs[n].workflow_id for n in wanted}

    async def test_an_open_run_was_closed_at_no_time(self, scene: Scene) -> None:
        run = await scene.start(kind=(name := new_id(), "1"))
        assert await found(scene, RunFilter(name=name)) == [run.workflow_id]
        assert await found(scene, RunFilter(name=name, closed_from=0)) == []
        assert await found(scene, RunFilter(name=name, closed_before=NOW * 2)) == []

    # Messages

    async def test_what_waits_for_a_run_is_listed_and_stays(self, scene: Scene) -> None:
        run, other = await scene.start(), await scene.start()
        await scene.send(message(run, "one"), message(other, "other"), message(run, "two"))
        for _ in range(2):
            listed = await scene.repository.list_messages(run.run_key)
            assert [(each.message_id, each.position) for each in listed] == [("one", 1), ("two", 2)]
        assert list((await scene.claim_run(run)).messages) == list(listed)
        # Whoever has claimed it has not taken them yet.
        assert list(await scene.repository.list_messages(run.run_key)) == list(listed)
        task = await scene.claim_run(other)
        assert await scene.write(replace(closing(task), consumed_through=1)) == [WRITTEN]
        assert list(await scene.repository.list_messages(other.run_key)) == []
        assert list(await scene.repository.list_messages(0)) == []

    # Pages and counts

    async def test_a_filtered_list_is_read_in_pages_while_runs_come(self, scene: Scene) -> None:
        """Nothing is shown twice, and nothing is missed that was there from the beginning."""
        name = new_id()
        runs = [await start_tagged(scene, name, {"n": str(n % 2)}) for n in range(10)]
        where, pages = RunFilter(name=name, tags={"n": "0"}, limit=2), []
        while page := await scene.repository.list_runs(where):
            pages.append([run.workflow_id for run in page])
            assert len(pages) <= len(runs), "the pages do not end"
            where = replace(where, before=page[-1].run_key)
            await start_tagged(scene, name, {"n": "0"})
        ids = [run.workflow_id for run in runs]
        assert pages == [[ids[8], ids[6]], [ids[4], ids[2]], [ids[0]]]

    async def test_a_count_knows_no_pages(self, scene: Scene) -> None:
        name = new_id()
        runs = [await start_tagged(scene, name, {"n": "0"}) for _ in range(3)]
        await scene.write(closing(await scene.claim_run(runs[0])))
        where = RunFilter(name=name, limit=1, before=runs[1].run_key)
        count = scene.repository.count_runs
        assert await count(where) == 3
        assert await count(replace(where, status=RUNNING)) == 2
        assert await count(replace(where, is_open=False)) == 1
        assert await count(replace(where, tags={"n": "0"}, status=COMPLETED)) == 1
        assert await count(replace(where, workflow_id=runs[2].workflow_id)) == 1
