"""Small types whose objects do not change once they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

__all__ = ["value"]

if TYPE_CHECKING:
    # The type checkers see the standard one, and hold what it makes to be frozen.
    from dataclasses import dataclass as value
else:

    def value(*, frozen: bool, slots: bool, **options: Any) -> Any:
        """A ``dataclass`` that is frozen for the type checkers, and not at run time.

        Each field of a really frozen one is set by a call, so that making one takes five times as
        long; and every turn of a run makes dozens. Compared and hashed they are alike.
        """
        assert frozen
        assert slots
        return dataclass(slots=True, unsafe_hash=True, **options)
