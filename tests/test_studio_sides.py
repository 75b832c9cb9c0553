"""Threads that change sides between the runner and LangGraph's API server: they go on where they stand, with the
context that they were begun with, and never under both at once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from cli_tools import Cli
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from studio_server import ROOT, StudioServer, question_of, studio_server

import surefoot
from checkpointers import Lease, RedisSaver, open_saver
from graphs import support
from state import RunContext
from surefoot.errors import ThreadBusy
from surefoot.settings import settings
from surefoot.testing import MODEL, PRICES, OpenAIEndpoint, support_responder
from surefoot.testing.faults import hang, status

CRITICAL = "Our whole company is locked out, production is down for all users and data is leaking right now!"
EDIT = {"type": "edit", "args": {"category": "feature_request", "urgency": "high"}}
OPENAI = RunContext(provider="openai")
"""With it nothing is trained, neither here nor in the server."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[OpenAIEndpoint]:
    running = OpenAIEndpoint().start()
    yield running
    running.stop()


@pytest.fixture
def model(endpoint: OpenAIEndpoint) -> OpenAIEndpoint:
    endpoint.reset()
    endpoint.responder, endpoint.token_probability = support_responder, 0.99
    return endpoint


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, endpoint: OpenAIEndpoint) -> Iterator[StudioServer]:
    more = {"support_handoff": "graphs.support_handoff:graph", "outer": f"{ROOT / 'tests' / 'studio_outer.py'}:graph"}
    with studio_server(tmp_path_factory.mktemp("studio"), endpoint, **more) as running:
        yield running


@pytest.fixture
def client(server: StudioServer) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=server.url, api_key=None) as opened:
        yield opened


@pytest.fixture(autouse=True)
def same_redis(server: StudioServer, model: OpenAIEndpoint, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `cli`, which sets a server of its own."""
    monkeypatch.setenv("SUREFOOT_REDIS_URL", server.redis_url)
    for name, value in {
        "OPENAI_BASE_URL": model.url,
        "OPENAI_API_KEY": "sk-test",
        "SUREFOOT_MODEL": MODEL,
        "SUREFOOT_PRICES": json.dumps(PRICES),
        "SUREFOOT_PROVIDER": "embedded",
    }.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()


def shown(cli: Cli, server: StudioServer, key: str) -> str:
    (found,) = cli("studio", key, "--server", server.url, "--json").json
    return str(found["thread_id"])


def answered(client: SyncLangGraphClient, thread: str, answer: dict[str, Any], **options: Any) -> Any:
    """Answer a thread's question through the server, and return where it stands then."""
    question = question_of(client, thread)
    client.runs.wait(thread, "support", command={"resume": {question["id"]: answer}}, **options)
    return client.threads.get_state(thread)


def providers(values: dict[str, Any], *names: str) -> set[str]:
    return {attempt["provider"] for attempt in values["attempts"] if attempt["step"] in names}


def test_an_edit_in_studio_lets_a_thread_of_the_runner_go_on(
    client: SyncLangGraphClient, server: StudioServer, cli: Cli
) -> None:
    """What the edit made stale was computed before: the nodes that did it have to run again."""
    begun = surefoot.run("support", {"text": CRITICAL}, id="edit", context=OPENAI)
    assert begun.status == "waiting"
    assert begun.values["category"] != "feature_request"
    state = answered(client, shown(cli, server, "support:edit"), EDIT)
    assert state["next"] == []
    values = state["values"]
    assert (values["category"], values["team"], values["outcome"]) == ("feature_request", "product", "routed")
    assert [a["visit"] for a in values["attempts"] if a["step"] == "route"] == [0, 1]
    assert {t["key"]: t["status"] for t in cli("threads", "--json").json}["support:edit"] == "done"


def test_an_edit_by_the_runner_lets_a_thread_of_studio_go_on(client: SyncLangGraphClient) -> None:
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, "support", input={"text": CRITICAL}, context={"provider": "openai"})
    result = surefoot.resume(thread, EDIT)
    assert (result.status, result.values["team"], result.values["outcome"]) == ("done", "product", "routed")
    state: Any = client.threads.get_state(thread)
    assert (state["next"], state["values"]["team"]) == ([], "product")


def test_a_thread_of_many_steps_goes_on_in_studio_and_back(
    client: SyncLangGraphClient, server: StudioServer, cli: Cli, model: OpenAIEndpoint
) -> None:
    """More than ten steps before its question, with the retries; then a step on each side in turn."""
    model.script(status(503, retry_after="0.01"), status(503, retry_after="0.01"))
    begun = surefoot.run("support", {"text": CRITICAL}, id="many", context=OPENAI)
    assert begun.status == "waiting"
    thread = shown(cli, server, "support:many")
    assert client.threads.get_history(thread, limit=1)[0]["metadata"]["step"] >= 9
    state = answered(client, thread, {"type": "edit", "args": {"urgency": "high"}}, interrupt_before=["gate"])
    assert state["next"] == ["gate"]
    result = surefoot.resume("support:many")
    assert (result.status, result.values["urgency"], result.values["outcome"]) == ("done", "high", "routed")
    assert result.values["draft"]
    steps = [past["metadata"]["step"] for past in client.threads.get_history(thread, limit=50)]
    assert steps == sorted(steps, reverse=True)


def test_a_thread_keeps_its_context_in_studio(
    client: SyncLangGraphClient, server: StudioServer, cli: Cli, model: OpenAIEndpoint
) -> None:
    surefoot.run("support", {"text": CRITICAL}, id="kept", context=OPENAI)
    calls = model.calls
    state = answered(client, shown(cli, server, "support:kept"), {"type": "edit", "args": {"urgency": "high"}})
    assert providers(state["values"], "draft") == {"openai"}
    assert model.calls == calls + 1
    # What a run in Studio names itself is stronger, and what it does not name stays.
    surefoot.run("support", {"text": CRITICAL}, id="named", context=RunContext(provider="openai", variant="b"))
    thread = shown(cli, server, "support:named")
    edit = {"type": "edit", "args": {"urgency": "high"}}
    state = answered(client, thread, edit, context={"provider": "embedded"})
    assert providers(state["values"], "draft") == {"embedded"}
    (latest,) = client.threads.get_history(thread, limit=1)
    assert json.loads(latest["metadata"]["surefoot_context"]) == {"provider": "embedded", "variant": "b"}


def test_a_thread_keeps_its_context_in_copies_and_after_edits_of_the_state(
    client: SyncLangGraphClient, server: StudioServer, cli: Cli
) -> None:
    surefoot.run("support", {"text": CRITICAL}, id="copied", context=OPENAI)
    copied: Any = client.threads.copy(shown(cli, server, "support:copied"))
    state = answered(client, copied["thread_id"], {"type": "edit", "args": {"urgency": "high"}})
    assert providers(state["values"], "draft") == {"openai"}
    thread = client.threads.create()["thread_id"]
    client.runs.wait(
        thread, "support", input={"text": CRITICAL}, context={"provider": "openai"}, interrupt_before=["urgency"]
    )
    client.threads.update_state(thread, {"subject": "Help"})
    client.runs.wait(thread, "support", input=None)
    result = surefoot.resume(thread, {"type": "edit", "args": {"urgency": "high"}})
    assert result.status == "done"
    assert providers(result.values, "classify", "urgency", "draft") == {"openai"}


def test_a_thread_is_worked_on_by_one_side_at_a_time(
    client: SyncLangGraphClient, server: StudioServer, cli: Cli, model: OpenAIEndpoint
) -> None:
    surefoot.run("support", {"text": CRITICAL}, id="busy", context=OPENAI)
    thread = shown(cli, server, "support:busy")
    model.script(hang(3))
    question, calls = question_of(client, thread), model.calls
    answer = {"resume": {question["id"]: {"type": "edit", "args": {"urgency": "high"}}}}
    run = client.runs.create(thread, "support", command=answer)
    deadline = time.monotonic() + 30
    while model.calls == calls:
        assert time.monotonic() < deadline, "the run did not begin"
        time.sleep(0.05)
    listed = {found["key"]: found["status"] for found in cli("threads", "--json").json}
    assert listed["support:busy"] == "running"
    assert "support:busy" not in cli("resume", "--all").out
    with pytest.raises(ThreadBusy, match="LangGraph Studio's server is working on"):
        surefoot.resume("support:busy")
    client.runs.join(thread, run["run_id"])
    state: Any = client.threads.get_state(thread)
    assert (state["next"], state["values"]["outcome"]) == ([], "routed")
    assert [a["step"] for a in state["values"]["attempts"]].count("draft") == 1
    with RedisSaver.from_url(server.redis_url) as saver:
        assert not saver.lease_holder(thread), "it was given back"


def test_what_the_runner_works_on_is_not_touched_in_studio(
    client: SyncLangGraphClient, server: StudioServer, cli: Cli
) -> None:
    surefoot.run("support", {"text": CRITICAL}, id="held", context=OPENAI)
    thread = shown(cli, server, "support:held")
    before: Any = client.threads.get_state(thread)
    question = question_of(client, thread)
    with RedisSaver.from_url(server.redis_url) as saver:
        lease = saver.acquire_lease(thread, holder="somebody", ttl=60)
        assert isinstance(lease, Lease)
        answer = {"resume": {question["id"]: {"type": "accept"}}}
        ended: Any = client.runs.wait(thread, "support", command=answer, raise_error=False)
        assert "another process is working on" in str(ended)
        with pytest.raises(Exception, match="another process is working on"):
            client.threads.update_state(thread, {"subject": "Help"})
        after: Any = client.threads.get_state(thread)
        assert after["checkpoint"] == before["checkpoint"]
        copied: Any = client.threads.copy(thread)
        other = saver.acquire_lease(copied["thread_id"], holder="somebody", ttl=60)
        assert isinstance(other, Lease)
        with pytest.raises(Exception, match="another process is working on"):
            client.threads.delete(copied["thread_id"])
        assert saver.get_tuple({"configurable": {"thread_id": copied["thread_id"]}}) is not None
        saver.release_lease(other)
        saver.release_lease(lease)
    state = answered(client, thread, {"type": "accept"})
    assert (state["next"], state["values"]["outcome"]) == ([], "routed")


def test_a_run_that_stops_at_a_breakpoint_or_raises_leaves_the_thread(
    client: SyncLangGraphClient, server: StudioServer
) -> None:
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, "support", input={}, raise_error=False)
    other = client.threads.create()["thread_id"]
    given, context = {"text": CRITICAL}, {"provider": "openai"}
    client.runs.wait(other, "support", input=given, context=context, interrupt_before=["urgency"])
    with RedisSaver.from_url(server.redis_url) as saver:
        assert not saver.lease_holder(thread)
        assert not saver.lease_holder(other)
    assert surefoot.resume(other).status == "waiting"


def test_a_pipeline_inside_another_graph_is_drawn_asks_and_goes_on(client: SyncLangGraphClient) -> None:
    (assistant,) = client.assistants.search(graph_id="outer")
    drawn: Any = client.assistants.get_graph(assistant["assistant_id"], xray=True)
    inner = {node["id"] for node in drawn["nodes"]}
    assert {"support:validate", "support:human_review", "support:finish", "send"} <= inner
    assert ("support:finish", "send") in {(edge["source"], edge["target"]) for edge in drawn["edges"]}
    assert "support" in client.assistants.get_subgraphs(assistant["assistant_id"], recurse=True)
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, "outer", input={"text": CRITICAL}, context={"provider": "openai"})
    state: Any = client.threads.get_state(thread, subgraphs=True)
    assert state["next"] == ["support"]
    assert state["tasks"][0]["state"]["next"] == ["human_review"]
    resume = {question_of(client, thread)["id"]: {"type": "edit", "args": {"urgency": "high"}}}
    client.runs.wait(thread, "outer", command={"resume": resume}, context={"provider": "openai"})
    state = client.threads.get_state(thread)
    assert state["next"] == []
    assert (state["values"]["urgency"], state["values"]["sent_to"]) == ("high", "engineering@example.org")
    # A type of the graph's own, which no list of the server names.
    assert state["values"]["sent"] == {"to": ["engineering@example.org"]}


def test_an_edit_at_a_node_goes_on_alike_in_both_styles(client: SyncLangGraphClient) -> None:
    ends = []
    for graph in ("support", "support_handoff"):
        thread = client.threads.create()["thread_id"]
        given, context = {"text": "I was charged twice for March."}, {"provider": "openai"}
        client.runs.wait(thread, graph, input=given, context=context)
        past: Any = next(p for p in client.threads.get_history(thread, limit=50) if p["next"] == ["urgency"])
        at = past["checkpoint"]["checkpoint_id"]
        edited: Any = client.threads.update_state(thread, {"category": "bug"}, as_node="classify", checkpoint_id=at)
        state: Any = client.threads.get_state(thread, checkpoint_id=edited["checkpoint_id"])
        assert state["next"] == ["urgency"]
        fork = {"checkpoint_id": edited["checkpoint_id"], "checkpoint_ns": ""}
        values: Any = client.runs.wait(thread, graph, input=None, checkpoint=fork)
        ends.append((values["category"], values["team"], values["outcome"]))
    assert ends == [("bug", "engineering", "routed")] * 2


def test_threads_that_the_server_cannot_show_are_passed_over(
    client: SyncLangGraphClient, server: StudioServer, cli: Cli
) -> None:
    """One with an id that is no UUID, and one of a graph that the server does not have."""
    surefoot.run("support", {"text": CRITICAL}, id="open", context=OPENAI)
    with open_saver(server.redis_url) as saver:
        own = RedisSaver(saver.client, registry=True)
        graph = support.graph.copy(update={"checkpointer": own})
        graph.invoke({"text": CRITICAL}, {"configurable": {"thread_id": "ticket-2"}}, context=OPENAI)
        other = graph.with_config(metadata={"pipeline": "elsewhere", "graph_version": "1"})
        unknown = str(uuid4())
        other.invoke({"text": CRITICAL}, {"configurable": {"thread_id": unknown}}, context=OPENAI)
    done = cli("studio", "--server", server.url)
    assert done.status == 0
    assert "support:open" in done.out
    assert "passed over: thread ticket-2: the server takes only UUIDs for ids" in done.err
    assert f"has no graph 'elsewhere' for thread {unknown}" in done.err
    named = cli("studio", "ticket-2", "--server", server.url)
    assert (named.status, named.err.count("\n")) == (2, 1)
    # It lists nothing that it could not open.
    assert unknown not in {thread["thread_id"] for thread in client.threads.search(limit=100)}
