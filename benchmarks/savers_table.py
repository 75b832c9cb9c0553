"""The numbers of the saver benchmark as tables: medians over the rounds, and what they are of ours and of memory's."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from savers_peers import MEMORY, OURS, Contender

LASTING = {"AOF everysec", "each commit", "commit later"}
"""Stores that write to disk: they are compared with ours where it does so too."""
MISSING = "-"


@dataclass
class Table:
    """One measure: its cells of every round."""

    title: str
    columns: list[str]
    digits: int
    found: dict[str, dict[str, dict[int, float]]] = field(default_factory=dict)
    """Number by contender, column and round."""

    def add(self, contender: Contender, column: str, turn: int, number: float) -> None:
        """Put a number into a cell."""
        self.found.setdefault(contender.label, {}).setdefault(column, {})[turn] = number

    def median(self, label: str, column: str) -> float | None:
        """Return the median over the rounds; `None` for what was not measured."""
        values = self.found.get(label, {}).get(column, {}).values()
        return statistics.median(values) if values else None

    def ratio(self, label: str, other: str, column: str) -> float | None:
        """Return the median of the ratios to another one, each of the two of one round."""
        ours, theirs = (self.found.get(name, {}).get(column, {}) for name in (label, other))
        ratios = [ours[turn] / theirs[turn] for turn in ours.keys() & theirs.keys() if theirs[turn]]
        return statistics.median(ratios) if ratios else None


def ours_beside(contender: Contender, table: Table) -> str:
    """Return the label of our saver that another one is compared with."""
    wanted = f"{OURS}, {'AOF everysec' if contender.store in LASTING else 'AOF off'}"
    return wanted if wanted in table.found else f"{OURS}, AOF off"


def _number(value: float | None, digits: int) -> str:
    return MISSING if value is None else f"{value:,.{digits}f}"


def _lines(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ["", title]
    for number, row in enumerate([header, *rows]):
        cells = [cell.ljust(w) if not i else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  " + "  ".join(cells).rstrip())
        if not number:
            lines.append("  " + "  ".join("-" * width for width in widths))
    return lines


def lines_of(table: Table, contenders: Sequence[Contender]) -> list[str]:
    """Return a measure as text: numbers, ratios to ours, ratios to memory's."""
    measured = [contender for contender in contenders if contender.label in table.found]
    medians = [[one.label, *(_number(table.median(one.label, name), table.digits) for name in table.columns)]
               for one in measured]  # fmt: skip
    lines = _lines(table.title, ["saver", *table.columns], medians)
    rows = []
    for one in measured:
        row = [one.label]
        for name in table.columns:
            both = (table.ratio(one.label, ours_beside(one, table), name), table.ratio(one.label, MEMORY, name))
            row.append(" | ".join(_number(ratio, 3 if ratio is not None and ratio < 0.1 else 2) for ratio in both))
        rows.append(row)
    return lines + _lines("  ... as a multiple of ours | of the in-memory saver's", ["saver", *table.columns], rows)


def as_data(table: Table, contenders: Sequence[Contender]) -> dict[str, Any]:
    """Return a measure for JSON."""
    rows = {}
    for one in contenders:
        if one.label in table.found:
            rows[one.label] = {
                name: {
                    "median": table.median(one.label, name),
                    "rounds": list(table.found[one.label].get(name, {}).values()),
                    "of_ours": table.ratio(one.label, ours_beside(one, table), name),
                    "of_memory": table.ratio(one.label, MEMORY, name),
                }
                for name in table.columns
            }
    return {"title": table.title, "savers": rows}
