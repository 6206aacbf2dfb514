"""What the conformance suite needs is only there for developers."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("missing", ["pytest", "pytest_asyncio", "hypothesis"])
def test_the_suite_says_what_it_misses(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import loom.testing.conformance"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: the conformance suite needs {missing}: pip install")
