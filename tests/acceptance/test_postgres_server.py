"""The tests' own Postgres server: it starts, it is honest, and it goes away."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.databases import plain_dsn
from tests.postgres import DSN_VARIABLE, PostgresUnavailable, local_binaries, wheel_binaries

ROOT = Path(__file__).parents[2]

HOLD_A_SERVER = """
import sys
from tests.postgres import kept_server
with kept_server(sys.argv[1]) as dsn:
    print(dsn, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def binaries() -> str:
    for find in (local_binaries, wheel_binaries):
        try:
            return str(find())
        except PostgresUnavailable:
            continue
    pytest.skip("no Postgres binaries")


def answers(dsn: str) -> bool:
    parts = urlsplit(dsn)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_a_database_forces_what_it_commits_to_disk(postgres_dsn: str) -> None:
    connection = await asyncpg.connect(plain_dsn(postgres_dsn))
    try:
        assert await connection.fetchval("SHOW fsync") == "on"
    finally:
        await connection.close()


def test_a_killed_test_run_leaves_no_server_behind(binaries: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_A_SERVER, binaries],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        dsn = run.stdout.readline().strip()
        assert answers(dsn)
        run.kill()
        run.stderr.read()  # ends when the keeper, which shares it, has ended
    assert not answers(dsn)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_server_in_the_foreground_stops_cleanly(ending: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.postgres"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != DSN_VARIABLE},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        dsn = server.stdout.readline().strip()
        if not dsn:
            pytest.skip(server.communicate()[1])
        server.send_signal(ending)
        _, errors = server.communicate()
    assert (server.returncode, errors) == (0, "")
    assert not answers(dsn)
