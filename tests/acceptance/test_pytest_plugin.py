"""The pytest plugin as its users' suites see it: fixtures, and tests repeated with crashes."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

# Loaded here, or each suite that runs within this process would load classes of its own.
import loom.app
import loom.storage.memory
import loom.storage.sql.migrations
import loom.storage.sql.sqlite
import loom.testing.crash_runs
import loom.testing.environment  # noqa: F401

pytest_plugins = ("pytester",)

ORDERS = '''
from datetime import timedelta
from typing import Any

import loom
import pytest

BOOKED: list[str] = []
SEEN: dict[str, list[str]] = {}


@loom.activity(retry_count=2)
async def charge(order: str) -> str:
    return f"charged {order}"


@loom.activity
async def book(order: str) -> int:
    BOOKED.append(order)
    return len(BOOKED)


@loom.workflow
class Order(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> str:
        receipt = await ctx.activity(charge, ctx.input)
        await ctx.sleep(timedelta(days=30))
        return receipt


@loom.workflow
class Forgetful(loom.Workflow[str, Any]):
    """Keeps its state in a global, where another process does not find it."""

    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> int:
        seen = SEEN.setdefault(ctx.run_id, [])
        seen.append("began")
        await ctx.sleep(timedelta(days=30))
        return len(seen)


@loom.workflow
class Booking(loom.Workflow[str, Any]):
    async def run(self, ctx: loom.WorkflowContext[str, Any]) -> int:
        return await ctx.activity(book, ctx.input)
'''

SETTINGS = """
[pytest]
asyncio_mode = {mode}
asyncio_default_fixture_loop_scope = function
filterwarnings = error
addopts = --strict-markers -p no:cacheprovider -p no:hypothesispytest
"""


@pytest.fixture(params=["auto", "strict"])
def suite(request: pytest.FixtureRequest, pytester: pytest.Pytester) -> pytest.Pytester:
    """A suite with workflows in ``orders.py``, in each of pytest-asyncio's modes."""
    pytester.makepyfile(orders=ORDERS)
    pytester.makeini(SETTINGS.format(mode=request.param))
    return pytester


def run(suite: pytest.Pytester, tests: str, *options: str) -> pytest.RunResult:
    suite.makepyfile(test_orders=f"from orders import *\n{dedent(tests)}")
    return suite.runpytest_inprocess(*options)


def test_a_marked_test_runs_again_for_each_crash_with_fixtures_of_its_own(
    suite: pytest.Pytester,
) -> None:
    result = run(
        suite,
        """
        RUNS, MODULES = [], []

        @pytest.fixture(scope="module", autouse=True)
        def module():
            MODULES.append("begun")
            yield
            MODULES.append("ended")

        @pytest.fixture
        def fresh():
            RUNS.append("begun")
            yield []
            RUNS.append("ended")

        @pytest.mark.asyncio
        @pytest.mark.loom_crashes
        async def test_order(loom_environment, fresh):
            fresh.append(1)
            outcomes = [OSError("once"), "charged"]
            async with loom_environment(workflows=[Order], mocks={charge: outcomes}) as env:
                assert await (await env.start(Order, "A-1")).result() == "charged"
            assert fresh == [1]

        def test_counts():
            # The first activity, its retry, its result with the timer, and the end; each of them
            # before and after, and once without a crash. A second attempt goes through the store.
            assert RUNS == ["begun", "ended"] * (1 + 2 * 5 + 1)
            assert MODULES == ["begun"]
        """,
    )
    result.assert_outcomes(passed=2)


def test_a_workflow_that_does_not_get_over_a_crash_fails_its_test(suite: pytest.Pytester) -> None:
    result = run(
        suite,
        """
        async def check(environment):
            async with environment(workflows=[Forgetful]) as env:
                assert await (await env.start(Forgetful, "x", id="f")).result() == 1

        @pytest.mark.asyncio
        async def test_without(loom_environment):
            await check(loom_environment)

        @pytest.mark.asyncio
        @pytest.mark.loom_crashes
        async def test_with(loom_environment):
            await check(loom_environment)
        """,
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            "* with a crash before commit 1 (Forgetful f: WORKFLOW_STARTED*, TIMER_STARTED) *",
            "The test passes without a crash, and fails with 3 of 4:",
            "  a crash before commit 1 (Forgetful f: *",
            "  a crash after commit 1 (Forgetful f: *",
            "  a crash before commit 2 (Forgetful f: TIMER_FIRED, WORKFLOW_COMPLETED)",
            "FAILED *test_with - with a crash before commit 1*",
        ]
    )


def test_an_activity_that_must_not_be_done_twice_fails_its_test(suite: pytest.Pytester) -> None:
    result = run(
        suite,
        """
        @pytest.mark.asyncio
        @pytest.mark.loom_crashes
        async def test_booking(loom_environment):
            BOOKED.clear()
            async with loom_environment(workflows=[Booking], activities=[book]) as env:
                assert await (await env.start(Booking, "x")).result() == 1
        """,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*fails with 1 of 4:", "*before commit 2 (Booking *: ACTIVITY_COMPLETED, *)"]
    )


def test_a_marked_test_in_which_nothing_can_crash_fails(suite: pytest.Pytester) -> None:
    result = run(
        suite,
        """
        @pytest.mark.loom_crashes
        def test_nothing():
            pass
        """,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no workflow environment made a commit*"])


def test_what_does_not_pass_without_a_crash_is_reported_as_it_is(suite: pytest.Pytester) -> None:
    result = run(
        suite,
        """
        RUNS = []

        @pytest.mark.loom_crashes
        def test_fails():
            RUNS.append(1)
            assert False, "plainly"

        @pytest.mark.loom_crashes
        def test_skips():
            pytest.skip("not today")

        @pytest.mark.xfail
        @pytest.mark.loom_crashes
        def test_is_expected_to_fail():
            assert False

        @pytest.fixture
        def broken():
            raise OSError("no fixture")

        @pytest.mark.loom_crashes
        def test_has_no_fixture(broken):
            pass

        def test_counts():
            assert RUNS == [1]
        """,
    )
    result.assert_outcomes(failed=1, skipped=1, xfailed=1, errors=1, passed=1)
    result.stdout.no_fnmatch_line("*crash before*")


def test_the_marker_takes_no_arguments(suite: pytest.Pytester) -> None:
    result = run(
        suite,
        """
        @pytest.mark.loom_crashes(7)
        def test_nothing():
            pass
        """,
    )
    assert result.ret != 0
    result.stderr.fnmatch_lines(["*test_nothing: the marker loom_crashes takes no arguments*"])


def test_everything_works_over_sqlite(suite: pytest.Pytester) -> None:
    result = run(
        suite,
        """
        @pytest.mark.asyncio
        @pytest.mark.loom_crashes
        async def test_order(loom_environment):
            async with loom_environment(workflows=[Order], activities=[charge]) as env:
                assert env.dsn.startswith("sqlite:///")
                assert await (await env.start(Order, "A-1", id="one")).result() == "charged A-1"

        @pytest.mark.asyncio
        async def test_application(loom_sqlite):
            async with loom.Loom(loom_sqlite) as app:
                assert await app.list() == []
        """,
        "--loom-store=sqlite",
    )
    result.assert_outcomes(passed=2)


def test_tests_need_no_plugin_for_asyncio(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(orders=ORDERS)
    result = run(
        pytester,
        """
        import asyncio
        from loom.testing import WorkflowEnvironment

        async def order():
            async with WorkflowEnvironment(workflows=[Order], activities=[charge]) as env:
                assert await (await env.start(Order, "A-1")).result() == "charged A-1"

        @pytest.mark.loom_crashes
        def test_order():
            asyncio.run(order())
        """,
        *("-p", "no:asyncio", "-p", "no:hypothesispytest"),
    )
    result.assert_outcomes(passed=1)


def test_a_fixture_of_a_wider_scope_is_torn_down_after_the_last_crash(
    suite: pytest.Pytester,
) -> None:
    result = run(
        suite,
        """
        @pytest.fixture(scope="module")
        def module():
            yield
            raise OSError("torn down badly")

        @pytest.mark.asyncio
        @pytest.mark.loom_crashes
        async def test_order(loom_environment, module):
            async with loom_environment(workflows=[Order], activities=[charge]) as env:
                await (await env.start(Order, "A-1")).result()
        """,
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*OSError: torn down badly"])


def test_the_plugin_loads_nothing_until_it_is_used() -> None:
    code = "import sys, loom.testing.plugin; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert loaded.isdisjoint({"sqlalchemy", "pydantic", "loom.app", "loom.engine", "loom.storage"})
