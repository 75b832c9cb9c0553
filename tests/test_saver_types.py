"""What goes in comes out: types, odd ids, and what is refused."""

from __future__ import annotations

import dataclasses
import enum
import re
import sys
import uuid
from collections import defaultdict, deque
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import ormsgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Interrupt, Send
from pydantic import BaseModel, SecretStr
from servers import checkpoint_of, config_of, put_values
from stored_values import Box

from checkpointers import RedisSaver, TypeNotAllowed, ValueNotStorable
from checkpointers._codec import escape, frame, thread_keys, thread_of_key, unescape, unframe
from checkpointers._pack import pack
from checkpointers._serial import SafeSerializer, type_names

T = TypeVar("T")

FrozenBox = Box[frozenset[int]]
"""Pydantic gives a generic model the module in which it gets its arguments."""


class Colour(enum.Enum):
    RED = "red"


class Word(enum.StrEnum):
    YES = "yes"


class Inner(BaseModel):
    price: Decimal
    colour: Colour


class Outer(BaseModel):
    inner: Inner
    others: list[Inner]
    seen: dict[int, datetime]


@dataclasses.dataclass
class Point:
    x: float
    word: Word | None


class Pair(NamedTuple):
    left: int
    right: Colour


class Stranger(BaseModel):
    name: str


ALLOW = [Outer, Point, Pair]
INNER = Inner(price=Decimal("1.10"), colour=Colour.RED)

VALUES: list[Any] = [
    None,
    True,
    -(2**63),
    2**64 - 1,
    0.1,
    float("inf"),
    float("-inf"),
    "ünï\0code 🦶",
    b"by\0tes\xff",
    bytearray(b"ab\0c"),
    [],
    {},
    "",
    b"",
    {1: "int key", "1": "str key", 2.5: "float key"},
    {1, 2, 3},
    frozenset({1}),
    2**70,
    (1, (2, [3])),
    {("a", 1): {date(2026, 1, 2): {Colour.RED}}},
    deque([1, 2], maxlen=2),
    Decimal("1.10"),
    Decimal("Infinity"),
    datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - naive times are stored too
    datetime(2026, 1, 2, tzinfo=UTC),
    datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    date(2026, 1, 2),
    time(3, 4, 5),
    timedelta(days=1, microseconds=1),
    uuid.UUID(int=7),
    Path("/some/where"),
    re.compile(r"a+", re.IGNORECASE),
    SecretStr("shh"),
    HumanMessage("hello", id="1"),
    AIMessage("hi", tool_calls=[{"name": "f", "args": {"a": 1}, "id": "2", "type": "tool_call"}]),
    Send("node", {"a": 1}),
    Interrupt(value={"q": 1}, id="abc"),
    INNER,
    Outer(inner=INNER, others=[INNER], seen={1: datetime(2026, 1, 1, tzinfo=UTC)}),
    Point(1.5, Word.YES),
    Point(float("inf"), None),
    Pair(1, Colour.RED),
    Colour.RED,
    Word.YES,
    [Outer(inner=INNER, others=[], seen={}), {"deep": [INNER]}],
]


@pytest.fixture
def saver(any_url: str) -> Iterator[RedisSaver]:
    with RedisSaver.from_url(any_url, allow=[*ALLOW, SecretStr]) as opened:
        yield opened


def test_every_type_survives_as_channel_write_and_metadata_free_of_change(saver: RedisSaver) -> None:
    thread = str(uuid.uuid4())
    config = put_values(saver, config_of(thread), **{f"c{n}": value for n, value in enumerate(VALUES)})
    saver.put_writes(config, [(f"c{n}", value) for n, value in enumerate(VALUES)], "t")
    found = saver.get_tuple(config)
    assert found is not None
    channels = [found.checkpoint["channel_values"][f"c{n}"] for n in range(len(VALUES))]
    written = [value for _task, _channel, value in found.pending_writes or []]
    for got in (channels, written):
        assert got == VALUES
        assert [type(value) for value in got] == [type(value) for value in VALUES]


def test_nan_and_numpy_arrays_survive(saver: RedisSaver) -> None:
    config = put_values(saver, config_of(str(uuid.uuid4())), nan=float("nan"), grid=np.arange(6.0).reshape(2, 3))
    values = (saver.get(config) or {})["channel_values"]
    assert values["nan"] != values["nan"]
    assert (values["grid"] == np.arange(6.0).reshape(2, 3)).all()


def test_an_empty_channel_stays_empty(saver: RedisSaver) -> None:
    config = saver.put(config_of(str(uuid.uuid4())), checkpoint_of({}, {"gone": "1"}), {}, {"gone": "1"})
    assert (saver.get(config) or {})["channel_values"] == {}


@pytest.mark.parametrize("value", [Stranger(name="x"), [Stranger(name="x")], Send("n", Stranger(name="x"))])
def test_a_type_outside_the_allow_list_is_refused_when_it_is_written(saver: RedisSaver, value: Any) -> None:
    thread = str(uuid.uuid4())
    line = r"'a' .*test_saver_types\.Stranger.*allow=\[Stranger\]\)  # from test_saver_types import Stranger$"
    with pytest.raises(ValueNotStorable, match=line):
        put_values(saver, config_of(thread), a=value)
    assert saver.get_tuple(config_of(thread)) is None
    config = put_values(saver, config_of(thread), a=1)
    with pytest.raises(ValueNotStorable, match=line):
        saver.put_writes(config, [("fine", 1), ("a", value)], "t")
    wider = saver.with_allowlist([(Stranger.__module__, Stranger.__name__)])
    assert wider is not saver
    config = put_values(wider, config_of(thread), a=value)
    assert wider.get(config)["channel_values"]["a"] == value  # type: ignore[index]
    assert saver.with_allowlist([(Outer.__module__, Outer.__name__)]) is saver
    # One that was made without the type says so when it reads.
    with pytest.raises(TypeNotAllowed, match=r"test_saver_types\.Stranger\. Pass the class.*allow=\[Stranger\]"):
        saver.get_tuple(config)
    with pytest.raises(TypeNotAllowed):
        list(saver.list(config_of(thread)))


def test_a_type_that_is_allowed_later_reaches_savers_that_were_derived(saver: RedisSaver) -> None:
    clone, thread = saver.with_allowlist([(Branch.__module__, "Branch")]), str(uuid.uuid4())
    saver.allow([Stranger])
    config = put_values(clone, config_of(thread), a=[Stranger(name="x"), Branch(1)])
    assert clone.get(config)["channel_values"]["a"] == [Stranger(name="x"), Branch(1)]  # type: ignore[index]


@dataclasses.dataclass
class Leaf:
    a: int


@dataclasses.dataclass
class Branch:
    leaf: Any


@pytest.mark.parametrize(
    "value",
    [Branch(Leaf(1)), Branch([{"x": [Leaf(1)]}]), Branch(Branch(Leaf(1))), Send("n", Branch(Leaf(1)))],
)
@pytest.mark.parametrize("how", ["gone", "other fields", "not allowed"])
def test_a_type_inside_of_another_is_told_too(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch, value: Any, how: str
) -> None:
    thread = str(uuid.uuid4())
    allow = [(__name__, "Branch"), *([(__name__, "Leaf")] if how != "not allowed" else [])]
    with RedisSaver.from_url(valkey_url, allow=allow) as saver:
        wider = saver.with_allowlist([(Leaf.__module__, "Leaf"), ("some", "Other")])
        config = put_values(wider, config_of(thread), a=value)
        assert wider.get(config)["channel_values"]["a"] == value  # type: ignore[index]
        if how == "gone":
            monkeypatch.delattr(sys.modules[__name__], "Leaf")
        elif how == "other fields":
            monkeypatch.setattr(sys.modules[__name__], "Leaf", dataclasses.make_dataclass("Leaf", ["other"]))
        with pytest.raises(TypeNotAllowed, match=r"test_saver_types\.Leaf") as caught:
            saver.get_tuple(config)
        told = {
            "gone": "keep the old name importable",
            "other fields": "it has no field a any more. Keep its old fields",
            "not allowed": "allow=[Leaf])  # from test_saver_types import Leaf",
        }
        assert told[how] in str(caught.value)
        assert ("allow=[" in str(caught.value)) == (how == "not allowed")
        if how != "not allowed":
            with pytest.raises(TypeNotAllowed):
                wider.get_tuple(config)


def test_a_crafted_checkpoint_runs_no_code(saver: RedisSaver, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    call = ormsgpack.packb(("os", "system", f"touch {mark}"))
    attacks = [pack(("msgpack", ormsgpack.packb(ormsgpack.Ext(code, call)))) for code in range(6)] + [
        pack((tag, b"cos\nsystem\n(S'touch x'\ntR.")) for tag in ("pickle", "json", "msgpack+aes")
    ]
    thread = str(uuid.uuid4())
    config = put_values(saver, config_of(thread), a="a value long enough for a field of its own, by far" * 3)
    data, _index = thread_keys(thread)
    field = next(name for name in saver.client.hkeys(data) if name.startswith(b"b"))  # type: ignore[union-attr]
    for attack in attacks:
        saver.client.hset(data, field, attack)
        with pytest.raises(TypeNotAllowed):
            saver.get_tuple(config)
    assert not mark.exists()
    # The control: the serializer's own default does run it.
    JsonPlusSerializer(allowed_msgpack_modules=True).loads_typed(("msgpack", ormsgpack.packb(ormsgpack.Ext(0, call))))
    assert mark.exists()


def test_what_cannot_be_stored_names_the_channel_and_where_it_is(saver: RedisSaver) -> None:
    config = config_of(str(uuid.uuid4()))

    class Local(BaseModel):
        a: int = 1

    whole: list[Any] = []
    whole.append(whole)
    cases: list[tuple[Any, str]] = [
        (object(), "it is an object, and that is nothing that can be rebuilt from data"),
        (lambda: 0, "it is a function, "),
        ([1, {"key": (2, Branch({"x": [object()]}))}], r"at \[1\]\['key'\]\[1\]\.leaf\['x'\]\[0\] it holds an object"),
        (AIMessage("", additional_kwargs={"raw": object()}), r"at \.additional_kwargs\['raw'\] it holds an object"),
        ({("a", 1): object()}, r"at \[\('a', 1\)\] it holds an object"),
        (deque([1, object()]), r"at \[1\] it holds an object"),
        ([object(), object(), 3, object()], r"at \[0\] it holds an object.* has 2 more such parts"),
        (defaultdict(lambda: 0), "its default_factory is no class. Use a class such as list"),
        (Local(), r"Local.*its class is not allowed.*allow=\[Local\]\)$"),
        (whole, "nested too deep, or contains itself"),
        (memoryview(b"x"), "it is a memoryview"),
    ]
    wider = saver.with_allowlist([(__name__, "Branch")])
    for value, words in cases:
        with pytest.raises(ValueNotStorable, match=f"'broken' .*{words}"):
            put_values(wider, config, broken=value)
    assert saver.get_tuple(config) is None


ODD = ["a", "a:b", "{a}", "a}", "{a", "a\0b", "a\x01b", "", "a b", "é🦶", "%7B", "a%b", "*", "[a]", "\n", "." * 300]


def test_odd_ids_never_meet(saver: RedisSaver) -> None:
    prefix = str(uuid.uuid4())
    places = [(prefix + thread, ns) for thread in ODD for ns in ODD]
    for thread, ns in places:
        config = put_values(saver, config_of(thread, ns), **{"odd:ch\0an{nel": [thread, ns]})
        saver.put_writes(config, [("odd:ch\0an{nel", ns)], "task" + ns, ns)
    for thread, ns in places:
        found = saver.get_tuple(config_of(thread, ns))
        assert found is not None
        assert found.checkpoint["channel_values"] == {"odd:ch\0an{nel": [thread, ns]}
        assert found.pending_writes == [("task" + ns, "odd:ch\0an{nel", ns)]
        assert found.config["configurable"]["checkpoint_ns"] == ns
    saver.delete_thread(prefix + "a")
    assert [thread for thread, ns in places if not saver.get_tuple(config_of(thread, ns))] == [prefix + "a"] * len(ODD)


def test_a_thread_id_may_be_a_number(saver: RedisSaver) -> None:
    number = uuid.uuid4().int % 10**9
    saver.put({"configurable": {"thread_id": number, "checkpoint_ns": ""}}, checkpoint_of({}, {}), {}, {})
    assert saver.get_tuple(config_of(str(number))) is not None


ids = st.text(alphabet=st.characters(codec=None), max_size=12)


@given(first=ids, second=ids)
@example("a\0", "a")
@example("\x01", "\0")
def test_names_are_reversible_ordered_and_distinct(first: str, second: str) -> None:
    assert unescape(escape(first)) == first
    assert b"\0" not in escape(first)
    raw = [text.encode("utf-8", "surrogatepass") for text in (first, second)]
    assert (escape(first) < escape(second)) == (raw[0] < raw[1])
    assert thread_of_key(thread_keys(first)[0]) == first
    assert (set(thread_keys(first)) & set(thread_keys(second)) == set()) == (first != second)
    tag = thread_keys(first)[0].partition("{")[2].partition("}")[0]
    assert tag
    assert tag == thread_keys(first)[1].partition("{")[2].partition("}")[0]


@given(st.lists(st.binary(max_size=30)))
def test_frames_are_reversible(parts: list[bytes]) -> None:
    assert unframe(frame(parts)) == parts


def test_allowing_a_model_allows_what_its_fields_mention() -> None:
    names = {name for _module, name in type_names(ALLOW)}
    assert {"Outer", "Inner", "Colour", "Point", "Word", "Pair"} <= names
    assert "Stranger" not in names
    assert SafeSerializer([("os.path", "join")]).loads_typed(("null", b"")) is None


def test_types_in_lists_of_many_siblings_are_all_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hints are made anew for each class, and what is at the same address later may be another one."""
    pairs = "".join(
        f"@dataclass\nclass Part{n}:\n    a: int\n"
        f"@dataclass\nclass Whole{n}:\n    parts: list[Part{n}]\n    also: dict[str, Part{n}]\n"
        for n in range(40)
    )
    module = ModuleType("siblings")
    monkeypatch.setitem(sys.modules, "siblings", module)
    exec("from __future__ import annotations\nfrom dataclasses import dataclass\n" + pairs, module.__dict__)
    names = {name for _module, name in type_names([getattr(module, f"Whole{n}") for n in range(40)])}
    assert names == {f"{kind}{n}" for kind in ("Part", "Whole") for n in range(40)}


def test_a_class_whose_hints_cannot_be_resolved_is_allowed_alone() -> None:
    hidden = dataclasses.make_dataclass("Hidden", [("a", "ForTypeCheckersAlone")])
    assert {name for _module, name in type_names([hidden])} == {"Hidden"}


class Wrapped(BaseModel, Generic[T]):
    inner: T


@dataclasses.dataclass
class Calls:
    confidence: dict[tuple[str, str], float]


def test_generic_models_tuple_keys_and_class_references_come_back(saver: RedisSaver) -> None:
    saver.allow([Wrapped, Calls])
    values = [
        Wrapped[Inner](inner=INNER),
        Wrapped[Wrapped[Inner]](inner=Wrapped[Inner](inner=INNER)),
        Wrapped[dict[str, int]](inner={"a": 1}),
        Wrapped[type[Inner]](inner=Inner),
        Calls({("a", "b"): 0.9}),
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    ]
    config = put_values(saver, config_of(str(uuid.uuid4())), a=values)
    got = (saver.get(config) or {})["channel_values"]["a"]
    assert got == values
    assert [type(value) for value in got] == [type(value) for value in values]
    assert got[-1].fold == 1
    assert str(got[-1]) == "2026-10-25 02:30:00+01:00"


def test_a_generic_model_is_allowed_wherever_it_was_given_its_arguments(saver: RedisSaver) -> None:
    saver.allow([Box])
    assert FrozenBox.__module__ != Box.__module__
    config = put_values(saver, config_of(str(uuid.uuid4())), a=FrozenBox(content=frozenset({1})))
    got = (saver.get(config) or {})["channel_values"]["a"]
    assert (type(got), got.content) == (FrozenBox, frozenset({1}))


def test_advice_is_given_only_where_it_helps(saver: RedisSaver) -> None:
    """A tool is a model, but what it calls is code: no list makes it data."""

    @tool
    def add(x: int) -> int:
        """Add."""
        return x

    config = config_of(str(uuid.uuid4()))
    with pytest.raises(
        ValueNotStorable, match=r"\['tools'\]\[0\]\.func it holds a function.*Store what it is"
    ) as caught:
        put_values(saver, config, state={"tools": [add]})
    assert "allow=" not in str(caught.value)
    # Every class that is missing is in the one line.
    with pytest.raises(ValueNotStorable, match=r"\[0\] it holds .*allow=\[Branch, Leaf, Stranger\]\)  # from"):
        put_values(saver, config, state=[Branch(Leaf(1)), Stranger(name="x")])
