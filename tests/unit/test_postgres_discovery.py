"""Where the tests' Postgres comes from. Nothing here starts a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests import postgres
from tests.databases import database_name, plain_dsn, with_database
from tests.postgres import (
    PROGRAMS,
    PostgresUnavailable,
    Source,
    first_available,
    from_environment,
    local_binaries,
    wheel_binaries,
)


def having(dsn: str) -> Source:
    @contextmanager
    def source() -> Iterator[str]:
        yield dsn

    return source


def lacking(reason: str) -> Source:
    def source() -> AbstractContextManager[str]:
        raise PostgresUnavailable(reason)

    return source


def install(folder: Path, *programs: str) -> Path:
    folder.mkdir(parents=True)
    for program in programs or PROGRAMS:
        (folder / program).touch(mode=0o755)
    return folder


# --- the order -----------------------------------------------------------------------------------


def test_the_first_source_that_has_a_server_is_used() -> None:
    sources = {"a": lacking("broken"), "b": having("one"), "c": having("two")}
    with first_available(sources) as dsn:
        assert dsn == "one"


def test_a_source_after_the_one_in_use_is_never_asked() -> None:
    def unwanted() -> Iterator[str]:
        raise AssertionError("asked")

    with first_available({"a": having("one"), "b": contextmanager(unwanted)}):
        pass


def test_every_reason_is_told_when_there_is_no_server() -> None:
    sources = {"a": lacking("no engine"), "b": lacking("no binaries")}
    with pytest.raises(PostgresUnavailable) as caught, first_available(sources):
        pass
    assert str(caught.value) == "no Postgres for the tests:\na: no engine\nb: no binaries"


def test_the_server_is_released_when_the_test_run_raises() -> None:
    released = []

    @contextmanager
    def source() -> Iterator[str]:
        try:
            yield "one"
        finally:
            released.append(True)

    with pytest.raises(KeyboardInterrupt), first_available({"a": source}):
        raise KeyboardInterrupt
    assert released


def test_sources_are_tried_from_the_named_server_down_to_the_wheel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(postgres.DSN_VARIABLE, raising=False)
    asked = []

    def refuse(origin: str) -> None:
        asked.append(origin)
        raise PostgresUnavailable("not today")

    monkeypatch.setattr(postgres, "kept_server", refuse)
    monkeypatch.setattr(postgres, "local_binaries", lambda: Path("/local"))
    monkeypatch.setattr(postgres, "wheel_binaries", lambda: Path("/wheel"))
    with pytest.raises(PostgresUnavailable, match="LOOM_TEST_POSTGRES_DSN: not set"):
        postgres.running_postgres().__enter__()
    assert asked == ["docker", "/local", "/wheel"]


# --- each source ---------------------------------------------------------------------------------


def test_a_named_server_is_taken_at_its_word() -> None:
    with from_environment({"LOOM_TEST_POSTGRES_DSN": "postgresql://host/db"}) as dsn:
        assert dsn == "postgresql://host/db"


@pytest.mark.parametrize("environ", [{}, {"LOOM_TEST_POSTGRES_DSN": ""}])
def test_no_named_server_is_a_reason(environ: dict[str, str]) -> None:
    with pytest.raises(PostgresUnavailable, match="not set"), from_environment(environ):
        pass


def test_binaries_on_path_come_before_debians(tmp_path: Path) -> None:
    on_path = install(tmp_path / "bin")
    install(tmp_path / "usr/lib/postgresql/17/bin")
    assert local_binaries(path=str(on_path), root=tmp_path) == on_path


def test_a_link_on_path_leads_to_the_folder_with_all_programs(tmp_path: Path) -> None:
    folder = install(tmp_path / "opt/postgresql/bin")
    link = tmp_path / "bin/postgres"
    link.parent.mkdir()
    link.symlink_to(folder / "postgres")
    assert local_binaries(path=str(link.parent), root=tmp_path) == folder


def test_debians_newest_version_is_taken(tmp_path: Path) -> None:
    for version in ("9.6", "15", "17"):
        install(tmp_path / f"usr/lib/postgresql/{version}/bin")
    assert local_binaries(path="", root=tmp_path).parent.name == "17"


def test_a_folder_with_client_programs_alone_is_passed_over(tmp_path: Path) -> None:
    install(tmp_path / "usr/lib/postgresql/17/bin", "psql")
    server = install(tmp_path / "usr/lib/postgresql/15/bin")
    assert local_binaries(path="", root=tmp_path) == server


def test_no_local_binaries_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(PostgresUnavailable, match="none on PATH or in"):
        local_binaries(path="", root=tmp_path)


def test_the_wheels_newest_version_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "fake_pgserver"
    install(package / "pginstall/bin")
    newest = install(package / "pginstall18/bin")
    (package / "__init__.py").write_text("raise ImportError('never imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert wheel_binaries("fake_pgserver") == newest


def test_a_missing_wheel_is_a_reason() -> None:
    with pytest.raises(PostgresUnavailable, match="is not installed"):
        wheel_binaries("no_such_package")


# --- names of databases --------------------------------------------------------------------------


def test_another_database_keeps_the_server_and_its_options() -> None:
    dsn = with_database("postgresql+asyncpg://u:p@host:1/postgres?ssl=require", "mine")
    assert dsn == "postgresql+asyncpg://u:p@host:1/mine?ssl=require"
    assert database_name(dsn) == "mine"


def test_a_plain_dsn_carries_nothing_that_asyncpg_does_not_know() -> None:
    dsn = "postgresql+asyncpg://u:p@host/db?allow_unsafe_fsync=1&ssl=require"
    assert plain_dsn(dsn) == "postgresql://u:p@host/db?ssl=require"
