"""The application's starts: from what the caller gives to a handle of the run that stands there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

from loom.access import Call
from loom.authoring.compiled import CompiledWorkflow, compiled_workflow
from loom.authoring.handlers import HandlerKind
from loom.authoring.starting import ReusePolicy, StartOptions, limits_from
from loom.client import Client
from loom.errors import (
    ConfigurationError,
    WorkflowAlreadyStartedError,
    WorkflowClosedError,
    WorkflowNotFoundError,
)
from loom.given import check_id
from loom.handle import WorkflowHandle
from loom.history.events import SignalReceived, request_message_id
from loom.history.payloads import PayloadConverter
from loom.history.status import RunStatus
from loom.history.tags import encode_tags
from loom.identifiers import RunId, WorkflowId, derived_id, new_id
from loom.runner import sizes
from loom.runner.calls import encoded_call
from loom.runner.clock import Clock
from loom.runner.group_writer import GroupWriter
from loom.runner.starts import FirstSignal, StartRequest, start_for_anybody
from loom.storage.notifier import MESSAGES, workflow_topic
from loom.storage.records import StartOutcome
from loom.storage.store import Store
from loom.worker import Worker

_INPUT: Final = "The input of workflow"

_REPLACED: Final = "Another run was started in its place."

_REFUSED_AFTER: Final[dict[ReusePolicy, frozenset[RunStatus]]] = {
    "allow": frozenset(),
    "allow_failed": frozenset({RunStatus.COMPLETED}),
    "reject": frozenset(status for status in RunStatus if not status.is_open),
}


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
        self._repository = store.repository
        self._notifier = store.notifier
        self._converter = converter
        self._clock = clock
        self._client = client
        self._workers = workers
        self._writer = GroupWriter(
            store.repository.start_runs, store.repository.works_elsewhere, size=sizes.of_start
        )

    async def start(self, cls: type[Any], input: Any, options: StartOptions) -> WorkflowHandle[Any]:
        """Start a run of a workflow whose class is at hand."""
        workflow = compiled_workflow(cls)
        payload = self._converter.encode(input, workflow.input_type, _INPUT, workflow.name)
        request = self._request(workflow.name, workflow.version, payload, options)
        outcome = await self._start(request, options, workflow)
        return self._handle(outcome, request, options, workflow)

    async def start_by_name(
        self, name: str, version: str | None, input: Any, options: StartOptions
    ) -> WorkflowHandle[Any]:
        """Start a run of a workflow that some worker has the code of."""
        check_id("workflow name", name)
        version = _version(version)
        payload = self._converter.encode(input, Any, _INPUT, name)
        request = self._request(name, version, payload, options)
        outcome = await self._start(request, options)
        return self._handle(outcome, request, options, None)

    async def start_with_signal(
        self,
        workflow: type[Any] | str,
        version: str | None,
        input: Any,
        call: Call,
        request_id: str | None,
        options: StartOptions,
    ) -> WorkflowHandle[Any]:
        """Start a run with a signal in its inbox, or send that to the open run of the id."""
        code = None if isinstance(workflow, str) else compiled_workflow(workflow)
        name = check_id("workflow name", workflow) if code is None else code.name
        version = code.version_for(version) if code is not None else _version(version)
        payload = self._converter.encode(
            input, Any if code is None else code.input_type, _INPUT, name
        )
        signal = self._first_signal(call, code, request_id, options)
        request = replace(self._request(name, version, payload, options), signal=signal)
        await self._check_existing(request, options)
        # By way of its inbox, where the signal is safe whatever the first turn does.
        outcome = await self._start(request, options)
        if not outcome.created:
            self._notifier.publish([MESSAGES])
        return self._handle(outcome, request, options, code)

    def _first_signal(
        self,
        call: Call,
        code: CompiledWorkflow | None,
        request_id: str | None,
        options: StartOptions,
    ) -> FirstSignal:
        if options.idempotency_key is not None:
            raise ConfigurationError(
                "A start with a signal has no idempotency key: a repeated start could not tell "
                "whether its signal was sent. Give it an id and a request_id instead."
            )
        encoded = encoded_call(HandlerKind.SIGNAL, call, code, self._converter)
        known = None if request_id is None else check_id("request id", request_id)
        message_id = new_id() if known is None else request_message_id(known)
        event = SignalReceived(encoded.name, encoded.payload)
        # Who wants to be rid of the run that is there wants another, whatever that has heard.
        is_repeatable = known is not None and options.on_conflict != "terminate_existing"
        return FirstSignal(
            message_id,
            event,
            options.on_conflict == "use_existing",
            message_id if is_repeatable else None,
        )

    async def _check_existing(self, request: StartRequest, options: StartOptions) -> None:
        """Better no signal at all than one to a run of something else."""
        run = await self._repository.find_run(request.workflow_id)
        if run is not None and run.status.is_open:
            _check_outcome(StartOutcome(run, created=False), request, options)

    async def drain(self) -> None:
        """Wait until the starts under way have an outcome."""
        await self._writer.drain()

    def _request(
        self, name: str, version: str, payload: bytes, options: StartOptions
    ) -> StartRequest:
        workflow_id, run_id = _ids(name, options)
        now = self._clock.now()
        begins_at = options.begins_at(now)
        return StartRequest(
            name=name,
            version=version,
            workflow_id=workflow_id,
            run_id=run_id,
            queue=options.queue,
            payload=payload,
            tags={} if options.tags is None else encode_tags(options.tags),
            memo=self._memo(name, options.memo),
            refused_after=_REFUSED_AFTER[options.reuse],
            start_at=begins_at if begins_at > now else None,
            limits=limits_from(begins_at, options.run_timeout, options.execution_timeout),
            retry=None if options.retry is None else options.retry.terms,
            is_keyed=options.idempotency_key is not None,
        )

    def _memo(self, name: str, memo: Any) -> bytes | None:
        if memo is None:
            return None
        return self._converter.encode(memo, Any, "The memo of workflow", name)

    async def _start(
        self, request: StartRequest, options: StartOptions, workflow: CompiledWorkflow | None = None
    ) -> StartOutcome:
        outcome = await self._try_to_start(request, workflow)
        while options.on_conflict == "terminate_existing" and _is_in_the_way(outcome, request):
            run = outcome.run
            with suppress(WorkflowClosedError, WorkflowNotFoundError):
                await self._client.terminate(run.workflow_id, run.run_id, _REPLACED)
            outcome = await self._try_to_start(request, workflow)
        return outcome

    async def _try_to_start(
        self, request: StartRequest, workflow: CompiledWorkflow | None
    ) -> StartOutcome:
        # What begins later is for whoever is there then.
        is_local = workflow is not None and request.start_at is None
        worker = self._worker_for(request) if is_local else None
        if workflow is not None and worker is not None:
            return await worker.starter.start(workflow, request, self._writer)
        return await self._start_remotely(request)

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
        _check_outcome(outcome, request, options)
        run, result_type = outcome.run, Any if code is None else code.result_type
        return WorkflowHandle(
            self._client,
            run.workflow_id,
            run.run_id,
            result_type,
            code=code,
            is_new=outcome.created,
        )


def _version(given: str | None) -> str:
    """The version of a workflow whose class is not at hand."""
    return "1" if given is None else check_id("version", given)


def _is_in_the_way(outcome: StartOutcome, request: StartRequest) -> bool:
    """Whether what stands there may be terminated for the sake of a start."""
    run = outcome.run
    return not outcome.created and run.status.is_open and run.name == request.name


def _ids(name: str, options: StartOptions) -> tuple[WorkflowId, RunId]:
    """The ids of the run to be started; with a key, the same for every start that has it."""
    if options.idempotency_key is None:
        return (new_id() if options.id is None else options.id), new_id()
    scope = ("workflow", name) if options.id is None else ("id", options.id)
    run_id = derived_id(*scope, options.idempotency_key)
    return (run_id if options.id is None else options.id), run_id


def _check_outcome(outcome: StartOutcome, request: StartRequest, options: StartOptions) -> None:
    """Raises ``WorkflowAlreadyStartedError`` when what stands there is not what was wanted."""
    run = outcome.run
    if run.name != request.name:
        by = f"an open run of {run.name!r}" if run.status.is_open else f"a run of {run.name!r}"
        raise WorkflowAlreadyStartedError(
            f"The workflow id {run.workflow_id!r} is taken by {by}, which is not "
            f"{request.name!r}. Choose another id."
        )
    if outcome.created or outcome.repeated:
        return
    if not run.status.is_open:
        raise WorkflowAlreadyStartedError(
            f"Workflow {run.workflow_id!r} has run already (run {run.run_id}, {run.status}), and "
            f"reuse={options.reuse!r} does not start it again."
        )
    if options.on_conflict == "fail":
        raise WorkflowAlreadyStartedError(
            f"Workflow {run.workflow_id!r} is running already (run {run.run_id}). Use "
            "on_conflict='use_existing' to get a handle to it."
        )
