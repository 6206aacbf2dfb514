"""What the exit codes mean, and how expected errors become one line and one of them."""

from __future__ import annotations

import os
import sys
from enum import IntEnum
from typing import IO, Any, Final

import click

import loom.errors as errors
from loom.cli.output import harmless


class Exit(IntEnum):
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    STORE = 4
    INTERRUPTED = 130


EXPLAINED: Final = """\b
Exit codes:
  0    done
  1    it failed: the awaited workflow did, a check found a difference, ...
  2    wrong usage or bad input
  3    there is no such workflow
  4    the database is not available or not there, or has the wrong schema
  130  interrupted
"""

_CODES: Final[tuple[tuple[type[errors.LoomError], Exit], ...]] = (
    (errors.ConfigurationError, Exit.USAGE),
    (errors.PayloadError, Exit.USAGE),
    (errors.HistoryFormatError, Exit.USAGE),
    (errors.WorkflowNotFoundError, Exit.NOT_FOUND),
    (errors.StoreError, Exit.STORE),
)


class CommandError(click.ClickException):
    """An expected error: one line on standard error, no traceback."""

    def __init__(self, message: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click gives each class one

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"loom: {harmless(self.format_message())}", file=file, err=file is None)


class CommandGroup(click.Group):
    """A group of commands that ends as ``Exit`` says, whatever the commands raise."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except errors.LoomError as error:
            raise CommandError(str(error), _code_of(error)) from error
        except KeyboardInterrupt:
            raise CommandError("interrupted.", Exit.INTERRUPTED) from None
        except BrokenPipeError:
            _silence_stdout()
            ctx.exit(Exit.OK)


def _code_of(error: errors.LoomError) -> Exit:
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)


def _silence_stdout() -> None:
    # Who was reading has seen enough, as `head` does. What is still buffered must not fail at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
