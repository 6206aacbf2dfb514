"""The workflow: list a folder, index its files a few at a time, and sum up.

Kill the process at any moment and start it again: the run goes on where its history ends. Files
that history calls done are not touched again; those in the middle are done over.
"""

from __future__ import annotations

import asyncio

import loom

from .activities import create_index, index_file, list_files, record_failure, summarise
from .index import Summary
from .job import Job

type Context = loom.WorkflowContext[Job, None]


@loom.workflow(name="Ingest", version="1")
class Ingest(loom.Workflow[Job, None]):
    """Indexes every text file below a folder. A bad file is recorded and stops nothing."""

    async def run(self, ctx: Context) -> Summary:
        await ctx.activity(create_index, ctx.input)
        slots = asyncio.Semaphore(ctx.input.parallel)
        last = ""
        async with asyncio.TaskGroup() as files:
            while names := await ctx.activity(list_files, ctx.input, last):
                for name in names:
                    files.create_task(self._ingest(ctx, slots, name))
                last = names[-1]
        return await ctx.activity(summarise, ctx.input)

    async def _ingest(self, ctx: Context, slots: asyncio.Semaphore, name: str) -> None:
        async with slots:
            try:
                await ctx.activity(index_file, ctx.input, name)
            except loom.ActivityFailedError as failure:
                reason = f"{failure.cause_type}: {failure.cause_message}"
                ctx.logger.info("failed: %s: %s", name, reason)
                await ctx.activity(record_failure, ctx.input, name, reason)
