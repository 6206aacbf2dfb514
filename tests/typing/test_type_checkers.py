"""Both type checkers agree with the files beside this one.

What must be right is asserted with ``assert_type``; what must be an error carries a
``# type: ignore``, and an ignore that ignores nothing is an error itself.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
FILES = [
    str(FOLDER / f"{name}.py")
    for name in ("definitions", "activities", "starting", "talking", "waiting", "children")
]

CHECKERS = {"mypy": ["-m", "mypy", "--strict"], "pyright": ["-m", "pyright"]}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("checker", CHECKERS)
def test_the_checker_finds_what_it_shall_and_nothing_else(checker: str, tmp_path: Path) -> None:
    """In the files beside this one, in every Python block of the README and the docs, and in every
    small example. In one go: most of the time is for what all of them import."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
        for number, block in enumerate(blocks):
            (tmp_path / f"{page.stem.replace('-', '_')}_{number}.py").write_text(block)
    for example in (ROOT / "examples" / "hello").glob("*.py"):
        (tmp_path / example.name).write_text(example.read_text())
    done = subprocess.run(
        [sys.executable, *CHECKERS[checker], *FILES, *sorted(map(str, tmp_path.glob("*.py")))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_checked_file_is_checked() -> None:
    checked = {path.name for path in FOLDER.glob("*.py")} - {Path(__file__).name}
    assert checked == {Path(path).name for path in FILES}
