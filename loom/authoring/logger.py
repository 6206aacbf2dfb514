"""``ctx.logger``: silent while a run is replayed, kept with the run when it is not."""

from __future__ import annotations

import logging
import traceback

from loom.authoring.runtime import Runtime


class WorkflowLogger:
    """The usual logging methods. Each line goes to the run's log and to the logger
    ``loom.workflow`` of the standard library, once, however often the run is replayed."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def debug(self, message: object, *args: object) -> None:
        self.log(logging.DEBUG, message, *args)

    def info(self, message: object, *args: object) -> None:
        self.log(logging.INFO, message, *args)

    def warning(self, message: object, *args: object) -> None:
        self.log(logging.WARNING, message, *args)

    def error(self, message: object, *args: object) -> None:
        self.log(logging.ERROR, message, *args)

    def exception(self, message: object, *args: object) -> None:
        """Log an error with the traceback of the exception that is being handled."""
        trace = traceback.format_exc()
        self._runtime.log(logging.ERROR, lambda: f"{_format(message, args)}\n{trace}")

    def log(self, level: int, message: object, *args: object) -> None:
        self._runtime.log(level, lambda: _format(message, args))


def _format(message: object, args: tuple[object, ...]) -> str:
    """The line's text. Never raises: on replay nothing is formatted, so nothing would be raised."""
    try:
        return str(message) % args if args else str(message)
    except Exception as error:
        return f"<a line that could not be formatted: {type(error).__name__}: {error}>"
