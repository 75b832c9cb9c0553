"""Finished threads get smaller and have an end, waiting ones have none; damaged ones can be put aside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_tools import TICKETS, Cli, write_tickets

from checkpointers import connect, new_key, thread_keys
from surefoot.settings import settings
from surefoot.store import INDEX, open_store, record_key
from surefoot.testing import DRAFT, OpenAIEndpoint, support_responder
from surefoot.threads import ThreadRecord, thread_id

DAY_MS = 86_400_000


def run(cli: Cli, folder: Path, namespace: str, **env: str) -> None:
    """Run one ticket that ends by itself and one that waits for a person."""
    path = write_tickets(folder / "t.jsonl", {"bill": TICKETS["bill"], "odd": TICKETS["odd"]})
    done = cli("run", "support", path, "--provider", "embedded", "--namespace", namespace, **env)
    assert done.status == 3, done.err


def lifetimes(url: str, item: str, namespace: str) -> tuple[str, list[int]]:
    tid = thread_id("support", item, namespace)
    with connect(url) as client:
        found: Any = [client.pttl(key) for key in (*thread_keys(tid), record_key(tid))]
        return tid, found


def test_a_finished_thread_keeps_its_last_checkpoint_for_30_days(cli: Cli, cli_url: str, tmp_path: Path) -> None:
    run(cli, tmp_path, "end")
    tid, left = lifetimes(cli_url, "bill", "end")
    assert all(29 * DAY_MS < one <= 30 * DAY_MS for one in left)
    with connect(cli_url) as client:
        assert client.zcard(thread_keys(tid)[1]) == 1
    told = cli("explain", "end/support:bill")
    assert told.status == 0
    assert "classify" in told.out
    tid, left = lifetimes(cli_url, "odd", "end")
    assert left == [-1, -1, -1]
    with connect(cli_url) as client:
        assert client.zcard(thread_keys(tid)[1]) > 3
    assert cli("review", "end/support:odd", "--reject").status == 0
    assert all(one > 0 for one in lifetimes(cli_url, "odd", "end")[1])


def test_both_can_be_turned_off(cli: Cli, cli_url: str, tmp_path: Path) -> None:
    run(cli, tmp_path, "kept", SUREFOOT_RETENTION_DAYS="0", SUREFOOT_COMPACT="false")
    tid, left = lifetimes(cli_url, "bill", "kept")
    assert left == [-1, -1, -1]
    with connect(cli_url) as client:
        assert client.zcard(thread_keys(tid)[1]) > 3


async def test_a_thread_that_is_taken_up_again_has_no_end(embedded_url: str) -> None:
    async with open_store(embedded_url) as store:
        record = ThreadRecord(thread_id="t", key="k", pipeline="support", item_id="i", status="done")
        await store.saver.aput_writes({"configurable": {"thread_id": "t", "checkpoint_id": "c"}}, [("a", 1)], "task")
        await store.save(record)
        stored = await store.get("t")
        assert stored is not None
        assert stored.expires
        assert await store._client.pttl(thread_keys("t")[0]) > 0
        await store.save(stored.model_copy(update={"status": "running"}))
        assert await store._client.pttl(thread_keys("t")[0]) == -1
        assert await store._client.pttl(record_key("t")) == -1


async def test_threads_whose_time_is_over_leave_the_list(embedded_url: str) -> None:
    async with open_store(embedded_url) as store:
        for name in ("a", "b"):
            await store.save(ThreadRecord(thread_id=name, key=name, pipeline="support", item_id=name, status="done"))
        await store._client.delete(record_key("a"), *thread_keys("a"))
        assert [record.key for record in await store.records()] == ["b"]
        assert [entry.thread_id for entry in await store.saver.alist_threads()] == ["b"]


async def test_threads_that_an_earlier_version_listed_are_still_listed(embedded_url: str) -> None:
    async with open_store(embedded_url) as store:
        for number, name in enumerate(("old", "older", "oldest")):
            record = ThreadRecord(thread_id=name, key=name, pipeline="support", item_id=name, status="failed")
            await store._client.set(record_key(name), record.model_dump_json())
            await store._client.zadd(INDEX, {name: 100 - number})
        assert [record.key for record in await store.records()] == ["old", "older", "oldest"]
        assert await store._client.exists(INDEX) == 0
        assert len(await store.records()) == 3


def test_with_keys_nothing_readable_is_stored_and_damage_is_put_aside(
    cli: Cli, embedded_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, cli_url = new_key("one"), embedded_url
    monkeypatch.setenv("SUREFOOT_REDIS_URL", embedded_url)
    run(cli, tmp_path, "sealed", SUREFOOT_CHECKPOINT_KEYS=keys)
    tid = thread_id("support", "odd", "sealed")
    data = thread_keys(tid)[0]
    with connect(cli_url) as client:
        stored: Any = client.hgetall(data)
        assert not any(TICKETS["odd"][:20].encode() in value for value in stored.values())
        name = max((field for field in stored if field.startswith(b"c")), key=bytes)
        client.hset(data, name, stored[name][:-3])
    refused = cli("inbox", "--namespace", "sealed")
    assert "Traceback" not in refused.err
    lacking = {f["name"]: f for f in cli("doctor", "--quarantine", "--json").json}
    assert "2 threads" in lacking["broken"]["told"], "without the key nothing is put aside"
    found = {f["name"]: f for f in cli("doctor", "--json", SUREFOOT_CHECKPOINT_KEYS=keys).json}
    assert "sealed/support:odd" in found["broken"]["told"]
    assert "encrypted" in found["encryption"]["told"]
    aside = {f["name"]: f for f in cli("doctor", "--quarantine", "--json", SUREFOOT_CHECKPOINT_KEYS=keys).json}
    assert "sealed/support:odd" in aside["quarantine"]["told"]
    with connect(cli_url) as client:
        assert client.exists(data) == 0
        assert client.exists(f"{data}.quarantined") == 1
    told = cli("threads", "--namespace", "sealed", "--json").json
    assert {t["key"]: t["status"] for t in told}["sealed/support:odd"] == "failed"
    assert aside["put aside"]["threads"] == ["sealed/support:odd"]
    with connect(cli_url) as client:
        # The cut off bytes come back, as from a copy of the server's data.
        client.hset(f"{data}.quarantined", name, stored[name])
    back = {f["name"]: f for f in cli("doctor", "--restore", "sealed/support:odd", "--json",
                                      SUREFOOT_CHECKPOINT_KEYS=keys).json}  # fmt: skip
    assert back["restore"]["level"] == "ok"
    assert "put aside" not in back
    asked = cli("inbox", "--namespace", "sealed", "--json", SUREFOOT_CHECKPOINT_KEYS=keys).json
    assert [question["key"] for question in asked] == ["sealed/support:odd"]
    with connect(cli_url) as client:
        client.hset(data, name, stored[name][:-3])
    assert cli("doctor", "--quarantine", SUREFOOT_CHECKPOINT_KEYS=keys).status == 0
    path = write_tickets(tmp_path / "t.jsonl", {"odd": TICKETS["odd"]})
    again = cli("run", "support", path, "--provider", "embedded", "--namespace", "sealed", "--rerun",
                SUREFOOT_CHECKPOINT_KEYS=keys)  # fmt: skip
    assert again.status == 3
    told = {f["name"]: f for f in cli("doctor", "--restore", "sealed/support:odd", "--json",
                                      SUREFOOT_CHECKPOINT_KEYS=keys).json}  # fmt: skip
    assert "has begun anew" in told["restore"]["told"]
    gone = cli("doctor", "--discard", "sealed/support:odd", "--discard", "sealed/support:odd", "--json",
               SUREFOOT_CHECKPOINT_KEYS=keys)  # fmt: skip
    assert [f["level"] for f in gone.json if f["name"] == "discard"] == ["ok", "fail"]
    with connect(cli_url) as client:
        assert client.keys("*.quarantined") == []


def everything_on(url: str) -> dict[bytes, bytes]:
    """Return all that a server holds, names and values, by key."""
    found: dict[bytes, bytes] = {}
    with connect(url) as client:
        for key in client.keys("*"):
            kind: Any = client.type(key)
            read: Any = {
                b"string": lambda key: [client.get(key)],
                b"hash": lambda key: [part for pair in client.hgetall(key).items() for part in pair],
                b"zset": lambda key: client.zrange(key, 0, -1),
                b"list": lambda key: client.lrange(key, 0, -1),
                b"set": client.smembers,
            }[kind]
            found[key] = b"\n".join([key, *read(key)])
    return found


def test_with_keys_no_key_of_the_server_holds_a_word_of_tickets_or_answers(
    cli: Cli, embedded_url: str, tmp_path: Path, openai_endpoint: OpenAIEndpoint
) -> None:
    words = (b"quince", b"walnut", b"Walnut")

    def answer(body: dict[str, Any]) -> Any:
        said = support_responder(body)
        drafts = "first response" in str(body["messages"])
        return said.replace(DRAFT[-20:], f"{DRAFT[-20:]} Walnutsson will write about walnut-8823.") if drafts else said

    openai_endpoint.responder, openai_endpoint.token_probability = answer, 0.99
    tickets = {
        "bill": "I was charged twice for March in account quince-4711, please refund the second invoice.",
        "odd": "quince-4711 \U0001f44d",
    }
    path = write_tickets(tmp_path / "t.jsonl", tickets)
    plain, sealed = {"SUREFOOT_REDIS_URL": embedded_url}, {"SUREFOOT_CHECKPOINT_KEYS": new_key()}
    command = ("run", "support", path, "--provider", "openai", "--namespace")
    assert cli(*command, "sealed", **plain, **sealed).status in (0, 3)
    held = everything_on(embedded_url)
    assert any(key.startswith(b"surefoot:guard:{g}:ledger:") for key in held), "answers are kept"
    assert sum(key.startswith(b"surefoot:thread:") for key in held) == 2
    assert {key: word for key, value in held.items() for word in words if word in value} == {}
    with connect(embedded_url) as client:
        client.flushdb()
    assert cli(*command, "plain", **plain).status in (0, 3)
    shown = {key: value for key, value in everything_on(embedded_url).items() if b"alnut" in value}
    assert any(b":ledger:" in key for key in shown), "the words would be found if they were there"


async def test_what_a_record_may_quote_is_read_with_the_key_alone(
    embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = ThreadRecord(thread_id="t", key="k", pipeline="support", item_id="i", status="waiting",
                          reasons=["names quince-4711"], error="quince-4711 is odd")  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setenv("SUREFOOT_CHECKPOINT_KEYS", new_key())
        async with open_store(embedded_url) as store:
            await store.save(record)
            stored = await store.get("t")
            assert stored is not None
            assert (stored.reasons, stored.error) == (record.reasons, record.error)
    assert not any(b"quince" in value for value in everything_on(embedded_url).values())
    async with open_store(embedded_url) as store:
        stored = await store.get("t")
        assert stored is not None
        assert (stored.key, stored.status, stored.reasons, stored.error) == ("k", "waiting", [], "")


def test_a_wrong_key_is_one_clear_line(cli: Cli, tmp_path: Path) -> None:
    path = write_tickets(tmp_path / "t.jsonl", {"bill": TICKETS["bill"]})
    done = cli("run", "support", path, "--provider", "embedded", SUREFOOT_CHECKPOINT_KEYS="one:short")
    assert done.status == 2
    assert "SUREFOOT_CHECKPOINT_KEYS" in done.err or "32 bytes" in done.err
    assert "Traceback" not in done.err


def test_a_lost_registry_is_written_anew(
    cli: Cli, embedded_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli_url = embedded_url
    monkeypatch.setenv("SUREFOOT_REDIS_URL", embedded_url)
    run(cli, tmp_path, "lost")
    with connect(cli_url) as client:
        client.delete(*client.keys("surefoot:{r.*"))
    assert cli("threads", "--namespace", "lost", "--json").json == []
    assert cli("doctor", "--repair").status == 0
    assert len(cli("threads", "--namespace", "lost", "--json").json) == 2
    assert len(cli("inbox", "--namespace", "lost", "--json").json) == 1


def test_a_day_that_does_not_fit_is_warned_of() -> None:
    from surefoot.doctor_server import day_of_runs, told_bytes

    assert settings().retention_days == 30
    fits, full = day_of_runs(10_000, 50_000, 1e12), day_of_runs(10_000, 50_000, 1e9)
    assert (fits.level, full.level) == ("ok", "warn")
    assert "500 MB a day, 15 GB for the 30 days" in fits.told
    assert "more than the 1.0 GB that are left" in full.told
    assert [told_bytes(size) for size in (12, 1234, 12_345_678)] == ["12 bytes", "1.2 kB", "12 MB"]
