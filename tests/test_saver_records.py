"""Records of other times and hands: older encodings, classes that have changed since, and made-up bytes."""

from __future__ import annotations

import builtins
import collections
import dataclasses
import enum
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import numpy as np
import ormsgpack
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from pydantic import BaseModel, SecretStr, model_validator
from stored_values import ALLOW, Order, Plan, Point, Stranger
from test_saver_types import ALLOW as OLD_ALLOW
from test_saver_types import VALUES

from checkpointers import TypeNotAllowed
from checkpointers._kinds import Kind
from checkpointers._serial import SafeSerializer
from checkpointers._typed import CLASS, MAP, NUMPY, PLAIN, SET


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_langgraphs_serializer_stored_is_read_as_ever(value: Any) -> None:
    stored = JsonPlusSerializer().dumps_typed(value) if value != 2**70 else ("msgpack", ormsgpack.packb(None))
    got = SafeSerializer([*OLD_ALLOW, SecretStr]).loads_typed(stored)
    expected = JsonPlusSerializer(allowed_msgpack_modules=True).loads_typed(stored)
    assert got == expected
    assert type(got) is type(expected)


class Ticket(BaseModel):
    text: str
    status: str = "open"


class NewTicket(BaseModel):
    text: str
    status: Literal["open", "closed"] = "open"
    team: str = "first line"

    @model_validator(mode="before")
    @classmethod
    def _from_old(cls, data: Any) -> Any:
        return {**data, "status": "closed"} if data.get("status") == "shut" else data


class Strict(BaseModel):
    text: int


@dataclasses.dataclass
class Row:
    a: int


@dataclasses.dataclass
class Longer:
    a: int
    b: str = "new"


class RowModel(BaseModel):
    a: int
    b: str = "new"


class Kind1(enum.Enum):
    OLD = "old"


class Kind2(enum.Enum):
    NEW = "new"


class Pair(collections.namedtuple("Pair", "a")):  # noqa: PYI024 - without a class body there is no name to change
    __slots__ = ()


class Longer2(collections.namedtuple("Longer2", "a b", defaults=["new"])):  # noqa: PYI024
    __slots__ = ()


def read_as(monkeypatch: pytest.MonkeyPatch, value: Any, new: type[Any]) -> Any:
    """Store a value, give the name of its class to another one, and read."""
    name = type(value).__name__
    serde = SafeSerializer([(__name__, name)])
    typed = serde.dumps_typed([value])
    monkeypatch.setattr(sys.modules[__name__], name, new)
    return serde.loads_typed(typed)[0]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Ticket(text="x"), NewTicket(text="x", team="first line")),
        (Ticket(text="x", status="shut"), NewTicket(text="x", status="closed")),
        (Row(1), Longer(1, "new")),
        (Row(1), RowModel(a=1)),
        (RowModel(a=1), Longer(1, "new")),
        (Pair(1), Longer2(1, "new")),
    ],
    ids=repr,
)
def test_a_class_that_has_other_fields_by_now_is_asked_for_the_new_object(
    monkeypatch: pytest.MonkeyPatch, old: Any, new: Any
) -> None:
    got = read_as(monkeypatch, old, type(new))
    assert got == new
    assert type(got) is type(new)


@pytest.mark.parametrize(
    ("old", "new"), [(Ticket(text="x"), Strict), (Longer(1), Row), (Kind1.OLD, Kind2), (Row(1), Kind2)], ids=repr
)
def test_a_class_that_does_not_take_what_was_stored_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, old: Any, new: type[Any]
) -> None:
    with pytest.raises(
        TypeNotAllowed, match=rf"test_saver_records\.{type(old).__name__}: .*Keep its old fields"
    ) as caught:
        read_as(monkeypatch, old, new)
    assert "allow=" not in str(caught.value)


def ext(code: int, *parts: Any) -> tuple[str, bytes]:
    return "typed", ormsgpack.packb(ormsgpack.Ext(code, ormsgpack.packb(parts)))


class Nothing:
    """No data."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise AssertionError("it was made")


NAMED: list[tuple[str, str]] = [
    ("os", "system"), ("builtins", "eval"), ("builtins", "exec"), ("subprocess", "Popen"), ("pathlib", "Path.unlink"),
    ("ctypes", "CDLL"), (__name__, "Nothing"), (__name__, "ext"), ("importlib", "import_module"), ("shutil", "rmtree"),
    ("builtins", "type"), ("builtins", "__import__"), ("a b", "c; import os"), ("", ""),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name"), NAMED)
@pytest.mark.parametrize("code", [0, 1, 2, 5, *Kind, CLASS])
def test_a_record_that_names_no_class_of_data_makes_nothing_and_is_not_offered_to_be_allowed(
    module: str, name: str, code: int
) -> None:
    argument: Any = {"a": 1} if code in (2, 5) else "touch x" if code == 0 else ["touch x"]
    parts = (module, name, argument) if code < 6 else ([module, name], {}, None)
    parts = (module, name) if code == CLASS else parts
    with pytest.raises(TypeNotAllowed, match=r"no class of data.*was changed") as caught:
        SafeSerializer([(module, name)] if module == __name__ else []).loads_typed(ext(code, *parts))
    words = str(caught.value)
    assert "allow=" not in words
    assert not name or name not in words.replace("type that may not", "")


def test_no_module_is_imported_that_the_list_does_not_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mark = tmp_path / "imported"
    (tmp_path / "never_listed.py").write_text(f"open({str(mark)!r}, 'w')\nclass Thing: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for code in (0, 5, Kind.MODEL, Kind.ENUM, CLASS):
        parts = ("never_listed", "Thing", {}) if code < 6 else (["never_listed", "Thing"], {}, None)
        with pytest.raises(TypeNotAllowed, match=r"never_listed\.Thing, which is not there now: import its module"):
            SafeSerializer(ALLOW).loads_typed(ext(code, *(parts if code != CLASS else parts[0])))
    assert not mark.exists()


@pytest.mark.parametrize(
    "record",
    [
        ext(SET, [1]), ext(MAP, 1, 2, 1, 3), ext(MAP, 1), ext(PLAIN, "Decimal", "x"), ext(PLAIN, "system", "x"),
        ext(PLAIN, "url", "Path", "/x"), ext(PLAIN, "dateutil", "gettz", "/etc/passwd"), ext(60, 1), ext(PLAIN),
        ext(NUMPY, "|O", [1], "C", b"12345678"), ext(NUMPY, "<f8", [10**12], "C", b""),
        ext(NUMPY, "<f8", [-1], "C", b""),
        ext(NUMPY, [["a", "|O"]], [1], "C", b"12345678"), ext(Kind.MODEL, ["stored_values", "Plan"]),
        ext(Kind.EXTENDED, ["stored_values", "UserId"], "str", 3, {"__class__": 1}), ("typed", b"\xc7\xff"),
        ext(Kind.DATACLASS, "x"), ext(Kind.MODEL, [["a"], 3]),
    ],
    ids=lambda record: record[1].hex()[:40],
)  # fmt: skip
def test_made_up_bytes_are_damaged_and_make_nothing(record: tuple[str, bytes]) -> None:
    with pytest.raises(ValueError):
        SafeSerializer(ALLOW).loads_typed(record)


def test_an_object_is_put_together_without_its_constructor_or_anything_else_of_its_class() -> None:
    """So a record can give a field any value, and cannot make a class do anything."""
    serde = SafeSerializer(ALLOW)
    made = serde.loads_typed(serde.dumps_typed(Plan.model_construct(steps="no list")))
    assert made.steps == "no list"


def test_a_reading_process_that_has_not_imported_the_module_yet_imports_it(tmp_path: Path) -> None:
    import subprocess

    (tmp_path / "shop.py").write_text("from pydantic import BaseModel\nclass Parcel(BaseModel):\n    street: str\n")
    code = "from checkpointers._serial import SafeSerializer\ns = SafeSerializer([('shop', 'Parcel')])\n"
    write = "import shop, sys\nsys.stdout.write(s.dumps_typed(shop.Parcel(street='Main'))[1].hex())"
    run = [sys.executable, "-c"]
    stored = subprocess.run([*run, code + write], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    read = f"print(repr(s.loads_typed(('typed', bytes.fromhex('{stored}')))))"
    assert subprocess.run([*run, code + read], cwd=tmp_path, check=True, capture_output=True, text=True).stdout == (
        "Parcel(street='Main')\n"
    )


def test_a_stranger_beside_allowed_types_is_named_alone() -> None:
    writer = SafeSerializer([*ALLOW, Stranger])
    typed = writer.dumps_typed([Stranger(), Point(1), Order(orderId=1, shipTo={"cityName": "x"}), AIMessage("x")])
    with pytest.raises(TypeNotAllowed) as caught:
        SafeSerializer(ALLOW).loads_typed(typed)
    assert str(caught.value) == (
        "The checkpoint holds a type that may not be rebuilt: stored_values.Stranger. Pass the class when the saver is "
        "made: RedisSaver.from_url(url, allow=[Stranger])  # from stored_values import Stranger"
    )


def test_equal_values_are_equal_bytes_in_every_process() -> None:
    import subprocess

    code = (
        "import sys\nfrom checkpointers._serial import SafeSerializer\n"
        "v = [{'a', 'b', 'c', ('d', 1)}, frozenset('xyz'), {1: {2.5, None}}]\n"
        "sys.stdout.write(SafeSerializer().dumps_typed(v)[1].hex())"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, check=True, capture_output=True, text=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1


def test_arrays_can_be_written_to_and_are_no_view_of_what_was_read() -> None:
    serde = SafeSerializer()
    typed = serde.dumps_typed([np.arange(3.0), np.array([{"a": 1}], dtype=object)])
    first, second = serde.loads_typed(typed)
    first += 1
    second[0]["a"] = 2
    assert serde.loads_typed(typed)[0].tolist() == [0.0, 1.0, 2.0]
    assert [type(part) for part in serde.loads_typed(typed)] == [np.ndarray, np.ndarray]


def test_what_a_program_never_stores_is_not_mistaken_for_text() -> None:
    serde = SafeSerializer()
    for text in ("\ud800", "a\udcffb", "é🦶"):
        for value in (text, [text], {text: 1}, HumanMessage(text)):
            assert serde.loads_typed(serde.dumps_typed(value)) == value
    assert serde.loads_typed(serde.dumps_typed([bytearray(b"x"), {"a": bytearray(b"y")}, Decimal(1)])) == [
        bytearray(b"x"), {"a": bytearray(b"y")}, Decimal(1),
    ]  # fmt: skip
    got = serde.loads_typed(serde.dumps_typed({"a": [bytearray(b"x")], "b": b"x"}))
    assert [type(got["a"][0]), type(got["b"])] == [bytearray, bytes]
    assert builtins.bytearray is bytearray
