"""Messages to runs that have to do with nothing else: on Postgres in one statement."""

from __future__ import annotations

from collections.abc import Sequence

from loom.identifiers import Micros, WorkflowId
from loom.storage.records import Message
from loom.storage.sql.dialects import Row
from loom.storage.sql.inserts import carried
from loom.storage.sql.transactions import Database, Query


def are_plain(messages: Sequence[Message]) -> bool:
    """Whether each is for another workflow id."""
    return len({message.workflow_id for message in messages}) == len(messages)


async def send_plain_messages(
    database: Database, messages: Sequence[Message], now: Micros
) -> set[WorkflowId]:
    """The workflow ids of those that are delivered. Others were delivered before, or have no open
    run that begins its chain, or came to one together with others; or the database does not take
    them so."""
    at_once = database.statements.messages_at_once
    if at_once is None:
        return set()
    rows = {"messages": [_row(message, now) for message in messages]}
    return {name for (name,) in await database.write_at_once(Query(at_once.write, rows))}


def _row(message: Message, now: Micros) -> Row:
    """As ``MESSAGE_ROW`` has it."""
    address = message.workflow_id, message.run_id, now, int(message.urgent)
    return (*address, message.message_id, *carried(message.arrival))
