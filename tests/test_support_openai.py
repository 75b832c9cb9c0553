"""The support pipeline on the `openai` provider: a real endpoint that misbehaves, and every request counted."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from nodes import fixed
from state import RunContext
from surefoot.drive import Result
from surefoot.inputs import Item
from surefoot.pipelines import pipeline
from surefoot.runner import Runner, Summary
from surefoot.store import open_store
from surefoot.testing import (
    OpenAIEndpoint,
    Recorded,
    fenced,
    hang,
    prose,
    schema_in,
    status,
    support_responder,
    throttle,
    truncated,
)

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = [json.loads(line) for line in (ROOT / "examples/tickets.jsonl").read_text().splitlines()]
TEXTS = {
    "bug": "The export crashes with an error each time we open it.",
    "billing": "Please send the invoice again, the refund is missing on it.",
    "general": "Where can our new colleague find the handbook?",
}


@pytest.fixture
def endpoint(openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch) -> OpenAIEndpoint:
    """The endpoint, answering like a support desk; waits between retries are short, so that tests are."""
    from graphs import support
    from nodes.policy import Policy

    openai_endpoint.responder = support_responder
    openai_endpoint.token_probability = 0.97
    for spec in (support.classify, support.urgency, support.draft):
        short: Policy = spec.policy
        monkeypatch.setitem(short.__dict__, "backoff", fixed(0.01))
    return openai_endpoint


async def run(url: str, items: list[Item], name: str, **options: Any) -> tuple[Summary, dict[str, Result]]:
    results: dict[str, Result] = {}
    async with open_store(url) as store:
        runner = Runner(pipeline("support"), store, namespace=name, **options)
        summary = await runner.run(items, on_result=lambda r: results.__setitem__(r.id, r))
    return summary, results


def items(count: int = 3) -> list[Item]:
    kinds = list(TEXTS.items())
    return [Item(f"{i}", {"text": f"{kinds[i % len(kinds)][1]} (marker-{i}-)"}, i + 1) for i in range(count)]


def step_of(request: Recorded) -> str:
    schema = schema_in(request.body) or {}
    return next((name for name in ("category", "urgency", "draft") if name in schema.get("properties", {})), "?")


def per_step(endpoint: OpenAIEndpoint) -> Counter[str]:
    return Counter(step_of(request) for request in endpoint.requests if request.path.endswith("completions"))


async def test_three_calls_a_ticket_and_the_right_answers(endpoint: OpenAIEndpoint, shared_embedded_url: str) -> None:
    summary, results = await run(shared_embedded_url, items(), "plain")
    assert summary.done == 3
    assert per_step(endpoint) == {"category": 3, "urgency": 3, "draft": 3}
    assert [results[str(i)].row["category"] for i in range(3)] == list(TEXTS)
    assert [results[str(i)].row["team"] for i in range(3)] == ["engineering", "finance", "support_tier_1"]
    spent = sum(result.row["cost_microusd"] for result in results.values())
    assert spent == summary.spent_microusd > 0
    told = results["0"].values
    assert told["confidence_source"] == "token_logprobs"
    assert told["provenance"]["category"]["model"] == "loopback-small"
    assert all(a["tokens_in"] > 0 for a in told["attempts"] if a["provider"] == "openai")


async def test_the_shipped_tickets_run_through(endpoint: OpenAIEndpoint, shared_embedded_url: str) -> None:
    tickets = [Item(t["id"], {k: v for k, v in t.items() if k != "id"}) for t in SHIPPED[::4]]
    summary, results = await run(shared_embedded_url, tickets, "shipped", max_cost_microusd=5_000_000)
    assert len(results) == len(tickets)
    assert (summary.failed, summary.stalled, summary.stopped) == (0, 0, "")
    sent: Counter[str] = Counter()
    for result in results.values():
        assert result.status in ("done", "waiting")
        assert not result.row["degraded"], result.row["reasons"]
        # On a machine that is busy enough a call may run into its time limit and be made again.
        asked = [a for a in result.values["attempts"] if a["provider"] == "openai"]
        right = Counter(a["step"] for a in asked if a["outcome"] == "ok")
        assert right["classify"] == right["urgency"] == 1
        sent.update(a["step"] for a in asked)
    counts = per_step(endpoint)
    assert (counts["category"], counts["urgency"], counts["draft"]) == (
        sent["classify"],
        sent["urgency"],
        sent["draft"],
    )


async def test_a_dead_endpoint_costs_each_step_its_own_retries_and_no_more(
    endpoint: OpenAIEndpoint, shared_embedded_url: str
) -> None:
    endpoint.always(status(500))
    summary, results = await run(shared_embedded_url, items(1), "dead")
    # 4 + 3 attempts, then embedded takes over; the draft has 3 attempts and no other provider.
    assert per_step(endpoint) == {"category": 4, "urgency": 3, "draft": 3}
    row = results["0"].row
    assert row["degraded"] is True
    assert row["team"] is not None
    assert summary.done + summary.waiting == 1
    if results["0"].status == "done":
        assert row["draft"] is None


async def test_retry_after_is_kept_and_retries_are_not_stacked(
    endpoint: OpenAIEndpoint, shared_embedded_url: str
) -> None:
    endpoint.script(throttle(0.7), throttle(0.3))
    _, results = await run(shared_embedded_url, items(1), "throttled")
    first, second, third = endpoint.requests[:3]
    assert second.at - first.at >= 0.7
    assert third.at - second.at >= 0.3
    assert per_step(endpoint)["category"] == 3
    assert [a["outcome"] for a in results["0"].values["attempts"]][:3] == ["throttled", "throttled", "ok"]


async def test_a_wrong_key_is_one_call_one_message_and_nothing_lost(
    endpoint: OpenAIEndpoint, shared_embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.key = "another"
    summary, results = await run(shared_embedded_url, items(30), "key", parallel=20)
    assert endpoint.calls == 1
    assert "401" in summary.stopped
    assert "OPENAI_API_KEY" in summary.stopped
    assert summary.done == summary.failed == 0
    assert all(result.status == "stalled" for result in results.values())
    endpoint.key = None
    from nodes.call import reset_contacts, set_guard

    reset_contacts()
    set_guard(None)
    summary, results = await run(shared_embedded_url, items(30), "key", parallel=20)
    assert summary.done == 30
    assert all(not result.row["degraded"] for result in results.values())


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [("SUREFOOT_MODEL", "no-such-model", "SUREFOOT_PRICES"), ("SUREFOOT_PRICES", "{}", "SUREFOOT_PRICES")],
)
async def test_a_model_without_a_price_is_refused_before_the_first_call(
    endpoint: OpenAIEndpoint,
    shared_embedded_url: str,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    value: str,
    said: str,
) -> None:
    monkeypatch.setenv(setting, value)
    summary, _ = await run(shared_embedded_url, items(2), f"price-{setting}")
    assert endpoint.calls == 0
    assert said in summary.stopped


async def test_a_model_that_does_not_exist_is_named_once(endpoint: OpenAIEndpoint, shared_embedded_url: str) -> None:
    endpoint.models = {"another"}
    summary, _ = await run(shared_embedded_url, items(10), "model")
    assert endpoint.calls == 1
    assert "loopback-small" in summary.stopped
    assert "404" in summary.stopped


async def test_an_endpoint_that_hangs_is_timed_out_and_retried(
    endpoint: OpenAIEndpoint, shared_embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphs import support

    for spec in (support.classify, support.urgency, support.draft):
        monkeypatch.setitem(spec.policy.__dict__, "timeout", 0.4)
    endpoint.script(hang(20), hang(20))
    began = time.monotonic()
    summary, results = await run(shared_embedded_url, items(1), "hang")
    assert summary.done == 1
    assert time.monotonic() - began < 10
    assert [a["outcome"] for a in results["0"].values["attempts"]][:3] == ["timeout", "timeout", "ok"]
    assert results["0"].values["attempts"][0]["timeout_ms"] == 400


async def test_fenced_and_wordy_answers_need_no_second_call(endpoint: OpenAIEndpoint, shared_embedded_url: str) -> None:
    endpoint.script(fenced(), prose(), fenced())
    summary, results = await run(shared_embedded_url, items(1), "fenced")
    assert summary.done == 1
    assert endpoint.calls == 3
    assert results["0"].row["category"] == "bug"


@pytest.mark.parametrize("reason", ["length", "stop"])
async def test_a_truncated_answer_is_never_taken_for_whole(
    endpoint: OpenAIEndpoint, shared_embedded_url: str, reason: str
) -> None:
    endpoint.script(truncated(reason))
    _, results = await run(shared_embedded_url, items(1), f"truncated-{reason}")
    attempts = results["0"].values["attempts"]
    assert attempts[0]["outcome"] in ("truncated", "invalid_output")
    assert attempts[1]["outcome"] == "ok"
    assert per_step(endpoint)["category"] == 2


async def test_an_endpoint_without_json_schema_works_without_a_setting(
    endpoint: OpenAIEndpoint, shared_embedded_url: str
) -> None:
    endpoint.json_schema = endpoint.json_object = False
    summary, results = await run(shared_embedded_url, items(20), "bare", parallel=10)
    assert summary.done == 20
    refused = [r for r in endpoint.requests if r.status == 400]
    assert 1 <= len(refused) <= 4, "what an endpoint lacks is learnt once, not by every call"
    assert results["0"].row["category"] == "bug"


async def test_without_log_probabilities_a_second_sample_tells_the_confidence(
    endpoint: OpenAIEndpoint, shared_embedded_url: str
) -> None:
    endpoint.logprobs = False
    _, results = await run(shared_embedded_url, items(2), "agree")
    assert results["1"].values["confidence_source"] == "agreement"
    assert results["1"].values["confidence"] == 0.85
    assert results["1"].values["attempts"][0]["calls"] >= 2


async def test_an_unsure_model_sends_the_ticket_to_a_person(endpoint: OpenAIEndpoint, shared_embedded_url: str) -> None:
    endpoint.token_probability = 0.3
    summary, results = await run(shared_embedded_url, items(1), "unsure")
    assert (summary.waiting, results["0"].waits_for) == (1, "person")
    assert results["0"].row["team"] is not None
    assert results["0"].row["draft"] is None
    assert "draft" not in per_step(endpoint)


async def test_the_cap_of_the_command_stops_the_run_and_keeps_what_is_done(
    endpoint: OpenAIEndpoint, shared_embedded_url: str
) -> None:
    summary, _ = await run(shared_embedded_url, items(40), "cap", parallel=4, max_cost_microusd=8_000)
    assert "--max-cost" in summary.stopped
    assert 0 < summary.spent_microusd <= 8_000
    assert 0 < summary.done < 40
    calls = endpoint.calls
    summary, results = await run(shared_embedded_url, items(40), "cap", parallel=4, max_cost_microusd=1_000_000)
    assert summary.done == 40
    assert summary.reused > 0
    assert endpoint.calls <= 3 * 40 + 8, f"{calls} calls before the cap were not paid for again"
    assert all(not result.row["degraded"] for result in results.values())


async def test_the_cap_of_a_run_ends_its_draft_only(endpoint: OpenAIEndpoint, shared_embedded_url: str) -> None:
    from graphs import support

    context = RunContext(max_cost_microusd=2_500)
    _, results = await run(shared_embedded_url, items(1), "runcap", context=context)
    row = results["0"].row
    assert row["cost_microusd"] <= 2_500
    assert row["team"] == "engineering"
    if row["draft"] is None:
        assert "over_budget" in " ".join(row["reasons"])
    assert support.draft.policy.max_cost == 0.05


async def test_a_far_retry_after_holds_no_slot(endpoint: OpenAIEndpoint, shared_embedded_url: str) -> None:
    # Not a 429: after that the guard would leave the endpoint alone for all of them.
    busy = status(503, retry_after="2")
    endpoint.chaos = lambda body: busy if "marker-0-" in str(body) and time.monotonic() < began + 1 else None
    began = time.monotonic()
    order: list[str] = []
    async with open_store(shared_embedded_url) as store:
        context = RunContext(max_inline_wait_s=0.2)
        runner = Runner(pipeline("support"), store, namespace="far", parallel=1, context=context)
        summary = await runner.run(items(6), on_result=lambda r: order.append(r.id))
    assert summary.done == 6
    assert order[-1] == "0", "with one slot, the others went on while the first waited"


async def test_events_tell_every_attempt(endpoint: OpenAIEndpoint, shared_embedded_url: str) -> None:
    from nodes import events

    endpoint.script(status(500))
    seen: list[events.Event] = []

    def broken(_event: events.Event) -> None:
        raise RuntimeError("a listener must not hurt a run")

    with events.listening(seen.append), events.listening(broken):
        summary, _ = await run(shared_embedded_url, items(1), "events")
    assert summary.done == 1
    attempts = [e.attempt.outcome for e in seen if isinstance(e, events.AttemptEnded)]
    assert attempts == ["transient", "ok", "ok", "ok", "ok"]
    assert sum(isinstance(e, events.RetryDecided) for e in seen) == 1


async def test_the_shipped_tickets_run_on_another_server_of_the_protocol(
    endpoint: OpenAIEndpoint, llmock: Any, shared_embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llmock was written by others: what we understand of the protocol is not only what we built ourselves."""
    monkeypatch.setenv("SUREFOOT_MODEL", "gpt-4.1-mini")
    monkeypatch.setenv("OPENAI_BASE_URL", llmock.base_url())
    llmock.rate_limit(times=2, retry_after=0.3)
    llmock.fail(500, times=2)
    tickets = [Item(t["id"], {k: v for k, v in t.items() if k != "id"}) for t in SHIPPED[:20]]
    summary, results = await run(shared_embedded_url, tickets, "llmock")
    assert (summary.done + summary.waiting, summary.failed, summary.stopped) == (20, 0, "")
    attempts = [a for result in results.values() for a in result.values["attempts"] if a["provider"] == "openai"]
    # An attempt that the guard held back after a 429 has sent nothing.
    outcomes = Counter(a["outcome"] for a in attempts if a["calls"])
    assert (outcomes["throttled"], outcomes["transient"]) == (2, 2)
    assert sum(a["calls"] for a in attempts) == len(llmock.requests)
    assert endpoint.calls == 0
