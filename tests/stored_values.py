"""Classes and random values of every kind that the savers store, and a way to compare them with their types."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import enum
import ipaddress
import pathlib
import re
import types
import uuid
import zoneinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any, Generic, NamedTuple, TypeVar

import attrs
import numpy as np
from dateutil import tz  # type: ignore[import-untyped]
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.store.base import Item
from langgraph.types import Command, Interrupt, Overwrite, Send
from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    PostgresDsn,
    PrivateAttr,
    RootModel,
    SecretStr,
    field_validator,
    v1,
)
from pydantic_core import TzInfo

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, "two")
    NOTHING = None


class Rights(enum.Flag):
    READ = 1
    WRITE = 2
    ALL = 3


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2**70


class Step(BaseModel):
    title: Any = ""


class SearchStep(Step):
    query: Any = None


class Plan(BaseModel):
    steps: list[Step]


class Job(BaseModel):
    class Phase(enum.StrEnum):
        READY = "ready"

    class Part(BaseModel):
        name: str = ""

    phase: Phase = Phase.READY
    part: Any = None


class Address(BaseModel):
    model_config = ConfigDict(frozen=True)
    city: Any = Field(default="", alias="cityName")


class Order(BaseModel):
    order_id: Any = Field(alias="orderId")
    ship_to: Address = Field(validation_alias="shipTo", serialization_alias="to")


class Counted(BaseModel):
    """Its validator changes what it is given, so that it must not run again."""

    n: int
    _seen: Any = PrivateAttr(default=0)
    __hidden: Any = PrivateAttr(default=None)

    @field_validator("n")
    @classmethod
    def _one_more(cls, n: int) -> int:
        return n + 1


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: Any = None


class Names(RootModel[list[Any]]):
    pass


class Box(BaseModel, Generic[T]):
    content: T


@dataclasses.dataclass
class Tally:
    items: list[Any]
    total: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        self.total = len(self.items) + 1
        self.beside = "no field"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Point:
    x: Any
    _y: Any = None


@dataclasses.dataclass(kw_only=True)
class Deep(Tally):
    seed: dataclasses.InitVar[int] = 3
    child: Any = None

    def __post_init__(self, seed: int) -> None:
        self.total = seed


@attrs.define(frozen=True)
class Drawn:
    _a: Any
    b: Any = attrs.field(factory=list)


class Pair(NamedTuple):
    left: Any
    right: Any = None


class UserId(str):
    __slots__ = ()


class Amount(Decimal):
    pass


class Rows(list):  # type: ignore[type-arg]
    name: Any


class Table(dict):  # type: ignore[type-arg]
    pass


class Moment(dt.datetime):
    pass


class OutOfStock(Exception):
    def __init__(self, item: Any, left: int) -> None:
        super().__init__(f"{item}: {left}")
        self.item, self.left = item, left


class Stranger(BaseModel):
    name: str = ""


ALLOW: list[Any] = [
    Colour, Rights, Level, Plan, Job, Order, Counted, Open, Names, Box, Tally, Point, Deep, Drawn, Pair, UserId, Amount,
    Rows, Table, Moment, OutOfStock, SecretStr,
]  # fmt: skip


def shown(value: Any) -> Any:
    """Return what a value is, with the types of all of its parts, as something that compares by content."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, (np.ndarray, np.generic)):
        held: Any = (str(value.dtype), np.shape(value), shown(value.tolist()))
    elif isinstance(value, BaseException):
        held = (shown(list(value.args)), shown(vars(value)))
    elif isinstance(value, enum.Enum):
        held = (value.name, str(value))
    elif isinstance(value, BaseModel):
        held = [shown(part) for part in (vars(value), value.__pydantic_extra__, value.__pydantic_private__)]
        held.append(sorted(value.__pydantic_fields_set__))
    elif isinstance(value, collections.defaultdict):
        held = (value.default_factory, shown(dict(value)))
    elif isinstance(value, collections.ChainMap):
        held = shown(value.maps)
    elif isinstance(value, (dict, types.MappingProxyType)):
        held = [(shown(key), shown(part)) for key, part in value.items()]
        held.append(shown(getattr(value, "__dict__", None)))
    elif isinstance(value, (set, frozenset)):
        held = sorted(map(repr, map(shown, value)))
    elif isinstance(value, (list, tuple, collections.deque)):
        held = [shown(part) for part in value]
        held.append((getattr(value, "maxlen", None), shown(getattr(value, "__dict__", None))))
    elif isinstance(value, (dt.datetime, dt.time)):
        held = (value.isoformat(), value.fold, shown(value.tzinfo))
    elif dataclasses.is_dataclass(value) or attrs.has(type(value)) or isinstance(value, (Send, Item)):
        names = [name for part in type(value).__mro__ for name in getattr(part, "__slots__", ())]
        slots = {name: getattr(value, name) for name in names if name != "__weakref__" and hasattr(value, name)}
        held = shown({**getattr(value, "__dict__", {}), **slots})
    elif isinstance(value, SecretStr):
        held = value.get_secret_value()
    elif isinstance(value, (types.SimpleNamespace, v1.BaseModel)):
        held = (shown(vars(value)), getattr(value, "_b", None))
    else:
        held = repr(value)
    return kind, held


texts = st.text(st.characters(codec=None), max_size=8)
zones = st.one_of(
    st.none(),
    st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=5, minutes=30)), dt.timezone(dt.timedelta(0), "named")]),
    st.sampled_from(["Europe/Berlin", "America/New_York", "UTC"]).map(zoneinfo.ZoneInfo),
    st.integers(-80_000, 80_000).map(TzInfo),
)
moments = st.builds(
    lambda when, zone, fold: when.replace(tzinfo=zone, fold=fold), st.datetimes(), zones, st.sampled_from([0, 1])
)
clocks = st.builds(
    lambda when, zone, fold: when.replace(tzinfo=zone, fold=fold), st.times(), zones, st.sampled_from([0, 1])
)
numbers = st.one_of(
    st.integers(), st.integers(-(2**130), 2**130), st.floats(), st.booleans(), st.decimals(allow_nan=False),
    st.complex_numbers(), st.fractions(),
)  # fmt: skip
hashable = st.one_of(
    st.none(), texts, numbers, st.binary(max_size=8), moments, st.dates(), clocks, st.timedeltas(), st.uuids(),
    st.ip_addresses(),
    st.sampled_from([*Colour, *Rights, Rights.READ | Rights.WRITE, Rights(0), *Level, Job.Phase.READY]),
    st.sampled_from([..., pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("c:/x"), pathlib.Path("/tmp/é")]),
    st.sampled_from([re.compile("a+", re.IGNORECASE), re.compile(b"b"), range(3), range(1, 9, 2), UserId("u"),
                     ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_interface("10.0.0.1/8"), Amount("1.50"),
                     Moment(2026, 1, 2, tzinfo=dt.UTC), SecretStr("s"), AnyUrl("http://x.y/z")]),
)  # fmt: skip


@st.composite
def keys(draw: Any, depth: int = 2) -> Any:
    """Return anything that has a hash."""
    if depth == 0 or draw(st.booleans()):
        return draw(hashable)
    inner = keys(depth - 1)
    build: Any = draw(st.sampled_from(KEYS))
    return build(draw(inner), draw(inner))


KEYS: list[Any] = [
    lambda a, b: (a, b), lambda a, b: frozenset([a, b]), Pair, Point, lambda a, b: Address(cityName=a),
]  # fmt: skip
dtypes = st.sampled_from(
    ["i1", ">i4", "f2", "f8", "c16", "?", "U3", "S2", "M8[D]", "m8[ns]", [("id", "i4"), ("x", "f8", (2,))]]
)
arrays = st.builds(
    lambda dtype, shape, order: np.zeros(shape, dtype=dtype, order=order), dtypes,
    st.sampled_from([(), (0,), (3,), (2, 3), (1, 0, 2)]), st.sampled_from(["C", "F"]),
)  # fmt: skip
scalars = st.sampled_from(
    [np.float64(1.5), np.float32("nan"), np.int8(3), np.bool_(True), np.datetime64("2026-01-01"), np.datetime64("NaT"),
     np.str_("a\0"), np.bytes_(b"x\0"), np.timedelta64(3, "s"), np.array([(1, 2.5)], dtype="i4,f8")[0]]
)  # fmt: skip
ERRORS = [
    ValueError("bad", 3), KeyError("k"), OSError(2, "no such file", "f"), UnicodeDecodeError("utf-8", b"x", 0, 1, "?"),
    StopIteration(3), OutOfStock("shoe", 3), ImportError("m", name="n", path="p"), SystemExit(3),
]  # fmt: skip
leaves = st.one_of(
    hashable, arrays, scalars, st.binary(max_size=8).map(bytearray), st.sampled_from(ERRORS),
    st.sampled_from([Decimal("sNaN1"), Decimal("-NaN"), Decimal("-0.00"), Decimal("1E+400")]),
    st.sampled_from([HumanMessage("x").text, RemoveMessage(id="1"), slice(1, None), collections.Counter("aab")]),
    st.sampled_from([int, Step, collections.OrderedDict]),
)  # fmt: skip


def _object_array(parts: list[Any]) -> Any:
    array = np.empty(len(parts), dtype=object)
    for at, part in enumerate(parts):
        array[at] = part
    return array


def _with(target: Any, **attributes: Any) -> Any:
    for name, value in attributes.items():
        setattr(target, name, value)
    return target


@st.composite
def values(draw: Any, depth: int = 3) -> Any:
    """Return anything that can be stored."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(leaves)
    inner = values(depth - 1)
    build: Any = draw(st.sampled_from(BUILDERS))
    parts = draw(st.lists(inner, min_size=2, max_size=3))
    named = dict(zip(draw(st.lists(texts, max_size=3)), parts, strict=False))
    return build(parts, named, draw(st.lists(keys(), max_size=3)))


WHEN = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
BUILDERS: list[Any] = [
    lambda p, n, k: p,
    lambda p, n, k: tuple(p),
    lambda p, n, k: n,
    lambda p, n, k: dict(zip(k, p, strict=False)),
    lambda p, n, k: set(k),
    lambda p, n, k: frozenset(k),
    lambda p, n, k: collections.deque(p),
    lambda p, n, k: collections.deque(p, 1),
    lambda p, n, k: collections.defaultdict(None, n),
    lambda p, n, k: collections.defaultdict(list, zip(k, p, strict=False)),
    lambda p, n, k: collections.defaultdict(Step, n),
    lambda p, n, k: collections.OrderedDict(zip(k, p, strict=False)),
    lambda p, n, k: collections.Counter({**n}),
    lambda p, n, k: collections.ChainMap(n, {"a": p}),
    lambda p, n, k: types.MappingProxyType(n),
    lambda p, n, k: _object_array(p),
    lambda p, n, k: Step(title=p[0]),
    lambda p, n, k: SearchStep(title=p[0], query=p[1]),
    lambda p, n, k: Plan(steps=[SearchStep(query=p[0]), Step(title=p[1])]),
    lambda p, n, k: Job(part=p[0]),
    lambda p, n, k: Job(part=Job.Part(name="n")),
    lambda p, n, k: Order(orderId=p[0], shipTo=Address(cityName=p[1])),
    lambda p, n, k: _with(Counted(n=1), _seen=p[0], _Counted__hidden=p[1]),
    lambda p, n, k: Open(a=p[0], b=p[1]),
    lambda p, n, k: Names(p),
    lambda p, n, k: Box(content=p),
    lambda p, n, k: Box[int](content=3),
    lambda p, n, k: Box[list[int]](content=[3]),
    lambda p, n, k: Box[Step | None](content=SearchStep(query=p)),
    lambda p, n, k: SearchStep.model_construct(query=p[0]),
    lambda p, n, k: Tally(p),
    lambda p, n, k: Point(*p[:2]),
    lambda p, n, k: Deep(p, child=n),
    lambda p, n, k: Drawn(*p[:2]),
    lambda p, n, k: Pair(*p[:2]),
    lambda p, n, k: _with(Rows(p), name=n),
    lambda p, n, k: Table(n),
    lambda p, n, k: Table(zip(k, p, strict=False)),
    lambda p, n, k: _with(OutOfStock("i", 1), item=p[0], more=n),
    lambda p, n, k: ValueError(*p),
    lambda p, n, k: ExceptionGroup("several", [ValueError(p[0]), OutOfStock("i", 1)]),
    lambda p, n, k: Send("n", p[0]),
    lambda p, n, k: Interrupt(value=p[0], id="i"),
    lambda p, n, k: Command(update=n, goto=[Send("n", p[0])]),
    lambda p, n, k: Overwrite(p[0]),
    lambda p, n, k: Item(value=n, key="k", namespace=("n",), created_at=WHEN, updated_at=WHEN),
    lambda p, n, k: Document(page_content="text", metadata={"a": p[0]}),
    lambda p, n, k: ToolMessage("x", tool_call_id="1", artifact=[Document("d", metadata={"m": p[0]}), p[1]]),
    lambda p, n, k: AIMessage("x", additional_kwargs={"parsed": p[0]}, response_metadata={"r": p[1]}),
    lambda p, n, k: AIMessage("", tool_calls=[{"name": "f", "args": {"a": p}, "id": "1", "type": "tool_call"}]),
    lambda p, n, k: AIMessageChunk("x", additional_kwargs={"a": p}),
    lambda p, n, k: HumanMessage([{"type": "text", "text": "t"}], name="n"),
    lambda p, n, k: SystemMessage("s"),
    lambda p, n, k: ChatMessage("c", role="critic"),
    lambda p, n, k: FunctionMessage("f", name="f"),
]


def bad_values() -> list[Any]:
    """Return what no saver stores: it could not be rebuilt, or its class is not allowed."""

    class Local(BaseModel):
        a: int = 1

    @dataclasses.dataclass
    class LocalPoint:
        x: int = 1

    handle = types.SimpleNamespace(lock=object())
    return [
        object(), lambda: 0, (n for n in ()), dt, Stranger(), Local(), LocalPoint(), uuid, memoryview(b"x"), handle,
        collections.defaultdict(lambda: 0), np.array([("a", 1)], dtype=[("o", object), ("n", "i4")]),
        np.ma.masked_array([1], [True]), Stranger, print, iter([]), Exception(object()),
        Box[Stranger](content=Stranger()),
    ]  # fmt: skip


wrappers: list[Any] = [
    lambda v: [v], lambda v: (1, v), lambda v: {"a": v}, lambda v: {("k", 1): v}, lambda v: collections.deque([v]),
    lambda v: collections.OrderedDict(a=v), lambda v: Step(title=v), lambda v: Tally([v]), lambda v: Pair(v),
    lambda v: Open(extra=v), lambda v: _with(Counted(n=1), _seen=v), lambda v: Rows([v]), lambda v: Send("n", v),
    lambda v: HumanMessage("x", additional_kwargs={"a": v}), lambda v: ToolMessage("x", tool_call_id="1", artifact=v),
    lambda v: Document("d", metadata={"a": v}), lambda v: _object_array([v]), lambda v: ValueError(v),
    lambda v: Names([v]),
]  # fmt: skip


class OldModel(v1.BaseModel):
    a: Any = None
    _b: Any = v1.PrivateAttr(default=1)


def documented() -> list[list[Any]]:
    """Return values of each row of the table in `docs/how-to/saver.md`, in its order; the last row is refused."""
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    message = AIMessage("x", additional_kwargs={"parsed": SearchStep(query=1)})
    failed = ValueError("bad")
    failed.add_note("why")
    return [
        [None, True, 2**70, -1, float("nan"), 1j, "\ud800", b"x", bytearray(b"x"), [bytearray(b"x")]],
        [[1], (1,), {(1, 2)}, frozenset({1}), range(3), slice(1), ...],
        [{"a": 1, 1: 2, (1, "b"): 3, None: 4, dt.date(2026, 1, 2): 5, Colour.RED: 6, Point(1): 7, frozenset({1}): 8}],
        [collections.deque([1], 2), collections.defaultdict(list, a=[1]), collections.OrderedDict(b=1, a=2),
         collections.Counter("aab"), collections.ChainMap({"a": 1}, {"b": 2})],
        [types.MappingProxyType({"a": 1}), types.SimpleNamespace(a=1), array.array("d", [1.5])],
        [Decimal("1.10"), Fraction(1, 3), uuid.UUID(int=7), pathlib.Path("/a"), re.compile("a+", re.IGNORECASE),
         ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8")],
        [dt.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=berlin), dt.date(2026, 1, 2), dt.time(1, tzinfo=dt.UTC),
         dt.timedelta(1), dt.timezone(dt.timedelta(hours=1), "name"), berlin, TzInfo(3600),
         dt.datetime(2026, 1, 1, tzinfo=tz.tzutc()), dt.datetime(2026, 1, 1, tzinfo=tz.tzoffset("x", 3600))],
        [AnyUrl("http://x.y/z"), HttpUrl("http://x.y"), PostgresDsn("postgres://a,b/c")],
        [Colour.PAIR, Rights.READ | Rights.WRITE, Level.HIGH, Job.Phase.READY],
        [Tally([1]), Point(1), Deep([1], child=Point(2)), Drawn(1), Pair(1, 2)],
        [Plan(steps=[SearchStep(query=1)]), Box[int](content=1), Names([1]), OldModel(a=(1,)), Open(a=1, b=2),
         Order(orderId=1, shipTo=Address(cityName="x")), _with(Counted(n=1), _seen={1})],
        [HumanMessage("x"), message, Document("x", metadata={"a": (1,)}), message.text,
         ToolMessage("x", tool_call_id="1", artifact=[Document("x")])],
        [Send("n", (1,)), Command(update={"a": (1,)}, goto=[Send("n", 1)]), Interrupt((1,), id="i"), Overwrite((1,)),
         Item(value={}, key="k", namespace=("n",), created_at=WHEN, updated_at=WHEN)],
        [failed, OSError(2, "no", "f"), OutOfStock("shoe", 1), KeyError("k"), ExceptionGroup("g", [failed])],
        [UserId("u"), Amount("1.50"), _with(Rows([1]), name=(1,)), Table(a=1), Moment(2026, 1, 2)],
        [np.arange(3.0), np.float32(1.5), np.array([{"a": 1}, None]), np.array([(1, 2.5)], dtype="i4,f8"),
         np.array(["2026-01-01"], dtype="M8[D]"), np.datetime64("2026-01-01"), np.asfortranarray([[1, 2], [3, 4]])],
        [int, Step, collections.OrderedDict],
        bad_values(),
    ]  # fmt: skip


ALLOW.append(OldModel)
