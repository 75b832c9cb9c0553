"""Gates let nothing pass silently; decisions of people make derived fields stale."""

from __future__ import annotations

import time
import warnings
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel, TypeAdapter
from toy import Script, decision, toy_graph

from nodes import Check, Policy, Task, add_gate, fixed, validate_answer
from nodes.errors import InputError
from nodes.task import stale_fields
from state import ReviewDecision, ReviewRequest, SupportState
from state.review import ActionRequest, ReviewConfig
from tasks.support import TASKS

NOW = Policy(retries=1, backoff=fixed(0), on_exhausted="give_up")


def gated(*checks: Check, script: Script, policy: Policy = NOW, regenerations: int = 2, **providers: Any) -> Any:
    def extend(builder: Any, step: Any) -> None:
        add_gate(
            builder,
            step,
            field="word",
            source=lambda s: s.text,
            checks=checks,
            then="size",
            regenerations=regenerations,
            review="human_review",
        )

    return toy_graph(policy, then="gate", review=True, extend=extend, only=script, **providers)


def short(text: str, _source: str) -> str | None:
    return None if len(text) <= 3 else "longer than three letters"


def hang(_text: str, _source: str) -> str | None:
    time.sleep(0.5)
    return None


def broken(_text: str, _source: str) -> str | None:
    raise ZeroDivisionError("secret")


def test_a_refused_output_is_made_again_with_the_violation_and_more_temperature() -> None:
    script = Script("LONGER", "OK")
    values = gated(Check(name="short", run=short), script=script).invoke({"text": "hi"})
    assert values["word"] == "OK"
    assert [(v["visit"], v["passed"]) for v in values["verdicts"]] == [(0, False), (1, True)]
    assert "longer than three letters" in (script.calls[1].feedback or "")
    assert (script.calls[0].temperature, script.calls[1].temperature) == (0.0, pytest.approx(0.3))
    assert values["feedback"] == {}
    assert not values.get("degraded")


def test_regenerations_end_and_the_step_gives_up_with_the_reason() -> None:
    script = Script(*["LONGER"] * 9)
    values = gated(Check(name="short", run=short), script=script).invoke({"text": "hi"})
    assert len(script.calls) == 3
    assert values.get("word") is None
    assert values["outcome"] == "done without a word"
    assert values["degraded"]
    assert "no version passed its gate" in values["reasons"][0]


def test_an_exhausted_gate_climbs_the_ladder() -> None:
    from state import RunContext

    policy = Policy(retries=0, fallback=("safe",), on_exhausted="give_up")
    graph = gated(Check(name="short", run=short), script=Script(*["LONGER"] * 9), policy=policy, safe=Script("OK"))
    values = graph.invoke({"text": "hi"}, context=RunContext(provider="only"))
    assert values["word"] == "OK"
    assert "no version passed its gate" in values["reasons"][-1]
    assert "safe answered instead" in values["reasons"][-1]
    assert [(v["visit"], v["attempt"], v["passed"]) for v in values["verdicts"]] == [
        (0, 1, False),
        (1, 1, False),
        (2, 1, False),
        (2, 2, True),
    ]
    assert values["degraded"]
    assert values["provenance"]["word"]["provider"] == "safe"


@pytest.mark.parametrize("check", [hang, broken])
def test_a_check_that_hangs_or_raises_is_a_failed_verdict(check: Any) -> None:
    graph = gated(Check(name="odd", run=check, deadline=0.1), script=Script(), regenerations=0)
    values = graph.invoke({"text": "hi"})
    (verdict,) = values["verdicts"]
    assert not verdict["passed"]
    assert "secret" not in str(values)
    assert values["degraded"]


def test_a_recorded_violation_passes_and_says_so() -> None:
    values = gated(Check(name="short", run=short, action="record"), script=Script("LONGER")).invoke({"text": "hi"})
    assert values["word"] == "LONGER"
    assert values["degraded"]
    assert "longer than three" in values["reasons"][0]


def test_a_violation_can_go_to_a_person() -> None:
    graph = gated(Check(name="short", run=short, action="escalate"), script=Script("LONGER"))
    graph = graph.copy(update={"checkpointer": InMemorySaver()})
    config = {"configurable": {"thread_id": "t"}}
    (item,) = graph.invoke({"text": "hi"}, config)["__interrupt__"]
    assert "longer than three" in item.value["reasons"]["gate"]
    assert item.value["action_request"]["args"]["word"] == "LONGER"
    values = graph.invoke(Command(resume={item.id: decision("edit", {"word": "FINE"})}), config)
    assert (values["word"], values["size"]) == ("FINE", 4)


def test_the_derivations_of_the_support_pipeline() -> None:
    assert stale_fields({"category"}, TASKS) == {"urgency", "team", "draft"}
    assert stale_fields({"urgency"}, TASKS) == {"team", "draft"}
    assert stale_fields({"team"}, TASKS) == {"draft"}
    assert stale_fields({"draft"}, TASKS) == set()
    assert "category" in stale_fields({"text"}, TASKS)


def test_staleness_ends_on_cycles() -> None:
    class A(BaseModel):
        a: int

    class B(BaseModel):
        b: int

    cycle = {
        "x": Task(name="x", input=A, output=B, providers={}),
        "y": Task(name="y", input=B, output=A, providers={}),
    }
    assert stale_fields({"a"}, cycle) == {"b"}


REQUEST = ReviewRequest(
    action_request=ActionRequest(args={"category": "bug", "urgency": "low", "team": None, "draft": None}),
    reasons={"low_confidence": "unsure"},
)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"type": "edit", "args": {"category": "sales"}}, "category"),
        ({"type": "edit", "args": {"text": "x"}}, "cannot be edited"),
        ({"type": "edit", "args": {}}, "needs args"),
        ({"type": "edit"}, "needs args"),
        ({"type": "edit", "args": {"category": None}}, "null"),
        ({"type": "response", "args": "  "}, "empty"),
        ({"type": "response"}, "needs args"),
        ({"type": "maybe"}, "type"),
        ([], "exactly one"),
        ("accept", "does not fit"),
        (None, "does not fit"),
    ],
)
def test_an_answer_that_does_not_fit_says_why(answer: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        validate_answer(REQUEST, SupportState, answer)


def test_an_answer_that_is_not_offered_is_refused() -> None:
    closed = REQUEST.model_copy(update={"config": ReviewConfig(allow_accept=False)})
    with pytest.raises(InputError, match="possible: edit, response, reject"):
        validate_answer(closed, SupportState, {"type": "accept"})


@pytest.mark.parametrize(
    ("sent", "kind", "args"),
    [
        ([{"type": "accept", "args": None}], "accept", None),
        ([{"type": "ignore", "args": None}], "reject", None),
        ([{"type": "response", "args": "hello"}], "response", "hello"),
        ([{"type": "edit", "args": {"action": "triage", "args": {"urgency": "high"}}}], "edit", {"urgency": "high"}),
        ({"type": "edit", "args": {"urgency": "high"}}, "edit", {"urgency": "high"}),
        ({"decisions": [{"type": "approve"}]}, "accept", None),
        ({"decisions": [{"type": "reject", "message": "not ours"}]}, "reject", None),
        (
            {"decisions": [{"type": "edit", "edited_action": {"name": "triage", "args": {"urgency": "high"}}}]},
            "edit",
            {"urgency": "high"},
        ),
    ],
)
def test_the_forms_of_the_inboxes_are_understood(sent: Any, kind: str, args: Any) -> None:
    found = validate_answer(REQUEST, SupportState, sent)
    assert (found.type, found.args) == (kind, args)
    assert ReviewDecision.model_validate(found.model_dump()) == found


def test_the_request_has_the_shapes_that_the_inboxes_read() -> None:
    payload = REQUEST.payload()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LangChain has moved it to another package
        from langgraph.prebuilt.interrupt import HumanInterrupt
    # What Agent Inbox publishes as its schema (`HumanInterrupt`).
    read = TypeAdapter(HumanInterrupt).validate_python(payload, strict=True)
    assert (read["action_request"]["action"], read["action_request"]["args"]) == ("review", REQUEST.action_request.args)
    assert all(read["config"].values())
    # What Agent Chat UI asks of a question before it shows it (`isAgentInboxInterruptSchema`).
    (asked,), (config,) = payload["action_requests"], payload["review_configs"]
    assert isinstance(asked["name"], str)
    assert asked["args"] == asked["arguments"] == read["action_request"]["args"]
    assert asked["description"] == payload["description"]
    assert config == {"action_name": asked["name"], "allowed_decisions": ["approve", "edit", "reject"]}
    assert ReviewRequest.model_validate(payload) == REQUEST


def test_a_text_from_agent_inbox_refuses_where_a_text_is_no_answer() -> None:
    closed = REQUEST.model_copy(update={"config": ReviewConfig(allow_respond=False)})
    found = validate_answer(closed, SupportState, [{"type": "response", "args": "not ours"}])
    assert (found.type, found.comment) == ("reject", "not ours")
    with pytest.raises(InputError, match="response"):
        validate_answer(closed, SupportState, {"type": "response", "args": "not ours"})


@pytest.mark.parametrize("empty", [{}, {"yes": True}, {"decisions": [{}]}])
def test_an_answer_that_says_nothing_is_no_consent(empty: Any) -> None:
    with pytest.raises(InputError, match="what it is"):
        validate_answer(REQUEST, SupportState, empty)
