"""The whole suite as one class."""

from __future__ import annotations

from loom.testing.conformance.activities import ActivitiesConformance
from loom.testing.conformance.answers import AnswersConformance
from loom.testing.conformance.chains import ChainsConformance
from loom.testing.conformance.claims import ClaimsConformance
from loom.testing.conformance.concurrency import ConcurrencyConformance
from loom.testing.conformance.delays import DelaysConformance
from loom.testing.conformance.heartbeats import HeartbeatsConformance
from loom.testing.conformance.inbox import InboxConformance
from loom.testing.conformance.leases import LeasesConformance
from loom.testing.conformance.lists import ListsConformance
from loom.testing.conformance.refusals import RefusalsConformance
from loom.testing.conformance.rules import RulesConformance
from loom.testing.conformance.runs import RunsConformance
from loom.testing.conformance.starts import StartsConformance
from loom.testing.conformance.stateful import StatefulConformance
from loom.testing.conformance.stores import StoreConformance
from loom.testing.conformance.suspects import SuspectsConformance
from loom.testing.conformance.transitions import TransitionsConformance
from loom.testing.conformance.workflows import WorkflowsConformance


class RepositoryConformance(
    RulesConformance,
    RunsConformance,
    RefusalsConformance,
    DelaysConformance,
    ListsConformance,
    InboxConformance,
    TransitionsConformance,
    AnswersConformance,
    ClaimsConformance,
    LeasesConformance,
    SuspectsConformance,
    ActivitiesConformance,
    HeartbeatsConformance,
    StartsConformance,
    ChainsConformance,
    ConcurrencyConformance,
    StatefulConformance,
):
    """All of the port: the class to subclass. Its parts are there for a store in the making."""


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
