"""Reading CSV: what spreadsheets and help desks export."""

from __future__ import annotations

import csv
from collections.abc import Iterator

from state.strict import nearest
from surefoot.errors import UsageError

DELIMITERS = (",", ";", "\t", "|")

MAX_CELL = 10_000_000
"""Characters of one cell; the standard library's own limit of 131,072 is less than a pasted log."""


def read_csv(text: str, name: str) -> Iterator[tuple[int, dict[str, str] | str]]:
    """Yield each row with the line that it begins at: its cells by column, or a sentence that says what is wrong.

    The first row names the columns. Quoted cells may hold newlines. Raises `UsageError` for a header without an `id`.
    """
    csv.field_size_limit(MAX_CELL)
    lines = text.splitlines(keepends=True) if "\n" not in text else [line + "\n" for line in text.split("\n")]
    first = next((number for number, line in enumerate(lines) if line.strip()), None)
    if first is None:
        return
    # `strict` makes an unbalanced quote an error; without it the quote would silently swallow the rows that follow.
    reader = csv.reader(lines[first:], delimiter=_delimiter(lines[first]), strict=True)
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
    first = text.lstrip().partition("\n")[0]
    return first[:1] not in ("{", "[") and any("id" in cells for cells in _columns(first).values())


def _delimiter(first: str) -> str:
    """Return the delimiter under which the header has an `id`, else the one that gives the most columns."""
    columns = _columns(first)
    named = [char for char, cells in columns.items() if "id" in cells]
    return named[0] if named else max(columns, key=lambda char: len(columns[char]))


def _columns(first: str) -> dict[str, list[str]]:
    return {char: [cell.strip(' "\r\n') for cell in first.split(char)] for char in DELIMITERS}


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
