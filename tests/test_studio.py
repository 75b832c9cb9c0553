"""The graph loads in LangGraph Studio's server: offline, without a key, with the shipped `langgraph.json`."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph_sdk import get_sync_client

from surefoot.testing import MODEL, PRICES, OpenAIEndpoint, support_responder

ROOT = Path(__file__).resolve().parent.parent


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def model() -> Iterator[OpenAIEndpoint]:
    endpoint = OpenAIEndpoint().start()
    endpoint.responder = support_responder
    endpoint.token_probability = 0.99
    yield endpoint
    endpoint.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: OpenAIEndpoint) -> Iterator[str]:
    port = free_port()
    log = tmp_path_factory.mktemp("studio") / "log"
    foreign = ("OPENAI_", "LANGSMITH_", "LANGCHAIN_", "SUREFOOT_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    env |= {"LANGGRAPH_CLI_NO_ANALYTICS": "1", "SUREFOOT_PROVIDER": "embedded", "LANGSMITH_TRACING": "false"}
    env |= {"OPENAI_BASE_URL": model.url, "SUREFOOT_MODEL": MODEL, "SUREFOOT_PRICES": json.dumps(PRICES)}
    command = ["dev", "--no-browser", "--no-reload", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "langgraph"), *command],
            cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, log)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    import httpx

    for _ in range(600):
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/ok", timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"the server did not start:\n{log.read_text()[-4000:]}")


@pytest.mark.timeout(120)
def test_the_support_graph_loads_runs_and_asks(server: str) -> None:
    client = get_sync_client(url=server)
    assistants = client.assistants.search(graph_id="support")
    assert len(assistants) == 1
    schemas: Any = client.assistants.get_schemas(assistants[0]["assistant_id"])
    assert "text" in schemas["input_schema"]["properties"]
    assert "thresholds" in str(schemas["context_schema"])
    thread = client.threads.create()
    ticket = {
        "text": "Our whole company is locked out, production is down for all users and data is leaking right now!"
    }
    client.runs.wait(thread["thread_id"], "support", input=ticket)
    state: Any = client.threads.get_state(thread["thread_id"])
    assert state["values"]["urgency"] == "critical"
    assert state["next"] == ["human_review"]
    (question,) = state["tasks"][0]["interrupts"]
    assert question["value"]["action_request"]["args"]["team"] == "escalations"
    answer = {question["id"]: {"type": "accept"}}
    client.runs.wait(thread["thread_id"], "support", command={"resume": answer})
    state = client.threads.get_state(thread["thread_id"])
    assert state["next"] == []
    assert state["values"]["outcome"] == "routed"


def test_a_wrong_edit_of_the_state_is_refused_and_the_thread_stays_readable(server: str) -> None:
    client = get_sync_client(url=server)
    thread = client.threads.create()
    client.runs.wait(thread["thread_id"], "support", input={"text": "Where do I change my language to French?"})
    before: Any = client.threads.get_state(thread["thread_id"])
    with pytest.raises(Exception, match="urgency"):
        client.threads.update_state(thread["thread_id"], {"urgency": "very"})
    after: Any = client.threads.get_state(thread["thread_id"])
    assert after["values"] == before["values"]


def test_a_model_is_called_without_blocking_the_server(server: str, model: OpenAIEndpoint) -> None:
    """The server raises on blocking calls: the client must be made and the settings read beside the loop."""
    client = get_sync_client(url=server)
    thread = client.threads.create()
    ticket = {"text": "The export crashes with an error each time."}
    values: Any = client.runs.wait(thread["thread_id"], "support", input=ticket, context={"provider": "openai"})
    assert values["category"] == "bug"
    assert {a["provider"] for a in values["attempts"]} == {"openai", "rule"}
    assert model.calls == 3
