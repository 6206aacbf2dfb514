"""What a mistake is made of that is planted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

type Wrapped = Callable[[Any], Any]
"""Makes a method's mutant from the method."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One mistake."""

    name: str
    target: Any
    attribute: str
    mutate: Wrapped
    also: Mutant | None = None
    """What would cover it up, done away with."""

    @contextmanager
    def planted(self) -> Iterator[None]:
        mutated = self.mutate(self.target.__dict__[self.attribute])
        others = nullcontext() if self.also is None else self.also.planted()
        with patch.object(self.target, self.attribute, mutated), others:
            yield
