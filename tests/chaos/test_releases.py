"""What the last release has stored and promised is as it was."""

from __future__ import annotations

import re

import pytest

from loom.engine.flags import NEW_RUN_FLAGS
from tests.chaos.nursery import ROOT
from tests.chaos.releases import LAST, ReleaseUnavailable, git


@pytest.fixture(autouse=True)
def has_history() -> None:
    try:
        git("rev-parse", LAST)
    except ReleaseUnavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("folder", ["alembic/versions", "tests/golden_histories/files"])
def test_what_was_released_is_never_changed(folder: str) -> None:
    files = git("ls-tree", "-r", "--name-only", LAST, folder).decode().split()
    assert files
    changed = [
        name for name in files if git("show", f"{LAST}:{name}") != (ROOT / name).read_bytes()
    ]
    assert changed == []


def test_new_runs_have_no_flag_that_the_last_release_does_not_know() -> None:
    text = git("show", f"{LAST}:loom/engine/flags.py").decode()
    known = re.findall(r'^    [A-Z_]+ = "([a-z-]+)"$', text, flags=re.M)
    assert set(NEW_RUN_FLAGS) <= set(known)
