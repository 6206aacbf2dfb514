"""The conformance suite: what every store must do, as tests to subclass.

    from loom.testing.conformance import RepositoryConformance

    class TestMyStore(RepositoryConformance):
        @pytest.fixture
        async def repository(self, tmp_path):
            store = await open_store(f"mystore:///{tmp_path}/loom")
            yield store.repository
            await store.close()

``StoreConformance`` does the same for what goes with the repository, by a fixture ``store``, and
``WorkflowsConformance`` for whole applications, by a fixture ``dsn``.

It needs pytest, pytest-asyncio and Hypothesis, which Loom itself does not install.
"""

from importlib.util import find_spec
from pkgutil import iter_modules

for _needed in ("pytest", "pytest_asyncio", "hypothesis"):
    if find_spec(_needed) is None:
        raise ImportError(
            f"the conformance suite needs {_needed}: pip install pytest pytest-asyncio hypothesis"
        )

import pytest  # noqa: E402

# Before they are imported, or a failing assert would not show what it compared.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in iter_modules(__path__)))

from loom.testing.conformance.suite import (  # noqa: E402
    ActivitiesConformance,
    AnswersConformance,
    ChainsConformance,
    ClaimsConformance,
    ConcurrencyConformance,
    DelaysConformance,
    HeartbeatsConformance,
    InboxConformance,
    LeasesConformance,
    ListsConformance,
    RefusalsConformance,
    RepositoryConformance,
    RulesConformance,
    RunsConformance,
    StartsConformance,
    StatefulConformance,
    StoreConformance,
    SuspectsConformance,
    TransitionsConformance,
    WorkflowsConformance,
)

__all__ = [
    "ActivitiesConformance",
    "AnswersConformance",
    "ChainsConformance",
    "ClaimsConformance",
    "ConcurrencyConformance",
    "DelaysConformance",
    "HeartbeatsConformance",
    "InboxConformance",
    "LeasesConformance",
    "ListsConformance",
    "RefusalsConformance",
    "RepositoryConformance",
    "RulesConformance",
    "RunsConformance",
    "StartsConformance",
    "StatefulConformance",
    "StoreConformance",
    "SuspectsConformance",
    "TransitionsConformance",
    "WorkflowsConformance",
]
