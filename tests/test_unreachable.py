"""Endpoints that nobody can reach, or that reject everything, under the support pipeline: counted, not timed."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import free_port

from nodes import events
from nodes.call import Call, MemoryGuard, classify_error, reset_call_settings, reset_contacts, using_guard
from nodes.errors import NotConnected, Transient
from state import RunContext
from surefoot.drive import Result
from surefoot.inputs import Item
from surefoot.pipelines import pipeline
from surefoot.runner import Runner
from surefoot.store import open_store
from surefoot.testing import OpenAIEndpoint, status, support_responder

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = [json.loads(line) for line in (ROOT / "examples/tickets.jsonl").read_text().splitlines()]


@pytest.fixture
def sent() -> Iterator[list[events.CallAdmitted]]:
    """The requests that the guard lets through from now on."""
    found: list[events.CallAdmitted] = []
    with events.listening(lambda event: found.append(event) if isinstance(event, events.CallAdmitted) else None):
        yield found


@pytest.fixture
def settle_on(openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the calls of this test go to another address."""

    def settle(url: str) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        reset_call_settings()
        reset_contacts()

    return settle


def tickets(count: int) -> list[Item]:
    return [Item(row["id"], {"text": row["text"]}, line) for line, row in enumerate(SHIPPED[:count], 1)]


async def run(url: str, name: str, items: list[Item], **options: Any) -> dict[str, Result]:
    results: dict[str, Result] = {}
    async with open_store(url) as store:
        runner = Runner(pipeline("support"), store, namespace=name, context=RunContext(), **options)
        await runner.run(items, on_result=lambda result: results.__setitem__(result.id, result))
    return results


def attempts_of(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = result.values["attempts"]
    return found


@pytest.mark.parametrize("parallel", [20, 1])
async def test_twenty_tickets_at_a_closed_port_fall_back_after_a_handful_of_requests(
    parallel: int, shared_embedded_url: str, settle_on: Callable[[str], None], sent: list[events.CallAdmitted]
) -> None:
    settle_on(f"http://127.0.0.1:{free_port()}/v1")
    results = await run(shared_embedded_url, f"closed-{parallel}", tickets(20), parallel=parallel)
    assert len(results) == 20
    assert {result.status for result in results.values()} <= {"done", "waiting"}
    assert all(result.row["category"] and result.row["team"] for result in results.values())
    assert all("cannot be reached" in result.row["reasons"][0] for result in list(results.values())[1:])
    # Five make the verdict beside those under way then, and one every few seconds looks whether it still holds.
    assert 5 <= len(sent) <= 30
    # With embedded's own two answers: one more for each step that was refused, and no waiting for a draft.
    most = sorted(len(attempts_of(result)) for result in results.values())
    assert most[-2] <= 8
    assert sum(most) <= 130
    slept = [a["wait_ms"] for result in results.values() for a in attempts_of(result)]
    assert sum(ms > 20_000 for ms in slept) == 0, "nobody waits for a breaker"


async def test_an_endpoint_that_was_started_is_used_by_the_next_command_at_once(
    shared_embedded_url: str, settle_on: Callable[[str], None], sent: list[events.CallAdmitted]
) -> None:
    port = free_port()
    settle_on(f"http://127.0.0.1:{port}/v1")
    await run(shared_embedded_url, "started", tickets(6))
    server = OpenAIEndpoint(port)
    server.responder = support_responder
    server.token_probability = 0.97
    server.start()
    try:
        reset_contacts()
        later = [Item(f"later-{item.id}", item.input, item.line) for item in tickets(20)]
        results = await run(shared_embedded_url, "started", later)
    finally:
        server.stop()
    providers = {a["provider"] for result in results.values() for a in attempts_of(result) if a["step"] == "classify"}
    assert providers == {"openai"}


async def test_an_endpoint_that_answers_400_to_everything_is_left_alone(
    shared_embedded_url: str, openai_endpoint: OpenAIEndpoint
) -> None:
    openai_endpoint.always(status(400, "bad_request"))
    results = await run(shared_embedded_url, "all-400", tickets(60), parallel=10)
    assert {result.status for result in results.values()} <= {"done", "waiting"}
    assert all(result.row["category"] for result in results.values())
    last = [" ".join(result.row["reasons"]) for result in results.values()]
    assert sum("rejects every request" in reasons for reasons in last) >= 20
    assert openai_endpoint.calls <= 60, "without a verdict it would be three for each ticket"


async def test_one_bad_ticket_among_fifty_side_by_side_costs_the_others_nothing(
    shared_embedded_url: str, openai_endpoint: OpenAIEndpoint
) -> None:
    bad = {item.id for item in tickets(50)[::4]}
    texts = [item.input["text"][:60] for item in tickets(50) if item.id in bad]
    openai_endpoint.responder = support_responder
    openai_endpoint.token_probability = 0.97
    openai_endpoint.latency_s = 0.3

    def reject(body: dict[str, Any]) -> Any:
        said = str(body["messages"])
        return status(400, "bad_request") if any(text in said for text in texts) else None

    openai_endpoint.chaos = reject
    results = await run(shared_embedded_url, "some-bad", tickets(50), parallel=50)
    degraded = {result.id for result in results.values() if result.row["degraded"]}
    assert degraded <= bad
    assert all("400" in str(results[name].row["reasons"]) for name in degraded)


# --- what is no connection ------------------------------------------------------------------------------------------


async def failure(url: str, settle: Callable[[str], None], timeout_s: float = 30.0) -> Exception:
    settle(url)
    with using_guard(MemoryGuard()), pytest.raises(Exception) as caught:
        await Call(step="s", timeout_s=timeout_s).model("x")
    return caught.value


async def test_a_refused_connection_and_one_without_tls_are_none(
    openai_endpoint: OpenAIEndpoint, settle_on: Callable[[str], None]
) -> None:
    assert isinstance(await failure(f"http://127.0.0.1:{free_port()}/v1", settle_on), NotConnected)
    plain = f"https://127.0.0.1:{openai_endpoint.port}/v1"
    assert isinstance(await failure(plain, settle_on), NotConnected)


async def test_a_connection_that_breaks_after_it_was_made_is_another_thing(settle_on: Callable[[str], None]) -> None:
    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    error = await failure(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", settle_on)
    server.close()
    assert isinstance(error, Transient)
    assert not isinstance(error, NotConnected)


async def test_a_host_that_drops_packets_is_known_long_before_an_answer_would_be_due(
    settle_on: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.call.chat.CONNECT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        error = await failure(f"http://127.0.0.1:{full.getsockname()[1]}/v1", settle_on)
        for filler in fillers:
            filler.close()
    assert isinstance(error, NotConnected)


def test_a_host_without_an_address_is_none() -> None:
    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo("nowhere.invalid", 80, flags=socket.AI_NUMERICHOST)
    assert isinstance(classify_error(caught.value, host="nowhere.invalid"), NotConnected)
    assert isinstance(classify_error(ssl.SSLCertVerificationError("expired"), host="h"), NotConnected)
