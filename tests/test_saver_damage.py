"""Damaged records: every operation ends, with a right answer or with an error that names the thread."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from servers import checkpoint_of, config_of

from checkpointers import Encryption, RecordDamaged, RedisSaver, SaverError
from checkpointers._codec import frame, thread_keys, unframe

WORDS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\x80\0\0\0")
"""Lengths and counts that no record has."""


@pytest.fixture(params=[None, {"k": bytes(32)}], ids=["plain", "encrypted"])
def saver(request: pytest.FixtureRequest, sealed_url: str) -> Iterator[RedisSaver]:
    keys = request.param
    with RedisSaver.from_url(sealed_url, encryption=Encryption(keys) if keys else None) as opened:
        yield opened


def build(saver: RedisSaver, thread: str) -> Any:
    """Store a thread with all kinds of fields; return the config of its last checkpoint."""
    config, log = config_of(thread), [{"n": 0, "text": "y" * 600}]
    for step in range(4):
        log = [*log, {"n": step}]
        versions = {"log": f"{step:04}", "a": "1", "i": f"{step}", "d": f"{step}"}
        new = {
            name: version for name, version in versions.items() if name in ("log", "i") or (name == "a" and not step)
        }
        metadata: Any = {"step": step, "run_id": f"run {step}", "counters_since_delta_snapshot": {"d": [1, 1]}}
        checkpoint = checkpoint_of({"log": log, "a": "z" * 200, "i": step}, versions)  # type: ignore[arg-type] # texts
        config = saver.put(config, checkpoint, metadata, new)  # type: ignore[arg-type] # texts
        for task in range(6):
            saver.put_writes(config, [("d", step), ("i", "w" * (900 if task else 5000))], f"task {task}", "path")
        parents: Any = {"parents": {"": config["configurable"]["checkpoint_id"]}}
        saver.put(config_of(thread, f"call:{step}"), checkpoint_of({"x": 1}, {"x": "1"}), parents, {"x": "1"})
    return config


def damage(saver: RedisSaver, thread: str, dice: random.Random) -> None:
    data, index = thread_keys(thread)
    fields: dict[bytes, bytes] = saver.client.hgetall(data)  # type: ignore[assignment]  # the sync client's
    fields.pop(b"v")
    name = dice.choice(list(fields))
    value, kind = bytearray(fields[name]), dice.randrange(6)
    if kind == 0 and len(value) >= 4:
        at = dice.choice([0, 4, 8, dice.randrange(len(value) - 3)])
        value[at : at + 4] = dice.choice(WORDS)
    elif kind == 1:
        value = value[: dice.randrange(len(value) + 1)]
    elif kind == 2:
        value += bytes(dice.choices(range(256), k=dice.randint(1, 9)))
    elif kind == 3 and value:
        value[dice.randrange(len(value))] = dice.randrange(256)
    elif kind == 4:
        value = bytearray(dice.choice(list(fields.values())))
    else:
        saver.client.zadd(index, {dice.choice([b"no end", b"\0", b"call:1\0", b"a\1\0b"]): 0})
    saver.client.hset(data, name, bytes(value))  # type: ignore[arg-type] # bytes too


def operations(saver: RedisSaver, thread: str, config: Any) -> Iterator[Callable[[], Any]]:
    def again() -> None:
        if (found := saver.get_tuple(config)) is not None:
            saver.put(config, found.checkpoint, found.metadata, {})

    yield lambda: saver.get_tuple(config_of(thread))
    yield lambda: list(saver.list({"configurable": {"thread_id": thread}}))
    yield lambda: list(saver.list({"configurable": {"thread_id": thread}}, filter={"step": 1}))
    yield lambda: saver.get_delta_channel_history(config=config, channels=["d", "none"])
    yield lambda: saver.copy_thread(thread, f"{thread} copy")
    yield lambda: saver.put_writes(config, [("d", 9)], "task 1", "path")
    yield lambda: saver.put_writes(config, [("d", 9)], "another", "path")
    yield again
    yield lambda: saver.delete_for_runs(["run 3"])
    yield lambda: saver.prune([thread], strategy="keep_last", keep=2)
    yield lambda: saver.prune([thread])


@pytest.mark.parametrize("seed", range(30))
def test_every_operation_on_a_damaged_thread_ends_with_an_answer_or_its_name(saver: RedisSaver, seed: int) -> None:
    dice, thread = random.Random(seed), str(uuid4())
    config = build(saver, thread)
    damage(saver, thread, dice)
    refused: list[SaverError] = []
    for operation in operations(saver, thread, config):
        try:
            operation()
        except SaverError as error:
            refused.append(error)
    assert [error for error in refused if not isinstance(error, RecordDamaged) or thread not in str(error)] == []
    assert saver.client.ping()
    # Others list every thread of this server.
    saver.delete_thread(thread)
    saver.delete_thread(f"{thread} copy")


@pytest.mark.parametrize("number", [4, 5])
def test_a_body_or_metadata_of_another_kind_is_told(sealed_url: str, number: int) -> None:
    thread = str(uuid4())
    with RedisSaver.from_url(sealed_url) as saver:
        config = saver.put(config_of(thread), checkpoint_of({"a": "z" * 99}, {"a": "1"}), {}, {"a": "1"})
        data, _index = thread_keys(thread)
        name = b"c\0" + config["configurable"]["checkpoint_id"].encode()
        parts = unframe(saver.client.hget(data, name))  # type: ignore[arg-type]  # the sync client's
        parts[number] = saver.client.hget(data, b"b\0a\0s1") or b""  # type: ignore[call-overload]  # the sync client's
        saver.client.hset(data, name, frame(parts))  # type: ignore[arg-type] # bytes too
        for attempt in (lambda: saver.get_tuple(config), lambda: list(saver.list(config_of(thread)))):
            with pytest.raises(RecordDamaged, match=thread):
                attempt()
        saver.delete_thread(thread)


def test_a_count_of_four_billion_is_not_counted_out(sealed_url: str) -> None:
    """The first field of many tasks' writes says how many fields more there are."""
    thread = str(uuid4())
    with RedisSaver.from_url(sealed_url) as saver:
        config = build(saver, thread)
        data, _index = thread_keys(thread)
        name = b"w\0" + config["configurable"]["checkpoint_id"].encode()
        more = b"\0\5\0\0\0\0\0\0" + b"\0\xff\xff\xff\xff"
        saver.client.hset(data, name, more)  # type: ignore[arg-type] # bytes too
        before = saver.client.info("commandstats")["cmdstat_hget"]["calls"]
        with pytest.raises(RecordDamaged, match=thread):
            saver.get_tuple(config)
        assert saver.client.info("commandstats")["cmdstat_hget"]["calls"] - before < 100
        saver.delete_thread(thread)
