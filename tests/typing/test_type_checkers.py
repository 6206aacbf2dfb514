"""Both type checkers agree with the files beside this one.

What must be right is asserted with ``assert_type``; what must be an error carries a
``# type: ignore``, and an ignore that ignores nothing is an error itself.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
FILES = [
    str(FOLDER / f"{name}.py")
    for name in ("definitions", "activities", "starting", "talking", "waiting", "children")
]

CHECKERS = {"mypy": ["-m", "mypy", "--strict"], "pyright": ["-m", "pyright"]}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", CHECKERS)
def test_the_checker_finds_what_it_shall_and_nothing_else(checker: str) -> None:
    done = subprocess.run(
        [sys.executable, *CHECKERS[checker], *FILES],
        cwd=FOLDER.parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_checked_file_is_checked() -> None:
    checked = {path.name for path in FOLDER.glob("*.py")} - {Path(__file__).name}
    assert checked == {Path(path).name for path in FILES}
