"""Running cases: subjects take turns, each sample in a process and on a database of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Final

from benchmarks import newer_sqlite
from benchmarks.databases import Fresh
from benchmarks.measuring import measure_for
from benchmarks.records import Case, Sample
from benchmarks.scenarios.base import Scenario
from benchmarks.subjects import PEERS, SUBJECTS, Subject

type Progress = Callable[[str], None]

PATIENCE: Final = 1_800.0
"""Seconds that a sample may take."""


class SampleFailed(Exception):
    """There is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Results:
    """A scenario on a store: every sample, by case and subject, in the order of the repeats."""

    scenario: Scenario
    store: str
    samples: Mapping[Case, Mapping[str, Sequence[Sample]]]
    failures: Sequence[str] = ()
    """What could not be measured. Of a subject that failed once there is nothing at all, so that
    samples can be compared pair by pair."""


def run_scenario(
    scenario: Scenario,
    cases: Sequence[Case],
    store: str,
    fresh: Fresh,
    repeat: int,
    subjects: Sequence[str],
    progress: Progress,
) -> Results:
    """Run the cases so many times.

    Subjects alternate within a case, so that whatever else the machine does hits them alike.
    """
    turns = min(repeat, scenario.most_repeats or repeat)
    newer = newer_sqlite.is_wanted(store == "sqlite" and any(name in PEERS for name in subjects))
    samples: dict[Case, dict[str, list[Sample]]] = {case: {} for case in cases}
    failures: dict[tuple[Case, str], str] = {}
    for turn in range(turns):
        for case, by_subject in samples.items():
            # Nobody always comes first.
            for subject in subjects[:: 1 if turn % 2 == 0 else -1]:
                own = case_for(SUBJECTS[subject], scenario, store, case)
                if own is None or (case, subject) in failures:
                    continue
                try:
                    sample = _in_its_own_process(subject, store, own, fresh, newer)
                except SampleFailed as failed:
                    # Hours of measuring are not lost to one peer that breaks under the load.
                    failures[case, subject] = f"{store} {own} {subject}: {failed}"
                    progress(failures[case, subject])
                else:
                    by_subject.setdefault(subject, []).append(sample)
                    progress(f"{turn + 1}/{turns} {store} {own} {subject}: {sample.rate:,.0f}/s")
    for case, subject in failures:
        samples[case].pop(subject, None)
    # Nothing can be told of a case without the one that the others are held against.
    whole = {case: by for case, by in samples.items() if subjects[0] in by}
    return Results(scenario, store, whole, tuple(failures.values()))


def case_for(subject: Subject, scenario: Scenario, store: str, case: Case) -> Case | None:
    """What a subject runs of a case; ``None`` when that is nothing."""
    known = subject.scenarios is None or scenario.name in subject.scenarios
    # A worker in another process is what Loom alone has an adapter for.
    alone = subject.scenarios is not None and case.processes is not None
    if not known or alone or store not in subject.stores & scenario.stores:
        return None
    if subject.most is None or case.n <= subject.most:
        return case
    return replace(case, n=subject.most) if scenario.any_n_will_do else None


def _in_its_own_process(subject: str, store: str, case: Case, fresh: Fresh, newer: bool) -> Sample:
    """So that memory and CPU time are the subject's alone."""
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    with fresh() as dsn:
        process = context.Process(
            target=measure_for, args=(theirs, subject, store, case, dsn, newer)
        )
        process.start()
        theirs.close()
        try:
            if not ours.poll(PATIENCE):
                raise SampleFailed(f"not done after {PATIENCE / 60:.0f} minutes")
            sample: Sample = ours.recv()
        except EOFError:
            raise SampleFailed("failed; its own words are above") from None
        finally:
            # Nobody waits for what is left of it when we are interrupted.
            process.kill()
            process.join()
    return sample
