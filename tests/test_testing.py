"""What people test their own graphs with: the misbehaving endpoint, its profiles, and rehearsals."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from cli_tools import TICKETS, Cli, read_rows, write_tickets
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from surefoot.errors import UsageError
from surefoot.testing import (
    KEY,
    MODEL,
    PROFILES,
    Injector,
    OpenAIEndpoint,
    Profile,
    misbehaving_endpoint,
    profile_of,
    status,
    throttle,
)


def model_at(endpoint: OpenAIEndpoint, **options: int) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, base_url=endpoint.url, api_key=SecretStr(KEY), **{"max_retries": 0} | options)


def chosen(injector: Injector, requests: int = 2_000) -> list[bool]:
    return [injector({}) is not None for _ in range(requests)]


@pytest.mark.parametrize("name", PROFILES)
def test_each_profile_comes_as_often_as_it_says_and_the_same_way_again(name: str) -> None:
    profile = profile_of(name)
    first, again = Injector(profile), Injector(profile)
    assert chosen(first) == chosen(again)
    assert first.injected == again.injected
    for share, fault, _ in profile.menu:
        assert first.injected[fault] / 2_000 == pytest.approx(share, abs=0.04)
    if len(profile.menu) and sum(share for share, _, _ in profile.menu) < 1:
        assert chosen(Injector(profile, seed=8)) != chosen(Injector(profile))


def test_shares_that_cannot_be_are_refused() -> None:
    for shares in ((0.6, 0.6), (-0.1,)):
        with pytest.raises(ValueError, match="'odd': shares must not be negative and come to at most 1"):
            Profile("odd", "", tuple((share, str(i), status(500)) for i, share in enumerate(shares)))


def test_an_unknown_profile_names_those_that_exist() -> None:
    with pytest.raises(UsageError, match="no chaos profile 'cosmic'; known: flaky, dead, throttled"):
        profile_of("cosmic")


def test_an_endpoint_for_one_block() -> None:
    with misbehaving_endpoint() as endpoint:
        endpoint.script(status(500), throttle(1), None)
        assert model_at(endpoint, max_retries=2).invoke("hello").text == "All is well."
        assert [request.status for request in endpoint.requests] == [500, 429, 200]
        assert endpoint.calls == 3
    with pytest.raises(OSError, match=r"refused|reset"):
        socket.create_connection(("127.0.0.1", endpoint.port), timeout=1)


def test_an_endpoint_of_a_profile_serves_the_loop_that_started_it() -> None:
    async def ask() -> tuple[Counter[str], int]:
        with misbehaving_endpoint(Profile("half", "", ((0.5, "500", status(500)),), latency_s=0.0), seed=3) as endpoint:
            answers = await asyncio.gather(
                *(model_at(endpoint).ainvoke("hello") for _ in range(40)), return_exceptions=True
            )
            assert isinstance(endpoint.chaos, Injector)
            return endpoint.chaos.injected, sum(isinstance(answer, Exception) for answer in answers)

    injected, failed = asyncio.run(ask())
    assert 10 <= failed == injected["500"] <= 30


def test_the_fixture_is_there_for_anybody_who_asks_for_the_plugin(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        "import asyncio\n"
        "from graphs.support import graph\n"
        "from surefoot.testing import status, support_responder\n"
        'pytest_plugins = ["surefoot.testing.plugin"]\n'
        "def test_a_retry(openai_endpoint):\n"
        "    openai_endpoint.responder = support_responder\n"
        "    openai_endpoint.script(status(503))\n"
        "    ended = graph.invoke({'id': 'T-1', 'text': 'I was charged twice, please refund one invoice.'})\n"
        "    assert ended['category'] == 'billing'\n"
        "    assert [a['outcome'] for a in ended['attempts']][:2] == ['transient', 'ok']\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
    assert found.returncode == 0, found.stdout
    assert "1 passed" in found.stdout


def test_a_rehearsal_costs_nothing_and_tells_what_went_wrong_on_purpose(
    cli: Cli, tmp_path: Path, openai_endpoint: OpenAIEndpoint
) -> None:
    tickets = write_tickets(tmp_path / "t.jsonl", TICKETS)
    common = ("run", "support", tickets, "--chaos", "garbled", "--out", "rows.jsonl")
    first = cli(*common)
    assert first.status == 3, first.err
    assert "injected" in first.out
    assert "simulated cost" in first.out
    assert "chaos-garbled/support:" in first.out
    rows = read_rows(tmp_path / "rows.jsonl")
    assert set(rows) == set(TICKETS)
    assert rows["bill"]["category"] == "billing"
    # Neither the endpoint of the user nor threads of real runs take part.
    assert openai_endpoint.requests == []
    assert cli("threads", "--json").status == 0
    real = cli("run", "support", tickets, "--provider", "embedded", "--out", "real.jsonl", "--json")
    assert real.json["reused"] == 0
    assert real.json["injected"] is None

    again = cli(*common[:-2], "--json")
    assert again.json["reused"] == 0, "a rehearsal begins anew each time"
    assert again.json["injected"] == {k: v for k, v in again.json["injected"].items() if v > 0}


def test_a_rehearsal_with_a_dead_endpoint_loses_nothing(cli: Cli, tmp_path: Path) -> None:
    tickets = write_tickets(tmp_path / "t.jsonl", TICKETS)
    done = cli("run", "support", tickets, "--chaos", "dead", "--patience", "2", "--out", "rows.jsonl", "--json")
    assert done.status == 3, done.err
    assert done.json["done"] + done.json["waiting"] == len(TICKETS)
    assert done.json["injected"]["503"] >= 1
    assert done.json["spent_microusd"] == 0
    assert all(row["degraded"] or row["status"] == "waiting" for row in read_rows(tmp_path / "rows.jsonl").values())


def test_wrong_use_of_a_rehearsal_is_one_line(cli: Cli, tmp_path: Path) -> None:
    tickets = write_tickets(tmp_path / "t.jsonl", TICKETS)
    done = cli("run", "support", tickets, "--chaos", "cosmic")
    assert done.status == 2
    assert done.err.count("\n") == 1
    assert "no chaos profile 'cosmic'; known: flaky" in done.err


def test_the_endpoint_says_what_profiles_it_has() -> None:
    command = [sys.executable, "-m", "surefoot.testing", "--profile", "cosmic"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert found.returncode == 2
    assert all(name in found.stderr for name in PROFILES)


def test_what_the_simulated_models_say_fits_the_schema() -> None:
    from surefoot.testing.simulated import RESPONDERS
    from tasks.support import CategoryAnswer

    schema = {"type": "json_schema", "json_schema": {"schema": CategoryAnswer.model_json_schema()}}
    text = "<ticket>\nSubject: Invoice\nI was charged twice, please refund the second invoice.\n</ticket>"
    said = RESPONDERS["support"]({"messages": [{"role": "user", "content": text}], "response_format": schema})
    assert json.loads(said)["category"] == "billing"
