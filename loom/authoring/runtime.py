"""What a workflow's context asks of whatever runs it.

The engine implements this; user code never sees it. Keeping it here lets everything that users
import stay below the engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from loom.history.events import StateSet, StateUpdate
from loom.identifiers import Micros, RunId, WorkflowId

if TYPE_CHECKING:
    from random import Random

    from loom.authoring.activity import ActivityDefinition
    from loom.authoring.children import ChildOptions, StartedChild
    from loom.authoring.outgoing import OutgoingSignal


class Runtime(ABC):
    """One run, from the inside."""

    __slots__ = ()

    workflow_id: WorkflowId
    run_id: RunId

    @property
    @abstractmethod
    def random(self) -> Random:
        """Random numbers that are the same on every replay."""

    @property
    @abstractmethod
    def is_replaying(self) -> bool:
        """Whether what happens now has happened before."""

    @property
    @abstractmethod
    def now(self) -> Micros:
        """The stamp of the arrival that is being handled."""

    @property
    @abstractmethod
    def history_length(self) -> int:
        """How many events the run's history has so far, but for the markers of patches."""

    @property
    @abstractmethod
    def cancel_reason(self) -> str | None:
        """Why the run is to end; ``None`` while nobody has asked for that."""

    @property
    @abstractmethod
    def tags(self) -> Mapping[str, str]:
        """The run's tags, as they are stored."""

    @property
    @abstractmethod
    def memo(self) -> bytes | None:
        """The payload of the run's memo, if it has one."""

    @abstractmethod
    def set_tags(self, changes: Mapping[str, str | None]) -> None:
        """Record a change of tags, of which ``None`` takes one away."""

    @property
    @abstractmethod
    def handlers_finished(self) -> bool:
        """Whether no handler of a signal or an update is running."""

    @abstractmethod
    def track(self, call: str, coroutine: Coroutine[Any, Any, Any], frame: FrameType) -> object:
        """Be told if a coroutine is let go of before it has begun, for as long as somebody holds
        what this returns. ``frame`` is where it was asked for, by a ``call`` of that name."""

    @abstractmethod
    def encode(self, value: object, declared: Any, what: str = "A value", of: str = "") -> bytes:
        """A value as a payload. Raises ``PayloadError`` when it does not fit its declared type,
        with ``what`` it is, and ``of`` what."""

    @abstractmethod
    def decode(self, payload: bytes, declared: Any, what: str = "A value", of: str = "") -> Any:
        """A payload as a value. Raises ``PayloadError`` when it does not fit the type."""

    @abstractmethod
    def run_activity(
        self, activity: ActivityDefinition, arguments: Mapping[str, Any], *, local: bool = False
    ) -> Coroutine[Any, Any, Any]:
        """Ask for an activity, of a worker or of the run's own, and wait for its result."""

    @abstractmethod
    def start_child(self, workflow: Any, input: Any, options: ChildOptions) -> StartedChild:
        """Ask for a child, given as a class or by its name."""

    @abstractmethod
    def inherited_child(self, workflow_id: WorkflowId, workflow: Any) -> StartedChild:
        """A child that an earlier run of the chain has started."""

    @abstractmethod
    async def child_result(self, child: StartedChild) -> Any:
        """Wait for a child to close. Raises ``ChildWorkflowError`` when it did not complete."""

    @abstractmethod
    def cancel_child(self, child: StartedChild, reason: str) -> bool:
        """Ask a child to end; false when it has."""

    @abstractmethod
    def send_signal(
        self, workflow_id: WorkflowId, run_id: RunId | None, signal: OutgoingSignal
    ) -> None:
        """Send a signal to another run."""

    @abstractmethod
    def send_cancel(self, workflow_id: WorkflowId, run_id: RunId | None, reason: str) -> None:
        """Ask another run to end."""

    @abstractmethod
    def continue_as_new(
        self, workflow: Any, input: Any, *, queue: str | None, keep_state: bool
    ) -> NoReturn:
        """End the run, and let another go on. ``...`` is the input that the run has."""

    @abstractmethod
    async def sleep_until(self, moment: Micros) -> None:
        """Wait on a durable timer."""

    @abstractmethod
    async def receive_signal(self, name: str, declared: Any, timeout: float | None) -> Any:
        """Take the next signal of that name whose payload fits the type, waiting for one if need
        be, for so many seconds.

        Raises ``TimeoutError`` when none comes in time.
        """

    @abstractmethod
    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds that did not when it was asked for."""

    @abstractmethod
    def side_effect(self, function: Callable[[], Any], declared: Any) -> Any:
        """Call a function once and for all; returns what history holds of its result."""

    @abstractmethod
    def is_patched(self, patch_id: str, *, deprecated: bool) -> bool:
        """Whether the run takes part in a change of its code."""

    @abstractmethod
    def register_compensation(
        self, activity: ActivityDefinition, arguments: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Record what a saga would run; returns its arguments as history holds them."""

    @abstractmethod
    def record_state[E: (StateSet, StateUpdate)](self, change: E) -> E:
        """Record a change of state; returns the change that history holds."""

    @abstractmethod
    def log(self, level: int, text: Callable[[], str]) -> None:
        """Log a line, unless it was logged before; only then is its text asked for."""
