"""``loom check --lint``: what of the workflows' code may not replay."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loom.cli.output import print_json

if TYPE_CHECKING:
    from loom.authoring.lint.findings import Finding


def lint(workflows: list[type[Any]], *, as_json: bool) -> bool:
    """Check workflows and print what was found; whether nothing was."""
    # Imported here, for it takes longer than all of `loom --help`.
    from loom.authoring.lint.check import lint as static_check

    findings = [_beneath_here(finding) for finding in static_check(workflows)]
    if as_json:
        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        for finding in findings:
            click.echo(str(finding))
        click.echo(_summary(len(findings), len(workflows)), err=True)
    return not findings


def _beneath_here(finding: Finding) -> Finding:
    """With a path as short as people write it."""
    path = Path(finding.path)
    if not path.is_relative_to(os.getcwd()):
        return finding
    return dataclasses.replace(finding, path=str(path.relative_to(os.getcwd())))


def _summary(found: int, workflows: int) -> str:
    checked = f"{workflows} workflow{'s' * (workflows != 1)} checked"
    if not found:
        return f"{checked}: nothing found that would not replay."
    return f"{checked}: {found} finding{'s' * (found != 1)}."
