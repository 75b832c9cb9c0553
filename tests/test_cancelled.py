"""A run that is cancelled, or whose route fails, goes on later where it was, with nothing lost and nothing twice."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, TypedDict
from uuid import uuid4

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph

from checkpointers import AsyncRedisSaver, RedisSaver
from graphs.support import graph as support
from nodes import events
from state import RunContext

TICKET = {"text": "I was charged twice for March, please refund the second invoice."}
CONTEXT = RunContext(provider="embedded", thresholds={"category_confidence": 0.0})


TURNS = 12
"""Turns of the loop after an event at which a run is cancelled: a task gives way a few times between two nodes."""


async def cancelled_at(graph: Any, config: Any, nth: int, turns: int) -> bool:
    """Begin a run and cancel it some turns after its nth event is told; False when it has fewer events."""
    seen, loop = 0, asyncio.get_running_loop()

    async def watch() -> None:
        stream = graph.astream(TICKET, config, context=CONTEXT, durability="sync")
        try:
            async for _part in stream:
                pass
        finally:
            await stream.aclose()

    running = asyncio.create_task(watch())

    def cancel(event: events.Event) -> None:
        nonlocal seen
        if event.thread == config["configurable"]["thread_id"]:
            seen += 1
            if seen == nth:
                loop.call_soon_threadsafe(later, turns)

    def later(left: int) -> None:
        if left:
            loop.call_soon(later, left - 1)
        else:
            running.cancel()

    with events.listening(cancel):
        await asyncio.gather(running, return_exceptions=True)
    return seen >= nth


@pytest.mark.parametrize("saver_name", ["memory", "redis"])
async def test_a_run_that_is_cancelled_anywhere_goes_on_where_it_was(saver_name: str, valkey_url: str) -> None:
    async with AsyncRedisSaver.from_url(valkey_url) as redis_saver:
        saver = InMemorySaver() if saver_name == "memory" else redis_saver
        graph = support.copy(update={"checkpointer": saver})
        told = 0
        for nth, turns in itertools.product(range(1, 7), range(TURNS)):
            config: Any = {"configurable": {"thread_id": str(uuid4())}}
            if not await cancelled_at(graph, config, nth, turns):
                break
            told = nth
            state = await graph.aget_state(config)
            result = state.values
            if not result.get("outcome"):
                result = await graph.ainvoke(None, config, context=CONTEXT, durability="sync")
            assert result["outcome"] == "routed", f"cancelled {turns} turns after event {nth}"
            assert result["draft"]
            steps = [attempt["step"] for attempt in result["attempts"]]
            assert steps == ["classify", "urgency", "route", "draft"]
        assert told == 5


class Counted(TypedDict):
    n: int


def test_a_node_whose_route_failed_is_run_again_and_not_taken_as_done(valkey_url: str) -> None:
    broken = True

    def route(state: Counted) -> str:
        if broken:
            raise ValueError("the table of routes is down")
        return "second"

    builder = StateGraph(Counted)
    builder.add_node("first", lambda state: {"n": state["n"] + 1})
    builder.add_node("second", lambda state: {"n": state["n"] + 10})
    builder.add_edge(START, "first").add_edge("second", END)
    builder.add_conditional_edges("first", route, ["second"])
    with RedisSaver.from_url(valkey_url) as saver:
        graph = builder.compile(checkpointer=saver)
        config: Any = {"configurable": {"thread_id": str(uuid4())}}
        with pytest.raises(ValueError, match="table"):
            graph.invoke({"n": 0}, config)
        assert graph.get_state(config).next == ("first",)
        broken = False
        assert graph.invoke(None, config) == {"n": 11}
