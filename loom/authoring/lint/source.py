"""From a live function to its syntax tree, and which rules a comment lifts where."""

from __future__ import annotations

import ast
import io
import linecache
import re
import tokenize
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType
from typing import Final

type FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda

_IGNORE: Final = re.compile(r"#\s*loom:\s*ignore(?:\[([\w\s,-]*)\])?")
_ALL: Final = "*"


@dataclass(frozen=True)
class SourceFile:
    """One file of source, parsed."""

    path: str
    functions: dict[tuple[str, int], FunctionNode] = field(default_factory=dict)
    """By name and first line, as a code object tells them."""
    ignored: dict[int, frozenset[str]] = field(default_factory=dict)
    """Which rules do not hold in a line."""

    def ignores(self, rule: str, line: int) -> bool:
        rules = self.ignored.get(line, frozenset())
        return rule in rules or _ALL in rules


def function_node(code: CodeType) -> tuple[SourceFile, FunctionNode] | None:
    """Where a function is written down; ``None`` when its source is not at hand."""
    source = _parsed(code.co_filename, tuple(linecache.getlines(code.co_filename)))
    node = source.functions.get((code.co_name, code.co_firstlineno)) if source else None
    return (source, node) if source and node else None


# A few: trees are large, and a workflow's functions mostly lie together.
@lru_cache(maxsize=16)
def _parsed(path: str, lines: tuple[str, ...]) -> SourceFile | None:
    text = "".join(lines)
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        # Not the source that was compiled.
        return None
    return SourceFile(path, _functions(tree), _ignored(text))


def _functions(tree: ast.Module) -> dict[tuple[str, int], FunctionNode]:
    found: dict[tuple[str, int], FunctionNode] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(each.lineno for each in node.decorator_list)])
            found[node.name, first] = node
        elif isinstance(node, ast.Lambda):
            found["<lambda>", node.lineno] = node
    return found


def _ignored(text: str) -> dict[int, frozenset[str]]:
    """A comment counts for its own line and, when it stands alone, for the next."""
    ignored: dict[int, frozenset[str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        match = _IGNORE.search(token.string) if token.type == tokenize.COMMENT else None
        if match is None:
            continue
        names = match.group(1)
        rules = {_ALL} if names is None else {name.strip() for name in names.split(",")}
        line = token.start[0]
        alone = not token.line[: token.start[1]].strip()
        for each in (line, line + 1) if alone else (line,):
            ignored[each] = ignored.get(each, frozenset()) | rules
    return ignored
