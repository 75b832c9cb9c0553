"""`surefoot doctor`, `explain` and `draw`: looking costs nothing, changes nothing and tells no secret."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli_tools import TICKETS, Cli, write_tickets
from servers import config_of, put_values

from checkpointers import RedisSaver, thread_keys
from surefoot.doctor_server import eviction, examine_server
from surefoot.doctor_threads import examine_threads
from surefoot.store import open_store
from surefoot.testing import OpenAIEndpoint


def levels(findings: Any) -> dict[str, str]:
    return {finding["name"]: finding["level"] for finding in findings}


def test_a_healthy_machine_is_all_ok(cli: Cli) -> None:
    found = cli("doctor")
    assert found.status == 0, found.out
    for part in ("python", "packages", "surefoot 0.1.0", "extra embedded", "shadowing", "settings", "provider",
                 "server", "Valkey", "append-only file on", "noeviction", "threads", "broken"):  # fmt: skip
        assert part in found.out, part
    assert "fail" not in found.out


def test_secrets_are_masked(cli: Cli, openai_endpoint: OpenAIEndpoint) -> None:
    url = "redis://ana:geheim@127.0.0.1:1/0"
    for arguments in (("doctor",), ("doctor", "--json")):
        found = cli(*arguments, OPENAI_API_KEY="sk-very-secret-key-1234", SUREFOOT_REDIS_URL=url)
        assert found.status == 1
        assert not re.search("geheim|very-secret", found.out + found.err)
        assert "(set, hidden)" in found.out
    assert levels(found.json)["server"] == "fail"


@pytest.mark.parametrize(
    ("mode", "text", "told"),
    [(0o600, "OPENAI_API_KEY=sk-abcdefgh1234", ""), (0o644, "SUREFOOT_MODEL=m", ""),
     (0o644, "OPENAI_API_KEY=sk-abcdefgh1234", "holds keys and can be read by other users"),
     (0o666, "SUREFOOT_MODEL=m", "can be changed by other users")],
)  # fmt: skip
def test_settings_that_others_can_read_or_change_are_pointed_out(cli: Cli, mode: int, text: str, told: str) -> None:
    env = Path(".env")
    env.write_text(text)
    env.chmod(mode)
    found = next((one for one in cli("doctor", "--json").json if one["name"] == "env file"), None)
    assert (found is not None) is bool(told)
    if found is not None:
        assert told in found["told"]
        assert (found["level"], found["advice"]) == ("warn", "chmod 600 .env")


def test_the_endpoint_is_asked_without_a_paid_call(cli: Cli, openai_endpoint: OpenAIEndpoint) -> None:
    found = cli("doctor", "--json")
    assert levels(found.json) | {"model": "ok", "endpoint": "ok", "provider": "ok"} == levels(found.json)
    assert openai_endpoint.calls == 0
    assert [request.path for request in openai_endpoint.requests] == ["/v1/models"]


@pytest.mark.parametrize(
    ("variables", "name", "told"),
    [
        ({"SUREFOOT_PROVIDER": "nobody"}, "provider", "has no provider 'nobody'"),
        ({"SUREFOOT_PARALLEL": "x"}, "settings", "SUREFOOT_PARALLEL"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, "endpoint", "cannot be reached"),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "SUREFOOT_MODEL": "unheard-of"}, "model", "no known price"),
    ],
)
def test_what_is_wrong_is_named(cli: Cli, variables: dict[str, str], name: str, told: str) -> None:
    found = cli("doctor", "--json", **variables)
    assert found.status == 1
    finding = next(finding for finding in found.json if finding["name"] == name)
    assert finding["level"] == "fail"
    assert told in finding["told"]


def test_tracing_is_pointed_out(cli: Cli) -> None:
    assert levels(cli("doctor", "--json", LANGSMITH_TRACING="true").json)["tracing"] == "warn"


@pytest.mark.parametrize(
    ("policy", "limit", "level"),
    [("noeviction", 10, "ok"), ("allkeys-lru", 0, "ok"), ("allkeys-lru", 10, "fail"), ("volatile-ttl", 10, "warn")],
)
def test_an_eviction_policy_that_loses_threads_is_named(policy: str, limit: int, level: str) -> None:
    assert eviction({"maxmemory_policy": policy, "maxmemory": limit}).level == level


def test_stalled_overdue_and_broken_threads_are_found(cli: Cli, embedded_url: str, tmp_path: Path) -> None:
    tickets = write_tickets(tmp_path / "t.jsonl", TICKETS)
    here = {"SUREFOOT_REDIS_URL": embedded_url}
    assert cli("run", "support", tickets, "--provider", "embedded", **here).status == 3

    async def damage() -> None:
        async with open_store(embedded_url) as store:
            stalled = await store.find("support:bug")
            await store.save(stalled.model_copy(update={"status": "running"}))
            late = await store.find("support:down")
            await store.save(late.model_copy(update={"until": time.time() - 60}))
            broken = await store.find("support:bill")
            config: Any = {"configurable": {"thread_id": broken.thread_id, "checkpoint_ns": ""}}
            found = await store.saver.aget_tuple(config)
            assert found is not None
            checkpoint = found.checkpoint
            version = store.saver.get_next_version(checkpoint["channel_versions"]["category"], None)
            checkpoint["channel_values"]["category"] = {"not": "a category"}
            checkpoint["channel_values"]["attempts"] = "gone"
            versions = {"category": version, "attempts": version}
            checkpoint["channel_versions"] |= versions
            checkpoint["id"] = "zzz" + checkpoint["id"][3:]
            await store.saver.aput(found.config, checkpoint, found.metadata, versions)

    asyncio.run(damage())
    found = cli("doctor", **here)
    assert found.status == 1
    for part in (
        "surefoot resume --all",
        "support:bug",
        "surefoot inbox",
        "support:bill",
        "surefoot explain support:bill",
    ):
        assert part in found.out, part
    assert "1 thread: support:bug" in found.out
    story = cli("explain", "support:bill", **here)
    assert story.status == 0
    assert "'attempts' is of a wrong type (str)" in story.out
    assert "Traceback" not in story.err


async def test_damage_is_found_in_every_thread_and_deep_in_its_history(valkey_url: str) -> None:
    url = f"{valkey_url.rpartition('/')[0]}/6"
    with RedisSaver.from_url(url, registry=True) as saver:
        config = put_values(saver, config_of("deep"), a=1)
        put_values(saver, config, a=2)
        put_values(saver, config_of("old"), a=1)
        for thread, record in (("deep", min), ("old", max)):
            data = thread_keys(thread)[0]
            name = record(field for field in saver.client.hkeys(data) if field.startswith(b"c"))
            saver.client.hset(data, name, b"cut")
        for number in range(520):
            put_values(saver, config_of(f"t{number}"), a=1)
    seen: list[int] = []
    async with open_store(url) as store:
        findings, _ = await examine_threads(store, on_read=seen.append)
        broken = next(finding for finding in findings if finding.name == "broken")
        assert broken.told.startswith("1 thread: old (")
        assert seen[-1] == 522
        assert len(seen) == 3, "page by page"
        findings, _ = await examine_threads(store, deep=True, quarantine=True)
        aside = next(finding for finding in findings if finding.name == "put aside")
        assert aside.threads == ["deep", "old"]
        assert await store.get("deep") is None, "a thread of another program gets no record of ours"
        assert await store.restore("deep")


async def test_only_what_is_damaged_still_and_nobody_works_on_is_put_aside(valkey_url: str) -> None:
    url = f"{valkey_url.rpartition('/')[0]}/7"
    with RedisSaver.from_url(url, registry=True) as saver:
        whole = {}
        for thread in ("busy", "mended", "odd"):
            put_values(saver, config_of(thread), a=1)
            data = thread_keys(thread)[0]
            name = max(field for field in saver.client.hkeys(data) if field.startswith(b"c"))
            whole[thread] = (data, name, saver.client.hget(data, name))
            saver.client.hset(data, name, b"cut")

        def mend(_read: int) -> None:
            saver.client.hset(*whole["mended"])

        async with open_store(url) as store, open_store(url) as other:
            assert await other.acquire("busy")
            findings, _ = await examine_threads(store, quarantine=True, on_read=mend)
            told = {finding.name: finding for finding in findings}
            assert told["quarantine"].told == (
                "1 damaged thread: odd put aside; 1 damaged thread: busy left alone, because somebody works there"
            )
            assert told["put aside"].threads == ["odd"]
            assert (await store.channels("mended")).values == {"a": 1}
            await other.release("busy")
            findings, _ = await examine_threads(store, quarantine=True)
            assert "busy put aside" in next(finding.told for finding in findings if finding.name == "quarantine")


async def test_each_primary_of_a_cluster_is_looked_at(cluster_service_url: str) -> None:
    with RedisSaver.from_url(cluster_service_url, registry=True) as saver:
        put_values(saver, config_of("doctor"), a=1)
        client: Any = saver.client
        first, *others = client.get_primaries()
        client.config_set("appendonly", "yes", target_nodes=[first])
        client.config_set("maxmemory", "1gb", target_nodes=others[:1])
        client.config_set("maxmemory-policy", "allkeys-lru", target_nodes=others[:1])
    try:
        async with open_store(cluster_service_url) as store:
            found = {finding.name: finding for finding in await examine_server(store)}
    finally:
        with RedisSaver.from_url(cluster_service_url) as saver:
            client = saver.client
            client.config_set("appendonly", "no", target_nodes=[first])
            client.config_set("maxmemory", "0", target_nodes=others[:1])
            client.config_set("maxmemory-policy", "noeviction", target_nodes=others[:1])
    assert "3 primaries" in found["server"].told
    assert found["persistence"].level == "warn"
    assert all(node.name in found["persistence"].told for node in others)
    assert first.name not in found["persistence"].told
    assert (found["eviction"].level, others[0].name in found["eviction"].told) == ("fail", True)
    assert "a day of runs" in found


def test_a_pipeline_is_drawn_on_one_page(cli: Cli) -> None:
    found = cli("draw", "support")
    assert found.status == 0
    for node in ("classify", "urgency", "route", "draft", "gate", "retry", "human_review"):
        assert node in found.out
    assert len(found.out.splitlines()) < 66
    assert cli("draw", "nope").status == 2


def test_explain_fits_narrow_terminals(cli: Cli, tmp_path: Path) -> None:
    tickets = write_tickets(tmp_path / "t.jsonl", {"bill": TICKETS["bill"]})
    cli("run", "support", tickets, "--provider", "embedded", "--namespace", "narrow")
    found = cli("explain", "narrow/support:bill", COLUMNS="60")
    assert max(map(len, found.out.splitlines())) <= 60
    assert json.loads(cli("explain", "narrow/support:bill", "--json").out)["key"] == "narrow/support:bill"


def test_help_answers_at_once_and_loads_nothing_heavy() -> None:
    code = """
import sys
from surefoot.cli import main
status = main(["--help"])
print(status, sorted({"langgraph", "langchain_core", "sklearn", "redis", "pydantic", "rich"} & set(sys.modules)))
"""
    best = 9.9
    for _ in range(3):
        began = time.monotonic()
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        best = min(best, time.monotonic() - began)
    assert found.stdout.splitlines()[-1] == "0 []"
    assert "Exit status" in found.stdout
    assert best < 1.0


def test_bare_command_shows_the_help(cli: Cli) -> None:
    found = cli()
    assert found.status == 2
    assert found.err.startswith("Usage: surefoot")


def test_an_unexpected_error_is_one_line_unless_it_is_debugged(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from surefoot import pipelines

    def broken(_name: str) -> None:
        raise RuntimeError("token=sk-secret-0123456789 went wrong")

    monkeypatch.setattr(pipelines, "pipeline", broken)
    found = cli("draw", "support")
    assert found.status == 1
    assert found.err.startswith("surefoot: unexpected RuntimeError: ")
    assert "0123456789" not in found.err
    assert found.err.count("\n") == 1
    assert "Traceback" in cli("draw", "support", SUREFOOT_DEBUG="1").err
