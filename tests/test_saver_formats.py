"""What is stored, byte by byte: files of each format, read by the present code, and written again as they are.

A change of the format fails here. If it is meant, the format gets a new number, a file of its own, and an upgrade.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from servers import checkpoint_of, config_of

from checkpointers import AsyncRedisSaver, RecordDamaged, RedisSaver, _logs
from checkpointers._codec import FORMAT, thread_keys, unframe, unframe_writes
from checkpointers._pack import unpack
from checkpointers._scripts import UPGRADE

IDS = [f"1f1e6e59-000{n}-6b16-bffe-ed58a51d0f26" for n in range(6)]
TEXT = "the parcel that was sent to the old address three weeks ago " * 20
RANDOM = "".join(random.Random(7).choices("".join(map(chr, range(33, 127))), k=6000))
"""Does not shrink."""


@pytest.fixture
def saver(valkey_url: str) -> Iterator[RedisSaver]:
    with RedisSaver.from_url(valkey_url) as opened:
        yield opened


def golden_of(number: int) -> Any:
    """Return a stored thread; each byte is a character of the file."""
    return json.loads(Path(__file__).with_name(f"test_saver_format_{number}.json").read_text(encoding="utf-8"))


def fields_of(golden: Any) -> dict[bytes, bytes]:
    return {name.encode("latin-1"): value.encode("latin-1") for name, value in golden["fields"].items()}


def test_what_format_1_stored_is_still_read(saver: RedisSaver) -> None:
    """The bytes of a thread as this format's first release wrote them, each byte a character of the file."""
    thread = str(uuid4())
    put_old(saver, thread)
    found = saver.get_tuple(config_of(thread, "child:1"))
    assert found is not None
    assert found.checkpoint == {
        "v": 2,
        "id": "1f1e6e59-baa2-6b16-bffe-ed58a51d0f26",
        "ts": "2026-01-01T00:00:00+00:00",
        "channel_values": {"a": ["é", b"\0", Decimal("1.10")]},
        "channel_versions": {"a": f"{1:032}.544b5001", "gone": 2},
        "versions_seen": {"node": {"a": f"{1:032}.544b5001"}},
        "pending_sends": [],
        "updated_channels": ["a"],
    }
    assert found.metadata == {"source": "loop", "step": 3, "parents": {"": "x"}, "run_id": "r"}
    assert found.pending_writes == [("task", "__error__", "boom"), ("task", "a", 1)]
    # It names a parent, which is not there.
    assert found.parent_config is None
    first = checkpoint_of({}, {}, "1f1e6e59-0000-6b16-bffe-ed58a51d0f26")
    parent = saver.put(config_of(thread, "child:1"), first, {}, {})
    assert saver.get_tuple(config_of(thread, "child:1")) == found._replace(parent_config=parent)


def put_old(saver: RedisSaver, thread: str, **changed: bytes) -> None:
    """Store a thread of format 1, with other values in the fields of some kinds."""
    data, index = thread_keys(thread)
    golden = golden_of(1)
    fields = {name: changed.get(name[:1].decode(), value) for name, value in fields_of(golden).items()}
    saver.client.hset(data, mapping=fields)  # type: ignore[arg-type]  # redis-py's stub wants text
    saver.client.zadd(index, {golden["member"].encode("latin-1"): 0})


async def test_many_may_use_an_old_thread_at_once(valkey_url: str, saver: RedisSaver) -> None:
    async with AsyncRedisSaver.from_url(valkey_url) as asaver:
        for _ in range(5):
            thread = str(uuid4())
            put_old(saver, thread)
            found = await asyncio.gather(*(asaver.aget_tuple(config_of(thread, "child:1")) for _ in range(4)))
            assert [one and one.checkpoint["id"] for one in found] == ["1f1e6e59-baa2-6b16-bffe-ed58a51d0f26"] * 4
            put_old(saver, thread := str(uuid4()))
            await asyncio.gather(asaver.aget_tuple(config_of(thread)), asyncio.to_thread(saver.get, config_of(thread)))


def test_an_upgrade_whose_answer_was_lost_is_no_failure(saver: RedisSaver, monkeypatch: pytest.MonkeyPatch) -> None:
    thread, ask = str(uuid4()), saver._ask
    put_old(saver, thread)
    # As the connection does when it is lost: the script has run, and is sent again.
    monkeypatch.setattr(saver, "_ask", lambda call: (ask(call), ask(call))[1] if call.script is UPGRADE else ask(call))
    assert saver.get_tuple(config_of(thread, "child:1")) is not None


def test_a_damaged_thread_of_format_1_is_named(saver: RedisSaver) -> None:
    for kind, value in {"c": b"\0\0\0\1x", "w": b"short", "p": b"cut"}.items():
        thread = str(uuid4())
        put_old(saver, thread, **{kind: value})
        with pytest.raises(RecordDamaged, match=thread):
            saver.get_tuple(config_of(thread, "child:1"))
        # Other tests list every thread of this server.
        saver.delete_thread(thread)
        assert saver.get_tuple(config_of(thread, "child:1")) is None


def history(saver: RedisSaver, thread: str) -> None:
    """Write a thread with everything that the format has: a value in the record, one in a field, a variant of it, a log
    of three segments with a fork, an empty channel, short and long writes, two namespaces, a history."""
    log = [{"n": 0, "text": RANDOM[:600]}]
    for step in range(3):
        log = [*log, {"n": step + 1}]
        versions: dict[str, Any] = {
            "small": f"{step + 1:032}.0000000a", "large": 1, "log": f"{step + 1:032}.0000000b", "gone": 2.5, "\0odd": 3,
            "branch:to:next": 1,
        }  # fmt: skip
        values = {"small": step, "large": RANDOM, "log": log, "\0odd": True, "branch:to:next": None}
        new = versions if step == 0 else {"small": versions["small"], "log": versions["log"]}
        put(saver, config_of(thread, "", IDS[step - 1] if step else None), IDS[step], values, versions, new)
    fork = {"small": f"{2:032}.0000000c", "large": 1, "log": f"{2:032}.0000000c"}
    put(
        saver,
        config_of(thread, "", IDS[0]),
        IDS[3],
        {"small": 9, "large": TEXT, "log": [*log[:2], {"fork": 1}]},
        fork,
        fork,
    )
    put(saver, config_of(thread, "child:1"), IDS[4], {"small": None}, {"small": 1, "delta": 1}, {"small": 1})
    at = config_of(thread, "", IDS[2])
    saver.put_writes(at, [("small", 4)], "task-a", "path")
    saver.put_writes(at, [("__error__", "boom")], "task-a", "path")
    saver.put_writes(at, [("log", [RANDOM, RANDOM])], "task-b", "path")


def put(saver: RedisSaver, config: Any, identity: str, values: Any, versions: Any, new: Any) -> None:
    checkpoint = checkpoint_of(values, versions, identity)
    checkpoint["ts"] = "2026-01-01T00:00:00+00:00"
    metadata: Any = {"source": "loop", "step": 1, "parents": {}, "run_id": "r"}
    if "delta" in versions:
        metadata["counters_since_delta_snapshot"] = {"delta": 3}
    saver.put(config, checkpoint, metadata, new)


def told_by(saver: RedisSaver, thread: str) -> list[Any]:
    """Return all that is read of a thread, without its id."""
    return [
        (found.config["configurable"] | {"thread_id": ""}, found.checkpoint, found.metadata, found.pending_writes,
         found.parent_config and found.parent_config["configurable"]["checkpoint_id"])
        for found in saver.list({"configurable": {"thread_id": thread}})
    ]  # fmt: skip


def test_what_format_2_stored_is_read(saver: RedisSaver) -> None:
    golden, first, second = golden_of(2), str(uuid4()), str(uuid4())
    data, index = thread_keys(first)
    saver.client.hset(data, mapping=fields_of(golden))  # type: ignore[arg-type]  # redis-py's stub wants text
    saver.client.zadd(index, {member.encode("latin-1"): 0 for member in golden["members"]})
    history(saver, second)
    assert told_by(saver, first) == told_by(saver, second)
    found = saver.get_tuple(config_of(first, "", IDS[3]))
    assert found is not None
    assert found.checkpoint["channel_values"] == {
        "small": 9, "large": TEXT, "log": [{"n": 0, "text": RANDOM[:600]}, {"n": 1}, {"fork": 1}],
    }  # fmt: skip
    assert found.metadata == {"source": "loop", "step": 1, "parents": {}, "run_id": "r"}


def test_format_2_is_written_as_it_was(saver: RedisSaver, monkeypatch: pytest.MonkeyPatch) -> None:
    thread, numbers = str(uuid4()), itertools.count(1)
    monkeypatch.setattr(_logs.os, "urandom", lambda size: next(numbers).to_bytes(size, "big"))
    history(saver, thread)
    data, index = thread_keys(thread)
    stored: dict[bytes, bytes] = saver.client.hgetall(data)  # type: ignore[assignment]  # the sync client's
    golden = golden_of(2)
    assert FORMAT == b"2"
    assert sorted(saver.client.zrange(index, 0, -1)) == [m.encode("latin-1") for m in golden["members"]]  # type: ignore[type-var]
    expected = fields_of(golden)
    assert sorted(stored) == sorted(expected)
    for name, value in stored.items():
        assert opened(name, value) == opened(name, expected[name])


def opened(name: bytes, value: bytes) -> Any:
    """Return what a field holds without the compression, of which other releases may make other bytes."""
    if name[:1] in b"bs":
        return unpack(value)
    if name[:1] == b"c":
        *parts, body, metadata = unframe(value)
        return [*parts, unpack(body), unpack(metadata)]
    if name.count(b"\0") == 2:
        path = 2 + int.from_bytes(value[:2], "big")
        writes = [(idx, channel, unpack(body)) for idx, channel, body in unframe_writes(value[path:])]
        return [value[:path], writes]
    return value


def write_golden() -> None:
    """Make the file of the present format anew: `python tests/test_saver_formats.py URL`."""
    import sys

    numbers = itertools.count(1)
    _logs.os.urandom = lambda size: next(numbers).to_bytes(size, "big")
    with RedisSaver.from_url(sys.argv[1]) as saver:
        saver.delete_thread("golden")
        history(saver, "golden")
        data, index = thread_keys("golden")
        fields: dict[bytes, bytes] = saver.client.hgetall(data)  # type: ignore[assignment]  # the sync client's
        members: list[bytes] = saver.client.zrange(index, 0, -1)  # type: ignore[assignment]
    golden = {
        "fields": {name.decode("latin-1"): fields[name].decode("latin-1") for name in sorted(fields)},
        "members": [member.decode("latin-1") for member in sorted(members)],
    }
    path = Path(__file__).with_name(f"test_saver_format_{FORMAT.decode()}.json")
    path.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_golden()
