"""What a user installs: built, installed on its own and run outside the checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_PACKAGES = 16
TOP = {
    ".ci",
    ".gitignore",
    ".python-version",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "alembic",
    "alembic.ini",
    "benchmarks",
    "docs",
    "examples",
    "loom",
    "mkdocs.yml",
    "pyproject.toml",
    "tests",
    "uv.lock",
}

pytestmark = pytest.mark.timeout(300)


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """The output of a command, which must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def uv() -> str:
    # ``uv run`` says where it is, which need not be on PATH.
    path = os.environ.get("UV") or shutil.which("uv")
    if path is None:
        pytest.skip("uv is not installed")
    return path


@pytest.fixture(scope="module")
def wheel(uv: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as published: built from the sdist, not from the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    run(uv, "build", "--out-dir", folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(uv: str, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean virtual environment with the wheel in it and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    run(uv, "venv", "--quiet", folder)
    run(uv, "pip", "install", "--quiet", "--only-binary", ":all:", wheel, VIRTUAL_ENV=str(folder))
    return folder


# --- the files -----------------------------------------------------------------------------------


def test_the_wheel_carries_migrations_and_demo(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"loom/py.typed", "loom/_alembic/env.py", "loom/_ingest/__init__.py"} <= names
    assert any(name.startswith("loom/_alembic/versions/") for name in names)


def test_the_wheel_carries_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"loom", wheel_metadata(wheel)}
    assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".db"))] == []


def wheel_metadata(wheel: Path) -> str:
    distribution, version, *_ = wheel.name.split("-")
    return f"{distribution}-{version}.dist-info"


def test_a_wheel_from_the_checkout_is_the_same_as_one_from_the_sdist(
    uv: str, wheel: Path, tmp_path: Path
) -> None:
    run(uv, "build", "--wheel", "--out-dir", tmp_path)
    (direct,) = tmp_path.glob("*.whl")
    assert set(zipfile.ZipFile(direct).namelist()) == set(zipfile.ZipFile(wheel).namelist())


def test_the_migrations_folder_never_shadows_the_library() -> None:
    assert list((ROOT / "alembic").rglob("__init__.py")) == []


def test_the_top_of_the_repository_stays_tidy() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = {line.split("/")[0] for line in run("git", "ls-files").splitlines()}
    assert names <= TOP


# --- installed -----------------------------------------------------------------------------------


def test_an_installation_is_small(uv: str, environment: Path) -> None:
    listing = run(uv, "pip", "list", "--format", "json", VIRTUAL_ENV=str(environment))
    packages = sorted(package["name"] for package in json.loads(listing))
    assert len(packages) <= MOST_PACKAGES, packages


def test_importing_the_installed_package_stays_light(environment: Path, tmp_path: Path) -> None:
    loaded = run(
        environment / "bin/python", "-c", "import loom, sys; print(*sys.modules)", cwd=tmp_path
    )
    assert {"sqlalchemy", "pydantic", "alembic"}.isdisjoint(loaded.split())


def test_the_installed_cli_migrates_a_database(environment: Path, tmp_path: Path) -> None:
    database = tmp_path / "installed.db"
    run(environment / "bin/loom", "db", "upgrade", cwd=tmp_path, LOOM_DSN=f"sqlite:///{database}")
    assert database.stat().st_size > 0


def test_the_installed_cli_has_the_demo(environment: Path, tmp_path: Path) -> None:
    assert "demo" in run(environment / "bin/loom", "demo", "--help", cwd=tmp_path)


def test_a_store_is_written_and_tested_as_its_page_says(
    uv: str, wheel: Path, tmp_path: Path
) -> None:
    page = (ROOT / "docs/stores.md").read_text()
    folder, environment = tmp_path / "store", tmp_path / "environment"
    folder.mkdir()
    for name, code in re.findall(r"```python (\w+\.py)\n(.*?)```", page, re.DOTALL):
        (folder / name).write_text(code)
    (entry_point,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    (folder / "pyproject.toml").write_text(PROJECT + entry_point)
    run(uv, "venv", "--quiet", environment)
    needed = ("pytest", "pytest-asyncio", "hypothesis")
    run(uv, "pip", "install", "--quiet", wheel, folder, *needed, VIRTUAL_ENV=str(environment))
    quickly = ("-q", "-x", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto")
    python = environment / "bin/python"
    told = run(python, "-m", "pytest", *quickly, "test_counted_store.py", cwd=folder)
    assert "passed" in told


PROJECT = """\
[project]
name = "counted-store"
version = "1.0"

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.hatch.build.targets.wheel]
include = ["counted_store.py"]

"""
