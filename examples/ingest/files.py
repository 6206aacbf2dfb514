"""Which files there are to index."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

SKIPPED = frozenset({"__pycache__", "dist-packages", "node_modules", "site-packages"})

_SAMPLE = 8192
"""How many bytes of a file are looked at to tell text from the rest."""


def standard_library() -> Path:
    """The folder of the running Python's own sources: over a thousand files of every shape."""
    return Path(sysconfig.get_path("stdlib"))


def text_files(root: Path, after: str = "") -> Iterator[str]:
    """The text files below ``root`` that sort after ``after``, as relative names with slashes.

    The order is that of the names' parts, so that a listing can be taken up again at any name,
    by another process as well. A folder that cannot be opened is listed as if it were a file: who
    tries to read it learns why. Only ``root`` itself has no name to be listed under: ``OSError``.
    """
    seen = tuple(after.split("/")) if after else ()
    for name in _walk(root, ""):
        if tuple(name.split("/")) > seen and _is_text(root / name):
            yield name


def _walk(root: Path, prefix: str) -> Iterator[str]:
    try:
        entries = sorted(os.scandir(root / prefix), key=_name)
    except OSError:
        if not prefix:
            raise
        yield prefix.rstrip("/")
        return
    for entry in entries:
        name = _name(entry)
        if name in SKIPPED or name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, f"{prefix}{name}/")
        elif entry.is_file():
            yield prefix + name


def _name(entry: os.DirEntry[str]) -> str:
    # A name that is no valid UTF-8 cannot be stored as text. Written with escapes it can, and then
    # it fails to open, which is what gets recorded.
    return entry.name.encode("utf-8", "backslashreplace").decode()


def _is_text(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"\0" not in file.read(_SAMPLE)
    except OSError:
        return True
