"""What must not happen while hostile input is read, whatever it says.

An audit hook sees what Python does: code compiled or executed that is no module's own, processes,
signals, connections, files made, changed or taken away, databases opened, pickles. Nothing of
Loom's reading of data has any use for that.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from tempfile import gettempdir
from types import FrameType
from typing import Any, Final

_FORBIDDEN: Final = (
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "os.utime", "os.chdir"),
    *("os.chmod", "os.chown", "os.link", "os.symlink", "os.setxattr", "os.kill", "signal."),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "pickle.find_class", "marshal.loads"),
    *("ctypes.dlopen", "code.__new__", "webbrowser.open", "shutil.", "pty.spawn", "urllib.Request"),
    *("compile", "exec", "sqlite3.load_extension"),
)

_IMPORT: Final = "<frozen importlib._bootstrap_external>"

_OWN: Final = {
    # A module that is loaded, and kept compiled.
    _IMPORT: (
        *("compile", "exec", "marshal.loads", "code.__new__", "ctypes.dlopen"),
        *("os.mkdir", "os.rename", "os.chmod"),
    ),
    # An annotation that is a text, when it is first asked for.
    "/typing.py": ("compile", "exec"),
    # A line of code that an error is shown with: it is parsed, to tell where in it that was.
    "/traceback.py": ("compile",),
}
"""What may do what, since it does not do it for data."""

_TEMPORARY: Final = PurePath(os.path.realpath(gettempdir()))
"""Where the inputs themselves are. It is asked for once, since asking takes a lock, which whoever
opens a file may hold."""

_CHANGES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Executed(Exception):
    """Data has made something happen."""


class _Watch:
    def __init__(self) -> None:
        self.armed = False
        self.seen: list[str] = []
        self.installed = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.armed and _is_forbidden(event, arguments):
            self.seen.append(f"{event}{arguments!r:.200}")


def _is_forbidden(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "open":
        path, _, flags = arguments
        return bool(flags & _CHANGES) and not _is_temporary(path) and not _is_cached(path)
    if event == "sqlite3.connect":
        return arguments[0] != ":memory:" and not _is_temporary(arguments[0])
    if not event.startswith(_FORBIDDEN):
        return False
    return not _is_called_by(*(file for file, events in _OWN.items() if event in events))


def _is_temporary(path: Any) -> bool:
    if isinstance(path, int):
        # It was open before.
        return True
    name = os.fsdecode(path).removeprefix("file:").partition("?")[0]
    return PurePath(os.path.realpath(name)).is_relative_to(_TEMPORARY)


def _is_cached(path: Any) -> bool:
    """Whether it is what Python keeps of a module that is being loaded."""
    return "__pycache__" in str(path) and _is_called_by(_IMPORT)


def _is_called_by(*files: str) -> bool:
    """Whether one of these files is at work, however far below."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename.endswith(files):
            return True
        frame = frame.f_back
    return False


_WATCH: Final = _Watch()


@contextmanager
def nothing_executed() -> Iterator[None]:
    """Raises ``Executed`` at the end when something was done that data may not bring about."""
    if not _WATCH.installed:
        # For good: an audit hook cannot be taken away, and this one sleeps unless armed.
        sys.addaudithook(_WATCH)
        _WATCH.installed = True
    _WATCH.seen.clear()
    _WATCH.armed = True
    try:
        yield
    finally:
        _WATCH.armed = False
        # Also when it was refused in the end.
        if _WATCH.seen:
            raise Executed("; ".join(_WATCH.seen))
