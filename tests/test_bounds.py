"""What is read from a server is bounded: no small record becomes gigabytes, and none is written that is beyond that."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from typing import Any

import ormsgpack
import pytest
import redis.asyncio as aredis
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from servers import config_of, put_values

from checkpointers import (
    AsyncRedisSaver,
    RecordDamaged,
    RecordTooLarge,
    RedisSaver,
    SaverError,
    ValueNotStorable,
    connect,
    connect_async,
    thread_keys,
)
from checkpointers import _bounds as bounds
from checkpointers._pack import _PREPARED, pack, unpack
from checkpointers._watchdog import Line
from nodes.call.redis_guard import RedisGuard
from nodes.call.sealed import MOST_CHARACTERS, Kept
from surefoot.store import open_store, record_key

MB = 2**20


def frame_of(body: bytes, *, declared: bool = True) -> bytes:
    params = zstandard.ZstdCompressionParameters.from_level(
        1,
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        write_checksum=True,
        write_content_size=declared,
        write_dict_id=False,
    )
    return zstandard.ZstdCompressor(dict_data=_PREPARED, compression_params=params).compress(body)


def many(head: bytes, number: int, each: bytes) -> bytes:
    return head + struct.pack(">I", number) + each * number


def nested(body: bytes) -> bytes:
    """Return a body inside of an extension."""
    return b"\xc9" + struct.pack(">I", len(body)) + b"\x05" + body


BOMBS = {
    "a text": lambda: b"\xdb" + struct.pack(">I", 100 * MB) + b"a" * (100 * MB),
    "bytes": lambda: b"\xc6" + struct.pack(">I", 100 * MB) + bytes(100 * MB),
    "empty dicts": lambda: many(b"\xdd", 30 * MB, b"\x80"),
    "empty lists": lambda: many(b"\xdd", 30 * MB, b"\x90"),
    "numbers": lambda: many(b"\xdd", 60 * MB, b"\x01"),
    "in an extension": lambda: nested(many(b"\xdd", 30 * MB, b"\x80")),
    "twice in an extension": lambda: nested(nested(many(b"\xdd", 30 * MB, b"\x80"))),
    "short texts": lambda: many(b"\xdd", 15 * MB, b"\xa2ab"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_record_that_would_fill_the_memory_is_refused_before_it_does(name: str) -> None:
    record = b"M" + frame_of(BOMBS[name]())
    assert len(record) < 40_000
    with pytest.raises(bounds.TooLarge, match=bounds.VARIABLE):
        unpack(record)


CHILD = """
    import resource, sys
    from pathlib import Path
    from checkpointers import RecordTooLarge
    from checkpointers._pack import unpack
    record = Path(sys.argv[1]).read_bytes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        unpack(record)
    except ValueError as error:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, error)
"""


def test_a_gigabyte_in_32_kilobytes_takes_no_memory(tmp_path: Any) -> None:
    path = tmp_path / "record"
    path.write_bytes(b"M" + frame_of(bytes(1024 * MB)))
    assert path.stat().st_size < 40_000
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(path)], capture_output=True, text=True, check=True
    )
    grown, _, why = done.stdout.partition(" ")
    assert int(grown) < 20_000  # kilobytes on Linux, bytes on macOS
    assert "it takes 1,073.7 MB unpacked from" in why


@pytest.mark.parametrize("size", [0, 1, 5])
def test_a_frame_that_declares_another_size_or_none_is_damaged(size: int) -> None:
    with pytest.raises(ValueError, match="damaged"):
        unpack(b"M" + frame_of(b"\xa5hello" * 50, declared=False))
    whole = frame_of(ormsgpack.packb("hello " * 50))
    # RFC 8878: the byte after the descriptor is the content size here.
    lying = whole[:1] + bytes((size,)) + whole[2:]
    assert zstandard.get_frame_parameters(lying, format=zstandard.FORMAT_ZSTD1_MAGICLESS).content_size < 300
    with pytest.raises(ValueError, match="damaged"):
        unpack(b"M" + lying)


def test_a_header_that_declares_more_than_there_is_makes_no_room_for_it() -> None:
    whole = frame_of(ormsgpack.packb("hello " * 50))
    # RFC 8878: eight bytes of content size, one segment, a checksum.
    lying = bytes((0xC0 | 0x20 | 0x04,)) + (2**40).to_bytes(8, "little") + whole[2:]
    with pytest.raises(bounds.TooLarge, match=r"it takes 1,099,511\.6 MB unpacked"):
        unpack(b"M" + lying)


def test_what_could_not_be_read_back_is_not_written(valkey_url: str) -> None:
    with RedisSaver.from_url(valkey_url) as saver:
        for value in ("x" * (65 * MB), [{} for _ in range(5 * MB)]):
            with pytest.raises(ValueNotStorable, match=r"The value of 'report'.*SUREFOOT_MAX_VALUE_BYTES"):
                put_values(saver, config_of("large"), report=value)
        assert saver.get(config_of("large")) is None
        put_values(saver, config_of("large"), report="x" * (60 * MB))
        assert len(saver.get_tuple(config_of("large")).checkpoint["channel_values"]["report"]) == 60 * MB  # type: ignore[union-attr]


def plant(url: str, thread: str, record: bytes) -> None:
    """Put a record into the place of each value of a thread."""
    with connect(url) as client:
        data = thread_keys(thread)[0]
        fields: Any = client.hkeys(data)
        for name in fields:
            if name[:1] == b"b":
                client.hset(data, name, record)


async def test_a_planted_record_is_one_clear_error_of_its_thread(valkey_url: str) -> None:
    record = b"M" + frame_of(BOMBS["empty dicts"]())
    with RedisSaver.from_url(valkey_url) as saver:
        put_values(saver, config_of("bomb"), notes="".join(map(str, range(2000))))
        plant(valkey_url, "bomb", record)
        with pytest.raises(RecordTooLarge, match=r"'bomb'.*the value of 'notes': it holds more than 4,194,304 objects"):
            saver.get(config_of("bomb"))
        with pytest.raises(RecordDamaged):
            list(saver.list(config_of("bomb")))
    async with AsyncRedisSaver.from_url(valkey_url) as asaver:
        with pytest.raises(RecordTooLarge):
            await asaver.aget(config_of("bomb"))


def test_the_bound_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    value = ("msgpack", ormsgpack.packb("x" * (2 * MB)))
    packed = pack(value)
    monkeypatch.setenv(bounds.VARIABLE, str(MB))
    with pytest.raises(bounds.TooLarge):
        pack(value)
    with pytest.raises(bounds.TooLarge):
        unpack(packed)
    monkeypatch.setenv(bounds.VARIABLE, str(3 * MB))
    assert unpack(packed) == value
    for wrong in ("lots", "-1", "10", "1e9"):
        monkeypatch.setenv(bounds.VARIABLE, wrong)
        with pytest.raises(SaverError, match=bounds.VARIABLE):
            unpack(packed)


def test_a_list_that_outgrows_the_bound_in_steps_stays_readable(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(bounds.VARIABLE, str(MB))
    with RedisSaver.from_url(valkey_url) as saver:
        config, value = config_of("grows"), []
        for _ in range(80):
            value = [*value, os.urandom(20_000).hex()]
            config = put_values(saver, config, notes=value)
        found = saver.get_tuple(config)
        assert found is not None
        assert found.checkpoint["channel_values"]["notes"] == value
        with RedisSaver.from_url(valkey_url) as other:
            again = other.get_tuple(config)
            assert again is not None
            assert again.checkpoint["channel_values"]["notes"] == value


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(), inner, max_size=20),
    max_leaves=60,
)


def number_of(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + number_of(item) for item in value.values())
    return 1 + sum(map(number_of, value)) if isinstance(value, list) else 1


@given(PLAIN)
def test_objects_are_counted_as_they_are(value: Any) -> None:
    body = ormsgpack.packb(value)
    assert bounds.count_objects(body, 10**9) == number_of(value)
    assert bounds.count_objects(nested(body), 10**9) == 1 + number_of(value)


@given(st.binary(max_size=500))
def test_any_bytes_are_counted_without_an_error(data: bytes) -> None:
    assert bounds.count_objects(data, 10**9) <= len(data) + 1


ANSWER = {"answer": {"text": "hi"}, "cost": 3, "unmetered": False}


@pytest.mark.parametrize(
    "text",
    ["", "{", "5", "[]", "[" * 200_000, json.dumps({"cost": "3"}), json.dumps({"cost": -1}),
     json.dumps(ANSWER | {"more": "x" * MOST_CHARACTERS})],
)  # fmt: skip
async def test_a_kept_answer_that_is_none_is_asked_for_anew(valkey_url: str, text: str) -> None:
    client = aredis.Redis.from_url(valkey_url)
    guard = RedisGuard(client, base="surefoot:guard:{bounds}")
    try:
        await guard.keep("t", "good", ANSWER)
        assert await guard.recall("t", "good") == ANSWER
        await client.hset("surefoot:guard:{bounds}:ledger:t", "bad", f"{time.time() * 1000:.0f}:{text}")
        await client.hset("surefoot:guard:{bounds}:ledger:t", "worse", text)
        assert await guard.recall("t", "bad") is None
        assert await guard.recall("t", "worse") is None
    finally:
        await guard.forget("t")
        await guard.aclose()
        await client.aclose()


def test_an_answer_that_would_not_be_read_is_not_kept(caplog: pytest.LogCaptureFixture) -> None:
    assert Kept(None).sealed("x" * (MOST_CHARACTERS + 1), "l", "c") == ""
    assert "its call is made again" in caplog.text


@pytest.mark.parametrize(
    "raw", [b"", b"[1]", b"{" * 300_000, b'{"a":' * 200_000, b"7 {}", b'{"sealed": 5}', b'{"key": "' + b"x" * 5_000_000]
)
async def test_a_thread_whose_record_cannot_be_read_is_listed_as_such(valkey_url: str, raw: bytes) -> None:
    async with open_store(valkey_url) as store:
        async with connect_async(valkey_url) as client:
            await client.set(record_key("odd"), raw)
        found = await store.get("odd")
        assert found is not None
        assert found.unreadable
        assert found.damage in ("record", "newer_record", "key")
        async with connect_async(valkey_url) as client:
            await client.delete(record_key("odd"))


@pytest.mark.parametrize(
    "reply", [b"$999999999999\r\n", b"$-5\r\n", b"$x\r\n", b"+" + b"x" * 20_000_000, b"no reply\n", b""]
)
def test_a_stranger_at_the_socket_cannot_fill_the_memory(reply: bytes) -> None:
    ours, theirs = socket.socketpair()
    writer = threading.Thread(target=lambda: (suppressed(theirs, reply), theirs.close()))
    writer.start()
    line = Line(ours)
    try:
        with pytest.raises((EOFError, OSError)):
            line.ask("INFO")
    finally:
        line.close()
        writer.join()


def suppressed(to: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        to.sendall(data)
