"""Histories from wherever people keep them: values, texts, files and folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from loom.errors import HistoryFormatError
from loom.history.export import RunHistory

type HistorySource = RunHistory | Mapping[str, Any] | str | Path
"""An exported history: itself, its JSON as text or as plain values, or the path of its file."""


def read_history_from(source: HistorySource) -> RunHistory:
    """Raises ``HistoryFormatError`` when it is none, or more than one, and ``OSError`` when its
    file cannot be read."""
    match source:
        case RunHistory():
            return source
        case Mapping():
            return RunHistory.from_dict(source)
        case str() if source.lstrip().startswith("{"):
            return RunHistory.from_json(source)
    found = list(read_file(Path(source)))
    if len(found) != 1:
        raise HistoryFormatError(f"{source} holds {len(found)} histories, and one is wanted.")
    return found[0]


def read_histories_from(
    sources: Iterable[HistorySource] | str | Path,
) -> Iterator[RunHistory]:
    """Histories one by one: from many sources, from a file, or from all files of a folder.

    Raises ``HistoryFormatError`` when something is no history, or a folder has none, and
    ``OSError`` when a file cannot be read.
    """
    if not isinstance(sources, str | Path):
        yield from map(read_history_from, sources)
        return
    path = Path(sources)
    if not path.is_dir():
        yield from read_file(path)
        return
    files = sorted(file for file in path.iterdir() if file.suffix in (".json", ".jsonl"))
    if not files:
        raise HistoryFormatError(f"The folder {path} holds no histories: no .json, no .jsonl.")
    for file in files:
        yield from read_file(file)


def read_file(path: Path) -> Iterator[RunHistory]:
    """The histories of a file: one, or one in each line."""
    with path.open("rb") as file:
        first = file.readline()
        if not first.strip().endswith(b"}"):
            yield _parsed(first + file.read(), str(path))
            return
        yield _parsed(first, f"{path}, line 1")
        for number, line in enumerate(file, start=2):
            if line.strip():
                yield _parsed(line, f"{path}, line {number}")


def _parsed(text: bytes, where: str) -> RunHistory:
    try:
        return RunHistory.from_json(text)
    except HistoryFormatError as error:
        raise HistoryFormatError(f"{where}: {error}") from error
