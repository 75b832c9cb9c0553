"""Secrets and personal data leave no trace in what is stored, whichever node raises."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from toy import Script, toy_graph

from nodes.errors import InputError, InvalidOutput, UnexpectedError
from state import Failure, has_stray_credentials, mask_url, redact, scrub
from state.redaction import ERROR_LIMIT, HIDDEN, SCAN_LIMIT

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
        "'404 Not Found' for url 'https://models.example/v1beta/models/m:generateContent?key=SECRET'",
    ],
)
def test_a_secret_is_removed_in_every_form(text: str) -> None:
    cleaned = redact(f"call failed: {text.replace('SECRET', SECRET)}, try again")
    assert SECRET not in cleaned
    assert cleaned.startswith("call failed: ")


@pytest.mark.parametrize(
    "text",
    ["sk-proj-abcdef123456", "AIzaSyA-1234567890abcdefghijklmnopqrstu", "hf_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
     "lsv2_pt_0123456789abcdef0123456789abcdef_0123456789", "xai-0123456789abcdef0123456789", "ghs_abcdefghij1234",
     "ghp_abcdefghij1234", "AKIAIOSFODNN7EXAMPLE", "eyJhbGciOiJ9.eyJzdWIi.c2ln",
     "jane.doe@example.com", "+49 170 1234567", "DE89 3704 0044 0532 0130 00", "4111 1111 1111 1111"],
)  # fmt: skip
def test_what_looks_like_a_key_or_a_person_is_removed(text: str) -> None:
    assert text not in redact(f"seen {text} here")


@pytest.mark.parametrize("text", ["HTTP 500 after 30 s", "max_tokens 4096 is too large", "field 'urgency': no value"])
def test_what_helps_at_2_am_stays(text: str) -> None:
    assert redact(text) == text


def test_a_megabyte_is_cut_before_it_is_searched() -> None:
    assert len(scrub("a" * 1_000_000)) == SCAN_LIMIT


WITH_SECRETS = (
    "redis://u:SECRET@host:6379/0", "redis://:SEC/RET@host", "'redis://:SEC RET@h', try", "https://h/v1?api-key=SECRET&n=1",
    "password: ask for it", "api_key=SECRET]]", '{"token": "SEC RET"}', "Authorization: Bearer SECRET", "bearer SECRET",
    "sk-proj-SECRET", "jane.doe@example.com", "+49 170 1234567", "[redacted]", "[e-mail]", "[redac", "]]", "password=",
    "://", "@", "secret:[number]x", "AKIASECRETSECRET1",
)  # fmt: skip
FRAGMENTS = st.lists(st.sampled_from(WITH_SECRETS) | st.text(max_size=12), max_size=40)
BETWEEN = st.sampled_from(["", " ", "  ", ": ", "\n", ", ", "="])


@given(FRAGMENTS, BETWEEN)
def test_redacting_again_changes_nothing(parts: list[str], between: str) -> None:
    text = between.join(parts).replace("SEC RET", SECRET)
    cleaned = redact(text)
    assert len(cleaned) <= ERROR_LIMIT
    assert len(cleaned.splitlines()) <= 1
    assert redact(cleaned) == cleaned
    assert scrub(scrub(text)) == scrub(text)


@given(st.text(max_size=6000))
def test_any_text_becomes_one_short_line_once_and_for_all(text: str) -> None:
    cleaned = redact(text)
    assert len(cleaned) <= ERROR_LIMIT
    assert len(cleaned.splitlines()) <= 1
    assert redact(cleaned) == cleaned
    assert len(scrub(text)) <= SCAN_LIMIT
    assert scrub(scrub(text)) == scrub(text)


def test_a_text_that_is_stored_and_read_many_times_stays_as_it_was() -> None:
    told = "the job (password: hunter2) failed at redis://:pa/ss@h, authorization: Bearer abcdefgh12, mail a@b.example"
    once = Failure(error=told)
    again = once
    for _ in range(5):
        again = Failure.model_validate(again.model_dump())
    assert again == once
    assert once.error == (
        "the job (password: [redacted]) failed at redis://[redacted] authorization: Bearer [redacted], mail [e-mail]"
    )


def test_a_mark_is_not_cut_in_two() -> None:
    for length in range(180, ERROR_LIMIT + 1):
        cleaned = redact("x" * length + " password=" + SECRET + " and more of it")
        assert "[" not in cleaned or "[redacted]" in cleaned
        assert redact(cleaned) == cleaned


SPECIAL = "/@#?%:[]&='\"<>,;!$ "
PASSWORDS = (
    [f"Pa{char}Ss" for char in SPECIAL] + [f"{char}PaSs" for char in SPECIAL] + ["PaSs%2FPaSs", "Pa℀Ss", "Pä/Ss"]
)


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize(
    "url",
    [
        "redis://:{}@host.example:6379/0", "rediss://ida:{}@host.example/0", "redis://{}@host.example", "unix://:{}@/tmp/s",
        "redis+sentinel://:{}@a.example:1,b.example:2/main/0?sentinel_password={}", "https://ida:{}@api.example/v1",
        "redis://host.example/0?password={}", "redis://host.example/0?db=1&username={}&password=PaSs@x",
    ],
)  # fmt: skip
def test_a_url_is_told_without_its_password_whatever_that_holds(url: str, password: str) -> None:
    whole = url.format(password, password)
    told = [mask_url(whole)]
    # Where a URL ends in a sentence nobody can know when there is a space in it.
    if " " not in password:
        told += [redact(f"cannot read {whole!r}: no"), redact(f"no: {whole}"), redact(f'{{"u": "{whole}"}}')]
    for text in told:
        assert not re.search("(?i)pa(?!th)|(?<!redi)ss", text)
        assert redact(text) == text
    assert mask_url(mask_url(whole)) == mask_url(whole)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://ida:pw@host.example:6379/2", "redis://[redacted]@host.example:6379/2"),
        ("redis://host.example:6379/2", "redis://host.example:6379/2"),
        ("redis+sentinel://:pw@[::1]:1,b:2/main/0", "redis+sentinel://[redacted]@[::1]:1,b:2/main/0"),
        ("rediss://h/0?password=pw&db=1", "rediss://h/0?[redacted]"),
        ("unix:///tmp/redis.sock?db=1", "unix:///tmp/redis.sock?[redacted]"),
        ("embedded:/home/ida/data", "embedded:/home/ida/data"),
        ("redis://:pa/ss@host", "redis://[redacted]"),
        ("ida:pw@host:6379", HIDDEN),
        ("", ""),
    ],
)
def test_what_is_certain_about_a_url_stays(url: str, told: str) -> None:
    assert mask_url(url) == told


def test_addresses_in_an_error_stay_readable() -> None:
    for told in (
        "see https://docs.example/a/b#c.",
        "no answer (http://127.0.0.1:8080/v1): try again",
        "at redis://h:1, u",
    ):
        assert redact(told) == told


@pytest.mark.parametrize(
    ("url", "stray"),
    [("redis://:pa/ss@h", True), ("redis://:p?ss@h", True), ("https://k#x@h/v1", True), ("redis://:p@ss@h/0", False),
     ("redis://h/0", False)],
)  # fmt: skip
def test_credentials_that_end_too_early_are_noticed(url: str, stray: bool) -> None:
    assert has_stray_credentials(url) is stray


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
