"""Every statement that Loom sends, in SQLAlchemy Core, compiled when first used.

Those that lock rows and wait do so in the order of the keys, which keeps two batches from waiting
for each other; on SQLite the locking clauses are empty, since a writer has the database to itself.
"""

from __future__ import annotations

from loom.storage.sql.dialects import PostgresDialect, SqlDialect
from loom.storage.sql.statements.claims import ClaimsAtOnce, ClaimStatements
from loom.storage.sql.statements.completions import CompletionsAtOnce
from loom.storage.sql.statements.history import HistoryStatements
from loom.storage.sql.statements.labels import LabelStatements
from loom.storage.sql.statements.lists import ListStatements
from loom.storage.sql.statements.messages import MessagesAtOnce
from loom.storage.sql.statements.runs import RunStatements
from loom.storage.sql.statements.starts import StartsAtOnce
from loom.storage.sql.statements.tasks import TaskClaimsAtOnce, TaskStatements
from loom.storage.sql.statements.turns import TurnsAtOnce, TurnStatements


class Statements:
    """The statements of one dialect."""

    def __init__(self, dialect: SqlDialect) -> None:
        self.array = dialect.array
        self.pairs = dialect.pair_parameters
        self.runs = RunStatements(dialect)
        self.claims = ClaimStatements(dialect)
        self.tasks = TaskStatements(dialect)
        self.history = HistoryStatements(dialect)
        self.lists = ListStatements(dialect)
        self.labels = LabelStatements(dialect)
        self.turns = TurnStatements(dialect)
        # Only where a statement may have parts that write.
        is_postgres = isinstance(dialect, PostgresDialect)
        self.claims_at_once = ClaimsAtOnce(dialect) if is_postgres else None
        self.task_claims_at_once = TaskClaimsAtOnce(dialect) if is_postgres else None
        self.turns_at_once = TurnsAtOnce(dialect) if is_postgres else None
        self.starts_at_once = StartsAtOnce(dialect) if is_postgres else None
        self.messages_at_once = MessagesAtOnce(dialect) if is_postgres else None
        self.completions_at_once = CompletionsAtOnce(dialect) if is_postgres else None
