"""What is learned about an endpoint: one call finds out, the others wait and then know."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from dataclasses import replace
from typing import Literal

import pytest
from langchain_core.messages import HumanMessage
from pydantic import BaseModel, Field

from nodes.bridge import run_sync
from nodes.call import Call, Reply
from nodes.call.prompts import messages, response_format, size
from nodes.errors import CallTimeout, ConfigurationError, Permanent, Transient
from surefoot.testing import OpenAIEndpoint, hang, says, status


class Category(BaseModel):
    category: Literal["billing", "bug"]


def call(**changes: object) -> Call:
    return Call(**({"step": "classify", "thread": "t", "timeout_s": 10.0} | changes))  # type: ignore[arg-type]


async def ask(**changes: object) -> Reply[Category]:
    return await call(**changes).model("What is it?", Category)


async def test_fifty_calls_with_a_refused_key_cost_one_request(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.key = "another key"
    done = await asyncio.gather(*(ask() for _ in range(50)), return_exceptions=True)
    assert all(isinstance(one, ConfigurationError) for one in done)
    assert len({str(one) for one in done}) == 1
    assert openai_endpoint.calls == 1


def test_fifty_calls_on_many_loops_with_a_refused_key_cost_one_request(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.key = "another key"
    failures: list[object] = []

    async def ten() -> None:
        failures.extend(await asyncio.gather(*(ask() for _ in range(10)), return_exceptions=True))

    runs = [lambda: asyncio.run(ten()), lambda: run_sync(ten())]
    threads = [threading.Thread(target=runs[i % 2]) for i in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(failures) == 50
    assert all(isinstance(one, ConfigurationError) for one in failures)
    assert openai_endpoint.calls == 1


async def test_a_key_that_is_replaced_is_tried_at_once(
    openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai_endpoint.key = "sk-the-right-one"
    with pytest.raises(ConfigurationError):
        await ask()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-right-one")
    await ask()
    assert openai_endpoint.calls == 2


async def test_a_missing_model_leaves_the_others_alone(
    openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai_endpoint.models = {"there"}
    monkeypatch.setenv("SUREFOOT_PRICES", '{"there": "free", "gone": "free"}')
    done = await asyncio.gather(*(ask(model="gone") for _ in range(10)), return_exceptions=True)
    assert all("has no model 'gone'" in str(one) for one in done)
    await ask(model="there")
    assert openai_endpoint.calls == 2


async def test_an_endpoint_without_json_schema_just_works(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.json_schema = False
    openai_endpoint.latency_s = 0.01
    calls = [call(thread=f"t{n}") for n in range(20)]
    done = await asyncio.gather(*(one.model("What is it?", Category) for one in calls))
    assert {one.value.category for one in done} == {"billing"}
    assert Counter(r.schema_kind for r in openai_endpoint.requests) == {"json_schema": 1, "json_object": 20}
    assert sorted(one.usage.calls for one in calls) == [1] * 19 + [2]
    assert "JSON schema:" in openai_endpoint.requests[-1].text


async def test_an_endpoint_without_any_response_format_gets_the_schema_in_its_prompt(
    openai_endpoint: OpenAIEndpoint,
) -> None:
    openai_endpoint.json_schema = openai_endpoint.json_object = False
    one = call()
    assert (await one.model("What is it?", Category)).value.category == "billing"
    await ask()
    assert [r.schema_kind for r in openai_endpoint.requests] == ["json_schema", "json_object", "", ""]
    assert one.usage.calls == 3


async def test_every_parameter_may_be_missing(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.json_schema = openai_endpoint.json_object = openai_endpoint.temperature = False
    openai_endpoint.logprobs = openai_endpoint.max_completion_tokens = False
    one = call()
    reply = await one.model("What is it?", Category, logprobs=True)
    assert reply.token_probability("billing") is None
    assert one.usage.calls == 6
    second = call()
    await second.model("What is it?", Category, logprobs=True)
    assert second.usage.calls == 1
    assert openai_endpoint.requests[-1].body["max_tokens"] == 512


async def test_a_parameter_that_is_first_used_later_is_found_out_by_one_call(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.logprobs = False
    await ask()
    await asyncio.gather(*(call().model("What is it?", Category, logprobs=True) for _ in range(10)))
    assert sum("logprobs" in r.body for r in openai_endpoint.requests) == 1
    assert openai_endpoint.calls == 1 + 10 + 1


@pytest.mark.parametrize(
    "fault",
    [
        status(400, "", "This model does not support response_format."),
        status(422, "", "[{'loc': ['body', 'response_format'], 'msg': 'Extra inputs are not permitted'}]"),
        status(400, "", "unknown field in request"),
        replace(status(400, "unknown_parameter", "no"), param="response_format"),
    ],
)
async def test_complaints_come_in_many_words(openai_endpoint: OpenAIEndpoint, fault: object) -> None:
    openai_endpoint.script(fault)  # type: ignore[arg-type] # parametrize loses the type
    await ask()
    assert [r.schema_kind for r in openai_endpoint.requests] == ["json_schema", "json_object"]


async def test_a_complaint_about_something_else_teaches_nothing(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(
        replace(status(400, "invalid_request", "messages: response_format temperature schema"), param="messages")
    )
    with pytest.raises(Permanent):
        await ask()
    await ask()
    assert [r.schema_kind for r in openai_endpoint.requests] == ["json_schema", "json_schema"]


async def test_what_did_not_help_is_not_remembered(openai_endpoint: OpenAIEndpoint) -> None:
    fault = status(400, "", "temperature and json_schema, says the prompt")
    openai_endpoint.script(fault, fault, fault, fault)
    with pytest.raises(Permanent):
        await ask()
    await ask()
    assert openai_endpoint.requests[-1].schema_kind == "json_schema"
    assert "temperature" in openai_endpoint.requests[-1].body


async def test_an_endpoint_that_ignores_the_schema_is_told_in_the_prompt_from_then_on(
    openai_endpoint: OpenAIEndpoint,
) -> None:
    openai_endpoint.ignore_schema = True
    for calls in (2, 3):
        assert (await ask()).value.category == "billing"
        assert openai_endpoint.calls == calls


async def test_a_limit_that_is_ignored_is_sent_under_its_old_name(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(says('{"category": "bug", "padding": "' + "x" * 4000 + '"}'))
    for _ in range(2):
        await call().model("What is it?", Category, max_tokens=20)
    assert "max_completion_tokens" in openai_endpoint.requests[0].body
    assert openai_endpoint.requests[1].body["max_tokens"] == 20


async def test_the_first_call_goes_alone_and_then_all_go(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.latency_s = 0.1
    await asyncio.gather(*(ask() for _ in range(12)))
    first, second = (r.at for r in openai_endpoint.requests[:2])
    assert second > first
    assert openai_endpoint.most_in_flight > 2


async def test_a_first_call_that_fails_for_a_while_lets_the_next_one_find_out(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.key = "another key"
    openai_endpoint.script(status(503), status(503))
    done = await asyncio.gather(*(ask() for _ in range(20)), return_exceptions=True)
    assert Counter(type(one) for one in done)[Transient] == 2
    assert openai_endpoint.calls == 3


async def test_a_first_call_that_hangs_does_not_hold_up_the_others_for_long(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(hang())
    slow = asyncio.create_task(ask(timeout_s=1.5))
    while not openai_endpoint.calls:
        await asyncio.sleep(0.01)
    assert (await ask(timeout_s=1.0)).value.category == "billing"
    assert not slow.done()
    with pytest.raises(CallTimeout):
        await slow


async def test_a_first_call_that_is_cancelled_hands_over(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(hang())
    first = asyncio.create_task(ask())
    while not openai_endpoint.calls:
        await asyncio.sleep(0.01)
    others = [asyncio.create_task(ask()) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    assert len(await asyncio.gather(*others)) == 3


def test_strict_schemas_hold_only_what_endpoints_know() -> None:
    class Inner(BaseModel):
        a: int = Field(ge=1, le=5)

    class Outer(BaseModel):
        items: list[Inner] = Field(max_length=3, description="some")
        name: str | None = Field(default=None, pattern="x+")

    wanted = response_format(Outer)["json_schema"]
    assert wanted["strict"] is True
    assert wanted["schema"]["required"] == ["items", "name"]
    assert wanted["schema"]["additionalProperties"] is False
    assert wanted["schema"]["$defs"]["Inner"]["properties"]["a"] == {"type": "integer"}
    assert "pattern" not in str(wanted)

    class Loose(BaseModel):
        counts: dict[str, int]

    assert response_format(Loose)["json_schema"]["strict"] is False


def test_everything_that_is_sent_as_prompt_counts() -> None:
    wanted = {"response_format": response_format(Category)}
    schema = len(json.dumps(wanted["response_format"]))
    assert size(messages("grüße", None), {}) == 7 + 2
    assert size(messages("grüße", None), wanted) == 7 + schema
    assert size(messages("grüße", "wrong"), wanted) > 7 + schema + len("wrong")
    picture = HumanMessage([{"type": "image_url", "image_url": {"url": "data:" + "x" * 500}}])
    assert size([picture], {}) > 500
