"""The same calls against somebody else's server of the protocol, and our own server as a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from nodes.call import Call, reset_call_settings, reset_contacts, set_guard
from nodes.errors import Permanent, Throttled, Transient
from surefoot.testing import KEY, MODEL, OpenAIEndpoint, truncated


class Category(BaseModel):
    category: Literal["billing", "bug"]


def call() -> Call:
    return Call(step="classify", thread="t", timeout_s=10.0)


@pytest.fixture
def other_server(llmock: Any) -> Iterator[Any]:
    """Yield llmock, which has pointed the environment at itself."""
    reset_call_settings()
    reset_contacts()
    set_guard(None)
    yield llmock
    set_guard(None)
    reset_contacts()


async def test_answers_and_faults_of_another_server(other_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUREFOOT_MODEL", "gpt-4.1-mini")
    other_server.reply('```json\n{"category": "bug"}\n```')
    one = call()
    reply = await one.model("it crashed", Category)
    assert (reply.value.category, reply.how) == ("bug", "stripped")
    assert one.usage.cost_microusd > 0
    other_server.rate_limit(times=1, retry_after=2)
    with pytest.raises(Throttled) as caught:
        await call().model("it crashed", Category)
    assert caught.value.retry_after == 2
    # The guard would leave it alone for these two seconds.
    set_guard(None)
    other_server.fail(503, times=1)
    with pytest.raises(Transient):
        await call().model("it crashed", Category)
    other_server.context_overflow(times=1)
    with pytest.raises(Permanent):
        await call().model("it crashed", Category)
    other_server.reply('{"category": "billing"}')
    assert (await call().model("invoice", Category)).value.category == "billing"


async def test_our_server_streams(openai_endpoint: OpenAIEndpoint) -> None:
    model = ChatOpenAI(model=MODEL, base_url=openai_endpoint.url, api_key=SecretStr(KEY), max_retries=0)
    text = "".join([str(chunk.content) async for chunk in model.astream("hello", stream_usage=True)])
    assert text == "All is well."
    openai_endpoint.script(truncated())
    assert "All is" in "".join([str(chunk.content) async for chunk in model.astream("hello")])


def test_our_server_runs_as_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "surefoot.testing", "--port", "0", "--profile", "flaky", "--seed", "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            with urllib.request.urlopen(f"{url}/models", timeout=10) as response:
                assert json.load(response)["data"][0]["id"] == MODEL
        finally:
            process.terminate()
