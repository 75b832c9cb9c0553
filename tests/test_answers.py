"""Answers as clients send them: everything back, texts for numbers, and any JSON for questions of a graph's own."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from cli_tools import Cli
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import Field

import surefoot
from graphs.support import graph as support
from nodes import validate_answer
from nodes.edits import changed_args
from nodes.errors import InputError
from state import Checked, ReviewConfig, ReviewRequest, RunContext, RunState
from state.review import ActionRequest
from surefoot.answers import encoded, request_of, says_no, value_of
from surefoot.schemas import misfit, typed

EMBEDDED = RunContext(provider="embedded")


class Case(RunState):
    score: Annotated[float | None, Checked] = None
    number: Annotated[int, Checked] = 0
    sure: Annotated[bool, Checked] = False
    tags: Annotated[list[str], Checked] = Field(default_factory=list)
    text: Annotated[str | None, Checked] = None
    either: Annotated[int | str, Checked] = 1
    grade: Annotated[Literal["1", "2"], Checked] = "1"
    parts: Annotated[dict[str, int], Checked] = Field(default_factory=dict)


PROPOSED: dict[str, Any] = {
    "score": 0.8, "number": 2**60 + 1, "sure": True, "tags": ["a", "b"], "text": "Dear Ada,\nhello", "either": 1,
    "grade": "1", "parts": {"a": 1}, "team": None,
}  # fmt: skip


def edit(**edits: Any) -> dict[str, Any]:
    return changed_args(ReviewRequest(action_request=ActionRequest(args=PROPOSED)), Case, edits)


def as_form(value: Any) -> Any:
    """What a form in a browser returns for an argument that nobody touched, or that was reset."""
    return value.replace("\n", "\r\n") if isinstance(value, str) else json.dumps(value)


def through_javascript(value: Any) -> Any:
    """JavaScript has doubles alone: `JSON.parse` rounds a large number."""
    return int(float(value)) if isinstance(value, int) and not isinstance(value, bool) else value


@pytest.mark.parametrize(
    "client", [lambda value: value, as_form, through_javascript, lambda v: json.loads(json.dumps(v))]
)
def test_what_is_as_it_was_proposed_is_no_edit(client: Any) -> None:
    assert edit(**{name: client(value) for name, value in PROPOSED.items()}) == {}
    assert edit(team="") == {}


@pytest.mark.parametrize(
    ("field", "sent", "stored"),
    [
        ("score", "0.9", 0.9),
        ("score", 1, 1.0),
        ("number", "12", 12),
        ("number", 12.0, 12),
        ("sure", "false", False),
        ("sure", "False", False),
        ("sure", False, False),
        ("tags", '["a"]', ["a"]),
        ("tags", [], []),
        ("parts", '{"a": 2}', {"a": 2}),
        ("text", "Dear Ada,\r\nbye\r\n", "Dear Ada,\nbye\n"),
        ("text", "5", "5"),
        ("text", '{"a": 1}', '{"a": 1}'),
        ("either", 5, 5),
        ("either", "five", "five"),
        ("grade", "2", "2"),
    ],
)
def test_a_changed_field_is_converted_by_its_type(field: str, sent: Any, stored: Any) -> None:
    found = edit(**{field: sent})
    assert found == {field: stored}
    assert type(found[field]) is type(stored)


@pytest.mark.parametrize(
    ("field", "sent", "why"),
    [
        ("score", "high", "score: Input should be a valid number"),
        ("score", True, "score: Input should be a number, not true"),
        ("score", "nan", "finite"),
        ("number", "2.5", "number: Input should be a valid integer"),
        ("sure", "maybe", "sure: Input should be a valid boolean"),
        ("tags", "a, b", "tags: Input should be a valid list"),
        ("tags", "[1]", "tags.0: Input should be a valid string"),
        ("text", None, "null is no value"),
        ("text", "null", "null is no value"),
        ("score", "null", "null is no value"),
        ("either", "5", "may be meant as either"),
        ("grade", 2, "Input should be '1' or '2'"),
        ("team", "sales", "'team' is only shown"),
        ("other", 1, "'other' cannot be edited here; editable: score"),
    ],
)
def test_an_edit_with_two_meanings_or_none_is_refused(field: str, sent: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        edit(**{field: sent})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(json_values)
def test_no_value_is_an_edit_of_itself(value: Any) -> None:
    request = ReviewRequest(action_request=ActionRequest(args={"x": value}))
    assert changed_args(request, None, {"x": json.loads(json.dumps(value))}) == {}
    if not isinstance(value, str):
        assert changed_args(request, None, {"x": json.dumps(value)}) == {}


def asked(**config: bool) -> ReviewRequest:
    return ReviewRequest(
        action_request=ActionRequest(action="triage", args={"text": "x", "score": 0.8}), config=ReviewConfig(**config)
    )


def inbox(kind: str, **args: Any) -> list[dict[str, Any]]:
    return [{"type": kind, "args": {"action": "triage", "args": args}}]


def test_an_edit_that_changes_nothing_is_an_accept() -> None:
    for same in (
        inbox("edit", text="x", score="0.8"),
        {"type": "edit", "args": {"text": "x"}},
        inbox("accept", text="x"),
    ):
        found = validate_answer(asked(), Case, same)
        assert (found.type, found.args, found.edits) == ("accept", None, {})
    with pytest.raises(InputError, match="changes nothing"):
        validate_answer(asked(allow_accept=False), Case, inbox("edit", text="x", score=0.8))
    only = validate_answer(asked(allow_accept=False), Case, inbox("edit", text="x", score="0.5"))
    assert (only.type, only.edits) == ("edit", {"score": 0.5})


def test_an_accept_with_other_values_is_refused() -> None:
    with pytest.raises(InputError, match="'accept' but changes text: send it as an edit"):
        validate_answer(asked(), Case, inbox("accept", text="y"))
    with pytest.raises(InputError, match="about the action 'pay_out', this review is about 'triage'"):
        validate_answer(
            asked(),
            Case,
            {"decisions": [{"type": "edit", "edited_action": {"name": "pay_out", "args": {"text": "y"}}}]},
        )


def test_the_newest_words_of_langchain_are_understood() -> None:
    found = validate_answer(asked(), Case, {"decisions": [{"type": "respond", "message": "Dear Ada,\r\nyes"}]})
    assert (found.type, found.args) == ("response", "Dear Ada,\nyes")
    found = validate_answer(asked(), Case, [{"type": "ignore", "args": "not ours"}])
    assert (found.type, found.args, found.comment) == ("reject", None, "not ours")


@pytest.mark.parametrize("form", ["inbox", "chat", "flat"])
def test_a_whole_proposal_with_two_changes_computes_again_what_depends_on_them(form: str) -> None:
    app = support.copy(update={"checkpointer": InMemorySaver()})
    config: RunnableConfig = {"configurable": {"thread_id": "t"}}
    stopped = app.invoke({"text": "Nobody can log in, production is down!"}, config, context=EMBEDDED)
    (question,) = stopped["__interrupt__"]
    args = {**question.value["action_request"]["args"], "category": "billing", "urgency": "low"}
    assert args["draft"] is None
    assert args["team"] == "escalations"
    answer = {
        "inbox": inbox("edit", **args),
        "chat": {"decisions": [{"type": "edit", "edited_action": {"name": "triage", "args": args}}]},
        "flat": {"type": "edit", "args": args},
    }[form]
    done = app.invoke(Command(resume={question.id: answer}), config, context=EMBEDDED)
    assert (done["category"], done["urgency"], done["team"], done["outcome"]) == ("billing", "low", "finance", "routed")
    assert done["draft"]
    assert done["review"][-1]["decision"]["args"] == {"category": "billing", "urgency": "low"}


HUMAN_INTERRUPT = {
    "action_request": {"action": "pay", "args": {"amount": 5, "urgent": False}},
    "config": {"allow_accept": True, "allow_edit": True, "allow_respond": False, "allow_ignore": True},
    "description": "Pay it?",
}
"""As Agent Inbox documents it; its node reads a list of one answer."""

HITL = {
    "action_requests": [{"name": "pay", "args": {"amount": 5, "urgent": False}, "description": "Pay it?"}],
    "review_configs": [{"action_name": "pay", "allowed_decisions": ["approve", "edit", "reject"]}],
}
"""As LangChain's human in the loop asks; its node reads decisions."""


@pytest.mark.parametrize(
    ("answer", "in_inbox", "in_decisions"),
    [
        ({"type": "accept"}, [{"type": "accept", "args": HUMAN_INTERRUPT["action_request"]}], [{"type": "approve"}]),
        ("reject", [{"type": "ignore", "args": None}], [{"type": "reject"}]),
        (
            {"type": "edit", "args": {"amount": "7", "urgent": "true"}},
            [{"type": "edit", "args": {"action": "pay", "args": {"amount": 7, "urgent": True}}}],
            [{"type": "edit", "edited_action": {"name": "pay", "args": {"amount": 7, "urgent": True}}}],
        ),
    ],
)
def test_a_node_gets_the_form_that_its_question_has(answer: Any, in_inbox: Any, in_decisions: Any) -> None:
    for value in (HUMAN_INTERRUPT, [HUMAN_INTERRUPT]):
        form, request = request_of(value) or ("", None)
        assert (form, request and request.description) == ("inbox", "Pay it?")
        assert encoded("inbox", request, {"type": answer} if isinstance(answer, str) else answer) == in_inbox  # type: ignore[arg-type]
    form, request = request_of(HITL) or ("", None)
    assert form == "decisions"
    found = encoded("decisions", request, {"type": answer} if isinstance(answer, str) else answer)  # type: ignore[arg-type]
    assert found == {"decisions": in_decisions}
    with pytest.raises(InputError, match="possible: accept, edit, reject"):
        encoded("decisions", request, {"type": "response", "args": "x"})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [False, True, 0, 1.5, None, [], ["a"], {}, {"approved": False}, {"type": "refund"}])
def test_a_question_of_ones_own_takes_any_json(value: Any) -> None:
    for answer in (value, {"type": "response", "args": value}, Command(resume=value)):
        found = value_of(answer, None)
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize(
    "no",
    ["no", "No.", "NO!", "false", "False", "0", "null", "[]", "", " ", "Nein, bitte nicht", "do not send", "Don't", "n",
     "не", "Absolutely not", "reject", "off", "stop it"],
)  # fmt: skip
def test_a_text_that_says_no_is_never_true(no: str) -> None:
    for answer in ({"type": "response", "args": no}, [{"type": "response", "args": no}], *([no] * (no != "reject"))):
        with pytest.raises(InputError):
            value_of(answer, None)
    assert value_of(Command(resume=no), None) == no


@pytest.mark.parametrize("text", ["two left", "Ada", "yes", "November", "Nora", "It is 5 o'clock", "Nothing else"])
def test_any_other_text_is_itself(text: str) -> None:
    assert not says_no(text)
    assert value_of(text, None) == value_of({"type": "response", "args": text}, None) == text


@pytest.mark.parametrize(
    "decision",
    ["accept", "reject", {"type": "reject"}, {"type": "accept"}, [{"type": "ignore", "args": None}],
     [{"type": "accept", "args": {"action": "x", "args": {}}}], {"decisions": [{"type": "reject", "message": "no"}]},
     {"type": "edit", "args": {"a": 1}}, {"decisions": [{"type": "approve"}]}],
)  # fmt: skip
def test_a_decision_is_no_value(decision: Any) -> None:
    with pytest.raises(InputError, match=r"what '(accept|reject|edit)' would mean to it is not known"):
        value_of(decision, None)
    assert value_of(Command(resume=decision), None) == decision


BOOLEAN = {"type": "boolean"}
FORM = {"type": "object", "required": ["ok"], "properties": {"ok": {"$ref": "#/$defs/Yes"}}, "$defs": {"Yes": BOOLEAN}}


def test_a_question_that_names_its_type_gets_it() -> None:
    assert [value_of(text, BOOLEAN) for text in ("no", "false", "False", "yes", "true")] == [False] * 3 + [True] * 2
    assert value_of({"type": "response", "args": "12"}, {"type": "integer"}) == 12
    assert value_of("no", {"type": "string"}) == "no"
    assert value_of("no", {"anyOf": [BOOLEAN, {"type": "string"}]}) == "no"
    assert value_of('{"ok": false}', FORM) == {"ok": False}
    for wrong, why in ((5, "object is needed"), ({}, "'ok' is missing"), ({"ok": "no"}, "ok: boolean is needed")):
        with pytest.raises(InputError, match=why):
            value_of(wrong, FORM)
    with pytest.raises(InputError, match="boolean is needed, this is string"):
        value_of("perhaps", BOOLEAN)
    assert misfit({"enum": ["a", 1]}, True)
    assert not misfit({"enum": ["a", 1]}, 1)
    assert typed({"type": "array", "items": {"type": "integer"}}, "[1, 2]") == [1, 2]


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(InputError, match="no JSON"):
        value_of({1, 2}, None)


MAILER = """
from typing import Annotated
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from nodes import compile_graph
from state import Checked, RunState

class Mail(RunState):
    text: Annotated[str, Checked] = ""
    sent: Annotated[bool | None, Checked] = None
    got: Annotated[str, Checked] = ""

def approve(state: Mail):
    approved = interrupt({"question": "Send this mail?", "text": state.text, "reasons": ["r"], "due_at": "soon"})
    return {"sent": bool(approved), "got": repr(approved), "outcome": "done"}

builder = StateGraph(Mail)
builder.add_node("approve", approve)
builder.add_edge(START, "approve")
builder.add_edge("approve", END)
graph = compile_graph(builder, name="mailer", version="1")
"""


@pytest.fixture
def mailer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli_url: str) -> Iterator[str]:
    """A graph whose node asks for yes or no, under a name of its own."""
    import sys

    (tmp_path / "mailer_of_mine.py").write_text(MAILER)
    monkeypatch.syspath_prepend(tmp_path)
    yield "mailer_of_mine:graph"
    sys.modules.pop("mailer_of_mine", None)


def ask(mailer: str, url: str, name: str) -> str:
    asyncio.run(surefoot.arun(mailer, {"text": "Dear all"}, id=name, rerun=True, url=url))
    return f"mailer:{name}"


def test_python_values_reach_the_node_as_they_are(mailer: str, cli_url: str) -> None:
    for number, value in enumerate((False, 0, None, [], ["a"], {"approved": False}, True)):
        result = surefoot.resume(ask(mailer, cli_url, f"py{number}"), value, url=cli_url)
        assert (result.status, result.row["sent"], result.row["got"]) == ("done", bool(value), repr(value))
    thread = ask(mailer, cli_url, "left")
    with pytest.raises(surefoot.UsageError, match="waits for a person"):
        surefoot.resume(thread, url=cli_url)
    for answer in ({"type": "reject"}, {"type": "response", "args": "false"}, "no", [{"type": "ignore", "args": None}]):
        with pytest.raises(InputError):
            surefoot.resume(thread, answer, url=cli_url)
    assert [one.record.key for one in surefoot.pending(thread, url=cli_url)] == [thread]


def test_the_command_line_sends_json(cli: Cli, mailer: str, cli_url: str) -> None:
    thread = ask(mailer, cli_url, "cli")
    shown = cli("review", thread)
    assert shown.status == 0, shown.err
    assert "Send this mail?" in shown.out
    assert "{" not in shown.out
    assert "--respond-json -" in shown.out
    for arguments in (["--respond", "no"], ["--respond", "hold it"], ["--reject"], ["--accept"], ["--edit", '{"a": 1}'],
                      ["--respond-json", "no"], ["--respond", "Do not send this to anybody"]):  # fmt: skip
        refused = cli("review", thread, *arguments)
        assert (refused.status, refused.out) == (2, ""), arguments
        assert "--respond-json" in refused.err
        assert refused.err.count("\n") == 1
    assert cli("review", thread, "--respond-json", "false", "--json").json["sent"] is False
    told = cli("review", ask(mailer, cli_url, "text"), "--respond", "no").err
    exact = shlex.split(told.rpartition("--respond-json ")[2])[0]
    assert cli("review", "mailer:text", "--respond-json", exact, "--json").json["got"] == "'no'"


def test_an_edit_of_nothing_says_so(cli: Cli, tmp_path: Path) -> None:
    from cli_tools import TICKETS, write_tickets

    path = write_tickets(tmp_path / "t.jsonl", {"down": TICKETS["down"]})
    cli("run", "support", path, "--provider", "embedded", "--namespace", "same")
    proposed = cli("review", "same/support:down", "--json").json[0]["action_request"]["args"]
    found = cli("review", "same/support:down", "--edit", json.dumps(proposed))
    assert found.status == 0
    assert "accepted as proposed, since the edit changes nothing, now done (routed)" in found.out
