"""The library that stands between a process and its durable system calls (``shim.c``)."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).with_name("shim.c")


class ShimUnavailable(Exception):
    """It cannot be built here, and why."""


class Side(IntEnum):
    """Where of a call a process dies, as ``shim.c`` numbers it."""

    BEFORE = 0
    AFTER = 1
    HALFWAY = 2


def build(folder: Path) -> Path:
    """Compile it; gives the library to be named in ``LD_PRELOAD``."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise ShimUnavailable("there is no C compiler (gcc)")
    library = folder / "shim.so"
    options = ["-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl", "-pthread"]
    done = subprocess.run([compiler, *options], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ShimUnavailable(f"{compiler} failed: {done.stderr}")
    return library


class Shim:
    """The library as a process that runs under it speaks to it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.chaos_calls.restype = ctypes.c_long
        self._library.chaos_die_at.argtypes = [ctypes.c_long, ctypes.c_int]
        flags = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint]
        self._library.chaos_failing_while.argtypes = flags

    def watch(self, prefix: str) -> None:
        """Which files are meant: those whose path begins so."""
        self._library.chaos_watch(prefix.encode())

    def die_at(self, call: int, side: Side = Side.BEFORE) -> None:
        """Die at the n-th durable call from now; 0 only counts them."""
        self._library.chaos_die_at(call, side)

    @property
    def calls(self) -> int:
        return int(self._library.chaos_calls())

    def full_while(self, flag: Path) -> None:
        """Let files grow no more while a file of that name exists."""
        self._library.chaos_full_while(str(flag).encode())

    def failing_while(self, flag: Path, failures: Path, seed: int) -> None:
        """Let some writes and syncs fail while a file of the first name exists, and tell each in
        the second."""
        self._library.chaos_failing_while(str(flag).encode(), str(failures).encode(), seed)

    def record(self, path: Path) -> None:
        """Write down what is done to watched files."""
        self._library.chaos_record(str(path).encode())

    def mark(self, text: str) -> None:
        """Write down that something has come about at this point of what is done."""
        self._library.chaos_mark(text.encode())

    def clock(self, path: Path) -> None:
        """Take the wall clock's error, in nanoseconds, from a file of eight bytes."""
        if self._library.chaos_clock(str(path).encode()):
            raise OSError(f"{path} cannot be mapped")
