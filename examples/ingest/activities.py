"""What the workflow has done: the only code of this example that touches files and databases.

A worker that dies in the middle of an activity leaves it to be run again, so each of these can be.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

import loom

from . import index, parsing
from .files import text_files
from .index import Summary
from .job import Job
from .ledger import execution

LIST_FILES: Final = "ingest.list_files"

# What is wrong with a file's content stays wrong; a busy disk or database may not.
_RETRY: Final = loom.RetryPolicy(maximum_attempts=3, non_retryable=parsing.BAD_CONTENT)


@loom.activity(name="ingest.create_index", retry=_RETRY)
def create_index(job: Job) -> None:
    """Makes the index, unless it is there."""
    index.create(job.index)


@loom.activity(name=LIST_FILES)
def list_files(job: Job, after: str) -> list[str]:
    """The next names after ``after``; none when the listing is through."""
    with execution(job.ledger, loom.activity_info(), after):
        return list(islice(text_files(job.folder, after), job.page))


@loom.activity(name="ingest.index_file", retry=_RETRY, timeout_seconds=60)
def index_file(job: Job, name: str) -> None:
    """Parses one file, hashes it and enters it into the index."""
    with execution(job.ledger, loom.activity_info(), name):
        index.put(job.index, name, parsing.parse(job.folder / name))


@loom.activity(name="ingest.record_failure", retry=_RETRY)
def record_failure(job: Job, name: str, reason: str) -> None:
    """Enters a file that could not be indexed."""
    with execution(job.ledger, loom.activity_info(), name):
        index.put_failure(job.index, name, reason)


@loom.activity(name="ingest.summarise", retry=_RETRY)
def summarise(job: Job) -> Summary:
    """Counts what the index holds."""
    return index.summary(job.index)


ALL: Final = (create_index, list_files, index_file, record_failure, summarise)
"""What a worker needs to have to serve the workflow."""
