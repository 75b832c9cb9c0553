"""Small pieces of text for people: money, durations, moments, one line of anything."""

from __future__ import annotations

import functools
import json
import math
import re
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from surefoot.errors import UsageError

_INVISIBLE = (
    r"\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f"
)
"""Control and format characters (Unicode's Cc, Cf, Zl, Zp) that turn text around, hide in it or steer a terminal.

Left out are the joiners U+200C and U+200D, which scripts and emoji need, and signs that are seen (Arabic numbers).
"""
_CONTROL = re.compile(rf"[\x00-\x08\x0b-\x1f\u200c\u200d{_INVISIBLE}]")
_HIDDEN = re.compile(rf"[\x00-\x08\x0b-\x1f{_INVISIBLE}]")
_ESCAPE = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.?)")


def one_line(text: Any, limit: int = 0) -> str:
    """Return a text on one line, without what could steer a terminal, cut to `limit` characters if that is above 0."""
    cleaned = " ".join(_CONTROL.sub(" ", _ESCAPE.sub("", str(text))).split())
    cleaned = cleaned.encode("utf-8", "replace").decode()
    return cleaned if not limit or len(cleaned) <= limit else cleaned[: limit - 1].rstrip() + "…"


def escaped(text: str) -> str:
    r"""Return a text in which control, bidirectional and invisible characters are written as `\uXXXX`.

    In a JSON document it is the same value, on a screen it does nothing. Tabs and newlines stay.
    """
    return _HIDDEN.sub(lambda found: json.dumps(found[0])[1:-1].replace("\x7f", "\\u007f"), text)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Return a JSON document that can be printed anywhere; unknown types become their text."""
    return escaped(json.dumps(value, ensure_ascii=False, indent=indent, default=str))


def about(values: Mapping[str, Any], limit: int) -> str:
    """Say in one line what an item is about, whatever its pipeline; of a résumé without the person."""
    job = values.get("job")
    title = values.get("subject") or values.get("title") or (job.get("title") if isinstance(job, Mapping) else "")
    path = values.get("path")
    text = values.get("message") or values.get("text")
    body = values.get("resume") or (Path(path).name if isinstance(path, str) else text)
    if not body and isinstance(values.get("amount"), float):
        body = " ".join(str(values.get(name) or "") for name in ("amount", "channel", "merchant"))
    return one_line(": ".join(part for part in (title, body) if isinstance(part, str) and part.strip()), limit)


def microusd_of(dollars: float, name: str) -> int:
    """Return US dollars as micro-dollars; raises `UsageError` naming what was set to something else."""
    if not (math.isfinite(dollars) and dollars >= 0):
        raise UsageError(f"{name} must be a number of US dollars, not negative; got {dollars:g}")
    return round(dollars * 1_000_000)


def money(microusd: float) -> str:
    """Write micro-dollars as dollars, with as many digits as a small sum needs."""
    dollars = microusd / 1_000_000
    if dollars == 0:
        return "$0"
    return f"${dollars:,.2f}" if dollars >= 1 else f"${dollars:.4f}" if dollars >= 0.0001 else f"${dollars:.6f}"


def duration(seconds: float) -> str:
    """Write a time span in the two units that matter: `850 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`."""
    if not math.isfinite(seconds):
        return "?"
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for size, unit, small, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // small
            return f"{whole // size} {unit}" + (f" {rest} {small_unit}" if rest else "")
    return f"{whole} s"


def rough(seconds: float) -> str:
    """Write a time span in one unit, for lists: `45 s`, `12 min`, `5 h`, `3 d`."""
    if not math.isfinite(seconds):
        return "?"
    seconds = max(0.0, seconds)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and unit != "d"):
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def due(until: float | None, now: float | None = None) -> str:
    """Say when something is due, seen from now: `in 3 h`, `overdue 20 min`; empty without a time."""
    if until is None:
        return ""
    if now is None:
        # Only what lists threads needs it, and has everything loaded by then.
        from nodes.clock import now as time_now

        now = time_now()
    left = until - now
    return f"in {rough(left)}" if left >= 0 else f"overdue {rough(-left)}"


def clock(moment: float, *, date: bool = False, tenths: bool = False) -> str:
    """Write a moment (seconds since the epoch) in local time; `?` for one that no calendar has."""
    try:
        local = time.localtime(moment)
        text = time.strftime("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S", local)
    except (ValueError, OverflowError, OSError, TypeError):
        return "?"
    return text + f".{int(moment % 1 * 10)}" if tenths else text


def count(number: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun: `1 thread`, `1,204 threads`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def label(value: Any) -> str:
    """Write a value of an enumeration as people say it: `feature_request` becomes `feature request`."""
    return "none" if value is None else one_line(value).replace("_", " ")


def wrap(text: str, width: int) -> list[str]:
    """Break a text into lines of at most `width` terminal cells; wide characters count twice."""
    from rich.cells import cell_len, chop_cells

    lines, width = [""], max(width, 8)
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width:
            lines[-1] = joined
        elif cell_len(word) <= width:
            lines.append(word)
        else:
            pieces = chop_cells(word, width)
            lines = (lines if lines[-1] else lines[:-1]) + pieces
    return lines


def shell(*words: str) -> str:
    """Write a command of ours as it can be typed."""
    return shlex.join([*program(), *words])


@functools.cache
def program() -> tuple[str, ...]:
    """Return how the command was called, where its bare name would not find it: `.venv/bin/surefoot`."""
    called = Path(sys.argv[0] if sys.argv else "")
    if shutil.which("surefoot") or not called.is_file():
        return ("surefoot",)
    if called.name == "__main__.py" and called.parent.name in ("surefoot", "cli"):
        return sys.orig_argv[0], "-m", "surefoot"
    if called.name != "surefoot":
        return ("surefoot",)
    try:
        return (str(called.absolute().relative_to(Path.cwd())),)
    except ValueError:
        return (str(called),)
