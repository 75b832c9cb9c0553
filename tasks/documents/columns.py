"""The reading order of a page: columns one after the other, what spans them in its place.

Cuts a page at white space, first into bands and then into columns, after the XY-cut of Nagy and Seth (1984): a band is
the longest run of rows that one vertical strip of white space divides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

GUTTER: Final = 9.0
"""Points of white space between columns; words of a line are nearer."""
FEWEST: Final = 3
"""Boxes that make a column."""
SAME_ROW: Final = 3.0
"""Points by which the feet of boxes of one row may differ."""
LABELS: Final = 0.75
"""Share of the boxes of a narrow column with a box beside them from which it is labels, such as the years of jobs."""


@dataclass(frozen=True)
class Box:
    """A piece of text on a page; points, from the lower left corner."""

    left: float
    bottom: float
    right: float
    top: float
    text: str


FEW: Final = 0.6
"""Boxes of a column of titles for each box beside it; words in a sidebar stand closer."""
FULL: Final = 0.6
"""Part of its column that a line fills before it can go on in the next one."""
LEADING: Final = 1.9
"""Times its height that the foot of a line lies above that of the next one of a paragraph."""
LARGER: Final = 1.4
"""Times that the letters of a heading are as high as those below it; capitals and small letters differ by less."""
_BULLETS: Final = tuple("-*\u2022\u00b7\u2013\u25aa\u25cf\u25e6\u2023")


def in_reading_order(boxes: Sequence[Box]) -> list[str]:
    """Return the lines of a page; what was wrapped at the edge of its column is one line."""
    rows = _rows(boxes)
    lines: list[str] = []
    plain: list[list[Box]] = []
    at = 0
    while at < len(rows):
        stop, x = _band(rows, at)
        if stop > at:
            lines, plain = lines + _unwrapped(plain), []
            inside = [box for row in rows[at:stop] for box in row]
            for column in ([b for b in inside if b.right <= x], [b for b in inside if b.right > x]):
                lines += in_reading_order(column)
            at = stop
        else:
            plain.append(rows[at])
            at += 1
    return lines + _unwrapped(plain)


def _unwrapped(rows: Sequence[Sequence[Box]]) -> list[str]:
    """Join each row with the one before it that had no room for its first word."""
    lines: list[str] = []
    edge = max((row[-1].right for row in rows), default=0.0)
    for number, row in enumerate(rows):
        text = " ".join(box.text for box in row)
        if number and _goes_on(rows[number - 1], row, text, edge):
            # Without the space where a word was divided.
            lines[-1] += text if lines[-1].endswith(("\u00ad", "\ufffe", "\x02")) else f" {text}"
        else:
            lines.append(text)
    return lines


def _goes_on(before: Sequence[Box], row: Sequence[Box], text: str, edge: float) -> bool:
    """Tell whether a row is the rest of the one before it."""
    start, high = before[0].left, max(box.top - box.bottom for box in before)
    width, letters = before[-1].right - start, sum(len(box.text) for box in before)
    first, *others = text.split(maxsplit=4)
    if (
        text.startswith(_BULLETS)
        or "@" in first
        or "/" in first
        or any(word.endswith(":") for word in (first, *others))
    ):
        return False
    if any(two.left - one.right >= GUTTER for cells in (before, row) for one, two in pairwise(cells)):
        return False
    if high > LARGER * (row[0].top - row[0].bottom) or not any(" " in box.text for box in before):
        return False
    if before[0].bottom - row[0].bottom > LEADING * high or width < FULL * (edge - start):
        return False
    return before[-1].right + (len(first) + 1) * width / max(letters, 1) > edge


def _rows(boxes: Sequence[Box]) -> list[list[Box]]:
    """Group boxes into rows from top to bottom, each from left to right."""
    rows: list[list[Box]] = []
    for box in sorted(boxes, key=lambda box: (-box.bottom, box.left)):
        if rows and abs(rows[-1][0].bottom - box.bottom) <= SAME_ROW:
            rows[-1].append(box)
        else:
            rows.append([box])
    return [sorted(row, key=lambda box: box.left) for row in rows]


def _band(rows: list[list[Box]], at: int) -> tuple[int, float]:
    """Return the end of the longest run of rows from `at` that one gutter divides, and its x; `at` for none."""
    best = (at, 0.0)
    gaps = [(-1e9, 1e9)]
    inside: list[Box] = []
    for stop, row in enumerate(rows[at:], at + 1):
        inside += row
        for box in row:
            gaps = [part for gap in gaps for part in _without(gap, box)]
        found = _gutter(gaps, inside)
        if found is None:
            if not any(low > -1e8 and high < 1e8 for low, high in gaps) and len(inside) > FEWEST:
                break
            continue
        best = (stop, found)
    return best


def _without(gap: tuple[float, float], box: Box) -> list[tuple[float, float]]:
    """Return what is left of a gap beside a box."""
    low, high = gap
    if box.right <= low or box.left >= high:
        return [gap]
    return [part for part in ((low, box.left), (box.right, high)) if part[1] - part[0] >= GUTTER]


def _gutter(gaps: Sequence[tuple[float, float]], boxes: Sequence[Box]) -> float | None:
    """Return the middle of the widest gap that has a column on both sides."""
    for low, high in sorted(gaps, key=lambda gap: gap[0] - gap[1]):
        if low < -1e8 or high > 1e8:
            continue
        left, right = ([b for b in boxes if b.right <= low], [b for b in boxes if b.left >= high])
        if min(len(left), len(right)) >= FEWEST and not _labels(left, right) and _overlap(left, right):
            return (low + high) / 2
    return None


def _labels(left: Sequence[Box], right: Sequence[Box]) -> bool:
    """Tell whether the left boxes belong to the right ones beside them: dates or titles with what they are about."""
    feet = sorted(box.bottom for box in right)
    beside = sum(any(abs(foot - box.bottom) <= SAME_ROW for foot in feet) for box in left)
    short = sum(len(box.text) for box in left) / len(left) < 22
    dated = sum(box.text.endswith(":") or any(char.isdigit() for char in box.text) for box in left)
    telling = 2 * dated > len(left) or len(left) <= FEW * len(right)
    return short and telling and beside >= LABELS * len(left)


def _overlap(left: Sequence[Box], right: Sequence[Box]) -> bool:
    """Tell whether two columns stand beside each other and not above each other."""
    top = min(max(box.top for box in side) for side in (left, right))
    bottom = max(min(box.bottom for box in side) for side in (left, right))
    height = max(max(box.top for box in side) - min(box.bottom for box in side) for side in (left, right))
    return top - bottom > height * 0.25


def paragraphs(lines: Sequence[str]) -> str:
    """Join lines; a word that was divided at the end of one comes together."""
    text = "\n".join(line for line, following in pairwise([*lines, ""]) if line or following)
    return text.replace("\ufffe\n", "").replace("\u00ad\n", "").replace("\x02\n", "")
