"""What a run's code asks for: recorded while the run goes on, matched while it is replayed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from loom.engine.loop import DeterministicLoop
from loom.engine.matching import Matcher, unasked
from loom.errors import CodecError, NonDeterministicWorkflowError, ReadOnlyError, StopReplay
from loom.history.events import CommandEvent, Event, PatchApplied, Stamped
from loom.history.payloads import PayloadConverter
from loom.identifiers import Micros

_INSTEAD: Final = "What shall change the run is an update or a signal."


class Recorder:
    """One run's commands, and the payloads that go with them.

    Attributes:
        loop: the run's own; set once it exists, which needs the timers, which need the recorder.
        turn: the events of the turn under way.
        last_id: the id of the last command that has one.
        length: how many events there are so far, but for the markers of patches.
        error: what halted the run, if anything has.
        disturbed: whether something that may only look has reached what the code waits for.
        reader: what looks at the run now, and so must not change it; ``None`` when nothing does.
    """

    loop: DeterministicLoop

    def __init__(self, converter: PayloadConverter) -> None:
        self._converter = converter
        self._matcher: Matcher | None = None
        self.turn: list[Stamped] = []
        self.last_id = 0
        self.length = 0
        self.error: Exception | None = None
        self.reader: str | None = None
        self.disturbed = False
        self._instead = ""

    @property
    def now(self) -> Micros:
        return self.loop.now

    @property
    def is_replaying(self) -> bool:
        return self._matcher is not None

    @contextmanager
    def replaying(self, commands: Iterable[tuple[int, CommandEvent]]) -> Iterator[None]:
        """Match what is asked for in the block with these commands, all of them."""
        self._matcher = Matcher(commands)
        yield
        self._matcher.finish()
        self._matcher = None

    # --- reading ---

    @contextmanager
    def reading(self, reader: str, instead: str = _INSTEAD) -> Iterator[None]:
        """Refuse every command of the block, and whatever it would have the loop do.

        ``instead`` is what to do about it, as a sentence.
        """
        self.reader, self._instead = reader, instead
        try:
            with self.loop.frozen(self._refuse_scheduling):
                yield
        finally:
            self.reader = None

    def _refuse_scheduling(self) -> None:
        self.disturbed = True
        self.check_writable()

    def check_writable(self) -> None:
        """Raises ``ReadOnlyError`` when only a look at the run is allowed."""
        if self.reader is not None:
            raise ReadOnlyError(
                f"{self.reader} asked for something that would change the run, and may only look: "
                "no activity, timer or signal, no change of the state, no random numbers and no "
                f"tasks. {self._instead}"
            )

    # --- commands ---

    def replays_patch(self, patch_id: str) -> bool:
        """Whether the history that is being replayed says that the run has a patch."""
        return self._matcher is not None and self._matcher.has_patch(patch_id)

    def next_id(self) -> int:
        self.check_writable()
        self.last_id += 1
        return self.last_id

    def record[C: CommandEvent](self, command: C, *, in_code: bool = True) -> C:
        """Put a command into the turn; while replaying, give back the one that history holds.

        ``in_code`` is whether the code that asks is on the call stack.
        """
        self.check_writable()
        if self._matcher is None:
            # Of code that is being unwound too, whose turn is void: raising instead could spin for
            # ever in a loop that swallows every exception.
            if not self.loop.halted:
                self._count(command)
                self.turn.append(Stamped(command, self.now))
            return command
        if self.loop.halted:
            return command
        self._count(command)
        try:
            return self._matcher.match(command, in_code=in_code)
        except NonDeterministicWorkflowError as error:
            raise self.halt(error) from error

    def _count(self, command: CommandEvent) -> None:
        # Not the markers of patches, which later code may forget while it counts the rest.
        if not isinstance(command, PatchApplied):
            self.length += 1

    def check_asked(self, answer: Event, command_id: int) -> None:
        """Raises ``NonDeterministicWorkflowError`` for the answer to what was never asked for."""
        if command_id > self.last_id:
            raise unasked(answer)

    # --- payloads ---

    def encode(self, value: object, declared: Any, what: str = "A value", of: str = "") -> bytes:
        try:
            return self._converter.encode(value, declared, what, of)
        except CodecError as error:
            # The deployment's fault, not the code's: the run must outlive it.
            raise self.halt(error) from error

    def decode(self, payload: bytes, declared: Any, what: str = "A value", of: str = "") -> Any:
        try:
            return self._converter.decode(payload, declared, what, of)
        except CodecError as error:
            raise self.halt(error) from error

    # --- halting ---

    def halt(self, error: Exception) -> StopReplay:
        """Stop for good, for this reason; what is returned ends the code that is running."""
        self.error = error
        self.loop.halted = True
        return StopReplay()

    def raise_if_halted(self) -> None:
        if self.error is not None:
            raise self.error
