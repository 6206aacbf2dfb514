"""What only a Postgres store has to do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest

from loom.errors import ConfigurationError, StoreError, StoreUnavailableError
from loom.storage.records import RunFilter
from loom.storage.sql import migrations, postgres
from loom.storage.sql.dialects import Statement
from loom.storage.sql.dsn import PostgresDsn, parse_dsn
from loom.storage.sql.notifier import PostgresNotifier
from loom.storage.sql.postgres import PostgresStore
from loom.storage.sql.transactions import Query, Transaction
from loom.testing.conformance.scene import Scene, message
from tests.conditions import eventually
from tests.postgres import LocalServer, PostgresUnavailable, local_binaries, local_server

OURS = "FROM pg_stat_activity WHERE application_name = 'loom' AND datname = current_database()"


async def opened(dsn: str) -> PostgresStore:
    store = await postgres.open_store(dsn)
    assert isinstance(store, PostgresStore)
    return store


def postgres_dsn_of(dsn: str) -> PostgresDsn:
    parsed = parse_dsn(dsn)
    assert isinstance(parsed, PostgresDsn)
    return parsed


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[Any]:
    connection = await postgres.connect(postgres_dsn_of(dsn))
    yield connection
    await connection.close()


# --- durability ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("off", "on"),
        ("local", "on"),
        ("remote_write", "on"),
        ("on", "on"),
        ("remote_apply", "remote_apply"),
    ],
)
async def test_a_commit_waits_for_the_disk_whatever_the_database_says(
    postgres_dsn: str, given: str, used: str
) -> None:
    async with connected(f"{postgres_dsn}?synchronous_commit={given}") as connection:
        assert await connection.fetchval("SHOW synchronous_commit") == used


async def test_a_connection_reads_what_was_committed_and_never_waits_for_ever(
    postgres_dsn: str,
) -> None:
    serializable = f"{postgres_dsn}?default_transaction_isolation=serializable"
    async with connected(serializable) as connection:
        assert await connection.fetchval("SHOW transaction_isolation") == "read committed"
        assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "10s"
        assert await connection.fetchval("SHOW lock_timeout") == "10s"


async def test_a_large_answer_arrives_in_small_pieces(postgres_dsn: str) -> None:
    """Or the memory of a process that reads all the time falls to pieces."""
    pieces = list[int]()
    async with connected(postgres_dsn) as connection:
        transport = connection._transport
        protocol = transport.get_protocol()

        class Counting(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                pieces.append(len(data))
                protocol.data_received(data)

        transport.set_protocol(Counting())
        assert await connection.fetchval("SELECT repeat('x', 1000000)") == 1_000_000 * "x"
        transport.set_protocol(protocol)
    assert sum(pieces) > 1_000_000
    assert max(pieces) <= 32 * 1024


async def test_what_the_dsn_sets_is_respected(postgres_dsn: str) -> None:
    own = f"{postgres_dsn}?application_name=mine&lock_timeout=3s"
    async with connected(own) as connection:
        assert await connection.fetchval("SHOW application_name") == "mine"
        assert await connection.fetchval("SHOW lock_timeout") == "3s"


async def test_a_warning_at_the_commit_makes_its_outcome_unknown(
    store: PostgresStore, scene: Scene, rival: Any
) -> None:
    # As Postgres warns when the wait for a synchronous standby is cancelled.
    await rival.execute("""
        CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE WARNING 'canceling wait for synchronous replication'; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER warn AFTER INSERT ON workflows
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION warn();
    """)
    with pytest.raises(StoreUnavailableError, match="synchronous replication"):
        await scene.start("warned")
    await rival.execute("DROP TRIGGER warn ON workflows")
    found = await store.repository.find_run("warned")
    assert found is not None
    await scene.start()


# --- callers and connections that go away --------------------------------------------------------


async def test_a_cancelled_caller_leaves_the_transaction_whole(
    store: PostgresStore, scene: Scene
) -> None:
    for delay in range(12):
        starting = asyncio.create_task(scene.start(f"cancelled {delay}"))
        for _ in range(delay):
            await asyncio.sleep(0)
        starting.cancel()
        # A quick server may have answered already.
        with suppress(asyncio.CancelledError):
            await starting
    await scene.start()
    await store.close()
    again = await opened(str_of(store))
    for run in await again.repository.list_runs(RunFilter()):
        assert len(await again.repository.read_history(run.run_key)) == 1
    await again.close()


async def test_a_connection_ended_by_the_server_is_replaced(
    store: PostgresStore, scene: Scene, rival: Any
) -> None:
    def hang(statements: postgres.Statements) -> Transaction[None]:
        yield Query(statements.runs.deletes[-1], {"keys": [run.run_key]})
        ended.set()
        yield Query(statements.runs.lock, {"keys": [run.run_key]})

    run, ended = await scene.start(), asyncio.Event()
    blocker = rival.transaction()
    await blocker.start()
    await rival.execute("LOCK TABLE workflows")
    writing = asyncio.create_task(store.database.write(hang(store.database.statements)))
    others = (
        "FROM pg_stat_activity WHERE application_name = 'loom' AND datname = current_database()"
    )
    while not await rival.fetchval(f"SELECT count(*) {others} AND wait_event_type = 'Lock'"):
        await asyncio.sleep(0.01)
    await rival.execute(f"SELECT pg_terminate_backend(pid) {others}")
    with pytest.raises(StoreUnavailableError):
        await writing
    await blocker.rollback()
    assert not ended.is_set()
    assert await scene.look(run) == run
    await scene.start()


def str_of(store: PostgresStore) -> str:
    dsn = store.dsn
    return f"postgresql://{dsn.user}:{dsn.password}@{dsn.hosts}/{dsn.database}"


# --- two at once ---------------------------------------------------------------------------------


async def test_starts_of_one_workflow_id_meet_in_one_run(
    store: PostgresStore, migrated_postgres_dsn: str
) -> None:
    other = await opened(migrated_postgres_dsn)
    for attempt in range(10):
        scenes = [Scene(store.repository), Scene(other.repository)]
        ids = [f"{attempt} {number}" for number in range(5)]
        batches = [
            [scene.new_run(id_) for id_ in order]
            for scene, order in zip(scenes * 2, [ids, ids[::-1]] * 2, strict=True)
        ]
        started = await asyncio.gather(
            *(s.repository.start_runs(b) for s, b in zip(scenes * 2, batches, strict=True))
        )
        runs = {outcome.run.run_id for outcomes in started for outcome in outcomes}
        created = [outcome for outcomes in started for outcome in outcomes if outcome.created]
        assert len(runs) == len(created) == len(ids)
    await other.close()


async def test_turns_that_write_to_each_other_do_not_deadlock(scene: Scene) -> None:
    runs = [await scene.start() for _ in range(6)]

    async def send_around(order: list[int], sender: str) -> None:
        for number in range(20):
            batch = [message(runs[index], f"{sender} {number}") for index in order]
            await scene.send(*batch)

    ways = ([0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 0, 4, 1, 5, 3])
    await asyncio.gather(*(send_around(way, str(way)) for way in ways))
    for run in runs:
        inbox = await scene.inbox_of(run)
        assert [got.position for got in inbox] == list(range(1, 61))


async def test_text_that_postgres_cannot_hold_is_refused_and_harms_nobody(scene: Scene) -> None:
    with pytest.raises(StoreError) as refused:
        await scene.start("nul \x00")
    assert not isinstance(refused.value, StoreUnavailableError)
    await scene.start()


# --- servers that will not do --------------------------------------------------------------------


async def test_a_server_that_does_not_answer_is_named_without_the_password() -> None:
    with pytest.raises(StoreUnavailableError, match=r"ada@127\.0\.0\.1:1/orders") as refused:
        await postgres.open_store("postgresql://ada:s3cret@127.0.0.1:1/orders")
    assert "s3cret" not in str(refused.value)


async def test_a_certificate_that_cannot_be_verified_is_no_mistake_in_the_dsn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Or the turns of a worker that connects again meanwhile would count as what cannot be
    written, and set their runs apart."""

    async def refuse(*_: object, **__: object) -> None:
        raise ssl.SSLCertVerificationError(1, "certificate has expired")

    monkeypatch.setattr(asyncpg, "connect", refuse)
    with pytest.raises(StoreUnavailableError, match="has expired"):
        await postgres.open_store("postgresql://127.0.0.1/orders?sslmode=verify-full")


async def test_a_database_that_does_not_exist_is_told(postgres_dsn: str) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        await postgres.open_store(f"{postgres_dsn}_missing")


@pytest.fixture(scope="module")
def own_server() -> Iterator[LocalServer]:
    """A server that a test may stop."""
    try:
        with local_server(local_binaries()) as server:
            yield server
    except PostgresUnavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.postgres
async def test_a_store_outlives_a_crash_and_a_restart_of_its_server(
    own_server: LocalServer,
) -> None:
    await migrations.upgrade(own_server.dsn)
    store = await opened(own_server.dsn)
    scene = Scene(store.repository)
    before = await scene.start()
    for mode in ("fast", "immediate"):
        await asyncio.to_thread(own_server.stop, mode)
        with pytest.raises(StoreUnavailableError):
            await scene.start()
        await eventually(lambda: not store.notifier.crosses_processes)
        await asyncio.to_thread(own_server.start)
        assert await scene.look(before) == before
        await scene.start()
        await eventually(lambda: store.notifier.crosses_processes)
    await store.close()


@pytest.mark.postgres
async def test_fsync_off_is_refused_unless_allowed(own_server: LocalServer) -> None:
    await migrations.upgrade(own_server.dsn)
    connection = await asyncpg.connect(own_server.dsn)
    try:
        await connection.execute("ALTER SYSTEM SET fsync = off")
        await connection.execute("SELECT pg_reload_conf()")
        while await connection.fetchval("SHOW fsync") != "off":
            await asyncio.sleep(0.01)
        with pytest.raises(StoreError, match="fsync = off"):
            await postgres.open_store(own_server.dsn)
        await (await opened(f"{own_server.dsn}?allow_unsafe_fsync=1")).close()
    finally:
        await connection.execute("ALTER SYSTEM RESET fsync")
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()


# --- notifications -------------------------------------------------------------------------------


async def test_topics_reach_other_processes_once_each(
    store: PostgresStore, migrated_postgres_dsn: str
) -> None:
    other = await opened(migrated_postgres_dsn)
    here: list[str] = []
    there: list[str] = []
    topics = [f"workflow:queue {number}" for number in range(2000)]
    for topic in topics:
        store.notifier.subscribe(topic, here.append)
        other.notifier.subscribe(topic, there.append)
    store.notifier.publish(topics)
    assert here == topics
    await eventually(lambda: there == topics)
    assert here == topics
    await other.close()


async def test_what_is_not_ours_on_the_channel_is_passed_over(
    store: PostgresStore, rival: Any
) -> None:
    heard: list[str] = []
    store.notifier.subscribe("topic", heard.append)
    for payload in ("", "{", "5", "[]", '["somebody", "topic"]'):
        await rival.execute("SELECT pg_notify('loom_wake_up', $1)", payload)
    await eventually(lambda: heard == ["topic"])


async def test_listeners_look_again_after_an_interruption(store: PostgresStore, rival: Any) -> None:
    heard: list[str] = []
    store.notifier.subscribe("topic", heard.append)
    await rival.execute(f"SELECT pg_terminate_backend(pid) {OURS}")
    await eventually(lambda: heard == ["topic"])
    assert store.notifier.crosses_processes


async def test_whatever_keeps_a_notifier_from_connecting_it_goes_on_trying(
    migrated_postgres_dsn: str,
) -> None:
    """As when a file with certificates is away while another takes its place."""
    reasons = iter([ConfigurationError("no such file"), OSError("no route")])

    async def connect() -> Any:
        for reason in reasons:
            raise reason
        return await postgres.connect(postgres_dsn_of(migrated_postgres_dsn))

    notifier = PostgresNotifier(connect)
    await notifier.start()
    await eventually(lambda: notifier.crosses_processes)
    await notifier.close()


async def test_a_topic_too_long_to_send_stays_at_home(store: PostgresStore) -> None:
    heard: list[str] = []
    long = "t" * 9000
    store.notifier.subscribe(long, heard.append)
    store.notifier.publish([long, "short"])
    assert heard == [long]
    await asyncio.sleep(0.05)
    assert store.notifier.crosses_processes


def said(sql: str) -> Query:
    return Query(Statement(sql, lambda _: ()))


async def session_of(store: PostgresStore) -> int:
    [[pid]] = await store.database.write_at_once(said("SELECT pg_backend_pid()"))
    assert isinstance(pid, int)
    return pid


def reading(sql: str) -> Transaction[None]:
    yield said(sql)


async def test_a_refused_statement_costs_no_connection(store: PostgresStore) -> None:
    before = await session_of(store)
    with pytest.raises(StoreError, match="division by zero"):
        await store.database.write_at_once(said("SELECT 1 / 0"))
    with pytest.raises(StoreError, match="division by zero"):
        await store.database.read(reading("SELECT 1 / 0"))
    with pytest.raises(StoreError, match="division by zero"):
        await store.database.write(reading("SELECT 1 / 0"))
    assert await session_of(store) == before


@pytest.mark.parametrize(
    "sql",
    ["SELECT pg_terminate_backend(pg_backend_pid())", "BEGIN; SELECT 1 / 0"],
    ids=["ended", "in a transaction"],
)
async def test_a_session_that_is_not_as_it_was_is_not_used_again(
    store: PostgresStore, sql: str
) -> None:
    before = await session_of(store)
    with pytest.raises(asyncpg.PostgresError):
        async with store.database._connection() as connection:
            await connection.execute(sql)
    assert await session_of(store) != before
