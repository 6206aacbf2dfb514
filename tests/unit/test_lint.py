"""The static check finds what would not replay, and nothing else."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent
from uuid import uuid4

import pytest

from loom.authoring.forbidden import RULES
from loom.authoring.lint.at_start import check_order
from loom.authoring.lint.check import lint
from loom.authoring.lint.findings import Finding

HEAD = """\
import asyncio, datetime as dt, os, random, secrets, socket, subprocess, threading, time, uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, partial, wraps
from pathlib import Path
from time import time as now
from typing import Any, TypedDict
import loom
from pydantic import BaseModel, Field

type Ctx = loom.WorkflowContext[Any, Any]

@loom.activity
async def fetch(name: str) -> set[str]:
    time.sleep(1)
    return {name}

@loom.activity
def count(name: str) -> int:
    return int(time.time())
"""

type Check = Callable[..., list[Finding]]


@pytest.fixture
def check(tmp_path: Path) -> Iterator[Check]:
    """Checks a workflow whose ``run`` is the given code, in a module with more of it before."""
    loaded = []

    def check(
        body: str, before: str = "", generics: str = "Any, Any", methods: str = ""
    ) -> list[Finding]:
        name = f"lint_{uuid4().hex}"
        run = indent(dedent(body).strip(), " " * 8)
        path = tmp_path / f"{name}.py"
        path.write_text(
            f"{HEAD}\n{dedent(before)}\n@loom.workflow\n"
            f"class Checked(loom.Workflow[{generics}]):\n"
            f"    async def run(self, ctx: loom.WorkflowContext[{generics}]) -> Any:\n{run}\n"
            f"{indent(methods, '    ')}"
        )
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        loaded.append(name)
        spec.loader.exec_module(module)
        return lint([module.Checked])

    yield check
    for name in loaded:
        del sys.modules[name]


def rules(findings: list[Finding]) -> list[str]:
    return [finding.rule for finding in findings]


CALLS = {
    "time.time()": "clock",
    "now()": "clock",
    "time.monotonic()": "clock",
    "time.localtime()": "clock",
    "datetime.now()": "clock",
    "dt.datetime.now(dt.UTC)": "clock",
    "dt.date.today()": "clock",
    "random.random()": "random",
    "random.shuffle([1, 2])": "random",
    "random.Random()": "random",
    "os.urandom(8)": "random",
    "secrets.token_hex()": "random",
    "uuid.uuid4()": "uuid",
    "uuid.uuid1()": "uuid",
    "time.sleep(1)": "sleep",
    "open('x')": "io",
    "Path('x').read_text()": "io",
    "os.listdir('.')": "io",
    "socket.socket()": "network",
    "subprocess.run(['ls'])": "process",
    "os.getpid()": "process",
    "threading.Thread(target=print)": "thread",
    "ThreadPoolExecutor()": "thread",
    "await asyncio.to_thread(print)": "thread",
    "await asyncio.get_running_loop().run_in_executor(None, print)": "thread",
    "asyncio.run(fetch('x'))": "event-loop",
    "asyncio.new_event_loop()": "event-loop",
    "await asyncio.wait({ctx.sleep(1)})": "order",
    "asyncio.as_completed([ctx.sleep(1)])": "order",
    "hash('x')": "hash",
    "id(ctx)": "hash",
    "await fetch('x')": "activity-call",
    "return count('x') + 1": "activity-call",
    "os.environ['HOME']": "environment",
    "return os.environ.get('HOME')": "environment",
    "return [name for name in os.environ]": "environment",
    "os.getenv('HOME')": "environment",
    "ctx.activity(fetch, 'x')": "await",
    "ctx.sleep(1)": "await",
    "ctx.child(Checked)": "await",
    "self.ctx.wait_for_signal('go')": "await",
    "asyncio.sleep(1)": "await",
    "unused = ctx.activity(fetch, 'x')": "await",
    "list(map(random.choice, [[1]]))": "random",
    "sorted([1], key=lambda each: random.random())": "random",
}


@pytest.mark.parametrize("code", CALLS)
def test_a_call_that_differs_on_replay_is_found(check: Check, code: str) -> None:
    findings = check(code)
    assert CALLS[code] in rules(findings)
    assert set(rules(findings)) <= {CALLS[code], "activity-call"}


def test_a_method_that_is_not_awaited_is_found(check: Check) -> None:
    methods = """
async def part(self, ctx: Ctx) -> None:
    await ctx.sleep(1)

async def other(self, ctx):
    ctx.sleep(1)
"""
    findings = check("self.part(ctx)\nawait self.other(ctx)", methods=methods)
    assert rules(findings) == ["await", "await"]
    assert findings[0].problem.startswith("self.part() is never awaited, so that nothing")
    assert findings[1].problem.startswith("ctx.sleep() is never awaited")


ALLOWED = [
    "ctx.side_effect(lambda: os.environ['HOME'])",
    "os.environ.update  # loom: ignore[environment]",
    "asyncio.create_task(ctx.sleep(1))",
    "later = ctx.sleep(1)\nawait later",
    "later = ctx.sleep(1)\nasync def inner():\n    await later\nawait inner()",
    "return ctx.sleep(1)",
    "waiting = [ctx.sleep(1)]\nawait asyncio.gather(*waiting)",
    "unused = await ctx.activity(fetch, 'x')",
    "ctx.now(), ctx.random.random(), ctx.uuid4()",
    "await ctx.sleep(1)",
    "await asyncio.sleep(1)",
    "random.Random(7).random()",
    "uuid.uuid5(uuid.NAMESPACE_DNS, 'x')",
    "datetime(2024, 1, 1), datetime.fromtimestamp(0, dt.UTC)",
    "time.localtime(0)",
    "await ctx.activity(fetch, 'x')",
    "await asyncio.gather(ctx.activity(fetch, 'x'), ctx.activity(count, 'x'))",
    "await asyncio.wait([asyncio.create_task(ctx.sleep(1))])",
    "tasks = [asyncio.create_task(ctx.sleep(n)) for n in range(3)]\nawait asyncio.wait(tasks)",
    "one = asyncio.create_task(ctx.sleep(1))\nawait asyncio.wait([one])",
    "await ctx.side_effect(uuid.uuid4)",
    "await ctx.side_effect(lambda: time.time())",
    "with loom.unguarded():\n    time.time()",
    "isinstance(ctx, threading.Thread)",
    "Path('a') / 'b'",
    "time = ctx\ntime.time()",
]


@pytest.mark.parametrize("code", ALLOWED)
def test_what_is_the_same_on_replay_is_not_found(check: Check, code: str) -> None:
    assert check(code) == []


def test_a_finding_tells_where_what_and_what_instead(check: Check) -> None:
    (finding,) = check("return time.time()")
    line = Path(finding.path).read_text().splitlines()[finding.line - 1]
    assert line[finding.column - 1 :] == "time.time()"
    assert finding.function == "Checked.run"
    assert finding.problem == "time.time() reads this machine's clock"
    assert finding.instead == "use ctx.now()"
    assert str(finding) == (
        f"{finding.path}:{finding.line}:{finding.column}: [clock] time.time() reads this "
        "machine's clock; use ctx.now() (in Checked.run)"
    )


REACHED = {
    "a function": ("later()", "def later():\n    return time.time()"),
    "through another function": (
        "first()",
        "def first():\n    return second()\ndef second():\n    return time.time()",
    ),
    "a function that is passed on": (
        "sorted([1], key=later)",
        "def later(each):\n    return time.time()",
    ),
    "a decorated function": (
        "later()",
        "def twice(f):\n    @wraps(f)\n    def call():\n        return f()\n    return call\n"
        "@twice\ndef later():\n    return time.time()",
    ),
    "a base class": (
        "Base()",
        "class Root:\n    def __init__(self):\n        self.at = time.time()\n"
        "class Base(Root):\n    pass",
    ),
    "a method": ("Helper().at()", "class Helper:\n    def at(self):\n        return time.time()"),
    "a class method": (
        "Helper.at()",
        "class Helper:\n    @classmethod\n    def at(cls):\n        return time.time()",
    ),
    "a property": (
        "Helper().at",
        "class Helper:\n    @property\n    def at(self):\n        return time.time()",
    ),
    "a cached property": (
        "Helper().at",
        "class Helper:\n    @cached_property\n    def at(self):\n        return time.time()",
    ),
    "a dataclass's default": (
        "Item()",
        "@dataclass\nclass Item:\n    at: float = field(default_factory=time.time)",
    ),
    "a model's default": (
        "Item()",
        "class Item(BaseModel):\n    at: float = Field(default_factory=time.time)",
    ),
    "a function inside": ("def later():\n    return time.time()\nlater()", ""),
    "an import inside": ("from time import time as moment\nmoment()", ""),
    "a recursive function": (
        "later(1)",
        "def later(n):\n    return later(n - 1) if n else time.time()",
    ),
}


@pytest.mark.parametrize("how", REACHED)
def test_code_that_the_workflow_reaches_is_read_too(check: Check, how: str) -> None:
    body, before = REACHED[how]
    assert rules(check(body, before)) == ["clock"]


def test_code_that_the_workflow_does_not_reach_is_not_read(check: Check) -> None:
    assert check("return 1", "def elsewhere():\n    return time.time()") == []


READERS = """
@{handler}
def age(self) -> float:
    return time.time()

@loom.update
async def change(self, name: str) -> str:
    return name

@change.validator
def check_change(self, name: str) -> None:
    time.time()
"""


def test_queries_and_validators_are_not_replayed_and_so_not_read(check: Check) -> None:
    assert check("return 1", methods=READERS.format(handler="loom.query")) == []
    assert rules(check("return 1", methods=READERS.format(handler="loom.signal"))) == ["clock"]


def test_a_child_is_checked_where_it_is_served(check: Check) -> None:
    child = """
    @loom.workflow
    class Child(loom.Workflow[Any, Any]):
        async def run(self, ctx: Ctx) -> float:
            return time.time()
    """
    assert check("return Child", child) == []


def test_source_that_cannot_be_read_keeps_no_worker_from_starting(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    path = tmp_path / "endless.py"
    path.write_text(
        "import loom\n@loom.workflow\nclass Endless(loom.Workflow[int, int]):\n"
        f"    async def run(self, ctx):\n        return {' + '.join(['ctx.input'] * 900)}\n"
    )
    spec = importlib.util.spec_from_file_location("endless", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    check_order([module.Endless], "error")
    (record,) = caplog.records
    assert record.getMessage().startswith("the source of Endless could not be checked: Recursion")


def test_a_module_that_is_not_loaded_is_known_by_its_name(check: Check) -> None:
    assert rules(check("import requests\nrequests.get('http://x')")) == ["network"]


# --- sets ----------------------------------------------------------------------------------------

ITERATED = {
    "a literal": 'for each in {"a", "b"}: pass',
    "a call": 'for each in set("abc"): pass',
    "a variable": 'names = {"a"}\nfor each in names: pass',
    "a grown variable": 'names = set()\nnames |= {"a"}\nfor each in names: pass',
    "an annotated variable": "names: set[str] = await ctx.activity(count, 'x')\nlist(names)",
    "a comprehension": 'return [each for each in {"a"}]',
    "a dict comprehension": 'return {each: 1 for each in {"a"}}',
    "an operation": 'for each in {"a"} | {"b"}: pass',
    "keys together": "for each in {'a': 1}.keys() & {'b': 1}.keys(): pass",
    "a method": 'for each in {"a"}.union({"b"}): pass',
    "a list": 'list({"a"})',
    "an enumeration": 'enumerate({"a"})',
    "a pop": '{"a"}.pop()',
    "a join": '",".join({"a"})',
    "unpacking": 'a, b = {"a", "b"}',
    "a starred argument": 'print(*{"a"})',
    "a text": 'f"{frozenset(["a"])}"',
    "an activity's result": 'for each in await ctx.activity(fetch, "x"): pass',
    "an awaited variable": 'found = await ctx.activity(fetch, "x")\nfor each in found: pass',
    "a global": "for each in NAMES: pass",
    "a function's result": "for each in names(): pass",
    "a function's parameter": "through(NAMES)",
    "an attribute": "for each in Item().names: pass",
}
SETS = """
NAMES = frozenset({"a", "b"})
def names() -> set[str]:
    return {"a"}
def through(given: set[str]) -> None:
    for each in given: pass
@dataclass
class Item:
    names: set[str] = field(default_factory=set)
"""


@pytest.mark.parametrize("how", ITERATED)
def test_going_through_a_set_is_found(check: Check, how: str) -> None:
    assert rules(check(ITERATED[how], SETS)) == ["set-iteration"]


ORDERLY = [
    'for each in sorted({"a"}): pass',
    'for each in ["a"]: pass',
    'for each in {"a": 1}: pass',
    'for each in {"a": 1}.keys(): pass',
    "for each in {1, 2}: pass",
    "for each in set(range(3)): pass",
    'return "a" in {"a"}',
    'return len({"a"}), any(each for each in {"a"}), max({"a"})',
    'return sorted(each for each in {"a"})',
    'return {each for each in {"a"}}',
    'names = {"a"}\nnames = sorted(names)\nfor each in names: pass',
    "numbers: set[int] = set()\nfor each in numbers: pass",
    "return [1].pop()",
]


@pytest.mark.parametrize("code", ORDERLY)
def test_what_has_an_order_or_needs_none_is_not_found(check: Check, code: str) -> None:
    assert check(code) == []


def test_a_set_in_the_input_or_the_state_is_known(check: Check) -> None:
    before = """
    @dataclass
    class Order:
        tags: set[str]
    class State(TypedDict):
        seen: frozenset[str]
    """
    body = "for each in ctx.input.tags: pass\nfor each in ctx.state.seen: pass"
    assert rules(check(body, before, "Order, State")) == ["set-iteration", "set-iteration"]
    subscript = 'for each in ctx.state["seen"]: pass'
    assert rules(check(subscript, before, "Order, State")) == ["set-iteration"]


# --- exceptions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("caught", ["except:", "except BaseException:"])
def test_swallowing_a_cancellation_is_found(check: Check, caught: str) -> None:
    assert rules(check(f"try:\n    pass\n{caught}\n    pass")) == ["swallow"]
    assert check(f"try:\n    pass\n{caught}\n    raise") == []


# --- comments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "comment", ["loom: ignore[clock]", "loom: ignore", "loom:ignore[io, clock]"]
)
def test_a_comment_lifts_a_rule(check: Check, comment: str) -> None:
    assert check(f"time.time()  # {comment}") == []
    assert check(f"# {comment}\ntime.time()") == []


def test_a_comment_lifts_no_other_rule_and_no_other_line(check: Check) -> None:
    assert rules(check("time.time()  # loom: ignore[io]")) == ["clock"]
    assert rules(check("time.time()  # loom: ignore[clock]\ntime.time()")) == ["clock"]
    assert rules(check('"# loom: ignore[clock]"; time.time()')) == ["clock"]


def test_only_some_rules_may_be_asked_for(check: Check) -> None:
    (finding,) = check("time.time()")
    module = next(m for m in sys.modules.values() if getattr(m, "__file__", "") == finding.path)
    assert lint([module.Checked], rules={"random"}) == []


def test_every_rule_says_what_to_do_instead() -> None:
    assert all(rule.problem and rule.instead for rule in RULES.values())
    assert [*RULES] == [rule.id for rule in RULES.values()]
