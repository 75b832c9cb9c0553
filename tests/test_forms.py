"""JSON schemas that clients make forms of: of inputs, and of the answers to a question."""

from __future__ import annotations

from typing import Annotated, Any

from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, Field, create_model

from graphs.handoff import HAND_OVER, Agent, build_handoff
from graphs.pattern import build_pattern
from nodes import work
from state import Checked, ReviewConfig, ReviewRequest, RunState, SupportState
from state.forms import answer_form
from state.review import ActionRequest


class Case(BaseModel):
    text: str = Field(description="What is asked.")
    customer: str = ""


class Verdict(BaseModel):
    solved: str = Field(description="How it was solved.")


def asked(config: ReviewConfig, **args: Any) -> ReviewRequest:
    return ReviewRequest(action_request=ActionRequest(args=args), config=config)


def test_an_answer_has_only_the_types_that_are_allowed() -> None:
    only = ReviewConfig(allow_edit=False, allow_respond=False, allow_ignore=False)
    form = answer_form(asked(only, step="draft"), RunState)
    assert form["properties"]["type"]["enum"] == ["accept"]
    assert "args" not in form["properties"]
    form = answer_form(asked(ReviewConfig(allow_accept=False, allow_edit=False)), SupportState)
    assert form["properties"]["type"]["enum"] == ["response", "reject"]
    assert [kind["type"] for kind in form["properties"]["args"]["anyOf"]] == ["string", "null"]


class Part(BaseModel):
    name: str
    inner: Part | None = None


class Odd:
    """A class that has no JSON schema."""


def test_an_edit_is_typed_by_the_state_with_what_its_types_refer_to() -> None:
    state = create_model("Parts", __base__=RunState, part=(Annotated[Part | None, Checked], None))
    form = answer_form(asked(ReviewConfig(), part=None), state)
    edit = form["properties"]["args"]["anyOf"][0]
    assert edit["properties"]["part"] == {"$ref": "#/$defs/Part"}
    assert list(form["$defs"]) == ["Part"]


def test_a_type_without_a_schema_does_not_keep_a_question_from_being_asked() -> None:
    odd = create_model("OddState", __config__={"arbitrary_types_allowed": True}, odd=(Odd | None, None))
    form = answer_form(asked(ReviewConfig(), odd=None), odd)
    assert form["properties"]["args"]["anyOf"][0]["properties"] == {"odd": {"title": "odd"}}


def test_graphs_that_are_built_tell_what_they_need() -> None:
    agents = [Agent("a", lambda _state, _call: {HAND_OVER: "b"}, ("b",)), Agent("b", lambda _state, _call: {})]
    handoff = build_handoff("desk", input=Case, result=Verdict, agents=agents, first="a", review=True)

    def upper(text: str) -> str:
        return text.upper()

    def joined(upper: str) -> str:
        return upper

    for graph in (handoff, build_pattern("up", input=Case, works=[work(upper)], aggregate=joined)):
        schema = graph.get_input_jsonschema()
        assert schema["required"] == ["text"]
        assert schema["properties"]["text"] == {"title": "Text", "type": "string", "description": "What is asked."}


def test_the_question_of_a_loop_says_what_can_be_settled() -> None:
    agents = [
        Agent("a", lambda _state, _call: {HAND_OVER: "b"}, ("b",)),
        Agent("b", lambda _state, _call: {HAND_OVER: "a"}, ("a",)),
    ]
    graph = build_handoff("desk", input=Case, result=Verdict, agents=agents, first="a", review=True)
    kept = graph.copy(update={"checkpointer": InMemorySaver()})
    config: Any = {"configurable": {"thread_id": "t"}}
    kept.invoke({"text": "x"}, config)
    (question,) = kept.get_state(config).interrupts
    form: Any = question.response_schema
    assert form["properties"]["args"]["anyOf"][0]["properties"] == {
        "solved": {"title": "Solved", "type": "string", "description": "How it was solved."}
    }
