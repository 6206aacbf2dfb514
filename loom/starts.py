"""The application's starts: from what the caller gives to a handle of the run that stands there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loom.authoring.compiled import CompiledWorkflow, compiled_workflow
from loom.authoring.names import check_id
from loom.authoring.starting import StartOptions
from loom.client import Client
from loom.errors import WorkflowAlreadyStartedError
from loom.handle import WorkflowHandle
from loom.history.payloads import PayloadConverter
from loom.history.tags import encode_tags
from loom.identifiers import new_id
from loom.runner.clock import Clock
from loom.runner.group_writer import GroupWriter
from loom.runner.starts import StartRequest, start_for_anybody
from loom.storage.notifier import workflow_topic
from loom.storage.records import StartOutcome
from loom.storage.store import Store
from loom.worker import Worker


class Starts:
    """Starts runs: in a worker of this process if one can take them, else for any worker."""

    def __init__(
        self,
        *,
        store: Store,
        converter: PayloadConverter,
        clock: Clock,
        client: Client,
        workers: Sequence[Worker],
    ) -> None:
        self._notifier = store.notifier
        self._converter = converter
        self._clock = clock
        self._client = client
        self._workers = workers
        self._writer = GroupWriter(store.repository.start_runs)

    async def start(self, cls: type[Any], input: Any, options: StartOptions) -> WorkflowHandle[Any]:
        """Start a run of a workflow whose class is at hand."""
        workflow = compiled_workflow(cls)
        payload = self._converter.encode(input, workflow.input_type)
        request = self._request(workflow.name, workflow.version, payload, options)
        worker = self._worker_for(request)
        if worker is not None:
            outcome = await worker.starter.start(workflow, request, self._writer)
        else:
            outcome = await self._start_remotely(request)
        return self._handle(outcome, request, options, workflow)

    async def start_by_name(
        self, name: str, version: str, input: Any, options: StartOptions
    ) -> WorkflowHandle[Any]:
        """Start a run of a workflow that some worker has the code of."""
        check_id("workflow name", name)
        check_id("version", version)
        payload = self._converter.encode(input, Any)
        request = self._request(name, version, payload, options)
        outcome = await self._start_remotely(request)
        return self._handle(outcome, request, options, None)

    async def drain(self) -> None:
        """Wait until the starts under way have an outcome."""
        await self._writer.drain()

    def _request(
        self, name: str, version: str, payload: bytes, options: StartOptions
    ) -> StartRequest:
        return StartRequest(
            name=name,
            version=version,
            workflow_id=new_id() if options.id is None else options.id,
            run_id=new_id(),
            queue=options.queue,
            payload=payload,
            tags=encode_tags(options.tags or {}),
            memo=None if options.memo is None else self._converter.encode(options.memo, Any),
        )

    def _worker_for(self, request: StartRequest) -> Worker | None:
        for worker in self._workers:
            if worker.accepts_start(request.name, request.version, request.queue):
                return worker
        return None

    async def _start_remotely(self, request: StartRequest) -> StartOutcome:
        outcome = await start_for_anybody(request, self._clock, self._writer)
        self._notifier.publish([workflow_topic(request.queue)])
        return outcome

    def _handle(
        self,
        outcome: StartOutcome,
        request: StartRequest,
        options: StartOptions,
        code: CompiledWorkflow | None,
    ) -> WorkflowHandle[Any]:
        _check_conflict(outcome, request, options)
        run, result_type = outcome.run, Any if code is None else code.result_type
        return WorkflowHandle(self._client, run.workflow_id, run.run_id, result_type, code=code)


def _check_conflict(outcome: StartOutcome, request: StartRequest, options: StartOptions) -> None:
    run = outcome.run
    if outcome.created:
        return
    if run.name != request.name:
        raise WorkflowAlreadyStartedError(
            f"The workflow id {run.workflow_id!r} is taken by an open run of {run.name!r}, "
            f"which is not {request.name!r}. Choose another id."
        )
    if options.on_conflict == "fail":
        raise WorkflowAlreadyStartedError(
            f"Workflow {run.workflow_id!r} is running already (run {run.run_id}). Use "
            "on_conflict='use_existing' to get a handle to it."
        )
