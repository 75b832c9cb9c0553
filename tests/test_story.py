"""A story can be told of any thread, whatever its state holds."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from nodes import clock
from surefoot.story import Story, tell
from surefoot.story_text import render
from surefoot.threads import RawThread, ThreadRecord

NOW = time.time()


def record(**more: Any) -> ThreadRecord:
    return ThreadRecord(
        **{"thread_id": "t", "key": "support:1", "pipeline": "support", "item_id": "1", "status": "done",
           "created_at": NOW - 60, "updated_at": NOW, **more}
    )  # fmt: skip


def attempt(step: str, n: int, outcome: str = "ok", **more: Any) -> dict[str, Any]:
    return {"step": step, "n": n, "entry": "openai", "provider": "openai", "model": "small", "outcome": outcome,
            "started_at": NOW - 50 + n * 5, "latency_ms": 1200, "timeout_ms": 30_000, "tokens_in": 400,
            "tokens_out": 15, "calls": 1, "cost_microusd": 400, **more}  # fmt: skip


def told(story: Story, width: int = 100) -> str:
    return "\n".join(line for _, line in render(story, width))


def test_attempts_decisions_and_costs_are_told_in_time_order() -> None:
    values = {
        "text": "I was charged twice.",
        "attempts": [
            attempt("classify", 2, wait_ms=5000, replayed=1, reasked=2, hedged=1),
            attempt("classify", 1, "timeout", error="no answer within 30 s"),
            attempt("draft", 3, "throttled"),
            attempt("draft", 4, provider="embedded", entry="embedded", model="", calls=0),
        ],
        "spend": {"classify": {"cost_microusd": 800}, "draft": {"cost_microusd": 400}},
        "provenance": {"category": {"step": "classify", "attempt": 2, "provider": "openai", "model": "small"}},
        "category": "billing",
        "outcome": "routed",
        "degraded": True,
        "reasons": ["draft failed (throttled); embedded answered instead"],
    }
    story = tell(record(), RawThread(values=values, checkpoints=5))
    assert [event.title.partition(":")[0] for event in story.events] == [
        "attempt 1 with openai small",
        "tries again after 5 s",
        "attempt 2 with openai small",
        "attempt 3 with openai small",
        "falls back to embedded",
        "attempt 4 with embedded",
        "routed",
    ]
    assert (story.cost_microusd, story.attempts, story.failed_attempts) == (1200, 4, 2)
    text = told(story)
    for part in (
        "support:1 is done", "I was charged twice.", "no answer within 30 s", "1.2 s of 30 s allowed",
        "400 tokens in, 15 out", "$0.0004", "1 answer known from before a crash",
        "2 answers asked for again", "waited 5 s before", "degraded: draft failed",
        "classify > draft",
        "billing             from openai small (classify, attempt 2)",
    ):  # fmt: skip
        assert part in text, part
    assert "1 second request sent because the first was slow" in " ".join(text.split())


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"failures": {"draft": {"visit": 0}}}, "has not decided yet"),
        (
            {"failures": {"draft": {"decision": {"action": "again", "provider": "openai", "at": NOW + 86_400}}}},
            "tries again with openai at",
        ),
        (
            {"failures": {"draft": {"decision": {"action": "fallback", "provider": "embedded"}}}},
            "falls back to embedded",
        ),
        ({"escalations": {"draft": "draft failed"}}, "asks a person"),
        ({"review": [{"reasons": {"draft": "draft failed"}}]}, "asks a person"),
        ({"reasons": ["draft failed (timeout)"]}, "gives up this step"),
    ],
)
def test_what_the_retry_node_decided_last_is_found(extra: dict[str, Any], sentence: str) -> None:
    story = tell(record(status="stalled"), RawThread(values={"attempts": [attempt("draft", 1, "timeout")], **extra}))
    assert any(event.kind == "decision" and sentence in event.title for event in story.events)


def made(action: str, n: int = 1, **more: Any) -> dict[str, Any]:
    return {"step": "draft", "visit": 0, "attempt": n, "action": action, "outcome": "throttled", "before": "openai",
            "after": "openai", "at": NOW - 40, "until": 0.0, "reason": "429", **more}  # fmt: skip


@pytest.mark.parametrize(
    ("decision", "title", "details"),
    [
        (made("again", until=NOW - 33, retry_after=7.0), "tries again after 7 s",
         ["because draft, attempt 1 with openai, ended with throttled", "the endpoint asked to wait 7 s"]),
        (made("again", outcome="breaker_open", until=NOW - 33, retry_after=7.0), "tries again after 7 s",
         ["because draft, attempt 1 with openai, ended with breaker open", "the breaker stays open for 7 s"]),
        (made("fallback", after="embedded", reason="draft failed (throttled)"), "falls back from openai to embedded",
         ["because draft, attempt 1 with openai, ended with throttled", "draft failed (throttled)"]),
        (made("escalate", after="human_review"), "asks a person",
         ["because draft, attempt 1 with openai, ended with throttled", "429", "goes to human_review"]),
        (made("give_up", after="done"), "gives up this step and goes on without it",
         ["because draft, attempt 1 with openai, ended with throttled", "429", "goes to done"]),
    ],
)  # fmt: skip
def test_a_decision_is_told_with_cause_before_and_after(
    decision: dict[str, Any], title: str, details: list[str]
) -> None:
    # The reasons would make the same decision be guessed: what was recorded is told once.
    values = {"attempts": [attempt("draft", 1, "throttled")], "retry_decisions": [decision],
              "reasons": ["draft failed (throttled)"]}  # fmt: skip
    story = tell(record(status="stalled"), RawThread(values=values, checkpoints=1))
    (event,) = [event for event in story.events if event.kind == "decision"]
    assert (event.title, event.details) == (title, details)
    assert event.data["action"] == decision["action"]


def test_a_wait_that_goes_on_is_told_with_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)
    values = {"attempts": [attempt("draft", 1, "throttled")], "retry_decisions": [made("again", until=NOW + 600)],
              "failures": {"draft": {"visit": 0}}}  # fmt: skip
    text = told(tell(record(status="waiting", waits_for="time"), RawThread(values=values, checkpoints=1)))
    assert "tries again with openai at" in text
    assert "(in 10 min)" in text


def test_decisions_about_answers_that_a_gate_refused_are_told_too() -> None:
    values = {"attempts": [attempt("draft", 1)], "retry_decisions": [made("escalate", outcome="gate_failed")]}
    assert "attempt 1 with openai, ended with gate failed" in told(tell(record(), RawThread(values=values)))


@pytest.mark.parametrize("outcome", ["breaker_open", "over_budget"])
def test_what_the_guard_refused_is_told_as_not_sent(outcome: str) -> None:
    refused = attempt("draft", 1, outcome, calls=0, error="the breaker or the cap, in words")
    sent = attempt("draft", 2, outcome, calls=1)
    text = told(tell(record(), RawThread(values={"attempts": [refused, sent]})))
    assert text.count(f"not sent, {outcome.replace('_', ' ')}") == 1
    assert "the breaker or the cap, in words" in text


def test_versions_of_a_fallback_are_told_apart() -> None:
    verdict = {"gate": "gate", "check": "length", "visit": 0, "action": "fallback", "detail": "too long"}
    values = {"verdicts": [{**verdict, "attempt": 1, "passed": False, "at": NOW - 30},
                           {**verdict, "attempt": 2, "passed": True, "at": NOW - 20}]}  # fmt: skip
    text = told(tell(record(), RawThread(values=values)))
    assert "version 1 of attempt 1 is refused" in text
    assert "version 1 of attempt 2 passes: length" in text


def test_an_edit_is_told_with_what_was_there_before() -> None:
    review = {"decision": {"type": "edit", "args": {"category": "billing"}, "by": "ana"}, "before": {"category": "bug"}}
    assert "ana edits category = billing (was bug)" in told(tell(record(), RawThread(values={"review": [review]})))


def test_gates_and_people_are_told() -> None:
    values = {
        "verdicts": [
            {"gate": "gate", "check": "length", "visit": 0, "passed": False, "action": "regenerate",
             "detail": "too long", "at": NOW - 30},
            {"gate": "gate", "check": "length", "visit": 1, "passed": True, "at": NOW - 20},
        ],
        "review": [
            {"decision": {"type": "edit", "args": {"category": "billing"}, "by": "ana", "comment": "sure"},
             "reasons": {"low_confidence": "the category is unsure"}, "stale": ["team", "draft"],
             "decided_at": NOW - 10}
        ],
        "provenance": {"category": {"provider": "person"}, "team": {"provider": "rule"}},
    }  # fmt: skip
    text = told(tell(record(), RawThread(values=values, checkpoints=2)))
    for part in (
        "version 1 is refused", "length: too long (asks to regenerate)", "version 2 passes: length",
        "ana edits category = billing", "was asked because the category is unsure", "computed again: team, draft",
        "comment: sure", "from a person", "from a rule",
    ):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize(
    ("more", "raw", "sentence", "command"),
    [
        ({"status": "waiting", "waits_for": "person", "until": NOW + 600, "reasons": ["it is critical"]}, RawThread(),
         "Waits for a person, in 10 min", "surefoot review support:1"),
        ({"status": "waiting", "waits_for": "person", "until": NOW - 7300}, RawThread(), "overdue 2 h",
         "surefoot review"),
        ({"status": "waiting", "waits_for": "time", "until": NOW + 7300}, RawThread(next=["classify"], checkpoints=1),
         "then goes on with classify", "surefoot resume support:1"),
        ({"status": "stalled"}, RawThread(next=["draft"], checkpoints=1), "stands before draft",
         "surefoot resume support:1"),
        ({"status": "stalled"}, RawThread(), "run its input again", ""),
        ({"status": "running"}, RawThread(checkpoints=1), "working on it right now", "surefoot explain support:1"),
        ({"status": "failed", "error": "boom"}, RawThread(next=["draft"], checkpoints=1), "boom", "surefoot resume"),
        ({}, RawThread(checkpoints=1), "nothing is left to do", ""),
    ],
)  # fmt: skip
def test_what_comes_next_and_what_to_type(
    more: dict[str, Any], raw: RawThread, sentence: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)
    story = tell(record(**more), raw)
    assert sentence in " ".join(told(story).split())
    assert story.command.startswith(command)
    assert bool(story.command) == bool(command)


def test_open_questions_and_errors_stand_in_the_story() -> None:
    question = {
        "action_request": {},
        "reasons": {"critical": "it is critical"},
        "tier": "urgent",
        "due_at": NOW,
        "asked_at": 1,
    }
    raw = RawThread(interrupts=[{"id": "i", "value": question}], errors=["ValueError()"], checkpoints=1)
    text = told(tell(record(status="waiting", waits_for="person"), raw))
    assert "a person is asked (urgent, due" in text
    assert "it is critical" in text
    assert "ValueError()" in text


def test_a_key_that_a_shell_would_split_is_quoted() -> None:
    assert tell(record(key="support:a b", status="running"), RawThread(checkpoints=1)).command.endswith("'support:a b'")


def test_nothing_in_a_story_can_steer_a_terminal() -> None:
    nasty = "\x1b[31mred\x1b]0;title\x07 \u202eabc\r\n\x00"
    values = {"text": nasty, "outcome": nasty, "reasons": [nasty], "degraded": True, "draft": nasty,
              "attempts": [attempt(nasty, 1, "timeout", error=nasty)],
              "provenance": {"draft": {"step": nasty}}}  # fmt: skip
    text = told(tell(record(error=nasty, key=nasty), RawThread(values=values, errors=[nasty])))
    assert not [char for char in text if (ord(char) < 32 and char != "\n") or char in "\x1b\x07\u202e"]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_lines_fit_the_terminal(width: int) -> None:
    long = "漢字" * 200 + " " + "word " * 100
    values = {"text": long, "draft": long, "provenance": {"draft": {"step": "draft"}}, "reasons": [long],
              "degraded": True, "attempts": [attempt("draft", 1, "timeout", error=long)]}  # fmt: skip
    lines = render(tell(record(status="failed", error=long), RawThread(values=values, checkpoints=1)), width)
    assert max(cell_len(line) for _, line in lines) <= width


def test_fields_of_a_wrong_type_are_named() -> None:
    values = {"attempts": "x", "verdicts": [1, {}], "spend": 3, "degraded": "yes"}
    text = told(tell(record(), RawThread(values=values, checkpoints=1)))
    for part in ("'attempts' is of a wrong type (str)", "'verdicts': 1 entry cannot be read", "'spend'", "'degraded'"):
        assert part in text


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=5)
names = st.sampled_from(
    ["step", "member", "visit", "n", "outcome", "error", "decision", "at", "action", "reasons", "provider", "args",
     "by", "type", "stale", "decided_at", "gate", "check", "passed", "detail", "draft", "cost_microusd", "latency_ms",
     "wait_ms", "timeout_ms", "started_at", "action_request", "due_at", "tier", "asked_at", "tokens_in", "calls",
     "model", "entry", "attempt", "before", "after", "until", "retry_after", "reason"]
)  # fmt: skip
junk = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6), max_leaves=25
)
fields = st.sampled_from(
    ["attempts", "verdicts", "review", "reasons", "failures", "spend", "provenance", "escalations", "degraded",
     "outcome", "text", "subject", "draft", "started_at", "retry_decisions"]
)  # fmt: skip
STATUSES = st.sampled_from(["running", "stalled", "waiting", "done", "failed"])


@given(
    st.dictionaries(fields, junk, max_size=8),
    st.lists(st.fixed_dictionaries({"id": st.text(max_size=3), "value": junk}), max_size=2),
    STATUSES,
    st.floats() | st.none(),
)
def test_no_state_makes_the_telling_fail(
    values: dict[str, Any], interrupts: Any, status: str, until: float | None
) -> None:
    found = record(status=status, until=until, waits_for="person" if interrupts else "time")
    story = tell(found, RawThread(values=values, interrupts=interrupts, checkpoints=1))
    assert Story.model_validate_json(story.model_dump_json()).key == "support:1"
    assert str(story).startswith("support:1")
    for width in (40, 81):
        assert max(cell_len(line) for _, line in render(story, width)) <= width
