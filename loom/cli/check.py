"""``loom check``: whether code can be deployed."""

from __future__ import annotations

import click

from loom.cli.exits import Exit


@click.command()
@click.argument("targets", metavar="MODULE[:ATTRIBUTE]...", nargs=-1, required=True)
@click.option(
    "--lint", "lints", is_flag=True, help="Read the code for what would not replay; runs nothing."
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="Print findings for people, or for programs.",
)
@click.pass_context
def check(ctx: click.Context, targets: tuple[str, ...], lints: bool, output_format: str) -> None:
    """Check workflows before they are deployed.

    MODULE takes everything decorated in that module; MODULE:ATTRIBUTE one workflow, or a list of
    them. Ends with 1 when something was found.

    With --lint the code is searched for what differs from one replay to the next: clocks, chance,
    I/O, threads, sets that are iterated over. A finding is lifted by a comment in its line,
    `# loom: ignore[rule]`.
    """
    if not lints:
        raise click.UsageError("say what to check: --lint.")
    # Imported here, for it takes longer than all of `loom --help`.
    from loom.cli.lint import lint
    from loom.cli.loading import load

    definitions = load(targets)
    if not definitions.workflows:
        raise click.BadParameter("there is no workflow in what was named.")
    if not lint(definitions.workflows, as_json=output_format == "json"):
        ctx.exit(Exit.FAILED)
