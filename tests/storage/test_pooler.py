"""A pooler between Loom and the server is refused before it can do any harm."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from loom.errors import StoreError
from loom.storage.sql import postgres
from tests.conditions import eventually
from tests.databases import plain_dsn

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

CONFIGURATION = """
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
auth_type = plain
auth_file = {folder}/users
pool_mode = {mode}
unix_socket_dir =
{more}
"""
KEPT = "ignore_startup_parameters = lock_timeout,idle_in_transaction_session_timeout,jit,"
KEPT += "default_transaction_isolation"

type Pooler = Callable[[str, str], str]


@pytest.fixture
def pooler(migrated_postgres_dsn: str) -> Iterator[Pooler]:
    """Starts PgBouncer before the test's database, in a mode and with more settings."""
    if PGBOUNCER is None:
        pytest.skip("there is no pgbouncer")
    server = urlsplit(migrated_postgres_dsn)
    # It refuses to run as root.
    account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    running: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="loom-pooler-") as name, closing(socket.socket()) as s:
        folder = Path(name)
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
        s.close()

        def start(mode: str, more: str) -> str:
            (folder / "users").write_text(f'"{server.username}" "{server.password}"\n')
            values = {"host": server.hostname, "port": server.port or 5432, "more": more}
            text = CONFIGURATION.format(listen_port=port, folder=folder, mode=mode, **values)
            (folder / "ini").write_text(text)
            folder.chmod(0o755)
            command = [str(PGBOUNCER), "-q", str(folder / "ini")]
            running.append(
                subprocess.Popen(
                    command,
                    stderr=subprocess.DEVNULL,
                    user=account and account.pw_uid,
                    group=account and account.pw_gid,
                    extra_groups=account and [],
                )
            )
            location = server.netloc.rpartition("@")[0] + f"@127.0.0.1:{port}"
            return urlunsplit(server._replace(netloc=location))

        yield start
        for process in running:
            process.terminate()
            process.wait()


@pytest.mark.postgres
@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize("more", ["", KEPT], ids=["as it comes", "keeping settings to itself"])
async def test_a_pooler_is_refused_and_the_error_says_what_to_do(
    pooler: Pooler, mode: str, more: str
) -> None:
    dsn = pooler(mode, more)
    await eventually(lambda: answers(dsn))
    with pytest.raises(StoreError, match=r"pooler.*give it a DSN of the server itself"):
        await postgres.open_store(dsn)


async def answers(dsn: str) -> bool:
    try:
        connection = await asyncpg.connect(plain_dsn(dsn))
    except OSError:
        return False
    await connection.close()
    return True
