"""What the commands share: consoles, lines, JSON, tables."""

from __future__ import annotations

import os
import re
import sys
from typing import IO, TYPE_CHECKING, Any, cast

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
    return Console(
        file=cast("IO[str]", _Harmless(stderr=stderr)), width=width, highlight=False, markup=False, emoji=False
    )


class _Harmless:
    """The standard output or error as it is now, without characters that turn text around or hide in it.

    Escape sequences are passed on: they are the console's own, texts come without (`words.one_line`).
    """

    def __init__(self, *, stderr: bool) -> None:
        self._stderr = stderr

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream(), name)

    def _stream(self) -> Any:
        return sys.stderr if self._stderr else sys.stdout

    def write(self, text: str) -> int:
        """Write a text; returns its length."""
        from surefoot.words import escaped

        # rich writes escape sequences and carriage returns of its own.
        self._stream().write(
            "".join(part if part in ("\x1b", "\r") else escaped(part) for part in _CONSOLES.split(text))
        )
        return len(text)


_CONSOLES = re.compile(r"([\x1b\r])")
"""Control characters that the console itself writes."""


def say(line: str = "") -> None:
    """Write one line to stderr."""
    from surefoot.words import escaped

    sys.stderr.write(f"{escaped(line)}\n")
    sys.stderr.flush()


def write_json(value: Any) -> None:
    """Write one JSON document to stdout."""
    from surefoot.words import json_text

    text = json_text(value, indent=2 if sys.stdout.isatty() else None)
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace") + b"\n")
    sys.stdout.flush()


def table(**columns: Any) -> Table:
    """Return a calm table: a header, no lines; `columns` holds the options of each column by its title."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim", show_edge=False)
    for title, options in columns.items():
        made.add_column(title.replace("_", " "), **{"no_wrap": True, "overflow": "ellipsis", **options})
    return made
