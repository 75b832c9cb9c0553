"""Batches: items of runs side by side share a prompt; the valid are kept, the failed asked for in halves."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, Field

from nodes import Policy, Task, add_retry, add_step, fixed
from nodes.batch import Batched
from nodes.call import Call, MemoryGuard, Usage, set_guard, spending_cap
from nodes.errors import CallTimeout, InvalidOutput, OverBudget, Transient
from state import Checked, RunContext, RunState
from surefoot.testing import OpenAIEndpoint, hang, refusal, schema_in, status, truncated


class Name(BaseModel):
    name: str


class Size(BaseModel):
    size: int = Field(ge=0)


class Measured(BaseModel):
    size: int


def prompt(items: Sequence[tuple[str, Name]]) -> str:
    return "Measure:\n" + "\n".join(f"<item id={place}>{name.name}</item>" for place, name in items)


def read(name: Name, answer: Size) -> Measured:
    if answer.size != len(name.name):
        raise InvalidOutput("that is not its size")
    return Measured(size=answer.size)


def measuring(**options: Any) -> Batched[Name, Size, Measured]:
    return Batched(answer=Size, prompt=prompt, read=read, **{"size": 4, "wait_s": 0.05} | options)


def items_in(body: dict[str, Any]) -> list[tuple[str, str]]:
    return re.findall(r"<item id=(\d+)>(.*?)</item>", str(body["messages"][-1]["content"]))


def answer_of(place: str, name: str) -> dict[str, Any]:
    if name.startswith("bad"):
        return {"id": place, "size": -1}
    return {"id": place, "size": len(name)}


def respond(body: dict[str, Any]) -> str:
    found = [answer_of(place, name) for place, name in items_in(body) if not name.startswith("lost")]
    return json.dumps({"results": found})


def sizes(endpoint: OpenAIEndpoint) -> list[int]:
    return [len(items_in(request.body)) for request in endpoint.requests]


def call(**options: Any) -> Call:
    return Call(**{"step": "measure", "timeout_s": 5.0} | options)


async def measure(batched: Any, *names: str, **options: Any) -> list[Any]:
    calls = [call(**options) for _ in names]
    found = await asyncio.gather(
        *(batched(Name(name=name), one) for name, one in zip(names, calls, strict=True)), return_exceptions=True
    )
    return [result.size if isinstance(result, Measured) else result for result in found]


async def test_items_of_several_runs_share_a_prompt(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = respond
    names = [f"name-{'x' * n}" for n in range(10)]
    assert await measure(measuring(), *names) == [len(name) for name in names]
    assert sorted(sizes(openai_endpoint)) == [2, 4, 4], "two full ones, and one that has waited"
    schema = schema_in(openai_endpoint.requests[0].body)
    assert schema is not None
    assert set(schema["$defs"]["Size"]["properties"]) == {"id", "size"}, "the model is told what an item looks like"


async def test_what_does_not_fit_is_asked_for_in_halves_and_then_alone(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = respond
    found = await measure(measuring(size=8), "a", "bad", "ccc", "lost", "eeeee", "f", "g", "h")
    assert [found[i] for i in (0, 2, 4, 5, 6, 7)] == [1, 3, 5, 1, 1, 1]
    assert all(isinstance(found[i], InvalidOutput) for i in (1, 3))
    assert "size" in str(found[1])
    assert "says nothing about the item" in str(found[3])
    # The valid six are kept; the two others get a request each.
    assert sizes(openai_endpoint) == [8, 1, 1]


@pytest.mark.parametrize("fault", [truncated(), refusal()])
async def test_an_answer_that_is_worth_nothing_is_halved(fault: Any, openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = respond
    openai_endpoint.script(fault)
    assert await measure(measuring(), "a", "bb", "ccc", "dddd") == [1, 2, 3, 4]
    assert sizes(openai_endpoint) == [4, 2, 2]


async def test_a_failed_request_is_everybodys_failure_and_everybodys_retry(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = respond
    openai_endpoint.script(status(503))
    found = await measure(measuring(), "a", "bb", "ccc", "dddd")
    assert all(isinstance(result, Transient) for result in found)
    assert sizes(openai_endpoint) == [4]


async def test_ids_that_nobody_gave_and_ids_that_come_twice_tell_nothing(openai_endpoint: OpenAIEndpoint) -> None:
    def confused(body: dict[str, Any]) -> str:
        if len(items_in(body)) == 1:
            return respond(body)
        results = [{"id": "1", "size": 1}, {"id": "1", "size": 7}, {"id": "9", "size": 2}, {"id": "2", "size": 2}, 7]
        return json.dumps({"results": results})

    openai_endpoint.responder = confused
    assert await measure(measuring(size=2), "a", "bb") == [1, 2]
    assert sizes(openai_endpoint) == [2, 1]


async def test_the_cost_is_split_and_adds_up(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = respond
    batched, calls = measuring(size=3), [call() for _ in range(3)]
    with spending_cap(1_000_000) as budget:
        await asyncio.gather(*(batched(Name(name=f"n{i}"), one) for i, one in enumerate(calls)))
        assert sum(one.usage.cost_microusd for one in calls) == budget.spent_microusd > 0
    costs = [one.usage.cost_microusd for one in calls]
    assert max(costs) - min(costs) <= 1
    assert [one.usage.calls for one in calls] == [1, 0, 0]


@given(st.integers(0, 10**6), st.integers(1, 30))
def test_parts_of_a_whole_number_add_up(whole: int, parts: int) -> None:
    used = Usage(calls=1, cost_microusd=whole, tokens_in=whole, model="m", unmetered=True)
    total = Usage()
    for index in range(parts):
        total.take(used.part(index, parts))
    assert total == used


async def test_tenants_share_no_prompt(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = respond
    batched = measuring(size=4)
    await asyncio.gather(
        *(batched(Name(name=name), call(tenant=tenant)) for name in ("a", "bb") for tenant in ("red", "blue"))
    )
    assert sizes(openai_endpoint) == [2, 2]


async def test_an_item_with_little_room_does_not_stop_the_others(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = respond
    batched = measuring(size=2)
    poor, rich = call(max_cost_microusd=1), call()
    found = await asyncio.gather(batched(Name(name="a"), poor), batched(Name(name="bb"), rich), return_exceptions=True)
    assert isinstance(found[0], OverBudget)
    assert found[1] == Measured(size=2)


async def test_an_answer_of_a_batch_is_not_paid_for_again(openai_endpoint: OpenAIEndpoint) -> None:
    set_guard(MemoryGuard())
    openai_endpoint.responder = respond
    batched = measuring(size=2)
    first = [call(thread=f"t{i}", remember=True) for i in range(2)]
    await asyncio.gather(*(batched(Name(name="abc"), one) for one in first))
    again = [call(thread=f"t{i}", remember=True) for i in range(2)]
    found = await asyncio.gather(*(batched(Name(name="abc"), one) for one in again))
    assert [result.size for result in found] == [3, 3]
    assert openai_endpoint.calls == 1
    assert [(u.usage.calls, u.usage.replayed, u.usage.cost_microusd) for u in again] == [
        (0, 1, one.usage.cost_microusd) for one in first
    ]


async def test_a_cancelled_item_leaves_the_others_alone_and_pays_its_part(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = respond
    openai_endpoint.latency_s = 0.3
    batched, gone = measuring(size=2), call()
    leaves = asyncio.create_task(batched(Name(name="a"), gone))
    stays = asyncio.create_task(batched(Name(name="bb"), call()))
    await asyncio.sleep(0.15)
    leaves.cancel()
    assert (await stays).size == 2
    assert gone.usage.cost_microusd > 0
    assert gone.usage.unmetered
    early = asyncio.create_task(measuring(size=9, wait_s=0.1)(Name(name="a"), call()))
    await asyncio.sleep(0.02)
    early.cancel()
    await asyncio.sleep(0.2)
    assert openai_endpoint.calls == 1, "an empty batch is not sent"


async def test_time_runs_out_for_a_batch_too(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(hang(5))
    found = await measure(measuring(), "a", "bb", timeout_s=0.3)
    assert all(isinstance(result, CallTimeout) for result in found)


class Named(RunState):
    name: Annotated[str, Checked] = ""
    size: Annotated[int | None, Checked] = None


def test_runs_side_by_side_form_batches_and_retry_together(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = respond
    openai_endpoint.script(status(500))
    task = Task(name="measure", input=Name, output=Measured, providers={"openai": measuring(size=5)})
    builder = StateGraph(Named, context_schema=RunContext)
    step = add_step(builder, task, Policy(retries=2, backoff=fixed(0)), then=END, on_give_up=END)
    add_retry(builder, [step])
    builder.add_edge(START, "measure")
    graph = builder.compile()

    async def run() -> list[Any]:
        return await asyncio.gather(*(graph.ainvoke({"name": "x" * n}) for n in range(1, 11)))

    found = asyncio.run(run())
    assert [result["size"] for result in found] == list(range(1, 11))
    assert sizes(openai_endpoint) == [5, 5, 5]
    # Under `invoke`, runs in threads meet on the background loop.
    assert [graph.invoke({"name": "abc"})["size"] for _ in range(2)] == [3, 3]


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["good", "bad", "lost", "fine"]), min_size=1, max_size=9), st.integers(1, 6))
def test_every_item_ends_with_its_own_answer_or_error(names: list[str], size: int) -> None:
    from surefoot.testing import KEY, MODEL, misbehaving_endpoint  # a server of its own: fixtures and hypothesis clash

    with pytest.MonkeyPatch.context() as patch, misbehaving_endpoint() as endpoint:
        patch.setenv("OPENAI_BASE_URL", endpoint.url)
        patch.setenv("OPENAI_API_KEY", KEY)
        patch.setenv("SUREFOOT_MODEL", MODEL)
        patch.setenv("SUREFOOT_PRICES", json.dumps({MODEL: "free"}))
        set_guard(MemoryGuard())
        endpoint.responder = respond
        found = asyncio.run(measure(measuring(size=size, wait_s=0.01), *names))
    for name, result in zip(names, found, strict=True):
        assert result == len(name) if name in ("good", "fine") else isinstance(result, InvalidOutput)
