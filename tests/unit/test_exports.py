"""The public names, and the error tree as its docstring draws it."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

import loom
from loom import errors

BRANCH = re.compile(r"(?P<lead>(?:│   |    |├── |└── )*)(?P<name>\w+)(?: \((?P<base>\w+)\))?")


def drawn_tree(docstring: str) -> dict[str, str]:
    """Each class of the drawing, with its parent."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in docstring.splitlines():
        match = BRANCH.match(line)
        if match is None or not hasattr(errors, match["name"]):
            continue
        depth = len(match["lead"]) // 4
        path[depth:] = [match["name"]]
        parents[match["name"]] = match["base"] or (path[depth - 1] if depth else "Exception")
    return parents


def real_tree() -> dict[str, str]:
    return {
        name: cls.__bases__[0].__name__
        for name, cls in inspect.getmembers(errors, inspect.isclass)
        if cls.__module__ == errors.__name__
    }


def test_the_drawn_error_tree_is_the_real_one() -> None:
    assert drawn_tree(errors.__doc__ or "") == real_tree()


@pytest.mark.parametrize("name", sorted(real_tree()))
def test_every_error_says_what_it_means(name: str) -> None:
    assert inspect.getdoc(getattr(errors, name))


def test_every_public_name_exists() -> None:
    assert [name for name in loom.__all__ if not hasattr(loom, name)] == []


def names_for_type_checkers() -> dict[str, str]:
    """Each public name for type checkers, with the module that it is imported from."""
    tree = ast.parse(inspect.getsource(loom))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    return {
        alias.asname or alias.name: node.module or ""
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_type_checkers_see_the_names_that_exist_at_run_time() -> None:
    assert names_for_type_checkers() == loom._HOME_OF


def test_public_names_are_listed_once() -> None:
    assert len(loom.__all__) == len(set(loom.__all__))


def test_public_names_are_seen_by_completion() -> None:
    assert set(loom.__all__) <= set(dir(loom))


def test_every_error_a_user_may_catch_is_public() -> None:
    assert set(real_tree()) <= set(loom.__all__)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        loom.no_such_name  # noqa: B018
