"""What is checked when a worker is given workflows: that which no guard can see at run time."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final
from weakref import WeakKeyDictionary

from loom.authoring.forbidden import SET_ITERATION, GuardMode
from loom.authoring.lint.check import lint
from loom.authoring.lint.findings import Finding
from loom.errors import DefinitionError

_log = logging.getLogger("loom.worker")

_checked: Final[WeakKeyDictionary[type, list[Finding]]] = WeakKeyDictionary()


def check_order(workflows: Iterable[type], guards: GuardMode) -> None:
    """Refuse workflows that go through sets, which have another order in every process.

    Python tells nobody when a set is iterated over, so their source is read, where it is at hand.

    Raises ``DefinitionError`` with every place; guards that warn say it in the log instead.
    """
    if guards == "off":
        return
    found = sorted({finding for cls in workflows for finding in _findings(cls)})
    if not found:
        return
    places = "\n".join(f"  {finding}" for finding in found)
    message = (
        f"Workflows go through sets, so that they would not replay:\n{places}\nA place where the "
        "order does not matter is excused by the comment `# loom: ignore[set-iteration]`."
    )
    if guards == "error":
        raise DefinitionError(message)
    _log.warning(message)


def _findings(cls: type) -> list[Finding]:
    if cls not in _checked:
        try:
            _checked[cls] = lint([cls], rules={SET_ITERATION.id})
        except Exception as error:
            # Source can be anything, and nobody's worker shall stand still because of it.
            _log.warning("the source of %s could not be checked: %r", cls.__qualname__, error)
            _checked[cls] = []
    return _checked[cls]
