"""A broken thread says what is broken, in which field, and what helps, under every command."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from cli_tools import TICKETS, Cli, Done, write_tickets

import surefoot
from checkpointers import connect, thread_keys
from surefoot.broken import ThreadUnreadable
from surefoot.records import record_key
from surefoot.store import open_store
from surefoot.threads import thread_id

LOOKS = (["explain"], ["explain", "--json"], ["review"], ["review", "--accept"], ["resume"])


def key(name: str, byte: bytes) -> str:
    return f"{name}:{base64.b64encode(byte * 32).decode()}"


def ask(cli: Cli, folder: Path, namespace: str, **variables: str) -> str:
    """Run a ticket that waits for a person."""
    path = write_tickets(folder / "t.jsonl", {"down": TICKETS["down"]})
    assert cli("run", "support", path, "--provider", "embedded", "--namespace", namespace, **variables).status == 3
    return f"{namespace}/support:down"


def change_state(url: str, thread: str, **values: Any) -> None:
    """Write values into a waiting thread that its fields would not take, as another program with this saver could."""

    async def change() -> None:
        async with open_store(url) as store:
            record = await store.find(thread)
            found = await store.saver.aget_tuple({"configurable": {"thread_id": record.thread_id, "checkpoint_ns": ""}})
            assert found is not None
            checkpoint = found.checkpoint
            checkpoint["channel_values"] |= values
            old = checkpoint["channel_versions"]
            versions = {name: store.saver.get_next_version(old.get(name), None) for name in values}
            checkpoint["channel_versions"] |= versions
            checkpoint["id"] = "zzz" + checkpoint["id"][3:]
            config = await store.saver.aput(found.config, checkpoint, found.metadata, versions)
            for task, channel, value in found.pending_writes or []:
                await store.saver.aput_writes(config, [(channel, value)], task)

    asyncio.run(change())


def everywhere(cli: Cli, thread: str, **variables: str) -> list[Done]:
    """Look at a thread with every command."""
    named = [cli(command[0], thread, *command[1:], **variables) for command in LOOKS]
    namespace = thread.partition("/")[0]
    listed = [cli(name, "--namespace", namespace, *more, COLUMNS="300", **variables)
              for name in ("threads", "inbox") for more in ((), ("--json",))]  # fmt: skip
    return [*named, *listed]


def doctor(cli: Cli, *options: str, **variables: str) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in cli("doctor", "--json", *options, **variables).json}


def assert_told(shown: list[Done], *parts: str) -> None:
    for done in shown:
        told = " ".join((done.out + done.err).split())
        for part in parts:
            assert part in told, told
        assert "--rerun" not in told
        assert "ValidationError" not in told
        assert "Traceback" not in told


@pytest.mark.parametrize(("field", "value"), [("attempts", "junk"), ("urgency", 7)])
def test_a_field_that_does_not_fit_is_named_everywhere_and_put_aside(
    cli: Cli, cli_url: str, tmp_path: Path, field: str, value: Any
) -> None:
    thread = ask(cli, tmp_path, f"field-{field}")
    change_state(cli_url, thread, **{field: value})
    shown = everywhere(cli, thread)
    assert_told(shown, f"field '{field}' holds a value that does not fit", thread)
    explained, _, reviewed, accepted, resumed, *_ = shown
    assert explained.out.startswith(f"{thread} is broken: field '{field}'")
    assert "0 attempts" not in explained.out
    assert "surefoot doctor --quarantine" in explained.out
    assert [done.status for done in (explained, reviewed, accepted, resumed)] == [0, 1, 1, 1]
    with pytest.raises(ThreadUnreadable, match=f"{thread}.*field '{field}'"):
        surefoot.resume(thread, "accept", url=cli_url)
    found = doctor(cli)
    assert f"{thread} (field '{field}'" in found["broken"]["told"]
    aside = doctor(cli, "--quarantine")
    assert thread in aside["quarantine"]["told"]
    assert thread in aside["put aside"]["threads"]
    assert doctor(cli, "--restore", thread)["restore"]["level"] == "ok"
    assert field in cli("explain", thread).out
    cli("doctor", "--quarantine")
    cli("doctor", "--discard", thread)


def test_a_missing_key_and_a_wrong_one_are_told_apart_from_damage(
    cli: Cli, embedded_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUREFOOT_REDIS_URL", embedded_url)
    variable, right = "SUREFOOT_CHECKPOINT_KEYS", key("k1", b"1")
    thread = ask(cli, tmp_path, "keys", **{variable: right})
    whole = ask(cli, tmp_path, "whole", **{variable: right})
    for keys, told in (
        ({}, "encrypted with the key 'k1'"),
        ({variable: key("k2", b"2")}, "encrypted with the key 'k1'"),
        ({variable: key("k1", b"2")}, "the key 'k1'"),
    ):
        shown = everywhere(cli, thread, **keys)
        assert_told(shown, told)
        for done in shown[:2] + shown[3:5]:
            assert thread in done.out + done.err
            assert thread_id("support", "down", "keys") not in done.err
            assert "nothing is lost" in " ".join((done.out + done.err).split())
        found = doctor(cli, "--quarantine", **keys)
        assert found["broken"]["level"] == "fail"
        assert "2 threads" in found["broken"]["told"]
        assert "quarantine" not in found
        again = cli(
            "run", "support", str(tmp_path / "t.jsonl"), "--provider", "embedded", "--namespace", "keys", **keys
        )
        assert again.status == 1
        assert "nothing is lost" in again.err
        assert "1 item was refused" in again.err
    with connect(embedded_url) as client:
        data = thread_keys(thread_id("support", "down", "keys"))[0]
        stored: Any = client.hgetall(data)
        name = max((field for field in stored if field.startswith(b"c")), key=bytes)
        client.hset(data, name, stored[name][:-1] + bytes([stored[name][-1] ^ 1]))
    told = cli("explain", thread, **{variable: right}).out
    assert "is broken: a stored record cannot be read" in told
    assert "the key is right" in " ".join(told.split())
    aside = doctor(cli, "--quarantine", **{variable: right})
    assert aside["quarantine"]["told"] == f"1 damaged thread: {thread} put aside"
    assert cli("review", whole, "--accept", **{variable: right}).status == 0


def test_what_was_stored_before_there_were_keys_is_not_called_damaged(
    cli: Cli, embedded_url: str, tmp_path: Path
) -> None:
    here = {"SUREFOOT_REDIS_URL": embedded_url}
    thread = ask(cli, tmp_path, "plain", **here)
    keys = here | {"SUREFOOT_CHECKPOINT_KEYS": key("k1", b"1")}
    assert "is stored without encryption" in " ".join(cli("explain", thread, **keys).out.split())
    assert "quarantine" not in doctor(cli, "--quarantine", **keys)
    assert cli("review", thread, "--accept", **here).status == 0


@pytest.mark.parametrize("damage", [b"{garbage", b"[]", b"17 null"])
def test_a_damaged_record_is_written_anew_from_the_checkpoints(
    cli: Cli, embedded_url: str, tmp_path: Path, damage: bytes
) -> None:
    here = {"SUREFOOT_REDIS_URL": embedded_url}
    thread = ask(cli, tmp_path, "record", **here)
    name = record_key(thread_id("support", "down", "record"))
    with connect(embedded_url) as client:
        client.set(name, damage)
    told = cli("explain", thread, **here).out
    assert told.startswith(f"{thread} is broken: its record beside the checkpoints cannot be read")
    assert "surefoot doctor --repair" in told
    for command in (["resume", thread], ["review", thread, "--accept"]):
        refused = cli(*command, **here)
        assert refused.status == 1
        assert "--repair" in refused.err
    assert thread in cli("threads", **here).out
    assert thread in doctor(cli, "--repair", **here)["registry"]["told"]
    assert cli("review", thread, "--accept", **here).status == 0


def test_a_record_of_a_newer_version_is_left_alone(cli: Cli, embedded_url: str, tmp_path: Path) -> None:
    here = {"SUREFOOT_REDIS_URL": embedded_url}
    thread = ask(cli, tmp_path, "later", **here)
    name = record_key(thread_id("support", "down", "later"))
    with connect(embedded_url) as client:
        stored: Any = client.get(name)
        client.set(name, stored.replace(b'"waiting"', b'"parked"'))
        before = client.get(name)
        for command in ("explain", "resume"):
            shown = cli(command, thread, **here)
            told = " ".join((shown.out + shown.err).split())
            assert "its record cannot be read by this version (field status)" in told
            assert "update this installation" in told.lower()
        found = doctor(cli, "--repair", "--quarantine", **here)
        assert "quarantine" not in found
        assert thread in found["newer"]["told"]
        assert client.get(name) == before


def test_a_removed_node_is_named(cli: Cli, cli_url: str, tmp_path: Path) -> None:
    thread = ask(cli, tmp_path, "node")
    change_state(cli_url, thread, **{"branch:to:check_sanctions": None})
    told = " ".join(cli("explain", thread).out.split())
    assert "is broken: it stands before check_sanctions, a node that this graph no longer has" in told
    assert "add_retired(builder, 'check_sanctions'" in told
    assert "check_sanctions" in cli("resume", thread).err
    cli("run", "support", str(tmp_path / "t.jsonl"), "--provider", "embedded", "--namespace", "node", "--rerun")


def test_a_newer_format_is_told_with_the_key(cli: Cli, embedded_url: str, tmp_path: Path) -> None:
    here = {"SUREFOOT_REDIS_URL": embedded_url}
    thread = ask(cli, tmp_path, "format", **here)
    with connect(embedded_url) as client:
        client.hset(thread_keys(thread_id("support", "down", "format"))[0], "v", "9")
    assert_told(everywhere(cli, thread, **here), "stored in format 9")
    assert "quarantine" not in doctor(cli, "--quarantine", **here)
