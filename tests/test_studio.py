"""Over the server's API what LangGraph Studio does: each graph is drawn and run step by step, stopped, answered, looked
back on, edited, forked and run again; threads of the command line are opened, and those of Studio listed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Cli
from langgraph_sdk import get_sync_client
from langgraph_sdk.client import SyncLangGraphClient
from servers import embedded_directory
from studio_server import ROOT, StudioServer, outside, question_of, studio_server

import surefoot
from surefoot.pipelines import names as pipeline_names
from surefoot.pipelines import pipeline
from surefoot.testing import OpenAIEndpoint, support_responder
from surefoot.testing.faults import status

CRITICAL = "Our whole company is locked out, production is down for all users and data is leaking right now!"
SIMPLE = "I was charged twice for March, please refund one of the payments."
INPUTS: dict[str, dict[str, Any]] = {
    "support": {"text": SIMPLE},
    "content": {
        "text": "The council approved a new bridge over the river Elbe on Monday. It costs 12 million euros. " * 12
    },
    "fraud": {
        "amount": 713.61,
        "usual_amount": 298.08,
        "channel": "online",
        "merchant": "gaming",
        "hour": 9,
        "distance_km": 13.0,
        "foreign": False,
        "new_device": False,
        "new_payee": False,
        "account_days": 1569.0,
        "last_hour": 0,
        "last_day": 3,
        "failed_day": 0,
    },
    "resumes": {
        "text": "Jane Roe\njane@example.org\n\nExperience\nPython developer, 2015-2024\n\nSkills\nPython, SQL",
        "job": {"title": "Developer", "required": ["Python"]},
    },
    "pattern": {
        "text": "The launch moved to May. Costs rise by 4 % to 12,000 euros. Ann has to tell the board by Friday."
    },
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def model() -> Iterator[OpenAIEndpoint]:
    endpoint = OpenAIEndpoint().start()
    endpoint.responder = support_responder
    endpoint.token_probability = 0.99
    yield endpoint
    endpoint.stop()


@pytest.fixture(scope="module")
def gone_out() -> Iterator[tuple[str, list[str]]]:
    with outside() as found:
        yield found


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, model: OpenAIEndpoint, gone_out: tuple[str, list[str]]
) -> Iterator[StudioServer]:
    with studio_server(tmp_path_factory.mktemp("studio"), model, gone_out[0]) as running:
        yield running


@pytest.fixture
def client(server: StudioServer) -> Iterator[SyncLangGraphClient]:
    with get_sync_client(url=server.url, api_key=None) as opened:
        yield opened


def steps(client: SyncLangGraphClient, thread: str, graph: str, **options: Any) -> list[str]:
    """Run and return the nodes that reported, in their order."""
    seen: list[str] = []
    for part in client.runs.stream(thread, graph, stream_mode=["updates"], **options):
        assert part.event != "error", part.data
        if part.event == "updates":
            seen += part.data
    return seen


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_each_graph_has_forms_a_drawing_and_a_description(client: SyncLangGraphClient, name: str) -> None:
    (assistant,) = client.assistants.search(graph_id=name)
    assert assistant["description"]
    schemas: Any = client.assistants.get_schemas(assistant["assistant_id"])
    assert set(INPUTS[name]) <= set(schemas["input_schema"]["properties"])
    # A form asks for what a user knows, not for what nodes keep.
    assert not {"attempts", "visits", "spend", "outcome"} & set(schemas["input_schema"]["properties"])
    for shape in schemas["input_schema"]["properties"].values():
        assert "type" in shape or "anyOf" in shape or "$ref" in shape or "allOf" in shape or "enum" in shape
    required = set(schemas["input_schema"]["required"])
    assert required == set(pipeline(name).required)
    for asked, shape in schemas["input_schema"]["properties"].items():
        assert "title" in shape or "$ref" in shape
        assert shape["description"]
        if asked in required:
            assert "default" not in shape
            assert {"type": "null"} not in shape.get("anyOf", [])
    context = schemas["context_schema"]["properties"]
    assert {"provider", "thresholds", "max_cost_microusd", "deadline_s"} <= set(context)
    assert all(shape["title"] and shape["description"] for shape in context.values())
    drawn: Any = client.assistants.get_graph(assistant["assistant_id"], xray=True)
    names = {node["id"] for node in drawn["nodes"]}
    assert set(pipeline(name).graph.nodes) - {"__start__"} <= names
    assert all(edge["source"] in names and edge["target"] in names for edge in drawn["edges"])
    assert client.assistants.get_subgraphs(assistant["assistant_id"], recurse=True) == {}
    assert set(INPUTS) == set(pipeline_names())


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_each_graph_runs_and_its_history_can_be_read(client: SyncLangGraphClient, name: str) -> None:
    thread = client.threads.create()["thread_id"]
    seen = steps(client, thread, name, input=INPUTS[name])
    assert seen
    state: Any = client.threads.get_state(thread)
    assert state["values"].get("outcome") or state["next"] == ["human_review"]
    history: Any = client.threads.get_history(thread, limit=100)
    assert len(history) >= len([step for step in seen if step != "__interrupt__"])
    assert history[-1]["metadata"]["source"] == "input"


@dataclass(frozen=True)
class Way:
    """A run that reaches every node of its graph."""

    input: dict[str, Any]
    answers: tuple[dict[str, Any], ...]
    context: dict[str, Any] = field(default_factory=dict)
    edit: tuple[str, dict[str, Any]] = ("", {})
    """A node in whose place the state is edited, once it has run, and the edit."""


STOPS = ("interrupt_before", "interrupt_after")
RESUME = (ROOT / "examples" / "resumes" / "backend-02-plain.txt").read_text()
WAYS = {
    # The first call is throttled.
    "support": Way({"text": CRITICAL}, ({"type": "edit", "args": {"urgency": "high"}},), {"provider": "openai"}),
    "content": Way({"text": "a a a a"}, ({"type": "response", "args": "A bridge will be built."},)),
    "fraud": Way(INPUTS["fraud"], ({"type": "accept"},), {"thresholds": {"thin": 1.0}}),
    "resumes": Way(INPUTS["resumes"], ({"type": "response", "args": RESUME}, {"type": "accept"})),
    "pattern": Way(INPUTS["pattern"], ({"type": "accept"},), edit=("works", {"summary": "too many " * 210})),
}


def walk(url: str, name: str, where: str) -> tuple[set[str], set[str], dict[str, Any]]:
    """Go a way with a breakpoint at every node; return the nodes that ran, those with a stop, and the end."""
    way, nodes = WAYS[name], sorted(set(pipeline(name).graph.nodes) - {"__start__"})
    options: dict[str, Any] = {"context": way.context, where: nodes}
    ran: list[str] = []
    stopped: set[str] = set()
    answers, edit = list(way.answers), way.edit
    with get_sync_client(url=url, api_key=None) as client:
        thread = client.threads.create()["thread_id"]
        # Two runs of one way at the same time tell the endpoint which they are.
        given = {"input": way.input | ({"subject": where} if name == "support" else {})}
        while True:
            ran += [step for step in steps(client, thread, name, **given, **options) if step != "__interrupt__"]
            state: Any = client.threads.get_state(thread)
            if not state["next"]:
                return set(ran), stopped, state["values"]
            if asked := [one for task in state["tasks"] for one in task["interrupts"]]:
                given = {"command": {"resume": {asked[0]["id"]: answers.pop(0)}}}
                continue
            stopped |= set(state["next"]) if where == "interrupt_before" else set(ran[-1:])
            if ran[-1:] == [edit[0]]:
                client.threads.update_state(thread, edit[1], as_node=edit[0])
                edit = ("", {})
            given = {"input": None}


@pytest.fixture(scope="module")
def walked(server: StudioServer, model: OpenAIEndpoint) -> Iterator[dict[tuple[str, str], Any]]:
    """All ways at once: most of their time is the server's between one run and the next."""
    failed: set[str] = set()

    def first_fails(body: dict[str, Any]) -> Any:
        mark = next((where for where in STOPS if where in str(body)), "")
        if not mark or mark in failed:
            return None
        failed.add(mark)
        return status(503, retry_after="0.01")

    model.reset()
    model.responder, model.token_probability, model.chaos = support_responder, 0.99, first_fails
    with ThreadPoolExecutor(5) as pool:
        under_way = {(name, where): pool.submit(walk, server.url, name, where) for name in WAYS for where in STOPS}
        yield {way: future.result() for way, future in under_way.items()}
    model.reset()


@pytest.mark.parametrize("where", STOPS)
@pytest.mark.parametrize("name", sorted(WAYS))
def test_a_run_stops_before_and_after_every_node(walked: dict[tuple[str, str], Any], name: str, where: str) -> None:
    nodes = set(pipeline(name).graph.nodes) - {"__start__"}
    ran, stopped, values = walked[name, where]
    assert ran == nodes
    # After the last node nothing is left to stop before.
    assert stopped == (nodes if where == "interrupt_before" else nodes - {"finish"})
    assert values["outcome"]


@pytest.mark.parametrize("as_list", [False, True])
def test_a_question_is_shown_with_its_form_and_answered(client: SyncLangGraphClient, as_list: bool) -> None:
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, "support", input={"text": CRITICAL})
    assert client.threads.get(thread)["status"] == "interrupted"
    assert client.threads.get_state(thread)["next"] == ["human_review"]
    question = question_of(client, thread)
    assert question["value"]["action_request"]["args"]["team"] == "escalations"
    form = question["response_schema"]
    assert (form["title"], form["required"]) == ("Answer", ["type"])
    assert form["properties"]["type"]["enum"] == ["accept", "edit", "response", "reject"]
    editable = form["properties"]["args"]["anyOf"][0]["properties"]
    assert list(editable) == ["category", "urgency", "team", "draft"]
    assert editable["urgency"] == {"title": "Urgency", "type": "string", "enum": ["low", "medium", "high", "critical"]}
    assert "First response" in editable["draft"]["description"]
    edit = {
        "type": "edit",
        "args": {"action": "triage", "args": {"urgency": "high"}} if as_list else {"urgency": "high"},
    }
    client.runs.wait(thread, "support", command={"resume": {question["id"]: [edit] if as_list else edit}})
    state: Any = client.threads.get_state(thread)
    assert state["next"] == []
    assert (state["values"]["urgency"], state["values"]["outcome"]) == ("high", "routed")
    assert [record["decision"]["by"] for record in state["values"]["review"]] == ["person"]


def test_state_is_edited_forked_and_run_again_from_any_checkpoint(client: SyncLangGraphClient) -> None:
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, "support", input={"text": SIMPLE})
    first: Any = client.threads.get_state(thread)
    assert first["values"]["category"] == "billing"
    before: Any = client.threads.get_history(thread, limit=50)
    at = next(past for past in before if past["next"] == ["urgency"])
    # Run again from there, nothing changed: the same again, on a branch of its own.
    again: Any = client.runs.wait(thread, "support", input=None, checkpoint=at["checkpoint"])
    assert (again["category"], again["team"]) == ("billing", first["values"]["team"])
    # Edit there, and go on with the edit.
    edited: Any = client.threads.update_state(
        thread, {"category": "bug"}, as_node="classify", checkpoint_id=at["checkpoint"]["checkpoint_id"]
    )
    values: Any = client.runs.wait(
        thread, "support", input=None, checkpoint={"checkpoint_id": edited["checkpoint_id"], "checkpoint_ns": ""}
    )
    assert (values["category"], values["team"]) == ("bug", "engineering")
    after: Any = client.threads.get_history(thread, limit=100)
    assert {past["checkpoint"]["checkpoint_id"] for past in before} <= {p["checkpoint"]["checkpoint_id"] for p in after}
    old: Any = client.threads.get_state(thread, checkpoint_id=first["checkpoint"]["checkpoint_id"])
    assert old["values"]["category"] == "billing"
    copied: Any = client.threads.copy(thread)
    assert client.threads.get_state(copied["thread_id"])["values"]["team"] == "engineering"


def test_a_wrong_edit_of_the_state_is_refused_and_the_thread_stays_readable(client: SyncLangGraphClient) -> None:
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, "support", input={"text": "Where do I change my language to French?"})
    before: Any = client.threads.get_state(thread)
    with pytest.raises(Exception, match="urgency"):
        client.threads.update_state(thread, {"urgency": "very"})
    after: Any = client.threads.get_state(thread)
    assert after["values"] == before["values"]


def test_a_model_is_called_without_blocking_the_server(client: SyncLangGraphClient, model: OpenAIEndpoint) -> None:
    """The server raises on blocking calls: the client must be made and the settings read beside the loop."""
    model.reset()
    model.responder, model.token_probability = support_responder, 0.99
    thread = client.threads.create()["thread_id"]
    ticket = {"text": "The export crashes with an error each time."}
    values: Any = client.runs.wait(thread, "support", input=ticket, context={"provider": "openai"})
    assert values["category"] == "bug"
    assert {a["provider"] for a in values["attempts"]} == {"openai", "rule"}
    assert model.calls == 3


def test_a_thread_of_the_runner_is_opened_and_answered_in_studio(
    client: SyncLangGraphClient, server: StudioServer, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUREFOOT_REDIS_URL", server.redis_url)
    result = surefoot.run("support", {"text": "  "}, id="studio-1")
    assert result.status == "waiting"
    unknown = cli("studio", "support:nothing", "--server", server.url)
    assert (unknown.status, unknown.err.count("\n")) == (2, 1)
    nowhere = cli("studio", "support:studio-1", "--server", "http://127.0.0.1:9")
    assert nowhere.status == 2
    assert "make studio" in nowhere.err
    for _ in range(2):
        (shown,) = cli("studio", "support:studio-1", "--server", server.url, "--json").json
    assert shown["thread_id"] == result.thread_id
    assert shown["thread_id"] in shown["link"]
    assert "support:studio-1" in cli("studio", "--server", server.url).out
    question = question_of(client, result.thread_id)
    values: Any = client.runs.wait(
        result.thread_id,
        "support",
        command={"resume": {question["id"]: {"type": "edit", "args": {"category": "general"}}}},
    )
    assert values["outcome"]
    listed = {thread["key"]: thread["status"] for thread in cli("threads", "--json").json}
    assert listed["support:studio-1"] == "done"
    assert "general" in cli("explain", "support:studio-1").out


def test_a_thread_of_studio_is_listed_explained_and_answered_by_the_runner(
    client: SyncLangGraphClient, server: StudioServer, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUREFOOT_REDIS_URL", server.redis_url)
    thread = client.threads.create()["thread_id"]
    client.runs.wait(thread, "support", input={"text": CRITICAL})
    listed = {found["thread_id"]: found for found in cli("threads", "--json").json}
    assert (listed[thread]["status"], listed[thread]["pipeline"]) == ("waiting", "support")
    assert thread in cli("inbox").out
    assert "critical" in cli("explain", thread).out
    assert cli("resume", "--all").status in (0, 3)
    assert question_of(client, thread), "what Studio runs is not taken from it"
    assert cli("review", thread, "--accept").status == 0
    state: Any = client.threads.get_state(thread)
    assert (state["next"], state["values"]["outcome"]) == ([], "routed")
    assert "done" in cli("threads", "--status", "done").out


def test_killed_in_the_middle_of_a_retry_it_goes_on_with_its_attempts(tmp_path: Path, model: OpenAIEndpoint) -> None:
    model.reset()
    model.responder, model.token_probability = support_responder, 0.99
    model.script(status(503, retry_after="14"), status(503))
    with studio_server(tmp_path, model) as server:
        with get_sync_client(url=server.url, api_key=None) as client:
            thread = client.threads.create()["thread_id"]
            ticket = {"text": "The export crashes with an error each time."}
            run = client.runs.create(thread, "support", input=ticket, context={"provider": "openai"})
            deadline = time.monotonic() + 30
            while model.calls < 1 or "retry" not in client.threads.get_state(thread)["next"]:
                assert time.monotonic() < deadline, "the retry did not begin"
                time.sleep(0.05)
        # What the server knows of its threads and runs is written each ten seconds.
        while not any(thread.encode() in path.read_bytes() for path in (tmp_path / ".langgraph_api").iterdir()):
            assert time.monotonic() < deadline, "the run was not written"
            time.sleep(0.1)
        server.kill()
        server.start()
        with get_sync_client(url=server.url, api_key=None) as client:
            client.runs.join(thread, run["run_id"])
            state: Any = client.threads.get_state(thread)
    assert state["values"]["outcome"], state
    tries = [attempt["n"] for attempt in state["values"]["attempts"] if attempt["step"] == "classify"]
    assert tries == [1, 2, 3]
    assert model.calls == 5


def test_it_is_ready_in_time_and_stops_cleanly_as_users_start_it(tmp_path: Path, model: OpenAIEndpoint) -> None:
    with embedded_directory() as redis:
        server = StudioServer(tmp_path, f"embedded:{redis}", model, "http://127.0.0.1:9")
        server.reload = True
        server.start()
        assert server.stop() == 0
    assert server.ready_s < 20


def test_it_stops_cleanly_and_nothing_left_the_machine(server: StudioServer, gone_out: tuple[str, list[str]]) -> None:
    """The last test of the module, after all that the server did."""
    assert asyncio.run(_ready(server))
    assert server.stop() == 0
    assert gone_out[1] == []


async def _ready(server: StudioServer) -> bool:
    import httpx

    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(f"{server.url}/ok")).status_code == 200
