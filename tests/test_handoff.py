"""The handoff style: the same results as with edges in the middle, and an end to every loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START
from langgraph.types import Command, Send
from pydantic import BaseModel
from typing_extensions import TypedDict

from graphs import desks, support, support_handoff
from graphs.handoff import HAND_OVER, Agent, build_handoff
from nodes import HandoffGraph, Policy, compile_graph, fixed
from nodes.errors import ConfigurationError, InputError
from state import RunContext
from surefoot.testing import OpenAIEndpoint, support_responder
from surefoot.testing.faults import status

TICKETS = [
    json.loads(line)
    for line in (Path(__file__).resolve().parent.parent / "examples" / "tickets.jsonl").read_text().splitlines()
]
COMPARED = ("category", "confidence", "urgency", "team", "draft", "outcome", "degraded", "reasons", "escalations")
CLOCK = {
    "started_at",
    "latency_ms",
    "queued_ms",
    "timeout_ms",
    "at",
    "decided_at",
    "id",
    "failed_at",
    "wait_ms",
    "until",
}


def story(values: dict[str, Any]) -> dict[str, Any]:
    """Return what happened without the times at which it did."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(item) for key, item in value.items() if key not in CLOCK}
        return [timeless(item) for item in value] if isinstance(value, list) else value

    kept = (*COMPARED, "attempts", "retry_decisions", "verdicts", "visits", "failures", "provenance")
    return {name: timeless(values.get(name)) for name in kept}


def test_both_styles_decide_alike_over_the_shipped_tickets() -> None:
    context = RunContext(provider="embedded")
    given = [
        {key: row[key] for key in ("text", "subject", "customer", "created_at") if key in row} for row in TICKETS[::2]
    ]
    central = support.graph.batch(given, context=context)
    handed = support_handoff.graph.batch(given, context=context)
    assert len(central) >= 100
    for row, first, second in zip(TICKETS[::2], central, handed, strict=True):
        assert story(first) == story(second), row["id"]


def test_both_styles_have_the_same_nodes_and_ways() -> None:
    central, handed = support.graph.get_graph(), support_handoff.graph.get_graph()
    assert set(central.nodes) == set(handed.nodes)
    assert {(e.source, e.target) for e in central.edges} == {(e.source, e.target) for e in handed.edges}
    assert not support_handoff.graph.builder.branches.keys() - {START}


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_question_waits_and_goes_on_in_both_styles(durability: Any) -> None:
    found = []
    for graph in (support.graph, support_handoff.graph):
        kept = graph.copy(update={"checkpointer": InMemorySaver()})
        config: Any = {"configurable": {"thread_id": str(uuid4())}}
        context = RunContext(provider="embedded")
        critical = {"text": "Our whole company is locked out, production is down for all users and data is leaking!"}
        kept.invoke(critical, config, context=context, durability=durability)
        (question,) = kept.get_state(config).interrupts
        edit = {question.id: {"type": "edit", "args": {"category": "account"}}}
        kept.invoke(Command(resume=edit), config, context=context, durability=durability)
        (question,) = kept.get_state(config).interrupts or (None,)
        if question:
            kept.invoke(Command(resume={question.id: {"type": "accept"}}), config, context=context)
        found.append(story(kept.get_state(config).values))
    assert found[0] == found[1]
    assert found[0]["outcome"] == "routed"


@pytest.mark.parametrize("faults", [[503], [503, 503, 503, 503, 503], [429, 500], [400]])
def test_retries_fallbacks_and_giving_up_are_the_same_in_both_styles(
    faults: list[int], openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("classify", "urgency", "draft"):
        monkeypatch.setitem(support.POLICIES[name].__dict__, "backoff", fixed(0.01))
    found = []
    for graph in (support.graph, support_handoff.graph):
        openai_endpoint.reset()
        openai_endpoint.responder = support_responder
        openai_endpoint.script(*(status(code, retry_after="0.01") for code in faults))
        given = {"text": "The export crashes each time."}
        found.append(story(graph.invoke(given, context=RunContext(provider="openai"))))
    assert found[0] == found[1]
    assert len(found[0]["attempts"]) > 3


class Small(TypedDict, total=False):
    n: int
    said: list[str]


def test_a_foreign_state_works_and_a_node_that_goes_by_itself_has_the_last_word() -> None:
    builder = HandoffGraph(Small)
    builder.add_edge(START, "first")
    builder.add_agent(
        "first",
        lambda state: {"n": state["n"] + 1},
        then=(lambda s: "big" if s["n"] > 5 else "small", ["big", "small"]),
    )
    builder.add_agent("small", lambda _state: Command(update={"said": ["small"]}, goto="big"), then=END)
    builder.add_agent("big", lambda state: {"said": [*state.get("said", []), "big"]}, then=END)
    graph = compile_graph(builder, name="small", version="1")
    assert graph.invoke({"n": 9})["said"] == ["big"]
    assert graph.invoke({"n": 1}) == {"n": 2, "said": ["small", "big"]}


def test_ways_out_that_nobody_can_draw_are_refused() -> None:
    builder = HandoffGraph(Small)
    with pytest.raises(TypeError, match="name all nodes"):
        builder.add_conditional_edges("a", lambda _s: "b")
    with pytest.raises(ValueError, match="add_group"):
        builder.add_edge(["a", "b"], "c")
    builder.add_edge("ghost", END)
    with pytest.raises(ValueError, match="'ghost' hands over, but is not there"):
        builder.compile()


def small(then: Any) -> Any:
    builder = HandoffGraph(Small)
    builder.add_conditional_edges(START, lambda state: "first" if state["n"] else "last", ["first", "last"])
    builder.add_agent("first", lambda _state: {}, then=(then, ["last", "other"]))
    builder.add_agent("other", lambda state: {"n": state["n"] + 1}, then="last")
    builder.add_agent("last", lambda state: {"said": [f"last {state['n']}"]}, then=END)
    return compile_graph(builder, name="small", version="1")


def test_the_start_may_choose_and_a_node_may_hand_over_to_several() -> None:
    assert small(lambda _state: "last").invoke({"n": 0})["said"] == ["last 0"]
    assert small(lambda _state: ["other"]).invoke({"n": 1})["said"] == ["last 2"]
    assert small(lambda _state: [Send("last", {"n": 7})]).invoke({"n": 1})["said"] == ["last 7"]


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (None, "node 'first' hands over to a NoneType: let `then` return the name of a node"),
        ("nobody", r"node 'first' hands over to 'nobody', which it does not name: add it to \['last', 'other'\]"),
        ([Send("first", {})], "hands over to 'first', which it does not name"),
    ],
)
def test_a_way_out_that_was_not_named_is_told(found: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        small(lambda _state: found).invoke({"n": 1})


@pytest.mark.parametrize("node", sorted(set(support.graph.nodes) - {START}))
def test_an_update_in_the_place_of_a_node_goes_on_alike_in_both_styles(node: str) -> None:
    """What Studio does when a person edits the state at a node, and forks there."""
    after = []
    for graph in (support.graph, support_handoff.graph):
        kept = graph.copy(update={"checkpointer": InMemorySaver()})
        config: Any = {"configurable": {"thread_id": "t"}}
        # Nothing has run: this node is the first that is known of.
        values = {
            "text": "The export crashes.",
            "category": "bug",
            "confidence": 0.9,
            "urgency": "low",
            "team": "product",
        }
        found = [kept.get_state(kept.update_state(config, values, as_node=node)).next]
        asked: dict[str, Any] = {"escalations": {"critical": "it is critical"}} if node == "assess" else {"team": None}
        for update in ({"draft": "Thank you, we look into it."}, asked, None):
            found.append(kept.get_state(kept.update_state(config, update, as_node=node)).next)
        after.append(found)
    assert after[0] == after[1]
    assert any(after[0]) == (node not in {"finish", "retry"}), "a node of no way out, or one whose own command says it"


def test_an_edited_and_forked_thread_ends_alike_in_both_styles() -> None:
    found = []
    context = RunContext(provider="openai", providers={"draft": "embedded"})
    for graph in (support.graph, support_handoff.graph):
        kept = graph.copy(update={"checkpointer": InMemorySaver()})
        config: Any = {"configurable": {"thread_id": "t"}}
        given = {"text": "I was charged twice.", "category": "billing", "confidence": 0.9, "urgency": "low"}
        forked = kept.update_state(config, given | {"category": "bug"}, as_node="urgency")
        found.append(story(kept.invoke(None, forked, context=context)))
    assert found[0] == found[1]
    assert (found[0]["team"], found[0]["outcome"]) == ("engineering", "routed")


@pytest.mark.parametrize(
    ("text", "desk"),
    [
        ("Hello, the VAT on my invoice is wrong, I am tax exempt.", "tax"),
        ("How do I export a PDF report to download?", "exports"),
        ("The API token for our webhook endpoint is refused.", "api"),
        ("Good morning!", "reception"),
    ],
)
def test_twenty_four_desks_hand_a_ticket_to_the_one_that_knows(text: str, desk: str) -> None:
    assert len(desks.WORDS) == 24
    result = desks.graph.invoke({"text": text})
    assert (result["desk"], result["outcome"]) == (desk, "done")
    assert [h["to"] for h in result.get("handovers", [])] == ([desk] if desk != "reception" else [])


class Case(BaseModel):
    text: str


class Verdict(BaseModel):
    solved: str
    notes: list[str]


def ring(count: int, learn: bool, **options: Any) -> Any:
    """Agents in a circle, each of which finds that the next one should do it."""

    def pass_on(at: int) -> Any:
        def work(state: Any, _call: Any) -> dict[str, Any]:
            update: dict[str, Any] = {HAND_OVER: (f"agent_{(at + 1) % count}", "not mine")}
            return update | {"notes": [*(state.notes or []), f"agent_{at}"]} if learn else update

        return work

    agents = [Agent(f"agent_{n}", pass_on(n), (f"agent_{(n + 1) % count}",), Policy(retries=0)) for n in range(count)]
    return build_handoff("ring", input=Case, result=Verdict, agents=agents, first="agent_0", **options)


def test_a_loop_among_24_agents_ends_where_it_begins_again() -> None:
    result = ring(24, learn=False).invoke({"text": "whose is this?"})
    assert result["outcome"] == "stopped"
    assert result["degraded"] is True
    assert len(result.get("handovers", [])) == 24
    assert "agent_0 would get the same work again" in result["reasons"][0]


def test_the_first_agent_does_not_get_the_same_work_twice() -> None:
    worked: list[str] = []

    def pass_to(other: str) -> Any:
        def work(_state: Any, _call: Any) -> dict[str, Any]:
            worked.append("a" if other == "b" else "b")
            return {HAND_OVER: other}

        return work

    agents = [Agent("a", pass_to("b"), ("b",)), Agent("b", pass_to("a"), ("a",))]
    result = build_handoff("pair", input=Case, result=Verdict, agents=agents, first="a").invoke({"text": "x"})
    assert worked == ["a", "b"]
    assert result["reasons"] == ["a would get the same work again: a -> b -> a"]


def test_a_loop_in_which_something_is_learned_ends_at_the_most_handovers() -> None:
    result = ring(4, learn=True).invoke({"text": "whose is this?"})
    assert result["outcome"] == "stopped"
    assert "more than 12 handovers" in result["reasons"][0]
    assert len(ring(4, learn=True, max_handovers=5).invoke({"text": "x"})["handovers"]) == 6


def test_with_review_a_person_settles_a_loop_and_another_turn_begins_afresh() -> None:
    graph = ring(3, learn=False, review=True).copy(update={"checkpointer": InMemorySaver()})
    config: Any = {"configurable": {"thread_id": "t"}}
    graph.invoke({"text": "whose is this?"}, config)
    (question,) = graph.get_state(config).interrupts
    assert "same work again" in question.value["description"]
    answer = {question.id: {"type": "edit", "args": {"solved": "by hand"}}}
    result = graph.invoke(Command(resume=answer), config)
    assert (result["solved"], result["outcome"], result["degraded"]) == ("by hand", "done", True)
    assert "same work again" in result["reasons"][0]
    again = graph.invoke({"text": "and this?"}, config)
    assert again.get("solved") is None
    (question,) = graph.get_state(config).interrupts
    assert graph.invoke(Command(resume={question.id: {"type": "reject"}}), config)["outcome"] == "rejected"
    assert ring(3, learn=False, review=True).invoke({"text": "nobody can be asked"})["outcome"] == "stopped"


def test_what_an_agent_gave_up_on_is_stopped() -> None:
    def fail(_state: Any, _call: Any) -> dict[str, Any]:
        raise RuntimeError

    policy = Policy(retries=0)
    agents = [Agent("a", lambda _s, _c: {HAND_OVER: "b"}, ("b",), policy), Agent("b", fail, (), policy)]
    result = build_handoff("gone", input=Case, result=Verdict, agents=agents, first="a").invoke({"text": "x"})
    assert (result["outcome"], result["degraded"]) == ("stopped", True)


def test_a_handover_to_somebody_unknown_is_tried_again_and_then_told() -> None:
    tries = []

    def lost(_state: Any, call: Any) -> dict[str, Any]:
        tries.append(call.feedback)
        return {HAND_OVER: "nobody"} if len(tries) < 2 else {"solved": "yes"}

    agents = [Agent("a", lost, ("b",), Policy(retries=2, backoff=fixed(0))), Agent("b", lambda _s, _c: {"solved": "b"})]
    result = build_handoff("lost", input=Case, result=Verdict, agents=agents, first="a").invoke({"text": "x"})
    assert (result["solved"], len(tries)) == ("yes", 2)
    assert "it may to: b" in str(tries[1])


@pytest.mark.parametrize(
    ("agents", "first", "told"),
    [
        ([Agent("a", lambda _s, _c: {}), Agent("a", lambda _s, _c: {})], "a", "two agents are called 'a'"),
        ([Agent("a", lambda _s, _c: {})], "b", "'b' is to begin, but is no agent"),
        ([Agent("a", lambda _s, _c: {}, ("c",))], "a", "'c', which is no agent"),
        ([Agent("a", lambda _s, _c: {}), Agent("b", lambda _s, _c: {})], "a", "nobody hands over to b"),
    ],
)
def test_agents_that_do_not_fit_together_are_told(agents: list[Agent], first: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        build_handoff("bad", input=Case, result=Verdict, agents=agents, first=first)


def test_a_missing_input_is_told() -> None:
    with pytest.raises(InputError, match="text"):
        desks.graph.invoke({"text": ""})
