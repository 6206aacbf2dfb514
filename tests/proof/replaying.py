"""I8: the code asks for the very same commands again, down to the last byte."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from loom.engine import recorder
from loom.engine.matching import Matcher
from loom.errors import NonDeterministicWorkflowError
from loom.history.events import ArrivalEvent, CommandEvent, Event, SideEffectRecorded
from loom.runner.replayer import Replayer
from loom.runner.views import exported
from tests.proof.records import Evidence, RunDump


class StrictMatcher(Matcher):
    """Loom lets code change in details, for which what was recorded holds. Here the code is the
    same, and so no detail may differ."""

    def match[C: CommandEvent](self, asked: C, *, in_code: bool = True) -> C:
        recorded = super().match(asked, in_code=in_code)
        differing = [
            name for name in _compared(asked) if _value(asked, name) != _value(recorded, name)
        ]
        if differing:
            raise NonDeterministicWorkflowError(
                f"{recorded.type} was recorded with other {', '.join(differing)}: {recorded}, "
                f"and not {asked}"
            )
        return recorded


def _compared(command: CommandEvent) -> list[str]:
    if isinstance(command, SideEffectRecorded):
        # What was done once is not done again to be compared.
        return ["side_effect_id"]
    return [field.name for field in dataclasses.fields(command)]


def _value(command: Event, name: str) -> Any:
    value = getattr(command, name)
    # Its traceback names lines of Loom's own code, which another release has written.
    return (value.type, value.message, value.kind) if name == "failure" and value else value


def histories_replay(evidence: Evidence, replayer: Replayer) -> Iterator[str]:
    for run in evidence.dump.runs:
        yield from _commands_come_with_what_they_answer(run)
        if not run.events or run.run.workflow_id in evidence.poisoned:
            continue
        with patch.object(recorder, "Matcher", StrictMatcher):
            result = replayer.replay(exported(run.run, list(run.events)))
        if not result.ok:
            yield f"{run} does not replay: {result.error}"


def _commands_come_with_what_they_answer(run: RunDump) -> Iterator[str]:
    """What the code asks for is stamped as what it has been given."""
    taken_at = None
    for sequence, stamped in run.history:
        if isinstance(stamped.event, ArrivalEvent):
            taken_at = stamped.at
        elif stamped.at != taken_at:
            yield f"event {sequence} of {run} was not asked for when what it follows on came"
