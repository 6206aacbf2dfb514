"""What a workflow's code must not call, why, and what it calls instead.

One table for both who enforce it: the guards at run time and the static check. It holds names
alone, so that what is forbidden is not imported for its sake.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

type GuardMode = Literal["strict", "error", "warn", "off"]
"""What is done about a call that breaks a rule: halt the run, say so in the log, or nothing. Only
``strict`` sees what libraries do."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One reason why code cannot be replayed.

    Attributes:
        id: by which it is named, as in ``# loom: ignore[clock]``.
        problem: what a call does, as the end of a sentence.
        instead: what to write in its place.
        may_be_lifted: whether it may make sense to break it knowingly.
    """

    id: str
    problem: str
    instead: str
    may_be_lifted: bool = True


_IN_AN_ACTIVITY: Final = "do it in an activity: ctx.activity(fn, ...)"

CLOCK: Final = Rule("clock", "reads this machine's clock", "use ctx.now()")
RANDOM: Final = Rule(
    "random",
    "gives other numbers on each replay",
    "use ctx.random, or ctx.side_effect(fn) for what must be unpredictable",
)
UUID: Final = Rule("uuid", "gives another id on each replay", "use ctx.uuid4()")
SLEEP: Final = Rule("sleep", "stops the worker's event loop", "use await ctx.sleep(...)")
IO: Final = Rule("io", "reads or changes what lies outside of the run", _IN_AN_ACTIVITY)
NETWORK: Final = Rule("network", "talks to another machine", _IN_AN_ACTIVITY)
PROCESS: Final = Rule("process", "touches a process of the system", _IN_AN_ACTIVITY)
THREAD: Final = Rule(
    "thread",
    "runs code in a thread or process, in no order that a replay could follow",
    "do it in an activity; one that is a plain function runs in a thread",
)
EVENT_LOOP: Final = Rule(
    "event-loop",
    "brings in another event loop",
    "await it here, on the workflow's own loop; what needs a loop of its own is an activity",
)
ORDER: Final = Rule(
    "order",
    "takes what it is given out of a set, in no fixed order",
    "use loom.wait or loom.as_completed, or give it a list of tasks",
)
SET_ITERATION: Final = Rule(
    "set-iteration",
    "goes through a set, whose order differs from process to process",
    "use sorted(...), or a list or dict in place of the set",
)
HASH: Final = Rule(
    "hash",
    "differs from process to process",
    "use hashlib, or a key of your own",
)
SWALLOW: Final = Rule(
    "swallow",
    "also catches the run's cancellation, which then never ends it",
    "use `except Exception`, or end the block with `raise`",
)
ACTIVITY_CALL: Final = Rule(
    "activity-call",
    "is an activity, and called like this it is neither recorded nor retried",
    "use ctx.activity(fn, ...)",
    may_be_lifted=False,
)
ENVIRONMENT: Final = Rule(
    "environment",
    "reads the environment of this process",
    "put it into the input, read it in an activity, or ctx.side_effect(lambda: os.environ[...])",
)
FORGOTTEN_AWAIT: Final = Rule(
    "await",
    "is never awaited, so that nothing is asked for",
    "write `await` in front of it, or give it to asyncio.gather or asyncio.create_task",
    may_be_lifted=False,
)

RULES: Final = {
    rule.id: rule
    for rule in (
        *(CLOCK, RANDOM, UUID, SLEEP, IO, NETWORK, PROCESS, THREAD, EVENT_LOOP, ORDER),
        *(SET_ITERATION, HASH, SWALLOW, ACTIVITY_CALL, ENVIRONMENT, FORGOTTEN_AWAIT),
    )
}
"""All rules by their ids."""


_CALLS: Final[dict[Rule, dict[str, str]]] = {
    CLOCK: {
        "time": "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time "
        "process_time_ns thread_time thread_time_ns clock_gettime clock_gettime_ns",
        "datetime.datetime": "now utcnow today",
        "datetime.date": "today",
        "os": "times",
    },
    RANDOM: {
        "random": "betavariate binomialvariate choice choices expovariate gammavariate gauss "
        "getrandbits lognormvariate normalvariate paretovariate randbytes randint random "
        "randrange sample seed shuffle triangular uniform vonmisesvariate weibullvariate "
        "SystemRandom",
        "secrets": "SystemRandom choice randbelow randbits token_bytes token_hex token_urlsafe",
        "os": "urandom getrandom",
        "numpy.random": "default_rng rand randn randint random random_sample choice shuffle "
        "permutation normal uniform seed",
    },
    UUID: {"uuid": "uuid1 uuid4 uuid6 uuid7 uuid8 getnode"},
    SLEEP: {"time": "sleep"},
    IO: {
        "builtins": "open input",
        "io": "open open_code FileIO",
        "os": "open read write listdir scandir walk stat lstat remove unlink rename replace mkdir "
        "makedirs rmdir removedirs link symlink readlink chmod chown truncate utime access statvfs",
        "os.path": "exists isfile isdir islink getsize getmtime getatime getctime",
        "pathlib.Path": "open read_text read_bytes write_text write_bytes exists is_file is_dir "
        "iterdir glob rglob stat lstat mkdir rmdir unlink rename replace touch",
        "shutil": "copy copy2 copyfile copytree move rmtree disk_usage which",
        "tempfile": "NamedTemporaryFile TemporaryDirectory TemporaryFile SpooledTemporaryFile "
        "mkdtemp mkstemp mktemp gettempdir",
        "glob": "glob iglob",
        "sqlite3": "connect",
        "psycopg": "connect",
        "psycopg2": "connect",
        "asyncpg": "connect create_pool",
        "aiosqlite": "connect",
        "sqlalchemy": "create_engine",
        "aiofiles": "open",
    },
    NETWORK: {
        "socket": "socket create_connection create_server socketpair getaddrinfo gethostbyname "
        "gethostname getfqdn",
        "urllib.request": "urlopen urlretrieve",
        "http.client": "HTTPConnection HTTPSConnection",
        "smtplib": "SMTP SMTP_SSL",
        "ftplib": "FTP FTP_TLS",
        "asyncio": "open_connection start_server open_unix_connection start_unix_server",
        "requests": "get post put patch delete head options request Session",
        "httpx": "get post put patch delete head options request stream Client AsyncClient",
        "aiohttp": "ClientSession request",
        "urllib3": "request PoolManager HTTPConnectionPool",
        "boto3": "client resource Session",
    },
    PROCESS: {
        "subprocess": "run call check_call check_output getoutput getstatusoutput Popen",
        "os": "system popen fork forkpty posix_spawn posix_spawnp execv execve execvp kill getpid "
        "getppid",
        "signal": "signal alarm raise_signal pause",
        "asyncio": "create_subprocess_exec create_subprocess_shell",
        "platform": "node uname",
    },
    THREAD: {
        "threading": "Thread Timer",
        "_thread": "start_new_thread",
        "multiprocessing": "Process Pool",
        "multiprocessing.context": "Process",
        "concurrent.futures": "ThreadPoolExecutor ProcessPoolExecutor",
        "concurrent.futures.ThreadPoolExecutor": "submit map",
        "concurrent.futures.ProcessPoolExecutor": "submit map",
        "concurrent.futures.Future": "result exception",
        "asyncio": "to_thread run_coroutine_threadsafe",
        "threading.Thread": "start join",
        "threading.Event": "wait",
        "threading.Condition": "wait wait_for",
        "threading.Barrier": "wait",
        "queue.Queue": "get put join",
    },
    ENVIRONMENT: {"os": "getenv getenvb"},
    EVENT_LOOP: {
        "asyncio": "run new_event_loop Runner set_event_loop",
        "asyncio.Runner": "run",
        "uvloop": "run new_event_loop",
        "anyio": "run",
        "anyio.from_thread": "run start_blocking_portal",
        "trio": "run",
    },
    ORDER: {"asyncio": "wait as_completed"},
}

FORBIDDEN: Final[dict[str, Rule]] = {
    f"{home}.{name}": rule
    for rule, homes in _CALLS.items()
    for home, names in homes.items()
    for name in names.split()
}
"""Functions and classes whose call breaks a rule, by their full names."""

WITHOUT_ARGUMENTS: Final[dict[str, Rule]] = {
    **{f"time.{name}": CLOCK for name in ("localtime", "gmtime", "ctime", "asctime")},
    "random.Random": RANDOM,
    "numpy.random.RandomState": RANDOM,
}
"""Those that break it only when they are called without arguments."""

FORBIDDEN_LOOP_METHODS: Final = {
    "run_in_executor": THREAD,
    "run_until_complete": EVENT_LOOP,
    "run_forever": EVENT_LOOP,
}
"""Methods by their names alone, for where it is not known what they are called on."""

SAFE_OF_TASKS: Final = frozenset({"asyncio.wait", "asyncio.as_completed"})
"""Those that are fine with a list of tasks, which a run keeps in a fixed order."""

_OUTSIDE: Final = {
    IO: "builtins.input open os.chdir os.chflags os.chmod os.chown os.link os.listdir os.lockf "
    "os.mkdir os.putenv os.remove os.removexattr os.rename os.rmdir os.scandir os.setxattr "
    "os.symlink os.truncate os.unsetenv os.utime os.walk sqlite3.connect tempfile.mkdtemp "
    "tempfile.mkstemp",
    NETWORK: "ftplib.connect http.client.connect http.client.send imaplib.open poplib.connect "
    "smtplib.connect socket.__new__ socket.bind socket.connect socket.getaddrinfo "
    "socket.gethostbyaddr socket.gethostbyname socket.gethostname socket.sendmsg socket.sendto "
    "telnetlib.Telnet.open urllib.Request",
    PROCESS: "os.exec os.fork os.forkpty os.kill os.killpg os.posix_spawn os.spawn os.startfile "
    "os.system pty.spawn subprocess.Popen",
    THREAD: "_thread.start_new_thread _thread.start_joinable_thread",
    SLEEP: "time.sleep",
}

AUDITED: Final[dict[str, Rule]] = {
    event: rule for rule, events in _OUTSIDE.items() for event in events.split()
}
"""Audit events of the interpreter that break a rule, whoever called on the workflow's behalf."""
