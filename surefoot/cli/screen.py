"""What the commands share: consoles, lines, JSON, tables."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

DONE, FAILED, WRONG_USE, WAITING = 0, 1, 2, 3
"""Exit statuses: all done, something failed, wrong use, done but somebody waits for a person."""

PIPED_WIDTH = 160
"""Width of what is written to a file or a pipe: wide enough that lists are not cut for programs that search them."""


MAX_WIDTH = 100
"""Width of paragraphs: longer lines are hard to read."""


def console(*, stderr: bool = False) -> Console:
    """Return a console on stdout or stderr, as wide as the terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else PIPED_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def say(line: str = "") -> None:
    """Write one line to stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def write_json(value: Any) -> None:
    """Write one JSON document to stdout."""
    text = json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None, default=str)
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.flush()


def table(**columns: Any) -> Table:
    """Return a calm table: a header, no lines; `columns` holds the options of each column by its title."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    for title, options in columns.items():
        made.add_column(title.replace("_", " "), **{"no_wrap": True, "overflow": "ellipsis", **options})
    return made
