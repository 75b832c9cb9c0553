"""Upkeep: the registry in pages, entries of threads that have expired, threads that were put aside."""

from __future__ import annotations

import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
from servers import config_of, put_values, tcp_server

from checkpointers import AsyncRedisSaver, RecordDamaged, RedisSaver, ThreadConflict, thread_keys
from checkpointers._notes import keys_of
from checkpointers._place import binary


@pytest.fixture
def url() -> Iterator[str]:
    """A server without threads of others."""
    with tcp_server(binary()) as started:
        yield started


@pytest.fixture
def saver(url: str) -> Iterator[RedisSaver]:
    with RedisSaver.from_url(url, registry=True) as opened:
        yield opened


def register(saver: RedisSaver, times: dict[str, int]) -> None:
    """Put entries into the registry without threads."""
    pipe = saver.client.pipeline(transaction=False)
    for thread, time in times.items():
        entry = {"c": "", "n": False, "o": "", "w": "", "e": "", "i": {}, "f": "", "t": str(time)}
        entries, changed, *_ = keys_of(thread)
        pipe.hset(entries, thread, json.dumps(entry))
        pipe.zadd(changed, {thread: time})
    pipe.execute()


def test_all_threads_come_in_pages_the_last_changed_first(saver: RedisSaver) -> None:
    register(saver, {f"t{number}": 1_000_000 + number // 2 for number in range(1500)})
    pages = list(saver.thread_pages(size=400))
    assert [len(page) for page in pages] == [400, 400, 400, 300]
    found = [entry for page in pages for entry in page]
    assert len({entry.thread_id for entry in found}) == 1500
    assert [e.changed_at for e in found] == sorted((e.changed_at for e in found), reverse=True)


def test_many_threads_of_one_moment_are_all_listed(saver: RedisSaver) -> None:
    register(saver, {f"t{number}": 5 for number in range(300)} | {f"old{number}": 4 for number in range(300)})
    found = [entry.thread_id for page in saver.thread_pages(size=100) for entry in page]
    assert len(found) == len(set(found))
    assert {f"old{number}" for number in range(300)} <= set(found)


def test_entries_of_threads_that_have_expired_go_and_others_stay(saver: RedisSaver) -> None:
    for number in range(20):
        put_values(saver, config_of(f"waits{number}"), a=1)
    saver.client.set("beside:kept", 1)
    register(saver, {f"t{number}": number + 1 for number in range(1500)} | {"kept": 1})
    rounds = 0
    while len(saver.list_threads()) > 21:
        rounds += 1
        assert rounds < 40
        saver.sweep(beside=lambda thread: f"beside:{thread}")
    assert rounds <= 20
    assert {entry.thread_id for entry in saver.list_threads()} == {f"waits{n}" for n in range(20)} | {"kept"}
    assert saver.sweep() == 1


def test_a_thread_that_came_back_keeps_its_entry(saver: RedisSaver) -> None:
    register(saver, {"t": 1})
    gone = saver.list_threads()
    put_values(saver, config_of("t"), a=1)
    assert saver.unlist(gone) == 0
    assert [entry.thread_id for entry in saver.list_threads()] == ["t"]


def test_what_was_put_aside_is_listed_put_back_or_deleted(saver: RedisSaver) -> None:
    for thread in ("a", "b{x}"):
        put_values(saver, config_of(thread), a=1)
        assert saver.quarantine(thread)
    assert saver.list_quarantined() == ["a", "b{x}"]
    assert saver.list_threads() == []
    assert saver.restore("a")
    found = saver.get_tuple(config_of("a"))
    assert found is not None
    assert found.checkpoint["channel_values"] == {"a": 1}
    entry = saver.find_thread("a")
    assert entry is not None
    assert entry.checkpoint_id == found.checkpoint["id"]
    assert saver.discard_quarantined("b{x}")
    assert not saver.restore("b{x}")
    assert saver.client.keys("*.quarantined") == []


def test_a_thread_that_has_begun_anew_is_not_overwritten(saver: RedisSaver) -> None:
    put_values(saver, config_of("t"), a=1)
    saver.quarantine("t")
    lease = saver.acquire_lease("t", holder="somebody")
    assert not isinstance(lease, str)
    with pytest.raises(ThreadConflict, match="'t' has begun anew or is being worked on"):
        saver.restore("t")
    put_values(saver, config_of("t"), a=2)
    saver.release_lease(lease)
    with pytest.raises(ThreadConflict):
        saver.restore("t")
    saver.delete_thread("t")
    assert saver.restore("t")


def test_a_damaged_thread_is_put_back_as_it_was(saver: RedisSaver) -> None:
    put_values(saver, config_of("t"), a=1)
    data, _ = thread_keys("t")
    (name,) = [field for field in saver.client.hkeys(data) if field.startswith(b"c")]
    saver.client.hset(data, name, b"cut")
    saver.quarantine("t")
    assert saver.restore("t")
    with pytest.raises(RecordDamaged):
        saver.get_tuple(config_of("t"))
    assert saver.find_thread("t") is not None


async def test_the_async_saver_does_the_same_on_a_cluster(cluster_service_url: str) -> None:
    threads = [str(uuid4()) for _ in range(8)]
    with RedisSaver.from_url(cluster_service_url, registry=True) as saver:
        for thread in threads:
            put_values(saver, config_of(thread), a=1)
        for thread in threads[:4]:
            saver.client.unlink(*thread_keys(thread))
    async with AsyncRedisSaver.from_url(cluster_service_url, registry=True) as saver:
        for _ in range(50):
            await saver.asweep()
            listed = {entry.thread_id async for page in saver.athread_pages(3) for entry in page}
            if not set(threads[:4]) & listed:
                break
        assert set(threads) & listed == set(threads[4:])
        assert await saver.aquarantine(threads[4])
        assert threads[4] in await saver.alist_quarantined()
        assert await saver.arestore(threads[4])
        assert await saver.aget_tuple(config_of(threads[4])) is not None
        await saver.aquarantine(threads[4])
        assert await saver.adiscard_quarantined(threads[4])
        assert threads[4] not in await saver.alist_quarantined()


DAMAGED = [
    b"",
    b"no JSON",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"c": "1"}',
    b'{"c": 1, "n": true, "o": "", "w": "", "e": "", "i": {}, "t": "5"}',
    b'{"c": "1", "n": true, "o": "", "w": "1", "e": "", "i": {"t": [7]}, "t": "5"}',
    b'{"c": "1", "n": true, "o": "", "w": "1", "e": "", "i": [], "t": "9' + b"9" * 400 + b'"}',
    b'{"c": "1", "n": true, "o": "", "w": "1", "e": "", "i": 7, "t": "5"}',
    b'{"c": "1", "n": true, "o": "", "w": "1", "e": "", "i": {"t": [["id", "tier"]]}, "t": "5"}',
    b'{"c": "1", "n": true, "o": "", "w": "2", "e": "", "i": {"t": [["id", "tier", 7]]}, "t": "5"}',
    b'{"i":' * 5000,
]


@pytest.mark.parametrize("raw", DAMAGED)
def test_a_damaged_entry_is_told_mended_and_stops_nobody(saver: RedisSaver, raw: bytes) -> None:
    put_values(saver, config_of("t"), a=1)
    put_values(saver, config_of("other"), a=1)
    entries, changed, *_ = keys_of("t")
    saver.client.hset(entries, "t", raw)  # type: ignore[arg-type] # bytes too
    found = {entry.thread_id: entry for entry in saver.list_threads()}
    assert set(found) == {"t", "other"}
    assert (found["t"].error, found["t"].status(held=False)) == ("RecordDamaged", "failed")
    assert [entry.thread_id for page in saver.thread_pages() for entry in page].count("t") == 1
    assert saver.sweep() == 0
    assert saver.reconcile(["t"]) == 1
    mended = saver.find_thread("t")
    assert mended is not None
    latest = saver.get_tuple(config_of("t"))
    assert latest is not None
    assert (mended.checkpoint_id, mended.error) == (latest.checkpoint["id"], "")
    saver.client.hset(entries, "t", raw)  # type: ignore[arg-type] # bytes too
    put_values(saver, config_of("t"), a=2)
    assert saver.find_thread("t") != found["t"], "a put notes the thread anew"
    saver.client.hset(entries, "t", raw)  # type: ignore[arg-type] # bytes too
    saver.client.delete(*thread_keys("t"))
    saver.reconcile(["t"])
    assert [entry.thread_id for entry in saver.list_threads()] == ["other"]
    assert not saver.client.zscore(changed, "t")


def test_pages_end_whatever_entries_say_of_their_time(saver: RedisSaver) -> None:
    """The index has one order, the entries another: all of one time, later, earlier."""
    for number in range(400):
        thread = f"t{number}"
        time = ("9" * 15, "1", str(number))[number % 3]
        entry = {"c": "", "n": False, "o": "", "w": "", "e": "", "i": {}, "t": time}
        entries, changed, *_ = keys_of(thread)
        saver.client.hset(entries, thread, json.dumps(entry))
        saver.client.zadd(changed, {thread: number})
    found = [entry.thread_id for page in saver.thread_pages(size=50) for entry in page]
    assert sorted(found) == sorted(f"t{number}" for number in range(400))


def test_pages_go_on_after_threads_without_an_entry(saver: RedisSaver) -> None:
    register(saver, {f"t{number}": number for number in range(3000)})
    for number in range(1000, 3000):
        saver.client.hdel(keys_of(f"t{number}")[0], f"t{number}")
    found = [entry.thread_id for page in saver.thread_pages(size=100) for entry in page]
    assert sorted(found) == sorted(f"t{number}" for number in range(1000))


def test_a_listing_of_none_is_empty_and_one_of_fewer_is_refused(saver: RedisSaver) -> None:
    put_values(saver, config_of("t"), a=1)
    for listing in (
        saver.list_threads,
        saver.list_waiting,
        lambda limit: list(saver.list(config_of("t"), limit=limit)),
    ):
        assert listing(0) == []
        with pytest.raises(ValueError, match="limit must be 0 or more, or None for no limit, not -1"):
            listing(-1)
