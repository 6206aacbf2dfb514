"""The boundaries of a whole application, over a SQLite file: what it is asked, what is imported,
what has become of its rows, and its command line."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

from click.testing import CliRunner

import loom
from loom.cli.exits import Exit
from loom.cli.main import cli
from loom.errors import HistoryFormatError, LoomError
from loom.history.events import UpdateCompleted, update_message_id
from loom.history.export import RunHistory
from loom.runner.relations import arrival_of
from loom.runner.replayer import Replayer
from loom.runner.task_tokens import TaskToken
from tests.fuzz import material
from tests.fuzz.histories import HISTORIES
from tests.fuzz.targets import FILTERS, Target, damaged_export
from tests.golden_histories.workflows import WORKFLOWS, FanOut

# Who asks for a billion activities is given them: the code's own size is its author's to bound.
REPLAYER: Final = Replayer([cls for cls in WORKFLOWS if cls is not FanOut])
REPLAYED: Final = [history for history in HISTORIES if history.name != "FanOut"]

TABLES: Final = (
    *("workflows", "events", "events", "events", "tags", "memos", "logs", "tasks"),
    *("inbox", "answers"),
)

KEPT: Final = {"answers": ("run_key", "message_id")}
"""By which columns a row is found; by default ``run_key`` and ``run_id``."""

SENT: Final = "sent"
"""The id of each request that a run has got."""


def replay(chance: Random) -> None:
    """The engine is given a history that its code may never have led to."""
    plain = chance.choice(REPLAYED).to_dict()
    for _ in range(chance.choice((1, 1, 3))):
        plain["events"] = material.damaged_plain(chance, plain["events"])
    history = RunHistory.from_dict(plain)
    result = REPLAYER.replay(history)
    assert result.ok or isinstance(result.error, LoomError), repr(result.error)


class Place:
    """An application with a run of every kind in it, for as long as inputs come."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "loom.db"
        self.file = folder / "history.json"
        self.dsn = f"sqlite:///{self.path}"
        self._runner = asyncio.Runner()
        self.app = loom.Loom(self.dsn)
        self.run(self.app.__aenter__())
        for history in HISTORIES:
            self.run(self._bring_in(history))
        self.rows = sqlite3.connect(self.path, isolation_level=None)
        self.rows.execute("PRAGMA synchronous = OFF")
        [[self._last_key]] = self.rows.execute("SELECT max(run_key) FROM workflows")
        self._answer_all()
        self.keys = {
            table: [key for (key,) in self.rows.execute(f"SELECT DISTINCT run_key FROM {table}")]
            for table in set(TABLES)
        }
        self._kinds = {
            table: {
                name: kind for _, name, kind, *_ in self.rows.execute(f"PRAGMA table_info({table})")
            }
            for table in set(TABLES)
        }
        self._run_ids = dict(self.rows.execute("SELECT run_key, run_id FROM workflows"))

    async def _bring_in(self, history: RunHistory) -> None:
        """A run; one that goes on has also been sent what is not taken yet."""
        run = await self.app.import_history(history, open=True)
        if (await run.status()).is_open:
            asked = run.with_request_id(SENT)
            await asked.signal("add", {"amount": 1})
            await asked.start_update("ask", ["a", 1])

    def _answer_all(self) -> None:
        answer = arrival_of(UpdateCompleted(SENT, b'["a", 1]'))
        columns = "run_key, message_id, answered_at, type, schema_version, attributes, payload"
        self.rows.execute(
            f"INSERT INTO answers ({columns}) SELECT run_key, ?, 1, ?, ?, ?, ? FROM workflows",
            [update_message_id(SENT), *astuple(answer)],
        )

    def run[T](self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def close(self) -> None:
        self.rows.close()
        self.run(self.app.__aexit__(None, None, None))
        self._runner.close()

    def clear(self) -> None:
        """Take away what an input has left."""
        for table in set(TABLES) | {"inbox"}:
            self.rows.execute(f"DELETE FROM {table} WHERE run_key > ?", [self._last_key])

    # --- what it is asked ---

    def ask(self, chance: Random) -> None:
        kind = chance.randrange(4)
        if kind == 0:
            self.run(self.app.list(**self._filter(chance)))
        elif kind == 1:
            self.run(self.app.count(**self._filter(chance)))
        elif kind == 2:
            handle = self.app.handle(material.text(chance), run_id=material.text(chance))
            self.run(handle.info())
        else:
            ids = (material.text(chance), material.text(chance))
            counts = [int(chance.choice(material.NUMBERS[:17])) for _ in range(3)]
            token = str(TaskToken(*ids, *counts, None, None))
            self.run(self.app.complete_activity(token, material.value(chance)))

    def _filter(self, chance: Random) -> dict[str, Any]:
        given: dict[str, Any] = {}
        for name in chance.sample(FILTERS, 2):
            if name == "tags":
                given[name] = {material.text(chance): material.plain(chance, 0)}
            elif name.endswith(("after", "before")):
                given[name] = chance.choice(material.MOMENTS)
            else:
                given[name] = (
                    chance.choice((True, "failed"))
                    if name in ("status", "open")
                    else (material.text(chance))
                )
        return given

    def take_in(self, chance: Random) -> None:
        """An import, of a history that another may have written."""
        try:
            history = RunHistory.from_json(damaged_export(chance))
            history = replace(history, run_id=f"{chance.getrandbits(128):032x}")
            stays_open = chance.random() < 0.5
            handle = self.run(self.app.import_history(history, id="imported", open=stays_open))
            self.run(handle.info())
            self.run(handle.export())
        finally:
            self.clear()

    # --- what became of its rows ---

    def read_row(self, chance: Random) -> None:
        table = chance.choice([table for table in TABLES if self.keys[table]])
        key = chance.choice(self.keys[table])
        with self._damaged_row(chance, table, key) as was_damaged:
            if was_damaged:
                self._look_at(key, *([self._answer] if table == "answers" else []))

    @contextmanager
    def _damaged_row(self, chance: Random, table: str, key: int) -> Iterator[bool]:
        found = self.rows.execute(f"SELECT * FROM {table} WHERE run_key = ?", [key])
        names = [column[0] for column in found.description]
        if not (rows := found.fetchall()):
            yield False
            return
        sound = dict(zip(names, chance.choice(rows), strict=True))
        kept = KEPT.get(table, ("run_key", "run_id"))
        name = chance.choice([n for n in names if n not in kept])
        kind = self._kinds[table][name]
        where = " AND ".join(f"{n} IS ?" for n in sound)
        changed = sound | {name: _damaged_cell(chance, kind, sound[name])}
        setting = f"UPDATE {table} SET {name} = ? WHERE {where}"
        try:
            self.rows.execute(setting, [changed[name], *sound.values()])
        except (sqlite3.Error, OverflowError, UnicodeEncodeError):
            # The database itself would not have it.
            yield False
            return
        try:
            yield True
        finally:
            undone = self.rows.execute(setting, [sound[name], *changed.values()])
            assert undone.rowcount == 1

    def _look_at(self, key: int, *more: Callable[[Any, str], None]) -> None:
        run_id = self._run_ids[key]
        [[workflow_id]] = self.rows.execute(
            "SELECT workflow_id FROM workflows WHERE run_key = ?", [key]
        )
        refused: LoomError | None = None
        for look in (self._info, self._history, self._export, self._logs, self._list, *more):
            try:
                look(workflow_id, run_id)
            except LoomError as error:
                refused = error
        if refused is not None:
            raise refused

    def _info(self, workflow_id: Any, run_id: str) -> None:
        self.run(self.app.handle(workflow_id, run_id=run_id).info())

    def _history(self, workflow_id: Any, run_id: str) -> None:
        self.run(self.app.handle(workflow_id, run_id=run_id).history())

    def _export(self, workflow_id: Any, run_id: str) -> None:
        self.run(self.app.handle(workflow_id, run_id=run_id).export()).to_json()

    def _logs(self, workflow_id: Any, run_id: str) -> None:
        self.run(self.app.handle(workflow_id, run_id=run_id).logs())

    def _answer(self, workflow_id: Any, run_id: str) -> None:
        self.run(self.app.handle(workflow_id, run_id=run_id).update_handle(SENT).result(1))

    def _list(self, workflow_id: Any, run_id: str) -> None:
        self.run(self.app.list())

    # --- its command line ---

    def command(self, chance: Random) -> None:
        arguments = [self._argument(chance, part) for part in chance.choice(COMMANDS).split()]
        if chance.random() < 0.2:
            arguments.insert(chance.randrange(len(arguments) + 1), material.text(chance))
        # As the system hands them over: what are no characters are bytes.
        arguments = [os.fsdecode(given.encode("utf-8", "surrogatepass")) for given in arguments]
        if {"--wait", "worker", "demo", "init", "debug"} & set(arguments):
            return
        self.file.write_bytes(material.damaged(chance, chance.choice(HISTORIES).to_json().encode()))
        try:
            done = CliRunner().invoke(cli, arguments, env={"LOOM_DSN": self.dsn})
        finally:
            self.clear()
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise AssertionError(f"{arguments!r}: {done.exception!r}") from done.exception
        assert done.exit_code in set(Exit), (arguments, done.exit_code)
        assert "Traceback" not in done.output, arguments

    def _argument(self, chance: Random, part: str) -> str:
        if part == "FILE":
            return str(self.file)
        if part == "ID":
            return chance.choice((chance.choice(HISTORIES).workflow_id, material.text(chance)))
        if part == "JSON":
            return material.json_text(chance)
        return material.text(chance) if part.isupper() else part


COMMANDS: Final = (
    *("list --status TEXT", "list --name TEXT --limit TEXT", "list --tag TEXT", "list --json"),
    *("list --started-after TEXT", "list --id-prefix TEXT --count", "list --version TEXT --json"),
    *("show ID", "show ID --json", "show ID --history --logs", "show ID --run-id TEXT"),
    *("start NAME --input JSON", "start NAME --id TEXT --tag TEXT", "start NAME --memo JSON"),
    *("start NAME --delay TEXT", "start NAME --start-at TEXT", "start NAME --queue TEXT"),
    *("start NAME --run-timeout TEXT", "start NAME --on-conflict TEXT", "start NAME --reuse TEXT"),
    *("signal ID NAME --payload JSON", "signal ID NAME --request-id TEXT"),
    *("cancel ID --reason TEXT", "terminate TEXT --reason TEXT", "TEXT", "--TEXT", "TEXT ID"),
    *("history export ID", "history export ID --run-id TEXT", "history import FILE"),
    *("history import FILE --as TEXT", "history import FILE --open", "db TEXT", "db current"),
)


def _damaged_cell(chance: Random, kind: str, sound: Any) -> Any:
    """Another value of the same kind: the columns' types are the database's to hold."""
    if chance.random() < 0.1:
        return None
    if kind == "BLOB":
        return chance.choice((material.damaged(chance, sound or b""), chance.randbytes(4)))
    if kind == "TEXT":
        return material.text(chance)
    return int(chance.choice((*material.NUMBERS[:11], (sound or 0) + 1, -(sound or 0))))


@contextmanager
def applications() -> Iterator[tuple[Target, ...]]:
    """The targets that need an application, open until the block is left."""
    with TemporaryDirectory() as folder, closing(Place(Path(folder))) as place:
        yield (
            Target("replay", replay, (HistoryFormatError,), 4),
            Target("question", place.ask, (LoomError,), 2),
            Target("import", place.take_in, (LoomError,), 1),
            Target("row", place.read_row, (LoomError,), 1),
            Target("command", place.command, (), 1),
        )
