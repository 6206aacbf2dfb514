"""Versions of the schema, and which of them this Loom can work with.

A version is the name of its migration: a number, as ``0004``. Where it only adds what an older Loom
does not miss, it also names the oldest version whose Loom can work with it, as ``0004_from_0002``.
So a database tells by itself who may go on using it, and workers of two releases can do so at once.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self

from loom.errors import SchemaVersionError
from loom.storage.sql.schema import SCHEMA_VERSION

_NAME: Final = re.compile(r"(?P<number>\d{4})(?:_from_(?P<oldest>\d{4}))?")


class Version(NamedTuple):
    """A version of the schema."""

    number: str
    oldest: str
    """The number of the oldest version whose Loom can work with this one."""

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read the name of a migration; what is none of ours counts as one that nobody knows."""
        match = _NAME.fullmatch(name)
        number, oldest = match.groups() if match else (name, None)
        return cls(number, oldest or number)


KNOWN: Final = Version.parse(SCHEMA_VERSION)
"""The newest that this Loom knows."""


def is_newer(stored: str | None) -> bool:
    """Whether a later Loom has made the schema, so that this one has no script for it."""
    return stored is not None and Version.parse(stored).number > KNOWN.number


def is_older(stored: str | None) -> bool:
    """Whether the schema still has to be brought up to date, or made."""
    return stored is None or Version.parse(stored).number < KNOWN.number


def check_version(where: str, stored: str | None) -> str:
    """The version, if it is one that this Loom can work with; else ``SchemaVersionError``.

    ``where`` names the database, without a password.
    """
    if stored is None or is_older(stored):
        raise older_schema(where, stored)
    if Version.parse(stored).oldest > KNOWN.number:
        raise newer_schema(where, stored)
    return stored


def newer_schema(where: str, version: str) -> SchemaVersionError:
    """The error for a database that a later Loom has migrated."""
    return SchemaVersionError(
        f"{where}: its schema is version {version}, but this Loom knows no later one than "
        f"{SCHEMA_VERSION}: upgrade the package loom-durable"
    )


def no_way_back(where: str, version: str) -> SchemaVersionError:
    """The error for a schema that is to be taken back by a Loom that has not its script."""
    fits = Version.parse(version).oldest <= KNOWN.number
    leave = ". Or leave it: this Loom can work with it as it is" if fits else ""
    return SchemaVersionError(
        f"{where}: its schema is version {version}, and only the newer Loom that made it knows the "
        f"way back: run its `loom db downgrade`{leave}"
    )


def older_schema(where: str, version: str | None) -> SchemaVersionError:
    """The error for a database that still has to be migrated."""
    has = "it has no Loom schema yet" if version is None else f"its schema is version {version}"
    return SchemaVersionError(
        f"{where}: {has}, and this Loom needs version {SCHEMA_VERSION}. Run `loom db upgrade` with "
        "the same DSN in LOOM_DSN"
    )
