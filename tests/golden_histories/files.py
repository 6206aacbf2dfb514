"""Histories as readable JSON files: one event a line, payloads as plain values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loom.history.codec import decode_event, plain_attributes
from loom.history.events import Stamped

FOLDER = Path(__file__).parent / "files"


def text(history: list[Stamped]) -> str:
    lines = [json.dumps(_row(stamped), ensure_ascii=False) for stamped in history]
    return "[\n  " + ",\n  ".join(lines) + "\n]\n"


def read(path: Path) -> list[Stamped]:
    return [_stamped(row) for row in json.loads(path.read_text(encoding="utf-8"))]


def _row(stamped: Stamped) -> dict[str, Any]:
    event = stamped.event
    payload, attributes = event.payload_bytes, plain_attributes(event)
    if "failure" in attributes:
        # It names the folders of the machine that recorded it.
        attributes["failure"]["traceback"] = ""
    return {
        "at": stamped.at,
        "type": event.type,
        "schema_version": event.schema_version,
        "attributes": attributes,
        **({} if payload is None else {"payload": json.loads(payload)}),
    }


def _stamped(row: dict[str, Any]) -> Stamped:
    payload = row.get("payload")
    event = decode_event(
        row["type"],
        row["schema_version"],
        json.dumps(row["attributes"]).encode(),
        None if payload is None else json.dumps(payload).encode(),
    )
    return Stamped(event, row["at"])
