"""Plans that once showed a mistake, kept as data: whoever changes what seeds draw changes none of
them.

``python -m tests.simulation.mutants --only NAME --keep FILE`` keeps the smallest that shows a
mutant, which is the code as it was before it was mended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from tests.simulation.plan import Plan
from tests.simulation.stores import Tier

FOLDER: Final = Path(__file__).parent / "kept"


@dataclass(frozen=True, slots=True)
class Kept:
    """One of them."""

    tier: Tier
    plan: Plan
    mutant: str | None = None
    """By which it still shows what it is kept for."""


_AS_JSON: Final = TypeAdapter(Kept)


def write(path: Path, kept: Kept) -> None:
    path.write_bytes(_AS_JSON.dump_json(kept, indent=1, exclude_defaults=True) + b"\n")


def read(path: Path) -> Kept:
    return _AS_JSON.validate_json(path.read_bytes())


def kept_plans() -> Iterator[Path]:
    yield from sorted(FOLDER.glob("*.json"))
