"""Secrets and personal data leave no trace in what is stored, whichever node raises."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from toy import Script, toy_graph

from nodes.errors import InputError, InvalidOutput, UnexpectedError
from state import redact, scrub
from state.records import ERROR_LIMIT, SCAN_LIMIT

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    [
        '{"api_key": "SECRET"}',
        "{'password': 'SECRET'}",
        "OPENAI_API_KEY=SECRET",
        "access_token=SECRET&x=1",
        "Incorrect API key provided: SECRET.",
        "Authorization: Basic SECRET",
        "'Authorization': 'Bearer SECRET'",
        "bearer SECRET",
        "redis://user:SECRET@host:6379/0",
        "redis://SECRET@host",
        "password = 'two SECRET words'",
        "client_secret:SECRET",
    ],
)
def test_a_secret_is_removed_in_every_form(text: str) -> None:
    cleaned = redact(f"call failed: {text.replace('SECRET', SECRET)}, try again")
    assert SECRET not in cleaned
    assert cleaned.startswith("call failed: ")


@pytest.mark.parametrize(
    "text",
    ["sk-proj-abcdef123456", "ghp_abcdefghij1234", "AKIAIOSFODNN7EXAMPLE", "eyJhbGciOiJ9.eyJzdWIi.c2ln",
     "jane.doe@example.com", "+49 170 1234567", "DE89 3704 0044 0532 0130 00", "4111 1111 1111 1111"],
)  # fmt: skip
def test_what_looks_like_a_key_or_a_person_is_removed(text: str) -> None:
    assert text not in redact(f"seen {text} here")


@pytest.mark.parametrize("text", ["HTTP 500 after 30 s", "max_tokens 4096 is too large", "field 'urgency': no value"])
def test_what_helps_at_2_am_stays(text: str) -> None:
    assert redact(text) == text


def test_a_megabyte_is_cut_before_it_is_searched() -> None:
    assert len(scrub("a" * 1_000_000)) == SCAN_LIMIT


@given(st.text(max_size=6000))
def test_the_result_is_one_short_line_and_redacting_again_changes_nothing_that_matters(text: str) -> None:
    cleaned = redact(text)
    assert len(cleaned) <= ERROR_LIMIT
    assert len(cleaned.splitlines()) <= 1


def stored(graph: Any) -> str:
    saver = graph.checkpointer
    return repr([(c.checkpoint, c.metadata, c.pending_writes) for c in saver.list(None)])


def test_a_node_and_a_route_of_the_users_own_are_redacted_before_langgraph_stores_them() -> None:
    def broken_node(_state: Any) -> Any:
        raise RuntimeError(f"password={SECRET}")

    def broken_route(_state: Any) -> str:
        raise RuntimeError(f"password={SECRET}")

    def with_node(builder: Any, _step: Any) -> None:
        builder.add_node("mine", broken_node)
        builder.add_edge("mine", "done")

    def with_route(builder: Any, _step: Any) -> None:
        builder.add_node("mine", lambda _s: {})
        builder.add_conditional_edges("mine", broken_route, ["done"])

    for extend in (with_node, with_route):
        graph = toy_graph(then="mine", extend=extend, only=Script()).copy(update={"checkpointer": InMemorySaver()})
        with pytest.raises(UnexpectedError, match="mine"):
            graph.invoke({"text": "hi"}, {"configurable": {"thread_id": "t"}})
        assert SECRET not in stored(graph)


def test_errors_of_ours_keep_their_type_and_lose_their_secrets() -> None:
    def broken_node(_state: Any) -> Any:
        raise InputError(f"token={SECRET} does not fit")

    def extend(builder: Any, _step: Any) -> None:
        builder.add_node("mine", broken_node)
        builder.add_edge("mine", "done")

    with pytest.raises(InputError, match=r"does not fit") as caught:
        toy_graph(then="mine", extend=extend, only=Script()).invoke({"text": "hi"})
    assert SECRET not in str(caught.value)


def test_feedback_to_the_next_attempt_is_stored_redacted() -> None:
    script = Script(InvalidOutput(f"api_key={SECRET}"))
    graph = toy_graph(only=script).copy(update={"checkpointer": InMemorySaver()})
    graph.invoke({"text": "hi"}, {"configurable": {"thread_id": "t"}})
    assert script.calls[1].feedback
    assert SECRET not in stored(graph)
