"""The application of docs/how-to/fastapi.md: a request posted twice, one that was cut off, an answer too late."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pages import ROOT, blocks

import surefoot
from nodes.events import AttemptEnded
from state import RunContext
from surefoot.settings import settings

OUTAGE = {"text": "Nobody can log in, production is down!"}
BILL = {"text": "You charged us twice for March, please refund the second invoice."}


@pytest.fixture
def client(shared_embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("SUREFOOT_REDIS_URL", shared_embedded_url)
    settings.cache_clear()
    app: dict[str, Any] = {}
    (code,) = [block.code for block in blocks(ROOT / "docs/how-to/fastapi.md") if block.title == "app.py"]
    exec(compile(code, "app.py", "exec"), app)
    with TestClient(app["app"]) as made:
        yield made
    settings.cache_clear()


def attempts(number: str) -> int:
    return surefoot.explain(f"support:{number}").attempts


def test_the_same_request_twice_is_one_run(client: TestClient) -> None:
    first = client.post("/tickets/again", json=BILL).json()
    before = attempts("again")
    assert client.post("/tickets/again", json=BILL).json() == first
    assert attempts("again") == before
    assert client.post("/tickets/again", json=OUTAGE).status_code == 409
    assert client.post("/tickets/new", json={"text": None}).status_code == 422


def test_a_request_that_was_cut_off_goes_on_where_it_stopped(client: TestClient) -> None:
    async def cut_off() -> None:
        parts = surefoot.astream("support", BILL, id="cut", context=RunContext(provider="embedded"))
        async for part in parts:
            if isinstance(part, AttemptEnded):
                break
        await parts.aclose()

    asyncio.run(cut_off())
    assert client.post("/tickets/cut", json=BILL).json()["status"] == "done"
    story = surefoot.explain("support:cut")
    assert story.route.count("classify") == 1
    assert story.attempts == len(story.route) - story.route.count("gate")


def test_a_question_is_answered_once(client: TestClient) -> None:
    asked = client.post("/tickets/down", json=OUTAGE).json()
    assert asked["status"] == "waiting"
    assert client.post("/tickets/down", json=OUTAGE).json()["id"] == asked["id"]
    answer = f"/tickets/down/answer/{asked['id']}"
    assert client.post(answer, json={"type": "nonsense"}).status_code == 422
    assert client.post("/tickets/down/answer/another", json={"type": "accept"}).status_code == 409
    assert client.post(answer, json={"type": "accept"}).json()["status"] == "done"
    assert client.post(answer, json={"type": "reject"}).status_code == 409
    assert client.post("/tickets/never/answer/1", json={"type": "accept"}).status_code == 409
