"""The saver and its server: round trips, expiry, scripts, outages and what their errors say."""

from __future__ import annotations

import asyncio
import copy
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
import redis
import redis.asyncio as aredis
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from servers import PASSWORD, checkpoint_of, config_of, free_port, put_values, tcp_server

from checkpointers import (
    AsyncRedisSaver,
    RedisSaver,
    SaverDenied,
    SaverError,
    SaverFull,
    SaverUnavailable,
    UnsupportedUrl,
    connect,
    connect_async,
    open_saver,
    server_errors,
)
from checkpointers._codec import thread_keys
from checkpointers._place import binary
from checkpointers._scripts import Call
from checkpointers._serial import SafeSerializer
from checkpointers._urls import without_password


@pytest.fixture
def saver(valkey_url: str) -> Iterator[RedisSaver]:
    with RedisSaver.from_url(valkey_url) as opened:
        yield opened


def commands_seen(url: str, action: Callable[[], Any]) -> list[str]:
    """Return the commands that clients (not scripts) sent while the action ran."""
    with redis.Redis.from_url(url) as watcher, redis.Redis.from_url(url) as other, watcher.monitor() as monitor:
        other.ping()
        other.echo("begin")
        action()
        other.echo("done")
        seen: list[str] = []
        for entry in monitor.listen():
            if entry["client_type"] == "lua":
                continue
            name, _, rest = entry["command"].partition(" ")
            if rest == "done":
                return seen
            seen = [] if rest == "begin" else [*seen, name.upper()]
    raise AssertionError("the monitor ended")


def test_each_operation_is_one_round_trip(saver: RedisSaver, valkey_url: str) -> None:
    thread = str(uuid4())
    config = put_values(saver, config_of(thread), a=1)
    for step in range(15):
        config = put_values(saver, config, step=step, a=[step], b="x")
        saver.put_writes(config, [("a", 1), ("b", 2)], "t1")
    saver.copy_thread(thread, thread + "2")
    operations: list[Callable[[], Any]] = [
        lambda: put_values(saver, config, a=2, b=3),
        lambda: saver.put_writes(config, [("a", 1), ("b", 2)], "t2"),
        lambda: saver.get_tuple(config_of(thread)),
        lambda: saver.get_tuple(config),
        lambda: list(saver.list(config_of(thread), limit=10)),
        lambda: saver.get_delta_channel_history(config=config, channels=["q"]),
        lambda: saver.prune([thread + "2"]),
        lambda: saver.expire_thread(thread + "2", 100),
    ]
    for operation in operations:
        operation()  # the first call may load the script
        assert commands_seen(valkey_url, operation) == ["EVALSHA"]
    saver.delete_thread(thread + "2")
    assert commands_seen(valkey_url, lambda: saver.delete_thread(thread)) == ["EVALSHA"]
    assert commands_seen(valkey_url, lambda: saver.put_writes(config, [], "t")) == []


def test_a_server_that_lost_the_scripts_gets_them_again(saver: RedisSaver) -> None:
    config = put_values(saver, config_of(str(uuid4())), a=1)
    saver.client.script_flush()
    assert saver.get(config) is not None


def test_a_thread_expires_as_a_unit_and_a_write_refreshes_it(valkey_url: str) -> None:
    thread = str(uuid4())
    data, index = thread_keys(thread)
    with RedisSaver.from_url(valkey_url, ttl=0.6) as saver:
        config = put_values(saver, config_of(thread), a="unchanged")
        for _ in range(4):
            time.sleep(0.25)
            saver.put_writes(config, [("a", 1)], str(uuid4()))
            ends = {saver.client.pexpiretime(key) for key in (data, index)}
            assert len(ends) == 1
        assert (saver.get(config) or {})["channel_values"] == {"a": "unchanged"}
        time.sleep(0.75)
        assert saver.client.exists(data, index) == 0
        assert saver.get_tuple(config_of(thread)) is None
    with pytest.raises(ValueError, match="ttl"), RedisSaver.from_url(valkey_url, ttl=0):
        pass


def test_reading_may_count_as_use(valkey_url: str) -> None:
    thread, other = str(uuid4()), str(uuid4())
    keys = thread_keys(thread)
    with RedisSaver.from_url(valkey_url, ttl=100, refresh_on_read=True) as saver:
        for each in (thread, other):
            put_values(saver, config_of(each), a=1)

        def left_after(read: Callable[[], object], before: float | None = 10) -> list[int]:
            saver.expire_thread(thread, before)
            read()
            return [round(saver.client.pttl(key) / 10_000) for key in keys]  # type: ignore[operator]

        assert left_after(lambda: saver.get_tuple(config_of(thread))) == [10, 10]
        assert left_after(lambda: saver.get_tuple(config_of(other))) == [1, 1]
        # Who looks after threads does not keep them.
        assert left_after(lambda: list(saver.list({"configurable": {"thread_id": thread}}))) == [1, 1]
        assert left_after(lambda: saver.reconcile([thread])) == [1, 1]
        # What lives longer is not cut short.
        assert left_after(lambda: saver.get_tuple(config_of(thread)), 1000) == [100, 100]
        assert left_after(lambda: saver.get_tuple(config_of(thread)), None) == [0, 0]
        assert commands_seen(valkey_url, lambda: saver.get_tuple(config_of(thread))) == ["EVALSHA"]
    with open_saver(valkey_url, ttl=100) as saver:
        saver.expire_thread(thread, 10)
        saver.get_tuple(config_of(thread))
        assert saver.client.pttl(keys[0]) <= 10_000  # type: ignore[operator]
    with pytest.raises(ValueError, match="refresh_on_read needs a ttl"):
        RedisSaver(redis.Redis(), refresh_on_read=True)


async def test_reading_counts_as_use_for_the_async_saver_too(cluster_service_url: str) -> None:
    async with open_saver(cluster_service_url, ttl=100, refresh_on_read=True) as saver:
        thread = str(uuid4())
        await saver.aput(config_of(thread), checkpoint_of({}, {}), {}, {})
        await saver.aexpire_thread(thread, 10)
        await saver.aget_tuple(config_of(thread))
        assert await saver.client.pttl(thread_keys(thread)[0]) > 90_000


def test_a_thread_put_aside_is_there_again_for_who_did_not_hear_it(saver: RedisSaver) -> None:
    thread = str(uuid4())
    put_values(saver, config_of(thread), a=1)
    plan = saver._plan_quarantine(thread)
    call = next(plan)
    assert isinstance(call, Call)
    assert (saver._ask(call), saver._ask(call)) == (1, 1)
    assert saver.get_tuple(config_of(thread)) is None
    assert not saver.quarantine(thread)
    put_values(saver, config_of(thread), a=2)
    assert saver.quarantine(thread)


def test_a_thread_can_be_given_and_spared_an_end(saver: RedisSaver) -> None:
    thread = str(uuid4())
    put_values(saver, config_of(thread), a=1)
    keys = thread_keys(thread)
    assert saver.expire_thread(thread, 30)
    assert all(0 < saver.client.pttl(key) <= 30_000 for key in keys)
    assert saver.expire_thread(thread, None)
    assert [saver.client.pttl(key) for key in keys] == [-1, -1]
    assert not saver.expire_thread("no such thread", 1)


def test_a_clients_own_decoding_does_not_matter(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url, decode_responses=True, protocol=2) as client:
        saver = RedisSaver(client)
        config = put_values(saver, config_of(str(uuid4())), run_id="decoded", a=b"\xff\0")
        assert (saver.get(config) or {})["channel_values"] == {"a": b"\xff\0"}
        assert len(list(saver.list(None, filter={"run_id": "decoded"}))) == 1


def test_a_saver_can_be_copied_and_shares_its_connections(saver: RedisSaver) -> None:
    twin = copy.copy(saver)
    config = put_values(saver, config_of(str(uuid4())), a=1)
    assert twin.client is saver.client
    assert twin.get_tuple(config) == saver.get_tuple(config)


def test_a_client_of_the_wrong_kind_is_refused(valkey_url: str) -> None:
    with pytest.raises(TypeError, match="use AsyncRedisSaver"):
        RedisSaver(aredis.Redis.from_url(valkey_url))  # type: ignore[arg-type]  # the mistake under test
    with redis.Redis.from_url(valkey_url) as client, pytest.raises(TypeError, match="use RedisSaver"):
        AsyncRedisSaver(client)  # type: ignore[arg-type]  # the mistake under test


async def every_failure(url: str, kind: type[SaverError]) -> list[str]:
    """Run each operation of both savers against a server that cannot do it; return what the errors say."""
    said = []
    with RedisSaver.from_url(url) as saver:
        config = config_of("t", "", "some id")
        for action in (
            lambda: saver.get_tuple(config),
            lambda: list(saver.list(config)),
            lambda: list(saver.list(None)),
            lambda: put_values(saver, config, a=1),
            lambda: saver.put_writes(config, [("a", 1)], "t"),
            lambda: saver.delete_thread("t"),
            lambda: saver.delete_for_runs(["r"]),
            lambda: saver.copy_thread("t", "u"),
            lambda: saver.prune(["t"]),
            lambda: saver.expire_thread("t", 1),
            lambda: saver.get_delta_channel_history(config=config, channels=["a"]),
        ):
            with pytest.raises(kind) as caught:
                await asyncio.to_thread(action)
            said.append(str(caught.value))
    async with AsyncRedisSaver.from_url(url) as asaver:

        async def drain() -> None:
            async for _ in asaver.alist(config):
                pass

        for work in (
            asaver.aget_tuple(config),
            drain(),
            asaver.aput_writes(config, [("a", 1)], "t"),
            asaver.aprune(["t"]),
        ):
            with pytest.raises(kind) as caught:
                await work
            said.append(str(caught.value))
    return said


@pytest.mark.asyncio
async def test_no_operation_answers_for_a_server_that_is_down() -> None:
    port = free_port()
    for text in await every_failure(f"redis://user:{PASSWORD}@127.0.0.1:{port}/0", SaverUnavailable):
        assert f"127.0.0.1:{port}" in text
        assert "cannot be reached" in text
        assert PASSWORD not in text
        assert "\n" not in text


@pytest.mark.asyncio
async def test_a_wrong_password_is_one_clear_line(password_url: str) -> None:
    for url in (password_url.replace(PASSWORD, "not-the-password"), password_url.replace(f":{PASSWORD}@", "")):
        for text in await every_failure(url, SaverDenied):
            assert "refuses the user or password" in text
            assert "not-the-password" not in text
    with RedisSaver.from_url(password_url) as saver:
        assert saver.get_tuple(config_of("nobody")) is None


def test_missing_rights_and_full_memory_are_told(password_url: str) -> None:
    with connect(password_url) as admin:
        admin.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+get", "+ping")
        address = password_url.rpartition("@")[2]
        with RedisSaver.from_url(f"redis://reader:pw@{address}") as saver, pytest.raises(SaverDenied, match="permit"):
            saver.get_tuple(config_of("t"))
        admin.config_set("maxmemory", "1mb")
        try:
            with RedisSaver.from_url(password_url) as saver, pytest.raises(SaverFull, match="out of memory"):
                put_values(saver, config_of("t"), a="x")
        finally:
            admin.config_set("maxmemory", "0")


def test_a_replica_is_told(valkey_url: str) -> None:
    with (
        tcp_server(binary(), extra=("--replicaof", f"127.0.0.1 {valkey_url.rpartition(':')[2][:-2]}")) as replica,
        RedisSaver.from_url(replica) as saver,
        pytest.raises(SaverFull, match="read-only replica"),
    ):
        put_values(saver, config_of("t"), a=1)


def test_a_server_that_hangs_is_told_in_time() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0?socket_timeout=0.1"
        with RedisSaver.from_url(url) as saver, pytest.raises(SaverUnavailable, match="did not answer in time"):
            saver.get_tuple(config_of("t"))


def answering(answer: bytes) -> Iterator[int]:
    """A server that says the same to everybody and hangs up (with nothing to say: resets the connection)."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    if answer:
                        connection.sendall(answer)
                        while connection.recv(4096):
                            pass
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"", "hung up. Check that it is running; a server with TLS needs rediss:// in the URL."),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not answer as Redis does. Check the URL; a server with TLS needs rediss://."),
        (b"-WHATEVER is wrong\r\n", "answered with an error: WHATEVER is wrong"),
    ],
)  # fmt: skip
async def test_a_server_that_speaks_another_language_is_told(answer: bytes, told: str) -> None:
    for port in answering(answer):
        async with connect_async(f"redis://:geheim@127.0.0.1:{port}/0") as client:
            with pytest.raises(SaverError) as found, server_errors(client):
                await client.ping()
        assert str(found.value) == f"Redis at 127.0.0.1:{port} {told}"


def test_a_server_without_tls_is_told(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkpointers._clients.CONNECT_TIMEOUT", 0.3)
    monkeypatch.setattr("checkpointers._clients.SOCKET_TIMEOUT", 0.5)
    url = valkey_url.replace("redis://", "rediss://")
    told = pytest.raises(SaverUnavailable, match="needs redis:// in the URL")
    with connect(url) as client, told, server_errors(client):
        client.ping()


def test_a_server_that_comes_back_is_used_again() -> None:
    port = free_port()
    with tcp_server(binary(), port=port) as url, RedisSaver.from_url(url) as saver:
        put_values(saver, config_of("t"), a=1)
        kept = saver
    with tcp_server(binary(), port=port):
        config = put_values(kept, config_of("t"), a=2)
        assert kept.get(config) is not None


@pytest.mark.parametrize(
    "url", ["http://user:secret@host/0", "postgres://:secret@h/d", "nonsense", "", "redis://u:secret@h:port/0"]
)
def test_other_urls_are_refused_without_their_password(url: str) -> None:
    for attempt in (lambda: open_saver(url), lambda: RedisSaver.from_url(url).__enter__()):
        with pytest.raises(UnsupportedUrl) as caught:
            attempt()
        assert "secret" not in str(caught.value)
        assert "secret" not in repr(caught.value.__cause__)
    assert "secret" not in without_password(url)


def test_making_a_saver_connects_to_nothing() -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with RedisSaver.from_url(url), open_saver(url), connect(url):
        pass
    AsyncRedisSaver(aredis.Redis.from_url(url))
    with open_saver("embedded:/proc/nowhere"):
        pass


@pytest.mark.asyncio
async def test_plain_clients_come_for_every_url(any_url: str) -> None:
    with connect(any_url) as client:
        client.set("plain", b"\xff")
        assert client.get("plain") == b"\xff"
    async with connect_async(any_url) as aclient:
        assert await aclient.get("plain") == b"\xff"
        await aclient.delete("plain")


def test_more_callers_than_connections_wait(valkey_url: str) -> None:
    with RedisSaver.from_url(valkey_url + "?max_connections=2") as saver:
        config = put_values(saver, config_of(str(uuid4())), a=1)
        failures: list[BaseException] = []

        def use() -> None:
            try:
                for _ in range(10):
                    saver.get_tuple(config)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=use) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        with suppress(redis.RedisError):
            assert len(saver.client.connection_pool._connections) <= 2


@pytest.mark.asyncio
async def test_cancelled_operations_mix_up_no_answers(valkey_url: str) -> None:
    async with AsyncRedisSaver.from_url(valkey_url + "?max_connections=4") as saver:
        configs = []
        for number in range(20):
            version = saver.get_next_version(None, None)
            checkpoint = checkpoint_of({"a": number}, {"a": version})
            configs.append(await saver.aput(config_of(str(uuid4())), checkpoint, {}, {"a": version}))
        for pause in range(40):
            tasks = [asyncio.ensure_future(saver.aget_tuple(config)) for config in configs]
            await asyncio.sleep(pause * 0.0002)
            for task in tasks[::2]:
                task.cancel()
            for number, found in enumerate(await asyncio.gather(*tasks, return_exceptions=True)):
                if isinstance(found, BaseException):
                    assert isinstance(found, asyncio.CancelledError)
                else:
                    assert found is not None
                    assert found.checkpoint["channel_values"] == {"a": number}


class Mask:
    """Not a cipher worth the name: enough to see what is passed through it."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        return "mask", bytes(byte ^ 0x55 for byte in plaintext)

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        assert ciphername == "mask"
        return bytes(byte ^ 0x55 for byte in ciphertext)


def test_an_encrypting_serializer_leaves_no_value_readable(valkey_url: str) -> None:
    thread = str(uuid4())
    with RedisSaver.from_url(valkey_url, serde=EncryptedSerializer(Mask(), SafeSerializer())) as saver:
        config = put_values(saver, config_of(thread), run_id="run", a="top secret")
        saver.put_writes(config, [("a", "top secret")], "t")
        found = saver.get_tuple(config)
        assert found is not None
        assert found.checkpoint["channel_values"] == {"a": "top secret"}
        assert found.pending_writes == [("t", "a", "top secret")]
        assert len(list(saver.list(config_of(thread), filter={"source": "loop"}))) == 1
        stored = saver.client.hgetall(thread_keys(thread)[0])
        assert not any(b"secret" in bytes(value) or b"source" in bytes(value) for value in stored.values())


@pytest.mark.asyncio
async def test_it_works_on_a_cluster() -> None:
    with tcp_server(binary(), extra=("--cluster-enabled", "yes", "--cluster-port", str(free_port()))) as url:
        with redis.Redis.from_url(url) as node:
            node.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            deadline = time.monotonic() + 10
            while node.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                assert time.monotonic() < deadline
                time.sleep(0.05)
        with redis.RedisCluster.from_url(url) as client:
            saver = RedisSaver(client)
            for number in range(5):
                config = put_values(saver, config_of(f"t{number}"), run_id=f"r{number}", a=number)
                saver.put_writes(config, [("a", 1)], "task")
                saver.copy_thread(f"t{number}", f"copy {number}")
            assert len(list(saver.list(None))) == 10
            saver.prune(["t1", "t2"], strategy="delete")
            saver.delete_for_runs(["r3"])
            saver.delete_thread("t4")
            threads = {t.config["configurable"]["thread_id"] for t in saver.list(None)}
            assert threads == {"t0", "copy 0", "copy 1", "copy 2", "copy 4"}
        async with aredis.RedisCluster.from_url(url) as aclient:
            asaver = AsyncRedisSaver(aclient)
            assert [t async for t in asaver.alist(None)]
            await asaver.acopy_thread("t0", "async copy")
            assert await asaver.aget_tuple(config_of("async copy")) is not None
