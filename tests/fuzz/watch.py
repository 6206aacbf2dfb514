"""What must not happen while hostile input is read, whatever it says.

An audit hook sees what Python does: code compiled or executed that is no module's own, processes,
connections, files changed, pickles. Nothing of Loom's reading of data has any use for that.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import gettempdir
from types import CodeType, FrameType
from typing import Any, Final

_FORBIDDEN: Final = (
    *("os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "subprocess.Popen"),
    *("os.remove", "os.rename", "os.rmdir", "os.chmod", "os.chown", "os.link", "os.symlink"),
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "pickle.find_class", "marshal.loads"),
    *("ctypes.dlopen", "code.__new__", "webbrowser.open", "shutil.", "pty.spawn", "urllib.Request"),
)

_IMPORT: Final = "<frozen importlib._bootstrap_external>"


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
    if event == "exec":
        # What a module does while it is loaded, and when its annotations are first asked for, is
        # its own.
        code = arguments[0]
        is_text = isinstance(code, CodeType) and code.co_filename.startswith("<string")
        return is_text and not _is_called_by("typing.py", _IMPORT)
    if event == "open":
        path, mode, _ = arguments
        # Where the inputs themselves are, and what Python keeps of modules.
        is_ours = str(path).startswith(gettempdir()) or "__pycache__" in str(path)
        return isinstance(mode, str) and not mode.startswith("r") and not is_ours
    return event.startswith(_FORBIDDEN) and not _is_module_loaded(event)


def _is_module_loaded(event: str) -> bool:
    """Whether the import of a module is what reads marshalled code."""
    by_import = ("marshal.loads", "code.__new__", "os.rename", "os.chmod", "ctypes.dlopen")
    return event in by_import and _is_called_by(_IMPORT)


def _is_called_by(*files: str) -> bool:
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
    if _WATCH.seen:
        raise Executed("; ".join(_WATCH.seen))
