"""Types of a graph's own state come back without being named, and what LangGraph itself stores is unharmed."""

from __future__ import annotations

import dataclasses
import enum
import operator
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NewType, TypedDict
from uuid import uuid4

import pytest
from langchain_core.documents import Document
from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.func import entrypoint, task
from langgraph.graph import START, StateGraph, add_messages
from langgraph.types import Command, Send, interrupt
from pydantic import BaseModel, PrivateAttr
from servers import config_of

from checkpointers import AsyncRedisSaver, Encryption, RedisSaver, TypeNotAllowed, ValueNotStorable


class Size(enum.Enum):
    SMALL = 1


class Item(BaseModel):
    name: str
    size: Size = Size.SMALL
    _paid: bool = PrivateAttr(default=False)


class Gift(Item):
    card: str = ""


@dataclasses.dataclass
class Parcel:
    items: list[Item]
    weight: float = dataclasses.field(init=False, default=0.0)


Street = NewType("Street", str)


class Shop(TypedDict, total=False):
    parcels: Annotated[list[Parcel], operator.add]
    by_street: Mapping[Street, Sequence[Item]]
    size: Size | None
    anything: Any
    messages: Annotated[list[AnyMessage], add_messages]


class Elsewhere(BaseModel):
    """In no schema."""


PARCEL = Parcel([Item(name="a"), Gift(name="b", card="for you")])


def pack(state: Shop) -> Shop:
    return {
        "parcels": [PARCEL],
        "by_street": {Street("Main"): (Item(name="c"),)},
        "size": Size.SMALL,
        "messages": [HumanMessage("hi"), ToolMessage("d", tool_call_id="1", artifact=[Document("text")])],
    }


def ask(state: Shop) -> Shop:
    return {"anything": interrupt({"parcel": PARCEL})}


BUILDER = StateGraph(Shop).add_node(pack).add_node(ask).add_edge(START, "pack").add_edge("pack", "ask")
GRAPH = BUILDER.compile()
"""Compiled before there is a saver, as most are."""


@pytest.fixture
def saver(valkey_url: str) -> Iterator[RedisSaver]:
    with RedisSaver.from_url(valkey_url) as opened:
        yield opened


@pytest.fixture(params=["plain", "encrypted"])
def url_and_keys(request: pytest.FixtureRequest, valkey_url: str, sealed_url: str) -> tuple[str, Encryption | None]:
    return (valkey_url, None) if request.param == "plain" else (sealed_url, Encryption({"k": os.urandom(32)}))


def check(values: Any) -> None:
    assert values["parcels"] == [PARCEL]
    assert [type(item) for item in values["parcels"][0].items] == [Item, Gift]
    assert values["by_street"] == {"Main": (Item(name="c"),)}
    assert values["size"] is Size.SMALL
    assert values["messages"][1].artifact == [Document("text")]


@pytest.mark.parametrize("compiled", ["with the saver", "before it"])
def test_types_of_the_schema_need_no_naming(valkey_url: str, compiled: str) -> None:
    config = config_of(str(uuid4()))
    for step in range(2):
        # Two processes: each has a saver of its own, which knows nothing of the other's graph.
        with RedisSaver.from_url(valkey_url) as saver:
            graph = BUILDER.compile(saver) if compiled == "with the saver" else GRAPH.copy({"checkpointer": saver})
            graph.invoke({"parcels": []} if step == 0 else Command(resume=PARCEL), config)
            check(graph.get_state(config).values)
            assert [len(found.values.get("parcels", ())) for found in graph.get_state_history(config)][-1] == 0
            if step == 0:
                assert graph.get_state(config).interrupts[0].value == {"parcel": PARCEL}
    assert graph.get_state(config).values["anything"] == PARCEL
    graph.update_state(config, {"size": None, "parcels": [PARCEL]})
    assert graph.get_state(config).values["parcels"] == [PARCEL, PARCEL]
    # A saver alone knows no graph.
    with RedisSaver.from_url(valkey_url) as saver, pytest.raises(TypeNotAllowed, match=r"allow=\[.*Parcel.*\]"):
        saver.get_tuple(config)


async def test_the_async_saver_and_keys_change_nothing(url_and_keys: tuple[str, Encryption | None]) -> None:
    url, keys = url_and_keys
    config = config_of(str(uuid4()))
    async with AsyncRedisSaver.from_url(url, encryption=keys) as saver:
        graph = GRAPH.copy({"checkpointer": saver})
        await graph.ainvoke({"parcels": []}, config)
        with pytest.raises(ValueNotStorable, match=r"'anything' .*Elsewhere.*allow=\[Elsewhere\]"):
            await graph.aupdate_state(config, {"anything": [Elsewhere()]})
    async with AsyncRedisSaver.from_url(url, encryption=keys) as saver:
        graph = GRAPH.copy({"checkpointer": saver})
        await graph.ainvoke(Command(resume="yes"), config)
        check((await graph.aget_state(config)).values)
    with RedisSaver.from_url(url, encryption=keys) as other:
        check(GRAPH.copy({"checkpointer": other}).get_state(config).values)


def test_what_no_schema_names_is_refused_by_the_run_that_writes_it(saver: RedisSaver) -> None:
    builder = StateGraph(Shop).add_node("make", lambda state: {"anything": {"deep": (Elsewhere(),)}})
    graph = builder.add_edge(START, "make").compile(saver)
    config = config_of(str(uuid4()))
    with pytest.raises(ValueNotStorable) as caught:
        graph.invoke({"size": None}, config, durability="sync")
    assert str(caught.value) == (
        "The value of 'anything' cannot be stored: at ['deep'][0] it holds a test_saver_schemas.Elsewhere, and its "
        "class is not allowed, so that it could not be read back. Pass the class when the saver is made: "
        "RedisSaver.from_url(url, allow=[Elsewhere])  # from test_saver_schemas import Elsewhere"
    )
    assert graph.get_state(config).next == ("make",)
    saver.allow([Elsewhere])
    assert graph.invoke(None, config)["anything"] == {"deep": (Elsewhere(),)}
    assert graph.get_state(config).values["anything"] == {"deep": (Elsewhere(),)}


def test_classes_of_a_function_work_where_the_graph_has_them(saver: RedisSaver, valkey_url: str) -> None:
    def build() -> Any:
        class Inner(BaseModel):
            yo: int

        # Not a class statement: its annotation would be a text that LangGraph cannot resolve.
        return Inner, StateGraph(TypedDict("State", {"inner": Inner})).add_node("a", lambda state: {}).add_edge(
            START, "a"
        )

    config = config_of(str(uuid4()))
    inner, builder = build()
    graph = builder.compile(saver, interrupt_after=["a"])
    graph.invoke({"inner": inner(yo=1)}, config)
    assert graph.invoke(None, config) == {"inner": inner(yo=1)}
    # The same function, called again as another process would, has the class under the same name.
    again, builder = build()
    with RedisSaver.from_url(valkey_url) as other:
        got = builder.compile(other).get_state(config).values["inner"]
        assert type(got) is again
        with pytest.raises(TypeNotAllowed, match="define it at the top level of its module, or pass the class itself"):
            other.get_tuple(config)
    # One that no list has is refused, with a line that helps.
    plain = StateGraph(Shop).add_node("make", lambda state: {"anything": inner(yo=2)}).add_edge(START, "make")
    with pytest.raises(ValueNotStorable, match=r"Inner.*allow=\[Inner\]\)$"):
        plain.compile(saver).invoke({"size": None}, config_of(str(uuid4())))
    with RedisSaver.from_url(valkey_url, allow=[inner]) as helped:
        graph = plain.compile(helped)
        graph.invoke({"size": None}, config := config_of(str(uuid4())))
        assert graph.get_state(config).values["anything"] == inner(yo=2)


def test_subgraphs_sends_and_functions_bring_their_types(saver: RedisSaver) -> None:
    class Job(TypedDict):
        item: Item

    class Done(TypedDict, total=False):
        done: Annotated[list[Any], operator.add]

    child = (
        StateGraph(Job).add_node("work", lambda job: {"item": interrupt(job["item"])}).add_edge(START, "work").compile()
    )
    builder = StateGraph(Done).add_node(
        "child", lambda job: {"done": [child.invoke(job)["item"].name]}, input_schema=Job
    )
    builder.add_conditional_edges(START, lambda _: [Send("child", {"item": Gift(name="x", card="y")})], ["child"])
    graph, config = builder.compile(saver), config_of(str(uuid4()))
    graph.invoke({"done": []}, config)
    assert graph.get_state(config, subgraphs=True).interrupts[0].value == Gift(name="x", card="y")
    assert graph.invoke(Command(resume=Gift(name="z")), config)["done"] == ["z"]

    @task
    def step(item: Item) -> tuple[Item, int]:
        return item, 1

    @entrypoint(checkpointer=saver)
    def work(item: Item) -> tuple[Item, int]:
        done = step(item).result()
        assert interrupt(done) == "go"
        return done

    config = config_of(str(uuid4()))
    work.invoke(Gift(name="f"), config)
    assert work.invoke(Command(resume="go"), config) == (Gift(name="f"), 1)


def test_an_error_is_stored_as_langgraph_does_whatever_it_holds(saver: RedisSaver) -> None:
    class Failed(Exception):
        def __init__(self) -> None:
            super().__init__("no way")
            self.client = object()

    def fail(state: Shop) -> Shop:
        raise Failed

    graph = StateGraph(Shop).add_node(fail).add_edge(START, "fail").compile(saver)
    config = config_of(str(uuid4()))
    with pytest.raises(Failed):
        graph.invoke({"size": None}, config)
    assert graph.get_state(config).tasks[0].error == "Failed('no way')"


def test_a_serializer_of_ones_own_is_left_alone(valkey_url: str) -> None:
    serde = JsonPlusSerializer()
    with RedisSaver.from_url(valkey_url, serde=serde) as saver:
        graph, config = GRAPH.copy({"checkpointer": saver}), config_of(str(uuid4()))
        graph.invoke({"parcels": []}, config)
        assert saver.with_types(GRAPH, lambda: [Parcel]) is saver
        assert saver.serde is serde
        assert graph.get_state(config).values["size"] is Size.SMALL


STRICT = """
import sys, test_saver_schemas as t
from checkpointers import RedisSaver
with RedisSaver.from_url(sys.argv[1]) as saver:
    graph = t.BUILDER.compile(saver)
    graph.invoke({"parcels": []}, {"configurable": {"thread_id": sys.argv[2]}})
    t.check(graph.get_state({"configurable": {"thread_id": sys.argv[2]}}).values)
"""


@pytest.mark.parametrize("strict", ["0", "1"])
def test_langgraphs_strict_mode_changes_nothing(valkey_url: str, strict: str) -> None:
    env = {**os.environ, "LANGGRAPH_STRICT_MSGPACK": strict, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", STRICT, valkey_url, str(uuid4())]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_list_of_own_types_stays_a_log_that_sees_private_changes(saver: RedisSaver) -> None:
    """What is in private attributes is stored, so a change of it in place has to be seen."""
    config, item = config_of(str(uuid4())), Item(name="x" * 600)

    def pay(state: Shop) -> Shop:
        item._paid = True
        return {"parcels": [Parcel([])]}

    builder = StateGraph(Shop).add_node(pay).add_node("end", lambda state: {"size": None})
    graph = builder.add_edge(START, "pay").add_edge("pay", "end").compile(saver)
    graph.invoke({"parcels": [Parcel([item])]}, config, durability="sync")
    history = [found.values["parcels"] for found in graph.get_state_history(config) if found.values.get("parcels")]
    assert [parcels[0].items[0]._paid for parcels in history] == [True, True, False]
