"""Every example of ``examples/hello`` runs as it stands, and prints what it should."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "hello"

PRINTED = {
    "activity": "Hello, World!\n",
    "activity_choice": "Ordered 5 bananas, 12 cherries, 2 apples\n",
    "activity_threaded": "['one from a thread', 'two from a thread']\n",
    "async_completion": "You may.\n",
    "cancellation": (
        "the activity was cancelled, too\n"
        "cleaned up\n"
        "Workflow 'hello-cancellation' was cancelled: enough of it\n"
    ),
    "child": "Hello, World!\n",
    "continue_as_new": "3 to go\n2 to go\n1 to go\n0 to go\nlift-off\n4 runs\n",
    "exception": "RuntimeError: gave up after 2 attempts\nTrue\n",
    "heartbeat": "attempt 2 copied 2 of 5\n",
    "local_activity": "Hello, World!\n",
    "multiprocess": "499500 True\n",
    "parallel_activity": (
        "Hello, Ada! Hello, Barbara! Hello, Grace! Hello, Katherine! Hello, Margaret!\n"
    ),
    "patch": "Good day, World.\nHello, World!\n",
    "query": "Hello, World!\nGoodbye, World!\n",
    "saga": (
        "booked a hotel\nbooked a car\ncancelled the car\ncancelled the hotel\n"
        "loom.errors.ActivityFailedError\n"
    ),
    "search_attributes": (
        "hello-tags-2 {'customer': 'Ada', 'stage': 'packing'}\n"
        "hello-tags-0 {'customer': 'Ada', 'stage': 'packing'}\n"
        "2 sent\n"
    ),
    "signal": "['Hello, Ada', 'Hello, Grace']\n",
    "update": "4\nrejected: -1 is not positive\n10\n10\n",
}


def test_every_example_is_tried() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {f"hello_{name}" for name in PRINTED}


@pytest.mark.parametrize("name", PRINTED)
async def test_an_example_prints_what_it_should(name: str, dsn: str, tmp_path: Path) -> None:
    done = await asyncio.to_thread(run, EXAMPLES / f"hello_{name}.py", dsn, tmp_path)

    assert done.stderr == ""
    assert done.stdout == PRINTED[name]
    assert done.returncode == 0


def run(script: Path, dsn: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("LOOM_")}
    return subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**environment, "LOOM_DSN": dsn},
        timeout=60,
        check=False,
    )
