"""What is to be known about one file."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BAD_CONTENT = (SyntaxError, ValueError, LookupError, RecursionError, MemoryError)
"""What ``parse`` raises for content that is not what it claims to be."""


@dataclass(frozen=True)
class Definition:
    """A function or class of a Python file."""

    name: str
    line: int


@dataclass(frozen=True)
class Document:
    """A parsed file."""

    sha256: str
    size: int
    lines: int
    words: int
    definitions: tuple[Definition, ...] = ()


def parse(path: Path) -> Document:
    """Reads and parses a file."""
    content = path.read_bytes()
    return _python(content, path.name) if path.suffix == ".py" else _text(content)


def _python(content: bytes, name: str) -> Document:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    text = content.decode(encoding)
    return _document(content, text, _definitions(ast.parse(text, name)))


def _text(content: bytes) -> Document:
    return _document(content, content.decode("utf-8-sig"))


def _document(content: bytes, text: str, definitions: tuple[Definition, ...] = ()) -> Document:
    return Document(
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        lines=len(text.splitlines()),
        words=len(text.split()),
        definitions=definitions,
    )


def _definitions(tree: ast.Module) -> tuple[Definition, ...]:
    return tuple(
        Definition(node.name, node.lineno)
        for node in _statements(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    )


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """As ``ast.walk``, without the expressions: most of a tree, and nothing is defined there."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [each for each in ast.iter_child_nodes(node) if not isinstance(each, ast.expr)]
