"""What was done to files, and what a power cut may leave of it."""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

SECTOR = 512
"""Bytes that are written whole or not at all."""

_HEAD = struct.Struct("=BxHIQ")


class Kind(IntEnum):
    """As ``shim.c`` numbers them."""

    WRITE = 0
    SYNC = 1
    CUT = 2
    REMOVE = 3
    MARK = 4


@dataclass(frozen=True)
class Operation:
    kind: Kind
    name: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Recording:
    """All operations on a database file and those beside it, in the order in which they were."""

    file: Path
    before: bytes
    operations: list[Operation]

    @classmethod
    def read(cls, path: Path, file: Path, before: bytes) -> Recording:
        raw, at, found = path.read_bytes(), 0, []
        while at + _HEAD.size <= len(raw):
            kind, name_length, length, offset = _HEAD.unpack_from(raw, at)
            at += _HEAD.size
            name = raw[at : at + name_length].decode()
            at += name_length
            found.append(Operation(Kind(kind), Path(name).name, offset, raw[at : at + length]))
            at += length
        return cls(file, before, found)

    def cut(self, end: int, folder: Path, chance: random.Random) -> tuple[Path, set[str]]:
        """The files as a cut after so many operations may leave them; and the marks before it."""
        disk: dict[str, bytearray] = {self.file.name: bytearray(self.before)}
        waiting: dict[str, list[Operation]] = {}
        marks = set()
        for operation in self.operations[:end]:
            if operation.kind is Kind.MARK:
                marks.add(operation.data.decode())
            elif operation.kind is Kind.SYNC:
                for synced in waiting.pop(operation.name, []):
                    _apply(disk, synced)
            else:
                waiting.setdefault(operation.name, []).append(operation)
        for operations in waiting.values():
            _apply_some(disk, operations, chance)
        for name, content in disk.items():
            (folder / name).write_bytes(content)
        return folder / self.file.name, marks


def _apply_some(
    disk: dict[str, bytearray], operations: list[Operation], chance: random.Random
) -> None:
    """What was not synced: all, nothing, or any part of it in any order, torn at sectors."""
    match chance.randrange(3):
        case 0:
            left = []
        case 1:
            left = list(operations)
        case _:
            left = [_torn(operation, chance) for operation in operations if chance.random() < 0.6]
            chance.shuffle(left)
    for operation in left:
        _apply(disk, operation)


def _torn(operation: Operation, chance: random.Random) -> Operation:
    if operation.kind is not Kind.WRITE or chance.random() < 0.5:
        return operation
    end = chance.randrange(0, len(operation.data) + 1, SECTOR)
    return Operation(operation.kind, operation.name, operation.offset, operation.data[:end])


def _apply(disk: dict[str, bytearray], operation: Operation) -> None:
    if operation.kind is Kind.REMOVE:
        disk.pop(operation.name, None)
        return
    content = disk.setdefault(operation.name, bytearray())
    if operation.kind is Kind.CUT:
        del content[operation.offset :]
        content.extend(bytes(operation.offset - len(content)))
        return
    end = operation.offset + len(operation.data)
    content.extend(bytes(max(0, end - len(content))))
    content[operation.offset : end] = operation.data
