"""One run's history, replayed with a debugger at hand."""

from __future__ import annotations

from collections.abc import Sequence

import click

import loom
from loom.authoring.registry import Registry
from loom.cli.debugger import ReplayDebugger
from loom.cli.events import exact_time, what_happened
from loom.cli.exits import CommandError
from loom.cli.output import harmless
from loom.engine.instance import WorkflowInstance
from loom.history.codec import EVENT_TYPES
from loom.history.events import ArrivalEvent, Stamped
from loom.history.payloads import PayloadConverter
from loom.runner.replayer import not_served, replayed
from loom.runner.views import history_event
from loom.runner.waits import waiting_at


class DebugSession:
    """One replay with the debugger at hand."""

    def __init__(
        self,
        history: loom.RunHistory,
        registry: Registry,
        codecs: Sequence[loom.PayloadCodec],
        at: int,
    ) -> None:
        workflow = registry.workflow(history.name, history.version)
        if workflow is None:
            raise CommandError(str(not_served(history.name, history.version, registry)))
        if at > len(history.events):
            raise click.UsageError(f"There is no event {at}: the history has {_events(history)}.")
        self._workflow = workflow
        self._history = history
        self._converter = PayloadConverter(codecs)
        self._debugger = ReplayDebugger(workflow.cls)
        self._begin_at = _last_arrival(history, at)

    def run(self) -> bool:
        """Replay to the history's end, or until the debugger is left; whether the code fits."""
        history, debugger = self._history, self._debugger
        click.echo(
            f"Replaying {_events(history)} of {harmless(history.workflow_id)} (run "
            f"{history.run_id}, {harmless(history.name)} version {harmless(history.version)})."
        )
        try:
            with replayed(
                self._workflow, history, self._converter, on_arrival=self._on_arrival
            ) as instance:
                debugger.end()
                if not debugger.quitting:
                    self._tell_end(instance)
        except Exception as error:
            debugger.end()
            if not debugger.quitting:
                click.echo(f"The replay broke.\n{harmless(str(error))}")
                return False
        return True

    def _on_arrival(self, sequence: int, arrival: Stamped) -> None:
        if self._debugger.quitting:
            raise _Left
        event = history_event(self._history.events[sequence - 1], self._converter)
        click.echo(
            f"event {sequence}: {exact_time(event.recorded_at)} {event.type} "
            f"{harmless(what_happened(event))}".rstrip()
        )
        if sequence == self._begin_at:
            self._debugger.begin()

    def _tell_end(self, instance: WorkflowInstance) -> None:
        if not self._history.status.is_open:
            status = self._history.status
            click.echo(f"The run ends here, {status}, and the code fits what it has done.")
            return
        click.echo("The history ends here: the run is open, and the code fits what it has done.")
        for place in filter(None, map(waiting_at, instance.coroutines)):
            click.echo(f"It waits at {harmless(place)}")


class _Left(Exception):
    """Whoever debugs has seen enough."""


def _last_arrival(history: loom.RunHistory, at: int) -> int:
    """The arrival that is this event or leads to it."""
    arrivals = [
        event.sequence
        for event in history.events[:at]
        if issubclass(EVENT_TYPES.get(event.type, ArrivalEvent), ArrivalEvent)
    ]
    return arrivals[-1] if arrivals else 1


def _events(history: loom.RunHistory) -> str:
    count = len(history.events)
    return f"{count} event{'s' * (count != 1)}"
