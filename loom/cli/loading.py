"""From ``module:attribute`` to the workflows and activities that a worker serves."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import click

from loom.authoring.activity import is_activity
from loom.authoring.compiled import is_workflow
from loom.history.payloads import PayloadCodec


@dataclass(frozen=True)
class Definitions:
    """The workflows and activities that were found."""

    workflows: list[type[Any]]
    activities: list[Callable[..., Any]]


def load(targets: Iterable[str]) -> Definitions:
    """Imports the targets; ``click.BadParameter`` says which cannot be served, and why."""
    # A dict, for what is named twice is served once.
    found = list({id(each): each for target in targets for each in _definitions(target)}.values())
    return Definitions(
        workflows=[each for each in found if is_workflow(each)],
        activities=[each for each in found if is_activity(each)],
    )


def load_codecs(target: str | None) -> list[PayloadCodec]:
    """The codecs that a target names; ``click.BadParameter`` says what is none."""
    if target is None:
        return []
    module_name, _, attribute = target.partition(":")
    if not attribute:
        raise click.BadParameter(f"codecs are named as MODULE:ATTRIBUTE, which {target!r} is not.")
    value = _attribute(_imported(module_name), attribute)
    codecs = list(value) if isinstance(value, Iterable) else [value]
    for codec in codecs:
        if not isinstance(codec, PayloadCodec):
            raise click.BadParameter(f"{target!r} is no codec, nor a list of them: {codec!r}")
    return codecs


def _definitions(target: str) -> list[Any]:
    module_name, _, attribute = target.partition(":")
    module = _imported(module_name)
    if not attribute:
        found = list(_defined_in(module))
        if not found:
            raise click.BadParameter(f"module {module_name!r} defines no workflow and no activity.")
        return found
    return list(_flattened(_attribute(module, attribute), target))


def _imported(name: str) -> ModuleType:
    _check_no_path(name)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise click.BadParameter(
                f"there is no module {error.name!r} in {os.getcwd()} or on the Python path."
            ) from error
        raise click.BadParameter(_import_failure(name, error)) from error
    except Exception as error:
        raise click.BadParameter(_import_failure(name, error)) from error


def _check_no_path(name: str) -> None:
    path = Path(name)
    if os.sep in name or path.is_file():
        module = ".".join(part for part in path.with_suffix("").parts if part != path.anchor)
        raise click.BadParameter(f"{name!r} is a path; name the module as imports do: {module}")


def _import_failure(name: str, error: Exception) -> str:
    """The user's own error, with the place where it happened."""
    what = f"{type(error).__name__}: {error}"
    # The place of an error of syntax is in its message; nothing of the user's own has run.
    if not isinstance(error, SyntaxError):
        place = traceback.extract_tb(error.__traceback__)[-1]
        what += f" ({place.filename}, line {place.lineno})"
    return f"module {name!r} cannot be imported: {what}"


def _attribute(module: ModuleType, path: str) -> Any:
    value: Any = module
    for part in path.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise click.BadParameter(f"module {module.__name__!r} has no {path!r}.") from None
    return value


def _defined_in(module: ModuleType) -> Iterator[Any]:
    """What the module itself defines, without what it imports."""
    for value in vars(module).values():
        if _is_definition(value) and value.__module__ == module.__name__:
            yield value


def _flattened(value: Any, target: str) -> Iterator[Any]:
    if _is_definition(value):
        yield value
    elif isinstance(value, Iterable) and not isinstance(value, str):
        for each in value:
            yield from _flattened(each, target)
    else:
        raise click.BadParameter(
            f"{target!r} is neither a workflow nor an activity, nor a list of them: {value!r}"
        )


def _is_definition(value: Any) -> bool:
    return is_workflow(value) or is_activity(value)
