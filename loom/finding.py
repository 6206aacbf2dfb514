"""How the application finds runs, looks at them, and takes in those of others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Unpack

from loom.authoring.compiled import compiled_workflow
from loom.errors import ConfigurationError, HistoryFormatError
from loom.filters import FilterKeywords, run_filter
from loom.given import check_id, check_keywords, check_number, check_optional_id, shown
from loom.handle import WorkflowHandle
from loom.history.export import RunHistory
from loom.history.status import RunStatus
from loom.history.tags import TagValue
from loom.identifiers import RunId, WorkflowId
from loom.info import WorkflowInfo
from loom.opened import Openable
from loom.runner.replayer import Replayer, ReplayResult


class FindsRuns(Openable):
    """Everything by which ``Loom`` gets at runs that are there."""

    def handle(
        self,
        id: WorkflowId,
        *,
        run_id: RunId | None = None,
        workflow: type[Any] | None = None,
    ) -> WorkflowHandle[Any]:
        """A handle to a run that was started anywhere, at any time.

        Args:
            run_id: one run in particular; by default the newest with the id.
            workflow: the class, so that its result is read as the type it declares, and queries
                are answered here without a worker.
        """
        client, checked = self._open_parts().client, check_id("workflow id", id)
        run_id = check_optional_id("run id", run_id)
        if workflow is None:
            return WorkflowHandle(client, checked, run_id)
        code = compiled_workflow(workflow)
        return WorkflowHandle(client, checked, run_id, code.result_type, code=code)

    async def list(
        self,
        *,
        status: RunStatus | str | None = None,
        open: bool | None = None,
        name: str | None = None,
        version: str | None = None,
        queue: str | None = None,
        id: WorkflowId | None = None,
        id_prefix: str | None = None,
        tags: Mapping[str, TagValue] | None = None,
        started_after: datetime | None = None,
        started_before: datetime | None = None,
        closed_after: datetime | None = None,
        closed_before: datetime | None = None,
        limit: int = 100,
        before: WorkflowInfo | None = None,
    ) -> list[WorkflowInfo]:
        """Runs that match all that is asked for, newest first.

        Args:
            open: whether they have not ended yet.
            name, version: of their workflow.
            queue: whose workers take them.
            id, id_prefix: the workflow id that they have, or with which it begins.
            tags: what their tags of these names are now.
            started_after, started_before: when they were started: at that moment or after, and
                before that moment; so spans can be put end to end. With a time zone.
            closed_after, closed_before: the same of when they ended.
            limit: how many at most.
            before: the last run of the previous page. What starts meanwhile moves no page.

        Raises:
            ConfigurationError: there is no such status, a moment has no time zone, or the limit is
                not from 1 to 1,000,000.
            PayloadError: what is asked for cannot be an id, a name or a tag.
        """
        where = run_filter(
            status=status,
            open=open,
            name=name,
            version=version,
            queue=queue,
            id=id,
            id_prefix=id_prefix,
            tags=tags,
            started_after=started_after,
            started_before=started_before,
            closed_after=closed_after,
            closed_before=closed_before,
        )
        where = replace(where, limit=check_number("limit", limit, least=1))
        client = self._open_parts().client
        if before is not None:
            _check_page(before)
            before_key = await client.run_key(before.workflow_id, before.run_id)
            where = replace(where, before=before_key)
        return await client.list_runs(where)

    async def count(self, **filters: Unpack[FilterKeywords]) -> int:
        """How many runs match; the filters are those of ``list``."""
        check_keywords("count", filters, FilterKeywords.__annotations__)
        return await self._open_parts().client.count_runs(run_filter(**filters))

    def histories(
        self,
        *,
        open: bool | None = None,
        status: RunStatus | str | None = None,
        name: str | None = None,
        id: WorkflowId | None = None,
    ) -> AsyncIterator[RunHistory]:
        """The histories of runs, one after the other, newest first: ``async for history in ...``.

        Args:
            open: only runs that are open, or only those that have closed.
            status, name, id: only runs with these.

        Raises:
            HistoryError: events are missing from a history.
        """
        where = run_filter(open=open, status=status, name=name, id=id)
        return self._open_parts().client.histories(where)

    def check(
        self,
        workflows: Iterable[type[Any]],
        *,
        name: str | None = None,
        queue: str | None = None,
        sample: int = 0,
    ) -> AsyncIterator[ReplayResult]:
        """Replay every open run against this code, before it is deployed: ``async for result in
        ...``, newest first. Nothing is leased and nothing written, so that workers may go on.

        An open run of which no workflow here has the name and version comes with the outcome
        ``UNSERVED``, without being replayed.

        Args:
            workflows: all that the workers to be deployed will have.
            name: only runs of the workflow of that name.
            queue: only runs of that queue.
            sample: how many closed runs of each workflow to replay as well, the newest.

        Raises:
            DefinitionError: something given is no workflow, or two share a name and version.
            ConfigurationError, PayloadError: the sample is no number, or a name can be none.
        """
        check_number("sample", sample, least=0)
        check_optional_id("workflow name", name)
        check_optional_id("queue", queue)
        replayer = Replayer(workflows, codecs=self._codecs, guards=self.settings.guards)
        client = self._open_parts().client
        return client.check(replayer, name=name, queue=queue, sample=sample)

    async def import_history(
        self, history: RunHistory, *, id: WorkflowId | None = None, open: bool = False
    ) -> WorkflowHandle[Any]:
        """Put a run that was exported elsewhere into this database, to be looked at and debugged.

        A closed run comes as it was. An open one is terminated here, so that no worker takes it
        for its own: its activities would be run once more.

        Args:
            history: what ``WorkflowHandle.export()`` gave, in another database.
            id: another workflow id; by default its own.
            open: leave an open run open: workers go on with it from where its history ends.

        Raises:
            HistoryFormatError: the history is none that a run can have.
            HistoryError: it was written by a newer version of Loom.
            PayloadError: an id or name in it cannot be stored.
            WorkflowAlreadyStartedError: the run is here already, or an open one has its id.
        """
        client = self._open_parts().client
        if not isinstance(history, RunHistory):
            raise HistoryFormatError(
                f"{shown(history)} is no RunHistory: RunHistory.from_json reads one."
            )
        workflow_id = history.workflow_id if id is None else id
        run = await client.import_history(history, workflow_id, stays_open=open)
        return WorkflowHandle(client, run.workflow_id, run.run_id)


def _check_page(before: object) -> None:
    if not isinstance(before, WorkflowInfo):
        raise ConfigurationError(
            f"before={shown(before)} is no run of a page: give the last that app.list gave."
        )
