"""Reading CSV: what spreadsheets and help desks export."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator

from state.strict import nearest
from surefoot.errors import UsageError

DELIMITERS = (",", ";", "\t", "|")

_NAMED = re.compile(r"\ufeff?[ ]*\"?sep=([^\w\s\"]|\t)\"?[;,\t|]*[ ]*\r?\n?", re.IGNORECASE)
"""The line by which Excel is told the delimiter of a table; saved again, it may have delimiters of its own."""

MAX_CELL = 10_000_000
"""Characters of one cell; the standard library's own limit of 131,072 is less than a pasted log."""


def read_csv(text: str, name: str) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Yield each row with the line that it begins at: its cells by column, or a sentence that says what is wrong.

    The first row names the columns; before it there may be the line `sep=;` that spreadsheets write to name the
    delimiter. Quoted cells may hold newlines. Raises `UsageError` for a header without an `id`.
    """
    csv.field_size_limit(MAX_CELL)
    lines = _lines(text)
    first, delimiter = _begin(lines)
    if first is None:
        return
    # `strict` makes an unbalanced quote an error; without it the quote would silently swallow the rows that follow.
    reader = csv.reader(lines[first:], delimiter=delimiter, strict=True)
    header = _header(reader, name)
    while True:
        line = first + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"no valid CSV ({error}): check the quotes in this row"
            continue
        if not any(cell.strip() for cell in cells):
            continue
        yield line, _row(header, cells)


def looks_like_csv(text: str) -> bool:
    """Tell whether a text of unknown kind begins with a header that has an `id`, which no JSON does."""
    lines = _lines(text)
    first, delimiter = _begin(lines)
    if first is None or lines[first].lstrip()[:1] in ("{", "["):
        return False
    return any("id" in cells for cells in _columns(lines[first], (delimiter, *DELIMITERS)).values())


def delimiter_of(text: str) -> str:
    """Return the delimiter of a table."""
    return _begin(_lines(text))[1]


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True) if "\n" not in text else [line + "\n" for line in text.split("\n")]


def _begin(lines: list[str]) -> tuple[int | None, str]:
    """Return the line of the header and the delimiter, which a line before it may name."""
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return None, DELIMITERS[0]
    if (named := _NAMED.fullmatch(lines[first])) is None:
        return first, _delimiter(lines[first])
    header = next((number for number in range(first + 1, len(lines)) if lines[number].strip()), None)
    return header, named[1]


def _delimiter(first: str) -> str:
    """Return the delimiter under which the header has an `id`, else the one that gives the most columns."""
    columns = _columns(first)
    named = [char for char, cells in columns.items() if "id" in cells]
    return named[0] if named else max(columns, key=lambda char: len(columns[char]))


def _columns(first: str, delimiters: tuple[str, ...] = DELIMITERS) -> dict[str, list[str]]:
    return {char: [cell.strip(' "\r\n') for cell in first.split(char)] for char in delimiters}


def _header(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        header = [cell.strip() for cell in next(reader)]
    except csv.Error as error:
        raise UsageError(f"{name}: the first row is no valid CSV ({error})") from None
    if "id" not in header:
        told = ", ".join(header)
        near = nearest("id", header).replace(", did", "; did")
        raise UsageError(f'{name}: the first row must name the columns, one of them "id"; it names: {told}{near}')
    twice = sorted({column for column in header if column and header.count(column) > 1})
    if twice:
        raise UsageError(f"{name}: the first row names a column twice: {', '.join(twice)}")
    return header


def _row(header: list[str], cells: list[str]) -> dict[str, str] | str:
    if len(cells) != len(header):
        return f"this row has {len(cells)} cells, the header has {len(header)}: check delimiters and quotes"
    return dict(zip(header, cells, strict=True))
