"""What is seen while the demo runs: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Final

import click

_BAR: Final = 30
_CLEAR_LINE: Final = "\r\x1b[2K"


@dataclass(frozen=True)
class Moment:
    """Something worth telling, in seconds since the demo began."""

    seconds: float
    text: str

    def __str__(self) -> str:
        return f"{self.seconds:7.1f} s  {self.text}"


class Screen:
    """Shows moments as they come, and how far the files are."""

    def __init__(self, total: int) -> None:
        self.moments: list[Moment] = []
        self.began_at = time.time()
        self._total = total
        self._live = sys.stdout.isatty()
        self._tenth = 0

    def tell(self, text: str, at: float | None = None) -> None:
        """Shows a moment and keeps it for the timeline."""
        self.note(text, time.time() if at is None else at)
        click.echo(f"{_CLEAR_LINE if self._live else ''}{self.moments[-1]}")

    def note(self, text: str, at: float) -> None:
        """Keeps a moment for the timeline; ``at`` is in seconds since the epoch."""
        self.moments.append(Moment(at - self.began_at, text))

    def progress(self, done: int) -> None:
        """Shows how many files are done."""
        moment = Moment(time.time() - self.began_at, self._count(done))
        tenth = done * 10 // self._total
        if self._live:
            bar = "#" * (done * _BAR // self._total)
            click.echo(f"{_CLEAR_LINE}{moment}  [{bar:.<{_BAR}}]", nl=False)
        elif tenth > self._tenth:
            click.echo(str(moment))
        self._tenth = max(tenth, self._tenth)

    def _count(self, done: int) -> str:
        return f"{done:,} of {self._total:,} files ({done * 100 // self._total} %)"
