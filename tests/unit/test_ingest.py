"""The ingest example on awkward folders and files."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from examples.ingest.files import standard_library, text_files
from examples.ingest.parsing import BAD_CONTENT, Definition, Document, parse

# --- which files ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ["b.py", "a/z.txt", "a/b/c.md", "a.py", "a-b.txt", "é.txt", "a/empty"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text" if name != "a/empty" else "")
    return tmp_path


def test_lists_every_text_file_in_the_order_of_its_parts(folder: Path) -> None:
    assert list(text_files(folder)) == [
        "a/b/c.md",
        "a/empty",
        "a/z.txt",
        "a-b.txt",
        "a.py",
        "b.py",
        "é.txt",
    ]


def test_a_listing_can_be_taken_up_after_any_name(folder: Path) -> None:
    everything = list(text_files(folder))
    for place, name in enumerate(everything):
        assert list(text_files(folder, after=name)) == everything[place + 1 :]


def test_a_listing_can_be_taken_up_after_a_file_that_is_gone(folder: Path) -> None:
    (folder / "a.py").unlink()
    assert list(text_files(folder, after="a.py")) == ["b.py", "é.txt"]


@pytest.mark.parametrize(
    "name", [".git/config", "__pycache__/a.pyc", "site-packages/a.py", "node_modules/a.js"]
)
def test_leaves_out_what_is_not_the_folders_own(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("text")
    assert list(text_files(tmp_path)) == []


def test_leaves_out_what_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    assert list(text_files(tmp_path)) == []


def test_a_root_that_is_not_there_is_no_empty_listing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(text_files(tmp_path / "missing"))


def test_does_not_follow_links_to_folders(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert list(text_files(tmp_path)) == ["a.txt"]


def test_lists_a_folder_that_cannot_be_opened_so_that_its_failure_gets_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").mkdir()
    scandir = os.scandir

    def refuse(path: Path) -> Any:
        if path.name == "secret":
            raise PermissionError(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert list(text_files(tmp_path)) == ["secret"]


def test_lists_a_file_whose_name_is_not_utf_8_under_a_name_that_can_be_stored(
    tmp_path: Path,
) -> None:
    Path(os.fsdecode(bytes(tmp_path) + b"/caf\xe9.txt")).write_text("text")
    (name,) = text_files(tmp_path)
    assert name.encode("utf-8")
    with pytest.raises(FileNotFoundError):
        parse(tmp_path / name)


def test_the_standard_library_has_over_a_thousand_python_files() -> None:
    assert sum(name.endswith(".py") for name in text_files(standard_library())) > 1000


# --- what is in a file ---------------------------------------------------------------------------


@pytest.fixture
def parsed(tmp_path: Path) -> Callable[[str, bytes], Document]:
    def parsed(name: str, content: bytes) -> Document:
        (tmp_path / name).write_bytes(content)
        return parse(tmp_path / name)

    return parsed


def test_finds_functions_and_classes_at_any_depth(
    parsed: Callable[[str, bytes], Document],
) -> None:
    document = parsed("a.py", b"class A:\n    async def b(self):\n        def c(): ...\n")
    assert set(document.definitions) == {
        Definition("A", 1),
        Definition("b", 2),
        Definition("c", 3),
    }


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.py", b"", 0),
        ("latin.py", b"# -*- coding: latin-1 -*-\nname = 'caf\xe9'\n", 8),
        ("bom.py", b"\xef\xbb\xbfname = 1\n", 3),
        ("crlf.py", b"a = 1\r\nb = 2", 6),
        ("formfeed.py", b"\x0ca = 1\n", 3),
        ("bom.txt", b"\xef\xbb\xbfone two", 2),
        ("noise", "één\u2028two".encode(), 2),
    ],
)
def test_reads_what_is_only_odd(
    parsed: Callable[[str, bytes], Document], name: str, content: bytes, words: int
) -> None:
    document = parsed(name, content)
    assert (document.words, document.size) == (words, len(content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("python2.py", b"print 'hello'\n"),
        ("undecodable.py", b"name = 'caf\xe9'\n"),
        ("late_undecodable.py", b"a = 1\nb = 2\nc = 'caf\xe9'\n"),
        ("cookie.py", b"# coding: no-such-encoding\n"),
        ("not_text_cookie.py", b"# coding: rot13\n"),
        ("bom_and_cookie.py", b"\xef\xbb\xbf# coding: latin-1\n"),
        ("nul.py", b"a = 1\n\0\n"),
        ("nested.py", b"(" * 5000 + b")" * 5000),
        ("undecodable.txt", b"caf\xe9"),
    ],
)
def test_refuses_content_that_is_not_what_it_claims_to_be(
    parsed: Callable[[str, bytes], Document], name: str, content: bytes
) -> None:
    with pytest.raises(BAD_CONTENT):
        parsed(name, content)
