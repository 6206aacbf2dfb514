"""Testing workflows: an environment in virtual time, mocked activities, and injected crashes.

Runtime code never imports this. The conformance suite for stores is in
``loom.testing.conformance``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loom.testing.environment import WorkflowEnvironment as WorkflowEnvironment
    from loom.testing.mocks import HANGS as HANGS
    from loom.testing.mocks import Call as Call

# Imported when used, as in ``loom`` itself: every run of pytest imports this for its plugin.
_HOME_OF = {
    "Call": "loom.testing.mocks",
    "HANGS": "loom.testing.mocks",
    "WorkflowEnvironment": "loom.testing.environment",
}

__all__ = sorted(_HOME_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'loom.testing' has no attribute {name!r}")
    return getattr(import_module(home), name)
