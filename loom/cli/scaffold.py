"""``loom init``: a project to begin with."""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Final

import click

from loom.cli.exits import CommandError

_FILE: Final = "greetings.py"

_NEXT: Final = """\
Wrote {path}: a workflow, an activity and a main function.

Next{where}:
  python greetings.py Ada                     run it in one process
Or with a worker of its own:
  loom worker greetings                       leave it running, and in another terminal
  loom start Greeting --input '"Ada"' --wait  start a run and wait for its result
  loom list                                   see what there is
They meet in ./workflows.db; set LOOM_DSN to use another database.
"""


@click.command()
@click.argument("directory", default=".", type=click.Path(path_type=Path, file_okay=False))
def init(directory: Path) -> None:
    """Write a small project into DIRECTORY. Nothing that exists is overwritten."""
    path = directory / _FILE
    template = importlib.resources.files("loom.cli") / "template" / _FILE
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(template.read_text(encoding="utf-8"))
    except FileExistsError:
        raise CommandError(f"{path} exists already; choose another directory.") from None
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}.") from error
    where = "" if directory == Path() else f", in {directory}"
    click.echo(_NEXT.format(path=path, where=where), nl=False)
