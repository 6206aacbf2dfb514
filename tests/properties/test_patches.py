"""Code that changes behind patches replays every history of the code before it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given

from loom.history.events import ArrivalEvent, PatchApplied, Stamped
from tests.engine_harness import replayed
from tests.properties.programs import Branch, Leaf, Node, changed, programs, workflow_for
from tests.properties.test_replay import MOVES, Move, Played, closing, feed, state_of

PATCHES = Branch("sequence", (Leaf("patched", 1), Leaf("sleep", 2), Leaf("patched", 2)))
LOOP = Branch("sequence", (Leaf("activity"), Leaf("patched", 1), Leaf("patched", 1)))


def handed_over(played: Played, code: Node, end: int) -> tuple[list[Stamped], list[Stamped]]:
    """A history up to there, and what other code goes on with when the rest arrives."""
    history = played.run.history
    left = [s for s in history[end:] if isinstance(s.event, ArrivalEvent)]
    with closing(replayed(workflow_for(code), history[:end])) as again:
        following, _ = feed(again, [[arrival] for arrival in left])
    return history[:end], following


def without_markers(history: Sequence[Stamped]) -> list[Stamped]:
    return [stamped for stamped in history if not isinstance(stamped.event, PatchApplied)]


@given(programs(), MOVES)
@example(PATCHES, [Move("complete", 0), Move("time", 0)])
@example(LOOP, [Move("complete", 0)])
def test_code_with_a_patch_replays_what_was_recorded_before_it(
    program: Node, moves: list[Move]
) -> None:
    after = changed(program, {"deprecated patch": "nothing"})
    before = changed(after, {"patched": "before patch", "asked patch": "nothing"})
    played = Played(before, moves)
    for end in sorted(set(played.run.turns)):
        history, following = handed_over(played, after, end)
        # What it was told at first holds: the same code replays what came of both.
        replayed(workflow_for(after), [*history, *following]).unwind()


@given(programs(), MOVES)
@example(PATCHES, [Move("complete", 0), Move("time", 0)])
def test_code_that_forgets_a_deprecated_patch_goes_on_as_the_code_that_knew_it(
    program: Node, moves: list[Move]
) -> None:
    knowing = changed(program, {"patched": "deprecated patch", "asked patch": "deprecated patch"})
    forgetful = changed(knowing, {"deprecated patch": "nothing"})
    played = Played(knowing, moves)
    for end in sorted(set(played.run.turns)):
        _, following = handed_over(played, forgetful, end)
        assert following == without_markers(played.run.history[end:])
    with closing(replayed(workflow_for(forgetful), played.run.history)) as again:
        assert state_of(again) == played.state


@given(programs(), MOVES)
@example(PATCHES, [Move("complete", 0), Move("time", 0)])
def test_code_may_deprecate_a_patch_that_a_run_has(program: Node, moves: list[Move]) -> None:
    """The code that follows ``patched`` is the same; only the question is another."""
    asking = changed(program, {"patched": "asked patch", "deprecated patch": "asked patch"})
    deprecating = changed(asking, {"asked patch": "deprecated patch"})
    played = Played(asking, moves)
    with closing(replayed(workflow_for(deprecating), played.run.history)) as again:
        assert state_of(again) == played.state
