"""A store with one thing wrong, as its author might get it wrong."""

from __future__ import annotations

from typing import Any, ClassVar

from loom.storage.memory import MemoryRepository


class Broken(MemoryRepository):
    """Names the test of the suite that must catch it, and the arguments if that takes any."""

    caught_by: ClassVar[str]
    arguments: ClassVar[dict[str, Any]] = {}
