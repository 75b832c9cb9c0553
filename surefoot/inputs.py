"""Reading the items of a run: JSON Lines, JSON and CSV files, a folder of documents, or standard input.

A line that cannot be used is told with its number and reason and never stops the others. A file that cannot be used
at all raises `UsageError`.
"""

from __future__ import annotations

import itertools
import json
import shlex
import stat
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, TypeAlias

from pydantic import ValidationError

from nodes.task import hash_of
from state import describe
from state.strict import nearest
from surefoot.cells import number_fields, plain_number
from surefoot.errors import UsageError
from surefoot.folders import LeftOut, files_of, refuse_endless
from surefoot.tables import delimiter_of, looks_like_csv, read_csv
from surefoot.words import one_line

if TYPE_CHECKING:
    from surefoot.pipelines import Pipeline

MAX_NAMES = 20
"""Most fields that are named in place of a missing one."""

MAX_ID = 200
"""Most characters of an id: it is part of keys and of lines that people read."""

UTF_16 = (b"\xff\xfe", b"\xfe\xff")
"""The marks that a file in UTF-16 begins with."""

FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv"}


@dataclass(frozen=True)
class Item:
    """One item of a run."""

    id: str
    input: dict[str, Any]
    line: int = 0

    @property
    def content_hash(self) -> str:
        """Hash of what makes it the same item: a document is what it holds, wherever its folder was moved."""
        given = self.input
        return hash_of(
            {name: value for name, value in given.items() if name != "path"} if given.get("digest") else given
        )


@dataclass(frozen=True)
class BadLine:
    """A line that cannot be run, and why."""

    line: int
    reason: str
    file: str = ""
    """The file that it is about, of a folder."""

    def place(self, source: str) -> str:
        """Say where it stands: `tickets.jsonl:7`, or a file of a folder."""
        return f"{source.rstrip('/')}/{one_line(self.file)}" if self.file else f"{source}:{self.line}"


Raw: TypeAlias = tuple[int, Any]
"""Line number and what stands there, or a `BadLine` already."""


def read_items(source: str | Path, pipeline: Pipeline, stdin: TextIO) -> Iterator[Item | BadLine]:
    """Yield the items of a file (`-`: standard input, of any kind) and its bad lines, in order.

    Raises `UsageError` when the file cannot be read, is empty, is neither UTF-8 nor UTF-16 or is of no known kind.
    """
    seen: dict[str, int] = {}
    empty = True
    for line, raw in _raw_items(source, stdin, pipeline):
        empty = False
        item = raw if isinstance(raw, BadLine) else check_item(raw, line, pipeline)
        if isinstance(item, BadLine) and isinstance(raw, dict) and "digest" in raw:
            # Of a folder the name tells more than the number.
            item = replace(item, file=str(raw["id"]))
        if isinstance(item, Item):
            if item.id in seen:
                item = BadLine(line, f"id {item.id!r} was already used in line {seen[item.id]}")
            else:
                seen[item.id] = line
        yield item
    if empty:
        raise UsageError(f"{_name(source)} is empty")


def check_item(raw: Any, line: int, pipeline: Pipeline) -> Item | BadLine:
    """Turn one parsed object into an item; fields that the pipeline does not know are left out."""
    if not isinstance(raw, dict):
        return BadLine(line, f"an object of fields is needed, this is {_kind(raw)}")
    item_id = id_of(raw.get("id"))
    if isinstance(item_id, BadLine):
        list_name = _list_within(raw)
        there = _there_are("id", raw) if "id" not in raw and nearest("id", [str(field) for field in raw]) else ""
        there = f"; this is an object with {_way_out(list_name, 'FILE')}" if list_name else there
        return BadLine(line, item_id.reason + there)
    known = pipeline.input.model_fields
    values = {
        name: value for name, value in raw.items() if name in known and (value is not None or name in pipeline.required)
    }
    for name in pipeline.required:
        if values.get(name) is None:
            told = "null" if name in values else f"missing{_there_are(name, raw)}"
            return BadLine(line, f'field "{name}" is {told}')
    try:
        checked = pipeline.input.model_validate(values)
        return Item(item_id, checked.model_dump(mode="json", exclude_unset=True), line)
    except ValidationError as error:
        return BadLine(line, f"field {describe(error)}")
    except (ValueError, RecursionError) as error:
        # A lone surrogate passes some validators and fails when it is written down.
        return BadLine(line, f"a value cannot be stored ({type(error).__name__})")


def _there_are(name: str, raw: Collection[Any]) -> str:
    """Name the fields that are there in place of one that is missing, the nearest first."""
    there = [one_line(field, 60) for field in raw][:MAX_NAMES]
    return f"{nearest(name, there)}; there are: {', '.join(there)}" if there else "; there are none"


def id_of(value: Any) -> str | BadLine:
    """Return the id of an item as text, or what is wrong with it."""
    if value is None:
        return BadLine(0, 'field "id" is missing')
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return BadLine(0, f'field "id" must be a text or a whole number, this is {_kind(value)}')
    text = str(value)
    if not text.strip():
        return BadLine(0, 'field "id" is blank')
    if len(text) > MAX_ID:
        return BadLine(0, f'field "id" is longer than {MAX_ID} characters')
    if any(unicodedata.category(char) in ("Cc", "Cs", "Cf") for char in text):
        return BadLine(0, 'field "id" holds a control character or an invisible one')
    return text


def _kind(value: Any) -> str:
    names = {type(None): "null", bool: "true or false", int: "a number", float: "a fraction", str: "a text"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


def _raw_items(source: str | Path, stdin: TextIO, pipeline: Pipeline) -> Iterator[Raw]:
    if str(source) == "-":
        yield from _parse(_utf8(_all_bytes(stdin), "standard input"), "standard input", pipeline)
        return
    path = Path(source)
    try:
        if path.is_dir():
            for number, entry in files_of(path, pipeline):
                raw = BadLine(number, entry.reason, entry.name) if isinstance(entry, LeftOut) else entry
                yield number, raw
            return
        kind = _format_of(path)
        with path.open("rb") as file:
            if kind == "jsonl":
                yield from _jsonl(_lines(file, str(path)))
                return
            text = _utf8(file.read(), str(path))
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except PermissionError:
        raise UsageError(f"{path} cannot be read: permission denied") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    yield from _csv(text, str(path), pipeline) if kind == "csv" else _parse(text, str(path), pipeline)


def _format_of(path: Path) -> str:
    """Return how a file is to be parsed: by its extension, or by its content where it is a pipe."""
    mode = path.stat().st_mode
    refuse_endless(path, mode)
    if path.suffix.lower() in FORMATS:
        return FORMATS[path.suffix.lower()]
    if not stat.S_ISREG(mode):
        return "json"
    raise UsageError(f"{path} is of no known kind; known: {', '.join(FORMATS)}")


def _all_bytes(stdin: TextIO) -> bytes:
    buffer = getattr(stdin, "buffer", None)
    return buffer.read() if buffer is not None else stdin.read().encode("utf-8", "surrogatepass")


def _name(source: str | Path) -> str:
    return "standard input" if str(source) == "-" else str(source)


def _decode(data: bytes, name: str, line: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        where = line + data.count(b"\n", 0, error.start)
        raise UsageError(f"{name} is not UTF-8 (line {where}): save it as UTF-8 and run it again") from None


def _utf8(data: bytes, name: str) -> str:
    """Decode a whole file: UTF-8, or UTF-16 with its mark, which spreadsheets call "Unicode text"."""
    if data.startswith(UTF_16):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            raise UsageError(f"{name} is cut off or no UTF-16, as its first bytes say: save it as UTF-8") from None
    return _decode(data, name, 1).removeprefix("\ufeff")


def _lines(file: BinaryIO, name: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file with their numbers; a large one is never read as a whole."""
    first = file.readline()
    if first.startswith(UTF_16):
        yield from enumerate(_utf8(first + file.read(), name).split("\n"), 1)
        return
    for number, data in enumerate(itertools.chain([first] if first else [], file), 1):
        line = _decode(data, name, number)
        yield number, line.removeprefix("\ufeff") if number == 1 else line


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_constant)


def _load(text: str) -> Any:
    """Parse a JSON text; raises `ValueError` with a short reason."""
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"no valid JSON ({error.msg.lower()}, column {error.colno})") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _jsonl(lines: Iterator[tuple[int, str]]) -> Iterator[Raw]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            yield number, _load(line)
        except ValueError as error:
            yield number, BadLine(number, str(error))


def _parse(text: str, name: str, pipeline: Pipeline) -> Iterator[Raw]:
    """Parse an array of objects, one object, JSON Lines, or a table whose header has an `id`."""
    if text.lstrip().startswith("["):
        yield from _array(text, name)
        return
    if looks_like_csv(text):
        yield from _csv(text, name, pipeline)
        return
    try:
        whole = _load(text)
    except ValueError:
        # Split at newlines only: a text may hold other line separators.
        yield from _jsonl(enumerate(text.split("\n"), 1))
        return
    if (list_name := _list_within(whole)) is not None and not set(pipeline.required) & set(whole):
        raise UsageError(f"{name} is one object with {_way_out(list_name, name)}")
    yield 1 + text[: len(text) - len(text.lstrip())].count("\n"), whole


def _list_within(raw: Any) -> str | None:
    """Return the field of an object without an id that holds a list of objects: the items are probably there."""
    if not isinstance(raw, dict) or "id" in raw:
        return None
    return next(
        (n for n, value in raw.items() if isinstance(value, list) and value and isinstance(value[0], dict)), None
    )


def _way_out(list_name: str, file: str) -> str:
    """Say how the objects of a list within an object become lines."""
    named = json.dumps(list_name)
    path = f".{list_name}[]" if list_name.isascii() and list_name.isidentifier() else f".[{named}][]"
    return f"the list {named} in it; write one element a line: {shlex.join(['jq', '-c', path, file])} > items.jsonl"


def _array(text: str, name: str) -> Iterator[Raw]:
    """Yield the elements of an array with the lines they begin at; raises `UsageError` where it is broken."""
    line, counted = 1, 0
    try:
        for position, value in _elements(text):
            line, counted = line + text.count("\n", counted, position), position
            yield line, value
    except json.JSONDecodeError as error:
        raise UsageError(f"{name}, line {error.lineno}: no valid JSON ({error.msg.lower()})") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: no valid JSON ({error or 'nested too deeply'})") from None


def _elements(text: str) -> Iterator[tuple[int, Any]]:
    position = _skip(text, text.index("[") + 1)
    while text[position : position + 1] != "]":
        value, end = _decoder.raw_decode(text, position)
        yield position, value
        position = _skip(text, end)
        if text[position : position + 1] == ",":
            position = _skip(text, position + 1)
        elif text[position : position + 1] != "]":
            raise json.JSONDecodeError("Expecting ',' or ']'", text, position)
    if _skip(text, position + 1) != len(text):
        raise json.JSONDecodeError("Extra data after the array", text, position + 1)


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in " \t\r\n":
        position += 1
    return position


def _csv(text: str, name: str, pipeline: Pipeline) -> Iterator[Raw]:
    """Yield the rows of a table; an empty cell says nothing, except where the field is required."""
    # Where commas are fractions, cells are separated by semicolons.
    numbers, points = number_fields(pipeline.input), delimiter_of(text) != ";"
    for line, row in read_csv(text, name):
        if isinstance(row, str):
            yield line, BadLine(line, row)
            continue
        if missing := [field for field in pipeline.required if field not in row]:
            raise UsageError(f'{name}: the first row has no column "{missing[0]}"{_there_are(missing[0], row)}')
        found: dict[str, str] = {}
        bad = None
        for column, cell in row.items():
            if cell or column in pipeline.required:
                try:
                    found[column] = plain_number(cell, points_are_fractions=points) if column in numbers else cell
                except ValueError as error:
                    bad = bad or BadLine(line, f'field "{column}": {error}')
        yield line, bad or found
