"""Clusters and services behind sentinels: their URLs, their routing, and what happens when a node goes down."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio as aredis
from redis.crc import key_slot
from servers import (
    checkpoint_of,
    cluster_of_three,
    config_of,
    has_come_together,
    meet,
    node_of_cluster,
    put_values,
    service_behind_sentinels,
)

from checkpointers import AsyncRedisSaver, RedisSaver, SaverError, SaverUnavailable, SaverUnreachable, UnsupportedUrl
from checkpointers._codec import thread_keys
from checkpointers._notes import keys_of as registry_keys
from checkpointers._place import binary
from checkpointers._urls import server_of, without_password


def pid_of(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


def node_of(key: str) -> int:
    """Return which node of a cluster of three has a key."""
    return key_slot(key.encode()) * 3 // 16384


def await_sure(told: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not told():
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def put(saver: AsyncRedisSaver, thread: str, value: Any) -> None:
    version = saver.get_next_version(None, None)
    checkpoint = checkpoint_of({"a": value}, {"a": version})
    await saver.aput(config_of(thread), checkpoint, {"source": "loop", "step": 0, "parents": {}}, {"a": version})


async def value_of(saver: AsyncRedisSaver, thread: str) -> Any:
    found = await saver.aget_tuple(config_of(thread))
    return None if found is None else found.checkpoint["channel_values"]["a"]


def test_several_hosts_are_read_with_all_that_belongs_to_them() -> None:
    cluster = server_of("rediss+cluster://ida:s%40fe@a.example:7000,b.example/?ssl_ca_certs=ca.pem")
    assert cluster.hosts == (("a.example", 7000), ("b.example", 6379))
    assert cluster.options == {"username": "ida", "password": "s@fe", "ssl": True, "ssl_ca_certs": "ca.pem"}
    service = server_of("redis+sentinel://:pw@[::1]:26380,b.example/main/3?sentinel_password=other")
    assert service.hosts == (("::1", 26380), ("b.example", 26379))
    assert (service.service, service.options) == ("main", {"password": "pw", "db": 3})
    assert service.sentinel_options == {"password": "other"}


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("redis+cluster://", "it names no host"),
        ("redis+cluster://:secret@a:1/2", "database 0 only"),
        ("redis+cluster://a:port", "its port is no number"),
        ("redis+sentinel://:secret@a:1", "names no service"),
        ("redis+other://a:1", "is not a URL of a Redis server"),
        ("http+cluster://:secret@a", "is not a URL of a Redis server"),
        ("redis+sentinel://a:1/main/three", "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_the_password(url: str, part: str) -> None:
    with pytest.raises(UnsupportedUrl, match=part) as caught, RedisSaver.from_url(url):
        pass
    assert "secret" not in str(caught.value)
    assert "secret" not in without_password(url)


def test_nobody_who_answers_is_one_clear_line() -> None:
    started = time.monotonic()
    with (
        pytest.raises(SaverUnavailable, match="the Redis cluster cannot"),
        RedisSaver.from_url("redis+cluster://127.0.0.1:1"),
    ):
        pass
    with (
        RedisSaver.from_url("redis+sentinel://127.0.0.1:1/main") as saver,
        pytest.raises(SaverUnavailable, match="'main'"),
    ):
        saver.get_tuple(config_of("t"))
    assert time.monotonic() - started < 30


async def test_a_plain_server_is_no_cluster(valkey_url: str) -> None:
    url = valkey_url.replace("redis://", "redis+cluster://")
    with pytest.raises(SaverUnavailable, match="is none"), RedisSaver.from_url(url):
        pass
    async with AsyncRedisSaver.from_url(url) as saver:
        with pytest.raises(SaverUnavailable, match="is none"):
            await saver.aget_tuple(config_of("t"))


async def test_threads_are_on_all_nodes_and_read_by_both_savers(cluster_service_url: str, cluster_url: str) -> None:
    threads = [str(uuid4()) for _ in range(60)]
    async with AsyncRedisSaver.from_url(cluster_service_url) as saver:

        async def run(thread: str) -> None:
            config = config_of(thread)
            for step in range(5):
                version = saver.get_next_version(None, None)
                from servers import checkpoint_of

                checkpoint = checkpoint_of({"a": [thread, step]}, {"a": version})
                config = await saver.aput(config, checkpoint, {"step": step}, {"a": version})
                await saver.aput_writes(config, [("a", step)], "task")

        await asyncio.gather(*map(run, threads))
    with RedisSaver.from_url(cluster_service_url) as other:
        for thread in threads:
            found = list(other.list(config_of(thread)))
            assert [f.checkpoint["channel_values"]["a"] for f in found] == [[thread, step] for step in range(4, -1, -1)]
        nodes = other.client.get_primaries()  # type: ignore[union-attr]  # it is a cluster's client
        sizes = [other.client.dbsize(target_nodes=node) for node in nodes]  # type: ignore[call-arg]  # the same
        assert len(sizes) == 3
        assert all(sizes)
        assert {t.config["configurable"]["thread_id"] for t in other.list(None)} >= set(threads)


def test_a_cluster_without_a_third_of_its_slots_raises_for_those_alone() -> None:
    with cluster_of_three(binary()) as url, RedisSaver.from_url(url.replace("redis://", "redis+cluster://")) as saver:
        threads = [str(uuid4()) for _ in range(30)]
        for thread in threads:
            put_values(saver, config_of(thread), a=1)
        os.kill(pid_of(url), signal.SIGKILL)
        outcomes = []
        for thread in threads:
            try:
                outcomes.append(saver.get_tuple(config_of(thread)) is not None)
            except SaverError:
                outcomes.append(None)
        assert set(outcomes) == {True, None}, "nothing may look as if it were not there"


async def test_the_async_saver_raises_for_the_threads_of_a_dead_node_alone_until_its_replica_has_taken_over() -> None:
    with ExitStack() as stack:
        url = stack.enter_context(cluster_of_three(binary()))
        spare = stack.enter_context(node_of_cluster(binary()))
        first, replica = (stack.enter_context(redis.Redis.from_url(each)) for each in (url, spare))
        meet(first, replica)
        own = first.execute_command("CLUSTER MYID").decode()
        await_sure(lambda: has_come_together(replica))
        replica.execute_command("CLUSTER REPLICATE", own)
        # The dead node is the one that the URL names, which is asked first for everything.
        async with AsyncRedisSaver.from_url(url.replace("redis://", "redis+cluster://"), registry=True) as saver:
            threads = [str(uuid4()) for _ in range(60)]

            async def read_all() -> dict[str, Any]:
                found = await asyncio.gather(*(value_of(saver, t) for t in threads), return_exceptions=True)
                return dict(zip(threads, found, strict=True))

            await asyncio.gather(*(put(saver, thread, thread) for thread in threads))
            dead = {thread for thread in threads if node_of(thread_keys(thread)[0]) == 0}
            assert 0 < len(dead) < 60
            await_sure(lambda: replica.dbsize() == first.dbsize())
            os.kill(pid_of(url), signal.SIGKILL)
            for _ in range(3):
                for thread, found in (await read_all()).items():
                    assert isinstance(found, SaverUnavailable) if thread in dead else found == thread, found
            # One at a time is no other way, and the registry's node may be the dead one.
            alive = next(thread for thread in threads if thread not in dead)
            await put(saver, alive, alive)
            assert await value_of(saver, alive) == alive
            replica.execute_command("CLUSTER FAILOVER", "TAKEOVER")
            deadline = time.monotonic() + 30
            while (found := await read_all()) != {thread: thread for thread in threads}:
                assert time.monotonic() < deadline, found
                await asyncio.sleep(0.1)
            await asyncio.gather(*(put(saver, thread, thread) for thread in threads))


async def test_a_slot_is_followed_to_another_node(cluster_service_url: str) -> None:
    thread = str(uuid4())
    slot = key_slot(thread_keys(thread)[0].encode())
    async with AsyncRedisSaver.from_url(cluster_service_url) as saver:
        await put(saver, thread, 1)
        nodes: Any = saver.client.nodes_manager  # type: ignore[union-attr]  # it is a cluster's client
        source = nodes.get_node_from_slot(slot)
        target = next(node for node in nodes.nodes_cache.values() if node.name != source.name)
        with redis.Redis(port=source.port) as old, redis.Redis(port=target.port) as new:
            old_id, new_id = old.execute_command("CLUSTER MYID"), new.execute_command("CLUSTER MYID")
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old_id)
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", new_id)
            assert await value_of(saver, thread) == 1
            for key in thread_keys(thread):
                old.execute_command("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
            assert await value_of(saver, thread) == 1
            for node in (new, old):
                node.execute_command("CLUSTER SETSLOT", slot, "NODE", new_id)
            assert await asyncio.gather(*(value_of(saver, thread) for _ in range(20))) == [1] * 20
            assert nodes.get_node_from_slot(slot).name == target.name
            await put(saver, thread, 2)
            assert await value_of(saver, thread) == 2


def test_a_note_for_a_dead_node_is_no_failure_of_the_write(caplog: pytest.LogCaptureFixture) -> None:
    with (
        cluster_of_three(binary()) as url,
        RedisSaver.from_url(url.replace("redis://", "redis+cluster://"), registry=True) as saver,
    ):
        threads = (str(uuid4()) for _ in range(1000))
        thread = next(t for t in threads if node_of(thread_keys(t)[0]) != 0 and node_of(registry_keys(t)[0]) == 0)
        put_values(saver, config_of(thread), a=1)
        os.kill(pid_of(url), signal.SIGKILL)
        put_values(saver, config_of(thread), a=2)
        found = saver.get_tuple(config_of(thread))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"a": 2}
    assert "a note for the registry was lost: " in caplog.text


async def test_a_client_of_a_cluster_that_decodes_answers_is_as_good_as_any(cluster_url: str) -> None:
    thread = str(uuid4())
    async with aredis.RedisCluster.from_url(cluster_url, decode_responses=True) as client:
        saver = AsyncRedisSaver(client)
        await put(saver, thread, b"\xff\0" * 200)
        assert await value_of(saver, thread) == b"\xff\0" * 200


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_after_a_failover_the_new_primary_is_used_and_nothing_is_lost(asynchronous: bool) -> None:
    with service_behind_sentinels(binary()) as (url, (primary, replica)):
        with RedisSaver.from_url(url) as saver:
            put_values(saver, config_of("t"), a=1)
            with redis.Redis.from_url(replica) as client:
                while not client.dbsize():
                    await asyncio.sleep(0.02)
            os.kill(pid_of(primary), signal.SIGKILL)
            if not asynchronous:
                assert (await asyncio.to_thread(eventually, saver)) == 1
        if asynchronous:
            async with AsyncRedisSaver.from_url(url) as other:
                assert await eventually_async(other) == 1


def eventually(saver: RedisSaver) -> object:
    """Return what is read once there is a primary again; an outage must raise until then."""
    for _ in range(200):
        try:
            found = saver.get_tuple(config_of("t"))
        except SaverUnavailable:
            time.sleep(0.1)
            continue
        assert found is not None, "an outage must not look like an empty thread"
        return found.checkpoint["channel_values"]["a"]
    return None


async def eventually_async(saver: AsyncRedisSaver) -> object:
    for _ in range(200):
        try:
            found = await saver.aget_tuple(config_of("t"))
        except SaverUnavailable:
            await asyncio.sleep(0.1)
            continue
        assert found is not None, "an outage must not look like an empty thread"
        return found.checkpoint["channel_values"]["a"]
    return None


@pytest.mark.asyncio
async def test_a_node_of_a_cluster_is_told_from_a_server(cluster_url: str) -> None:
    """Some of the threads are on that node, most are not."""
    told = pytest.raises(SaverUnavailable, match=r"redis\+cluster://")
    with RedisSaver.from_url(cluster_url) as saver, told as caught:
        list(map(saver.get_tuple, map(config_of, map(str, range(50)))))
    assert not isinstance(caught.value, SaverUnreachable)
    async with AsyncRedisSaver.from_url(cluster_url) as asaver:
        with pytest.raises(SaverUnavailable, match=r"redis\+cluster://"):
            await asyncio.gather(*(asaver.aget_tuple(config_of(str(number))) for number in range(50)))
