"""Encrypted checkpoints: nothing readable on the server, nothing accepted that was moved, changed or cut."""

from __future__ import annotations

import base64
import itertools
import os
import struct
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import AIMessage
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, _DeltaSnapshot
from langgraph.types import Interrupt
from servers import checkpoint_of, config_of, put_values

from checkpointers import AsyncRedisSaver, KeyMissing, RecordDamaged, RedisSaver
from checkpointers._codec import frame, ref_of, thread_keys, unframe, unframe_writes
from checkpointers.encryption import VARIABLE, Encryption, new_key

SECRET = "IBAN DE89 3704 0044 0532 0130 00"
KEY = base64.b64encode(bytes(32)).decode()
OLD, NEW = os.urandom(32), os.urandom(32)


def saver_with(url: str, **keys: bytes) -> Any:
    return RedisSaver.from_url(url, encryption=Encryption(keys) if keys else None)


@pytest.fixture
def saver(sealed_url: str) -> Iterator[RedisSaver]:
    with saver_with(sealed_url, old=OLD) as opened:
        yield opened


def fill(saver: RedisSaver, thread: str) -> list[Any]:
    """Store values that stand in records, in fields and in logs, and writes; return the log."""
    log = [AIMessage(f"{SECRET} {os.urandom(400).hex()}", id=str(n)) for n in range(3)]
    config = config_of(thread)
    versions: dict[str, Any] = {"log": None, "large": None, "small": None}
    for number in range(4):
        versions = {name: saver.get_next_version(version, None) for name, version in versions.items()}
        log = [*log, AIMessage(SECRET, id=f"more {number}")]
        values = {"log": log, "large": {"text": SECRET * 200, "n": number}, "small": f"{SECRET} {number}"}
        config = saver.put(
            config, checkpoint_of(values, dict(versions)), {"source": "loop", "step": number, "parents": {}}, versions
        )
    saver.put_writes(config, [("small", SECRET), (INTERRUPT, [Interrupt(SECRET, id="i")])], "task")
    saver.put_writes(config, [(ERROR, SECRET)], "task")
    return log


def read(saver: RedisSaver, thread: str) -> Any:
    found = saver.get_tuple(config_of(thread))
    assert found is not None
    return found


def test_everything_comes_back_and_nothing_of_it_is_readable_on_the_server(saver: RedisSaver) -> None:
    thread, copied = str(uuid4()), str(uuid4())
    log = fill(saver, thread)
    saver.copy_thread(thread, copied)
    for name in (thread, copied):
        found = read(saver, name)
        assert found.checkpoint["channel_values"]["log"] == log
        assert found.checkpoint["channel_values"]["large"] == {"text": SECRET * 200, "n": 3}
        assert found.checkpoint["channel_values"]["small"] == f"{SECRET} 3"
        assert [write[2] for write in found.pending_writes or []] == [
            [Interrupt(SECRET, id="i")], SECRET, SECRET,
        ]  # fmt: skip
        assert len(list(saver.list(config_of(name)))) == 4
        stored: dict[bytes, bytes] = saver.client.hgetall(thread_keys(name)[0])  # type: ignore[assignment]
        whole = b"".join(piece for pair in stored.items() for piece in pair)
        assert len(whole) > 2000
        for word in (b"IBAN", b"DE89", b"3704", b"AIMessage", b"source"):
            assert word not in whole


def test_of_an_outcome_the_registry_says_only_what_it_means(sealed_url: str) -> None:
    with RedisSaver.from_url(sealed_url, encryption=Encryption({"old": OLD}), registry=True) as saver:
        for outcome, status in ((f"sent to {SECRET}", "done"), (f"failed: {SECRET}", "failed")):
            thread = str(uuid4())
            put_values(saver, config_of(thread), outcome=outcome)
            entry = saver.find_thread(thread)
            assert entry is not None
            assert (entry.outcome, entry.status(held=False)) == (status, status)
            saver.reconcile([thread])
            assert saver.find_thread(thread) == entry
            saver.delete_thread(thread)


@pytest.mark.asyncio
async def test_the_async_saver_reads_and_writes_with_the_same_keys(saver: RedisSaver, sealed_url: str) -> None:
    thread = str(uuid4())
    log = fill(saver, thread)
    async with AsyncRedisSaver.from_url(sealed_url, encryption=Encryption({"old": OLD})) as other:
        found = await other.aget_tuple(config_of(thread))
        assert found is not None
        assert found.checkpoint["channel_values"]["log"] == log
        version = other.get_next_version(str(found.checkpoint["channel_versions"]["log"]), None)
        longer = [*found.checkpoint["channel_values"]["log"], AIMessage("one more", id="x")]
        checkpoint = checkpoint_of({"log": longer}, {"log": version})
        metadata: Any = {"source": "loop", "step": 9, "parents": {}}
        await other.aput(found.config, checkpoint, metadata, {"log": version})
    assert read(saver, thread).checkpoint["channel_values"]["log"] == longer


def test_after_a_rotation_old_records_are_read_and_new_ones_have_the_new_key(
    saver: RedisSaver, sealed_url: str
) -> None:
    thread = str(uuid4())
    log = fill(saver, thread)
    with saver_with(sealed_url, new=NEW, old=OLD) as rotated:
        found = read(rotated, thread)
        assert found.checkpoint["channel_values"]["log"] == log
        put_values(rotated, found.config, small="written with the new key")
        stored: dict[bytes, bytes] = rotated.client.hgetall(thread_keys(thread)[0])
        assert any(b"e\x03new" in value for value in stored.values())
        with saver_with(sealed_url, new=NEW) as without:
            assert read(without, thread).checkpoint["channel_values"] == {"small": "written with the new key"}
            with pytest.raises(KeyMissing, match=f"'{thread}'.*key 'old' is not among the keys"):
                list(without.list(config_of(thread)))


def test_another_key_under_the_same_id_and_no_key_are_told(saver: RedisSaver, sealed_url: str) -> None:
    thread = str(uuid4())
    fill(saver, thread)
    with saver_with(sealed_url, old=NEW) as wrong, pytest.raises(RecordDamaged, match=thread):
        read(wrong, thread)
    with saver_with(sealed_url) as plain, pytest.raises(KeyMissing, match=f"{thread}.*encrypted"):
        read(plain, thread)


def test_what_is_not_encrypted_is_refused(saver: RedisSaver, sealed_url: str) -> None:
    thread = str(uuid4())
    with saver_with(sealed_url) as plain:
        fill(plain, thread)
    with pytest.raises(RecordDamaged, match=f"{thread}.*not encrypted"):
        read(saver, thread)


def test_a_field_moved_from_elsewhere_is_refused(saver: RedisSaver) -> None:
    """Each field that holds ciphertext, put in the place of the one of another thread that has the same name."""
    thread, other = str(uuid4()), str(uuid4())
    fill(saver, thread)
    data, index = thread_keys(thread)
    data_of_other, index_of_other = thread_keys(other)
    stored: dict[bytes, bytes] = saver.client.hgetall(data)  # type: ignore[assignment]
    saver.client.hset(data_of_other, mapping=stored)  # type: ignore[arg-type]
    saver.client.zunionstore(index_of_other, [index])
    with pytest.raises(RecordDamaged, match=f"{other}.*moved from elsewhere"):
        read(saver, other)


def sealed_fields(saver: RedisSaver, thread: str) -> dict[bytes, bytes]:
    stored: dict[bytes, bytes] = saver.client.hgetall(thread_keys(thread)[0])  # type: ignore[assignment]
    return {name: value for name, value in stored.items() if b"e\x03old" in value}


def test_two_fields_of_a_thread_exchanged_are_refused(saver: RedisSaver) -> None:
    thread = str(uuid4())
    fill(saver, thread)
    data, _ = thread_keys(thread)
    fields = sealed_fields(saver, thread)
    kinds = {name[:1] for name in fields}
    assert len(kinds) >= 4, "a record, a value, a log and a write are looked at"
    exchanged = 0
    for kind in kinds:
        names = [name for name in fields if name[:1] == kind]
        for first, second in itertools.pairwise(names):
            saver.client.hset(data, mapping={first: fields[second], second: fields[first]})
            with pytest.raises(RecordDamaged, match=thread):
                list(saver.list(config_of(thread)))
            saver.client.hset(data, mapping={first: fields[first], second: fields[second]})
            exchanged += 1
    assert exchanged >= 8
    assert len(list(saver.list(config_of(thread)))) == 4


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_changed_or_cut_field_is_an_error_that_names_the_thread(sealed_url: str, encrypted: bool) -> None:
    """Each field in turn is cut at several places; what comes back is whole, or an error, never less."""
    with saver_with(sealed_url, **({"old": OLD} if encrypted else {})) as saver:
        thread = str(uuid4())
        fill(saver, thread)
        data, _ = thread_keys(thread)
        whole = list(saver.list(config_of(thread)))
        stored: dict[bytes, bytes] = saver.client.hgetall(data)
        for name, value in stored.items():
            for bad in {value[:-1], value[: len(value) // 2], value[:1], b"", value + b"x"}:
                saver.client.hset(data, name, bad)
                try:
                    found = list(saver.list(config_of(thread)))
                except Exception as error:
                    assert thread in str(error), (name, type(error), error)  # noqa: PT017 - one of two ways to be right
                else:
                    assert found == whole, name
            saver.client.hset(data, name, value)
        assert list(saver.list(config_of(thread))) == whole


def test_a_thread_that_cannot_be_opened_is_not_copied(saver: RedisSaver) -> None:
    thread = str(uuid4())
    fill(saver, thread)
    data, _ = thread_keys(thread)
    stored: dict[bytes, bytes] = saver.client.hgetall(data)  # type: ignore[assignment]
    # The list of a log's segments is not encrypted, and copied as it is.
    for name, value in sealed_fields(saver, thread).items():
        for bad in (value[:-1], value[: len(value) // 2]):
            saver.client.hset(data, name, bad)
            with pytest.raises(RecordDamaged, match=thread):
                saver.copy_thread(thread, f"{thread}-copy")
        saver.client.hset(data, name, value)
    assert len(stored) > 8
    saver.copy_thread(thread, f"{thread}-copy")
    assert len(list(saver.list(config_of(f"{thread}-copy")))) == len(list(saver.list(config_of(thread))))


def test_a_changed_byte_of_ciphertext_is_an_error(saver: RedisSaver) -> None:
    thread = str(uuid4())
    fill(saver, thread)
    data, _ = thread_keys(thread)
    for name, value in sealed_fields(saver, thread).items():
        start = value.rindex(b"e\x03old") + 5
        for at in (start, len(value) - 1, (start + len(value)) // 2):
            bad = bytearray(value)
            bad[at] ^= 1
            saver.client.hset(data, name, bytes(bad))
            with pytest.raises(RecordDamaged, match=thread):
                list(saver.list(config_of(thread)))
        saver.client.hset(data, name, value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("k1", "entry 1 is not of the form"),
        (f"a:{KEY},no colon", "entry 2 is not of the form"),
        ("k1:§§", "entry 1 is not of the form"),
        (f"a:{KEY},a:{KEY}", "entry 2 has the id 'a'"),
        ("k1:" + base64.b64encode(b"too short").decode(), "'k1' must have 32 bytes"),
        (f":{KEY}", "an id of 1 to 255"),
    ],
)
def test_wrong_keys_in_the_environment_are_told_without_showing_them(
    monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(ValueError, match=told) as caught:
        Encryption.from_environment()
    assert text.rpartition(":")[2] not in str(caught.value)


def test_keys_of_the_environment_are_used_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "")
    assert Encryption.from_environment() is None
    monkeypatch.setenv(VARIABLE, f" {new_key('new')} , {new_key('old')} ")
    encryption = Encryption.from_environment()
    assert encryption is not None
    sealed = encryption.seal(b"data", b"place")
    assert sealed.startswith(b"e\x03new")
    assert encryption.unseal(sealed, b"place") == b"data"


def record_of(saver: RedisSaver, thread: str, at: int) -> tuple[bytes, list[bytes]]:
    """Return the field and the frames of a checkpoint's record, by its place among them."""
    fields: dict[bytes, bytes] = saver.client.hgetall(thread_keys(thread)[0])  # type: ignore[assignment]
    name = sorted(name for name in fields if name[:1] == b"c")[at]
    return name, unframe(fields[name])


def refused(saver: RedisSaver, thread: str, field: bytes, value: bytes) -> None:
    """Assert that a changed field is an error that names the thread, and put back what was there."""
    data, _ = thread_keys(thread)
    before: bytes = saver.client.hget(data, field)  # type: ignore[assignment]
    assert before != value
    saver.client.hset(data, field, value)  # type: ignore[arg-type]
    with pytest.raises(RecordDamaged, match=thread):
        list(saver.list(config_of(thread)))
    saver.client.hset(data, field, before)  # type: ignore[arg-type]
    list(saver.list(config_of(thread)))


def test_what_a_checkpoint_refers_to_cannot_be_changed(saver: RedisSaver) -> None:
    thread = str(uuid4())
    fill(saver, thread)
    _, early = record_of(saver, thread, 0)
    field, last = record_of(saver, thread, -1)
    parent, refs, histories, _run, body, metadata = range(6)

    def with_part(part: int, value: bytes) -> bytes:
        return frame([*last[:part], value, *last[part + 1 :]])

    entries = {ref_of(entry).channel: entry for entry in unframe(last[refs])}
    old = {ref_of(entry).channel: entry for entry in unframe(early[refs])}
    changed = {
        "the values of an earlier checkpoint": with_part(refs, early[refs]),
        "no values": with_part(refs, b""),
        "one value less": with_part(refs, frame([entries["log"], entries["large"]])),
        "a value said to be none": with_part(
            refs, frame([ref_of(entries["log"]).name + b"\0e", entries["large"], entries["small"]])
        ),
        "one earlier value": with_part(refs, frame([entries["log"], old["large"], entries["small"]])),
        "another order": with_part(refs, frame([entries["large"], entries["log"], entries["small"]])),
        "another parent": with_part(parent, last[parent][:-1] + b"x"),
        "no parent": with_part(parent, b""),
        "a history that it has not": with_part(histories, frame([b"log"])),
        "another run": with_part(3, b"another"),
        "an earlier body": with_part(body, early[body]),
        "earlier metadata": with_part(metadata, early[metadata]),
    }
    name, _, rest = entries["log"].rpartition(b"\0l")
    fewer = rest[:8] + struct.pack(">I", 2) + rest[12:]
    changed["a shorter list"] = with_part(refs, frame([name + b"\0l" + fewer, entries["large"], entries["small"]]))
    for what, value in changed.items():
        assert value != frame(last), what
        refused(saver, thread, field, value)


def test_parts_of_a_list_cannot_take_each_others_place(saver: RedisSaver) -> None:
    thread, log = str(uuid4()), [AIMessage(os.urandom(400).hex(), id="0")]
    config = config_of(thread)
    for number in range(3):
        log = [*log, AIMessage(SECRET, id=str(number + 1))]
        versions: dict[str, Any] = dict.fromkeys(("log", "branch:to:next"), f"{number:08x}.0")
        checkpoint = checkpoint_of({"log": log, "branch:to:next": None}, versions)
        config = saver.put(config, checkpoint, {"source": "loop", "step": number, "parents": {}}, versions)
    assert read(saver, thread).checkpoint["channel_values"]["log"] == log
    fields: dict[bytes, bytes] = saver.client.hgetall(thread_keys(thread)[0])  # type: ignore[assignment]
    name = next(name for name in fields if name[:1] == b"g")
    assert struct.unpack(">4I", fields[name]) == (4, 0, 2, 3)
    refused(saver, thread, name, struct.pack(">4I", 4, 0, 2, 2))
    refused(saver, thread, name, struct.pack(">4I", 4, 0, 3, 2))


def test_the_tasks_of_writes_cannot_be_changed_and_none_of_their_last_writes_left_out(saver: RedisSaver) -> None:
    thread, copied = str(uuid4()), str(uuid4())
    config = put_values(saver, config_of(thread), a=1)
    saver.put_writes(config, [("small", SECRET), ("large", SECRET * 9), ("small", "more")], "task", "a path")
    saver.put_writes(config, [("small", SECRET)], "other", "z path")
    data, _ = thread_keys(thread)
    fields: dict[bytes, bytes] = saver.client.hgetall(data)  # type: ignore[assignment]
    name = next(name for name in fields if name[:1] == b"w")
    blocks = blocks_in(fields[name])
    (task, path, entries), (other, other_path, other_entries) = blocks
    assert b"a path" not in fields[name]
    every = [entry_in(*write) for write in unframe_writes(entries)]
    assert len(every) == 3
    for bad in (
        [(task, other_path, entries), blocks[1]],
        [(task, b"a path", entries), blocks[1]],
        [(task, path, other_entries), (other, other_path, entries)],
        [(other, path, entries), (task, other_path, other_entries)],
        *([(task, path, b"".join(every[:at] + every[at + 1 :])), blocks[1]] for at in range(3)),
    ):
        refused(saver, thread, name, b"".join(block_in(*block) for block in bad))
    saver.copy_thread(thread, copied)
    for each in (thread, copied):
        assert [write[:2] for write in read(saver, each).pending_writes] == [
            ("task", "small"), ("task", "large"), ("task", "small"), ("other", "small"),
        ]  # fmt: skip


def blocks_in(value: bytes) -> list[tuple[bytes, bytes, bytes]]:
    found, at = [], 0
    while at < len(value):
        sizes = struct.unpack_from(">HHI", value, at)
        at += 8
        parts = []
        for size in sizes:
            parts.append(value[at : at + size])
            at += size
        found.append((parts[0], parts[1], parts[2]))
    return found


def block_in(task: bytes, path: bytes, entries: bytes) -> bytes:
    return struct.pack(">HHI", len(task), len(path), len(entries)) + task + path + entries


def entry_in(idx: int, channel: bytes, body: bytes) -> bytes:
    return struct.pack(">iHI", idx, len(channel), len(body)) + channel + body


def test_the_history_of_a_delta_channel_is_the_one_that_was_put(saver: RedisSaver) -> None:
    thread = str(uuid4())
    config, configs = config_of(thread), []
    for step in range(6):
        version = saver.get_next_version(None, None)
        values = {"log": _DeltaSnapshot([SECRET])} if step == 2 else {}
        metadata: Any = {"source": "loop", "step": step, "parents": {}}
        config = saver.put(config, checkpoint_of(values, {"log": version}), metadata, {"log": version})
        saver.put_writes(config, [("log", [step]), ("other", step)], f"task {step}")
        configs.append(config)

    def history() -> Any:
        return saver.get_delta_channel_history(config=configs[-1], channels=["log"])

    whole = history()
    assert whole["log"]["seed"] == _DeltaSnapshot([SECRET])
    assert [write[2] for write in whole["log"]["writes"]] == [[2], [3], [4]]
    data, _ = thread_keys(thread)
    records = [record_of(saver, thread, at) for at in range(6)]
    skipped = frame([records[3][1][0], *records[4][1][1:]])
    unseeded = frame([records[2][1][0], b"", *records[2][1][2:]])
    for at, bad in ((4, skipped), (2, unseeded)):
        field, parts = records[at]
        saver.client.hset(data, field, bad)  # type: ignore[arg-type]
        with pytest.raises(RecordDamaged, match=thread):
            history()
        saver.client.hset(data, field, frame(parts))  # type: ignore[arg-type]
    assert history() == whole
