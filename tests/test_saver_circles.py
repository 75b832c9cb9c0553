"""Checkpoints that would be, or are, their own ancestors: refused when they are put, never followed without end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from servers import checkpoint_of, config_of, put_values

from checkpointers import AsyncRedisSaver, Encryption, RecordDamaged, RedisSaver, ThreadConflict

KEYS = [None, {"k": bytes(32)}]
DELTA: Any = {"counters_since_delta_snapshot": {"m": [1, 1]}}


@pytest.fixture
def thread() -> str:
    return str(uuid4())


@pytest.fixture(params=KEYS, ids=["plain", "encrypted"])
def saver(request: pytest.FixtureRequest, sealed_url: str) -> Iterator[RedisSaver]:
    keys = request.param
    with RedisSaver.from_url(sealed_url, encryption=Encryption(keys) if keys else None) as opened:
        yield opened


def put_delta(saver: RedisSaver, parent: Any, checkpoint_id: str) -> Any:
    """Put a checkpoint whose channel `m` is rebuilt from what its ancestors wrote."""
    config = saver.put(parent, checkpoint_of({}, {"m": checkpoint_id}, checkpoint_id), DELTA, {})
    saver.put_writes(config, [("m", checkpoint_id)], "task")
    return config


def test_a_checkpoint_put_again_under_its_own_config_keeps_parent_and_values(saver: RedisSaver, thread: str) -> None:
    first = put_values(saver, config_of(thread), a=1, b="x" * 900, c=["y" * 600])
    second = put_values(saver, first, a=2, b="z" * 900, c=["w" * 600])
    for config, parent in ((second, first), (first, None)):
        found = saver.get_tuple(config)
        assert found is not None
        noted: Any = {**found.metadata, "note": "checked"}
        assert saver.put(found.config, found.checkpoint, noted, {}) == config
        assert saver.get_tuple(config) == found._replace(metadata=noted)
        assert found.parent_config == parent
    saver.prune([thread])
    assert len(list(saver.list(config_of(thread)))) == 1


def test_a_first_checkpoint_put_under_its_own_id_has_no_parent(saver: RedisSaver, thread: str) -> None:
    checkpoint = checkpoint_of({"a": 1}, {"a": "1"})
    config = saver.put(config_of(thread, "", checkpoint["id"]), checkpoint, {}, {"a": "1"})
    found = saver.get_tuple(config)
    assert found is not None
    assert (found.checkpoint, found.parent_config) == (checkpoint, None)


def test_a_variant_put_again_keeps_its_own_value(saver: RedisSaver, thread: str) -> None:
    """Forks under plain integer versions have different values of one name."""
    root = put_values(saver, config_of(thread), z=1)
    forks = [saver.put(root, checkpoint_of({"a": "v" * 99 + text}, {"a": 2}), {}, {"a": 2}) for text in "12"]
    for config in forks:
        found = saver.get_tuple(config)
        assert found is not None
        saver.put(found.config, found.checkpoint, {"source": "update"}, {})
        assert saver.get_tuple(config) == found._replace(metadata={"source": "update"})


def test_a_checkpoint_under_one_that_follows_from_it_is_refused(saver: RedisSaver, thread: str) -> None:
    configs = [config_of(thread)]
    for step in range(5):
        configs.append(put_values(saver, configs[-1], step=step, a=step))
    before = list(saver.list(config_of(thread)))
    found = saver.get_tuple(configs[2])
    assert found is not None
    with pytest.raises(ThreadConflict, match=f"{thread}.*its own ancestor.*nothing was stored"):
        saver.put(configs[5], found.checkpoint, found.metadata, {})
    assert list(saver.list(config_of(thread))) == before
    # Ids of a caller's own need not grow.
    late = saver.put(configs[5], checkpoint_of({"a": 9}, {"a": "9"}, "0"), {}, {"a": "9"})
    again = saver.get_tuple(late)
    assert again is not None
    assert again.parent_config == configs[5]


def circle(saver: RedisSaver, thread: str, length: int) -> Any:
    """Store checkpoints that follow from each other in a circle, the first under one that is put last."""
    names = [f"{number:04}" for number in range(length)]
    config = config_of(thread, "", names[-1])
    for name in names:
        config = put_delta(saver, config, name)
    return config


@pytest.mark.parametrize("length", [2, 5, 23])
def test_a_circle_is_told_and_holds_up_nobody(
    saver: RedisSaver, thread: str, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checkpointers._reading.WALK_PAGE", 7)
    head = circle(saver, thread, length)
    attempts = [
        lambda: saver.get_delta_channel_history(config=head, channels=["m", "other"]),
        lambda: saver.prune([thread]),
        lambda: saver.prune([thread], strategy="keep_last", keep=3),
    ]
    for attempt in attempts:
        with pytest.raises(RecordDamaged, match=f"{thread}.*in a circle"):
            attempt()
    assert saver.client.ping()
    assert len(list(saver.list(config_of(thread)))) == length
    # It is deleted as any other.
    saver.delete_for_runs(["none"])
    saver.prune([thread], strategy="delete")


@pytest.mark.asyncio
async def test_a_circle_is_told_by_the_async_saver(sealed_url: str, thread: str) -> None:
    with RedisSaver.from_url(sealed_url) as saver:
        head = await asyncio.to_thread(circle, saver, thread, 3)
    async with AsyncRedisSaver.from_url(sealed_url) as asaver:
        with pytest.raises(RecordDamaged, match=thread):
            await asaver.aget_delta_channel_history(config=head, channels=["m"])
        with pytest.raises(RecordDamaged, match=thread):
            await asaver.aprune([thread])
        found = await asaver.aget_tuple(head)
        assert found is not None
        # Put again under its own config it keeps the parent that it has.
        await asaver.aput(found.config, found.checkpoint, found.metadata, {})
        assert await asaver.aget_tuple(head) == found
        await asaver.adelete_thread(thread)


def test_walks_from_many_checkpoints_go_each_way_once(saver: RedisSaver, thread: str) -> None:
    """Every checkpoint is kept, and each needs all before it: the way back is not walked for each of them."""
    config = config_of(thread)
    for number in range(400):
        config = put_delta(saver, config, f"{number:04}")
    before = saver.client.info("commandstats")["cmdstat_hget"]["calls"]
    saver.prune([thread], strategy="keep_last", keep=400)
    after = saver.client.info("commandstats")["cmdstat_hget"]["calls"]
    assert after - before < 400 * 10
    assert len(list(saver.list(config_of(thread)))) == 400
