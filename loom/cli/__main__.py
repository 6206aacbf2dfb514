"""``python -m loom.cli``: the command line where no ``loom`` script is on the path."""

from __future__ import annotations

from loom.cli.main import main

if __name__ == "__main__":
    main()
