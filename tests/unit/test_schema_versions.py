"""Which versions of the schema this Loom can work with, and what it says of the others."""

from __future__ import annotations

import pytest

from loom.errors import SchemaVersionError
from loom.storage.sql import versions
from loom.storage.sql.versions import Version, check_version, is_newer, is_older


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "KNOWN", Version.parse("0005_from_0004"))


@pytest.mark.parametrize("stored", ["0005_from_0004", "0005", "0006_from_0005", "0010_from_0002"])
def test_a_schema_is_worked_with_that_names_this_loom_or_an_older_one(stored: str) -> None:
    assert check_version("here", stored) == stored
    assert not is_older(stored)


@pytest.mark.parametrize("stored", [None, "0004", "0001", "0004_from_0001"])
def test_an_older_schema_is_refused_with_the_command_that_mends_it(stored: str | None) -> None:
    assert is_older(stored)
    assert not is_newer(stored)
    with pytest.raises(SchemaVersionError, match=r"here: .*`loom db upgrade`.* LOOM_DSN"):
        check_version("here", stored)


@pytest.mark.parametrize("stored", ["0006", "0007_from_0006", "9999", "made by others"])
def test_a_newer_schema_that_names_no_loom_as_old_as_this_is_refused(stored: str) -> None:
    assert is_newer(stored)
    assert not is_older(stored)
    with pytest.raises(SchemaVersionError, match=f"here: .*{stored}.* upgrade the package"):
        check_version("here", stored)
