"""Loom: durable workflows in ordinary async Python."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loom.app import Loom as Loom
    from loom.authoring.activity import activity as activity
    from loom.authoring.activity import with_options as with_options
    from loom.authoring.activity_info import ActivityInfo as ActivityInfo
    from loom.authoring.activity_info import activity_info as activity_info
    from loom.authoring.activity_info import heartbeat as heartbeat
    from loom.authoring.children import ChildHandle as ChildHandle
    from loom.authoring.compiled import CompiledWorkflow as CompiledWorkflow
    from loom.authoring.compiled import workflow as workflow
    from loom.authoring.context import WorkflowContext as WorkflowContext
    from loom.authoring.handlers import query as query
    from loom.authoring.handlers import signal as signal
    from loom.authoring.handlers import update as update
    from loom.authoring.saga import Saga as Saga
    from loom.authoring.state import WorkflowState as WorkflowState
    from loom.authoring.unguarded import unguarded as unguarded
    from loom.authoring.waiting import Completions as Completions
    from loom.authoring.waiting import as_completed as as_completed
    from loom.authoring.waiting import wait as wait
    from loom.authoring.workflow import Workflow as Workflow
    from loom.authoring.workflow import step as step
    from loom.errors import ActivityCancelledError as ActivityCancelledError
    from loom.errors import ActivityClosedError as ActivityClosedError
    from loom.errors import ActivityError as ActivityError
    from loom.errors import ActivityFailedError as ActivityFailedError
    from loom.errors import ActivityLostError as ActivityLostError
    from loom.errors import ActivityTimeoutError as ActivityTimeoutError
    from loom.errors import ChildWorkflowCancelledError as ChildWorkflowCancelledError
    from loom.errors import ChildWorkflowError as ChildWorkflowError
    from loom.errors import ChildWorkflowFailedError as ChildWorkflowFailedError
    from loom.errors import ChildWorkflowNotStartedError as ChildWorkflowNotStartedError
    from loom.errors import ChildWorkflowTerminatedError as ChildWorkflowTerminatedError
    from loom.errors import ChildWorkflowTimedOutError as ChildWorkflowTimedOutError
    from loom.errors import CodecError as CodecError
    from loom.errors import CompensationFailedError as CompensationFailedError
    from loom.errors import CompleteLater as CompleteLater
    from loom.errors import ConfigurationError as ConfigurationError
    from loom.errors import DeadlockError as DeadlockError
    from loom.errors import DefinitionError as DefinitionError
    from loom.errors import DurationError as DurationError
    from loom.errors import HistoryError as HistoryError
    from loom.errors import HistoryFormatError as HistoryFormatError
    from loom.errors import LoomError as LoomError
    from loom.errors import MockError as MockError
    from loom.errors import NonDeterministicCallError as NonDeterministicCallError
    from loom.errors import NonDeterministicWorkflowError as NonDeterministicWorkflowError
    from loom.errors import PayloadError as PayloadError
    from loom.errors import QueryError as QueryError
    from loom.errors import QueryFailedError as QueryFailedError
    from loom.errors import ReadOnlyError as ReadOnlyError
    from loom.errors import SchemaVersionError as SchemaVersionError
    from loom.errors import SideEffectFailedError as SideEffectFailedError
    from loom.errors import StopReplay as StopReplay
    from loom.errors import StoreError as StoreError
    from loom.errors import StoreUnavailableError as StoreUnavailableError
    from loom.errors import UnsupportedStoreError as UnsupportedStoreError
    from loom.errors import UpdateError as UpdateError
    from loom.errors import UpdateFailedError as UpdateFailedError
    from loom.errors import UpdateRejectedError as UpdateRejectedError
    from loom.errors import UpdateUnfinishedError as UpdateUnfinishedError
    from loom.errors import WorkflowAlreadyStartedError as WorkflowAlreadyStartedError
    from loom.errors import WorkflowCancelledError as WorkflowCancelledError
    from loom.errors import WorkflowClosedError as WorkflowClosedError
    from loom.errors import WorkflowExecutionError as WorkflowExecutionError
    from loom.errors import WorkflowFailedError as WorkflowFailedError
    from loom.errors import WorkflowNotFoundError as WorkflowNotFoundError
    from loom.errors import WorkflowNotServedError as WorkflowNotServedError
    from loom.errors import WorkflowTerminatedError as WorkflowTerminatedError
    from loom.errors import WorkflowTimedOutError as WorkflowTimedOutError
    from loom.handle import UpdateHandle as UpdateHandle
    from loom.handle import WorkflowHandle as WorkflowHandle
    from loom.history.export import RunHistory as RunHistory
    from loom.history.payloads import PayloadCodec as PayloadCodec
    from loom.history.records import EventRecord as EventRecord
    from loom.history.status import RunStatus as RunStatus
    from loom.history.tags import TagValue as TagValue
    from loom.info import HistoryEvent as HistoryEvent
    from loom.info import LogLine as LogLine
    from loom.info import PendingActivity as PendingActivity
    from loom.info import PendingMessage as PendingMessage
    from loom.info import WorkflowInfo as WorkflowInfo
    from loom.retry import RetryPolicy as RetryPolicy
    from loom.runner.replayer import Replayer as Replayer
    from loom.runner.replayer import ReplayOutcome as ReplayOutcome
    from loom.runner.replayer import ReplayResult as ReplayResult
    from loom.settings import Settings as Settings
    from loom.timeouts import TimeoutType as TimeoutType
    from loom.worker import Worker as Worker

# Where each public name lives. Modules are imported when a name of theirs is first used, so that
# `import loom` is light and code that only defines workflows never loads a database driver.
_HOMES = {
    "loom.app": ("Loom",),
    "loom.authoring.activity": ("activity", "with_options"),
    "loom.authoring.activity_info": ("ActivityInfo", "activity_info", "heartbeat"),
    "loom.authoring.children": ("ChildHandle",),
    "loom.authoring.compiled": ("CompiledWorkflow", "workflow"),
    "loom.authoring.context": ("WorkflowContext",),
    "loom.authoring.handlers": ("query", "signal", "update"),
    "loom.authoring.saga": ("Saga",),
    "loom.authoring.state": ("WorkflowState",),
    "loom.authoring.waiting": ("Completions", "as_completed", "wait"),
    "loom.authoring.unguarded": ("unguarded",),
    "loom.authoring.workflow": ("Workflow", "step"),
    "loom.errors": (
        "ActivityCancelledError",
        "ActivityClosedError",
        "ActivityError",
        "ActivityFailedError",
        "ActivityLostError",
        "ActivityTimeoutError",
        "ChildWorkflowCancelledError",
        "ChildWorkflowError",
        "ChildWorkflowFailedError",
        "ChildWorkflowNotStartedError",
        "ChildWorkflowTerminatedError",
        "ChildWorkflowTimedOutError",
        "CodecError",
        "CompensationFailedError",
        "CompleteLater",
        "ConfigurationError",
        "DeadlockError",
        "DefinitionError",
        "DurationError",
        "HistoryError",
        "HistoryFormatError",
        "LoomError",
        "MockError",
        "NonDeterministicCallError",
        "NonDeterministicWorkflowError",
        "PayloadError",
        "QueryError",
        "QueryFailedError",
        "ReadOnlyError",
        "SchemaVersionError",
        "SideEffectFailedError",
        "StopReplay",
        "StoreError",
        "StoreUnavailableError",
        "UnsupportedStoreError",
        "UpdateError",
        "UpdateFailedError",
        "UpdateRejectedError",
        "UpdateUnfinishedError",
        "WorkflowAlreadyStartedError",
        "WorkflowCancelledError",
        "WorkflowClosedError",
        "WorkflowExecutionError",
        "WorkflowFailedError",
        "WorkflowNotFoundError",
        "WorkflowNotServedError",
        "WorkflowTerminatedError",
        "WorkflowTimedOutError",
    ),
    "loom.handle": ("UpdateHandle", "WorkflowHandle"),
    "loom.history.export": ("RunHistory",),
    "loom.history.payloads": ("PayloadCodec",),
    "loom.history.records": ("EventRecord",),
    "loom.history.status": ("RunStatus",),
    "loom.history.tags": ("TagValue",),
    "loom.info": ("HistoryEvent", "LogLine", "PendingActivity", "PendingMessage", "WorkflowInfo"),
    "loom.retry": ("RetryPolicy",),
    "loom.runner.replayer": ("ReplayOutcome", "ReplayResult", "Replayer"),
    "loom.settings": ("Settings",),
    "loom.timeouts": ("TimeoutType",),
    "loom.worker": ("Worker",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # pyright: ignore[reportUnsupportedDunderAll]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'loom' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
