"""What the static check has to say."""

from __future__ import annotations

from dataclasses import dataclass

from loom.authoring.forbidden import Rule


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One place in a workflow's code that may not replay.

    Attributes:
        path, line, column: where; the column counts from 1.
        function: the qualified name of the function it is in.
        rule: the id of the rule that it breaks, as in ``# loom: ignore[rule]``.
        problem: what is wrong, as a sentence without its full stop.
        instead: what to write in its place.
    """

    path: str
    line: int
    column: int
    function: str
    rule: str
    problem: str
    instead: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}"
        return f"{place}: [{self.rule}] {self.problem}; {self.instead} (in {self.function})"


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that is broken, before it is known where the code lies."""

    line: int
    column: int
    rule: Rule
    subject: str
    """What breaks it, as the beginning of a sentence that the rule's problem ends."""
