"""What every part of the application stands on: whether it is open, and what there is then."""

from __future__ import annotations

from dataclasses import dataclass

from loom.client import Client
from loom.errors import ConfigurationError
from loom.history.payloads import PayloadCodec
from loom.runner.clock import Clock
from loom.runner.outside import OutsideActivities
from loom.settings import Settings
from loom.starts import Starts
from loom.storage.store import Store


@dataclass(frozen=True, slots=True)
class Opened:
    """What exists while the application is open."""

    store: Store
    clock: Clock
    client: Client
    starts: Starts
    outside: OutsideActivities


class Openable:
    """Something of which most is possible only while it is open."""

    settings: Settings
    _codecs: tuple[PayloadCodec, ...]
    _opened: Opened | None = None

    def _open_parts(self) -> Opened:
        if self._opened is None:
            raise ConfigurationError(
                "This Loom is not open: use it inside `async with Loom(...) as app:`."
            )
        return self._opened
