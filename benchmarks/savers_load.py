"""What the saver benchmark does with a saver: pairs of writes, reads, growing threads and runs of a graph."""

from __future__ import annotations

import asyncio
import operator
import random
import statistics
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from langgraph.graph import START, StateGraph, add_messages
from savers_peers import Contender

TEXT = 500
"""Characters of a message."""
FIRST = 20
"""Messages that a growing thread of the pairs begins with."""
STEPS = 20
"""Steps of one thread of the pairs; then a client begins another."""
NODES = 6
WARM = 10
"""Reads before the first that counts."""
QUESTION = "Why was the parcel that I ordered three weeks ago sent to the old address? " * 3


@cache
def messages(count: int) -> list[AnyMessage]:
    """Return a talk in words of a made-up vocabulary, which compress about as well as prose."""
    dice = random.Random(7)
    words = ["".join(dice.choices("etaoinshrdlucmfw", k=dice.randrange(2, 10))) for _ in range(1500)]

    def text() -> str:
        return " ".join(dice.choices(words, k=TEXT // 2))[:TEXT]

    kinds = (HumanMessage, AIMessage)
    return [kinds[i % 2](text(), id=str(uuid.UUID(int=dice.getrandbits(128)))) for i in range(count)]


class Walk:
    """One thread that a benchmark lengthens step by step."""

    def __init__(self, saver: Any, grows: bool, first: int = 0) -> None:
        self.saver, self.grows, self.first, self.count = saver, grows, first, 0
        self.config: RunnableConfig = {"configurable": {"thread_id": uuid.uuid4().hex, "checkpoint_ns": ""}}
        self.latest: RunnableConfig = self.config
        self.versions: ChannelVersions = {}

    def _next(self) -> tuple[Checkpoint, CheckpointMetadata, ChannelVersions]:
        self.count += 1
        values: dict[str, Any] = {
            "count": self.count,
            "question": QUESTION,
            "labels": {"language": "en", "urgent": True},
            # Whoever runs next, as LangGraph stores it.
            "branch:to:answer": None,
        }
        changed = ["count", "branch:to:answer"] if self.versions else list(values)
        if self.grows:
            # A new list of the same messages, as the reducer of LangGraph makes it.
            values["messages"] = messages(2000)[: self.first + self.count]
            changed.append("messages")
        new = {name: self.saver.get_next_version(self.versions.get(name), None) for name in changed}
        self.versions = {**self.versions, **new}
        checkpoint = empty_checkpoint()
        checkpoint["id"] = str(uuid6(clock_seq=-1))
        checkpoint["channel_values"], checkpoint["channel_versions"] = values, dict(self.versions)
        checkpoint["versions_seen"] = {"__input__": {}, "answer": {"count": self.versions["count"]}}
        return checkpoint, {"source": "loop", "step": self.count, "parents": {}}, new

    def _writes(self) -> list[tuple[str, Any]]:
        own: list[tuple[str, Any]] = [("count", self.count + 1)]
        return [*own, ("messages", [messages(2000)[self.first + self.count]])] if self.grows else own

    async def astep(self) -> None:
        """Store a checkpoint and what a task wrote on it."""
        self.latest = await self.saver.aput(self.latest, *self._next())
        await self.saver.aput_writes(self.latest, self._writes(), uuid.uuid4().hex)

    def step(self) -> None:
        """`astep`, with a sync saver."""
        self.latest = self.saver.put(self.latest, *self._next())
        self.saver.put_writes(self.latest, self._writes(), uuid.uuid4().hex)


async def walk(contender: Contender, walks: list[Walk], steps: int) -> None:
    """Lengthen threads side by side: as tasks, or in a thread each when the saver is a sync one."""

    async def one(walk: Walk) -> None:
        for _ in range(steps):
            await walk.astep()

    def one_in_thread(walk: Walk) -> None:
        for _ in range(steps):
            walk.step()

    if contender.is_async:
        await asyncio.gather(*map(one, walks))
    else:
        await in_threads([partial(one_in_thread, walk) for walk in walks])


async def check_count(contender: Contender, walks: list[Walk]) -> None:
    """Raise unless each thread holds its last step: a saver is not fast by losing it."""
    for walk in walks:
        found = await latest(contender, walk.config)
        if found is None or found.checkpoint["channel_values"].get("count") != walk.count:
            raise LookupError("what was stored last is not there")


async def latest(contender: Contender, config: RunnableConfig) -> CheckpointTuple | None:
    """Return the latest checkpoint of a thread."""
    if contender.is_async:
        found: CheckpointTuple | None = await contender.saver.aget_tuple(config)
    else:
        found = contender.saver.get_tuple(config)
    return found


async def in_threads(work: list[Callable[[], Any]], side_by_side: int | None = None) -> None:
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(side_by_side or len(work)) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, one) for one in work))


async def pairs(contender: Contender, clients: int, grows: bool, steps: int, least_s: float) -> float:
    """Return put + put_writes pairs a second; whole threads are written until `least_s` has passed."""
    messages(2000)
    done, took, began = 0, 0.0, time.perf_counter()
    while took < least_s:
        walks = [Walk(contender.saver, grows, FIRST) for _ in range(clients)]
        await walk(contender, walks, steps)
        done, took = done + clients * steps, time.perf_counter() - began
    await check_count(contender, walks)
    return done / took


async def read_ms(contender: Contender, config: RunnableConfig, times: int) -> float:
    """Return the p50 of reading the latest checkpoint of a thread."""
    took = []
    for _ in range(times + WARM):
        began = time.perf_counter()
        found = await latest(contender, config)
        took.append((time.perf_counter() - began) * 1000)
        assert found is not None
    return statistics.median(took[WARM:])


async def bytes_each(contender: Contender, threads: int, steps: int) -> float:
    """Return what a checkpoint of a growing thread takes, its share of everything else included."""
    # Scripts, indexes and buffers are there before the first one is measured.
    await walk(contender, [Walk(contender.saver, grows=True) for _ in range(threads)], 2)
    await contender.empty()
    before, walks = await contender.size(), [Walk(contender.saver, grows=True) for _ in range(threads)]
    await walk(contender, walks, steps)
    after = await contender.size()
    await check_count(contender, walks)
    await contender.empty()
    return (after - before) / threads / steps


class State(TypedDict, total=False):
    """The state of the graph."""

    messages: Annotated[list[AnyMessage], add_messages]
    count: Annotated[int, operator.add]


def graph_of(contender: Contender) -> Any:
    """Return a graph of six nodes in a row; each says something and counts."""
    builder = StateGraph(State)
    for number in range(NODES):

        def node(state: State, number: int = number) -> State:
            return {"messages": [AIMessage(f"step {number}: {QUESTION}")], "count": len(state["messages"])}

        builder.add_node(f"n{number}", node)
        builder.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    return builder.compile(checkpointer=contender.saver)


async def graph_runs(contender: Contender, durability: str, side_by_side: int, count: int) -> float:
    """Return runs of the graph a second."""
    graph = graph_of(contender)
    asked: Any = {"messages": [HumanMessage(QUESTION)], "count": 0}

    configs: list[RunnableConfig] = [{"configurable": {"thread_id": uuid.uuid4().hex}} for _ in range(count)]

    def run(config: RunnableConfig) -> None:
        graph.invoke(asked, config, durability=durability)

    async def arun(own: list[RunnableConfig]) -> None:
        for config in own:
            await graph.ainvoke(asked, config, durability=durability)

    began = time.perf_counter()
    if contender.is_async:
        await asyncio.gather(*(arun(configs[first::side_by_side]) for first in range(side_by_side)))
    else:
        await in_threads([partial(run, config) for config in configs], side_by_side)
    took = time.perf_counter() - began
    for config in configs:
        found = await latest(contender, config)
        if found is None or len(found.checkpoint["channel_values"].get("messages", ())) != NODES + 1:
            raise LookupError("the end of a run is not there")
    return count / took
