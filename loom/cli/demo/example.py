"""Where the ingest example is: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import loom


@dataclass(frozen=True)
class Example:
    """A package of modules, and the folder that must be on the path to import it, if any."""

    package: str
    folder: Path | None

    def module(self, name: str) -> ModuleType:
        """Imports one of the example's modules."""
        if self.folder and str(self.folder) not in sys.path:
            sys.path.insert(0, str(self.folder))
        return importlib.import_module(f"{self.package}.{name}")


def find_example() -> Example:
    """The ingest example, as this installation has it."""
    here = Path(loom.__file__).parent
    if (here / "_ingest").is_dir():
        return Example("loom._ingest", None)
    return Example("examples.ingest", here.parent)
