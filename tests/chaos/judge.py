"""Ends a trial: lets everything finish, takes the three records, and says what they show."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import loom
from loom.history.payloads import PayloadConverter
from loom.history.status import RunStatus
from loom.storage.store import open_store
from tests.chaos import jobs
from tests.chaos.clients import Client, ClientLog, insist
from tests.chaos.ledger import Ledger
from tests.chaos.letters import Letter1, Letter2
from tests.chaos.tales import THE_END, WORKFLOWS
from tests.proof.checker import check
from tests.proof.dump import take_dump
from tests.proof.records import Asked, Dump, Evidence, Execution, Outcome, Told

FINISH_WITHIN = 60.0
"""Seconds. What needs longer is stuck."""

_CONVERTER = PayloadConverter()


async def finish(app: loom.Loom, log: ClientLog) -> None:
    """Tell every tale to end, wait until nothing is open, or does not move, and ask for results."""
    client = Client(app, log)
    tales = await insist(lambda: app.list(name="Tale", open=True, limit=1000))
    await asyncio.gather(*(client.signal(run.workflow_id, THE_END) for run in tales))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FINISH_WITHIN):
            while await insist(lambda: app.list(open=True, limit=1)):
                await asyncio.sleep(0.02)
            ended = await insist(lambda: app.list(name="Tale", open=False, limit=1000))
            ids = {run.workflow_id for run in ended}
            await asyncio.gather(*(client.result(workflow_id) for workflow_id in ids))


async def judge(dsn: str, log: ClientLog, ledger: Ledger, **evidence: Any) -> list[str]:
    """All violations, as text."""
    return await violations_of(dsn, log.told(), ledger.executions(), **evidence)


async def violations_of(
    dsn: str, told: Sequence[Told], executions: Sequence[Execution], **evidence: Any
) -> list[str]:
    dump = await insist(lambda: dump_of(dsn))
    known = Evidence(dump, told, executions, **evidence)
    replayer = loom.Replayer(workflows=[*WORKFLOWS, *jobs.WORKFLOWS, Letter1, Letter2])
    found = [str(violation) for violation in check(known, replayer=replayer)]
    return found + list(_tales_heard_all(dump, told))


async def dump_of(dsn: str) -> Dump:
    store = await open_store(dsn)
    try:
        return await take_dump(store.repository, await store.repository.current_time())
    finally:
        await store.close()


def _tales_heard_all(dump: Dump, told: Sequence[Told]) -> Iterator[str]:
    """The end is the last thing said to a tale: what was acknowledged before, it has heard."""
    acknowledged: dict[str, set[str]] = {}
    for one in told:
        if one.asked is Asked.SIGNAL and one.outcome is Outcome.OK and one.request_id is not None:
            text = one.request_id.removeprefix(f"{one.workflow_id}/")
            acknowledged.setdefault(one.workflow_id, set()).add(text)
    for run in dump.runs:
        if run.run.name != "Tale" or run.run.status is not RunStatus.COMPLETED:
            continue
        result = _CONVERTER.decode(run.events[-1].payload or b"", dict)
        heard, asked = result["heard"], result["asked"]
        if len({*heard}) < len(heard) or len({*asked}) < len(asked):
            yield f"I2: {run} has heard something twice: {result}"
        if missed := acknowledged.get(run.run.workflow_id, set()) - {*heard}:
            yield f"I1: {run} has not heard {sorted(missed)}"
