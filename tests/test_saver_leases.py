"""Leases of threads: who was superseded writes nothing, whatever it believes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from servers import config_of, put_values

from checkpointers import AsyncRedisSaver, Lease, LeaseLost, RedisSaver, thread_keys
from checkpointers._codec import lease_key
from checkpointers.leases import _call


@pytest.fixture
def savers(any_url: str) -> Iterator[tuple[RedisSaver, RedisSaver]]:
    with RedisSaver.from_url(any_url) as first, RedisSaver.from_url(any_url) as second:
        yield first, second


@pytest.fixture
def thread() -> str:
    return str(uuid4())


def taken(saver: RedisSaver, thread: str, ttl: float = 15.0, instead_of: str = "") -> Lease:
    lease = saver.acquire_lease(thread, holder="one", ttl=ttl, instead_of=instead_of)
    assert isinstance(lease, Lease)
    return lease


def test_one_holds_a_thread_and_the_other_is_told_who(savers: tuple[RedisSaver, RedisSaver], thread: str) -> None:
    mine, other = savers
    lease = taken(mine, thread)
    assert other.acquire_lease(thread, holder="two") == "one"
    assert other.lease_holder(thread) == "one"
    assert mine.renew_lease(lease)
    assert mine.release_lease(lease)
    assert other.lease_holder(thread) == ""
    assert int(taken(other, thread).token) > int(lease.token)


def test_a_superseded_holder_writes_nothing(savers: tuple[RedisSaver, RedisSaver], thread: str) -> None:
    frozen, other = savers
    lease = taken(frozen, thread, ttl=0.05)
    config = put_values(frozen, config_of(thread), run_id="run", a=1)
    time.sleep(0.1)
    taken(other, thread)
    kept = put_values(other, config, a=2)
    before = list(other.list(config_of(thread)))
    put_values(other, config_of(f"{thread}-source"), a=0)
    changes: list[Callable[[], object]] = [
        lambda: put_values(frozen, config, a=3),
        lambda: frozen.put_writes(kept, [("a", 4)], "task"),
        lambda: frozen.delete_thread(thread),
        lambda: frozen.prune([thread]),
        lambda: frozen.prune([thread], strategy="delete"),
        lambda: frozen.delete_for_runs(["run"]),
        lambda: frozen.expire_thread(thread, 1),
        lambda: frozen.quarantine(thread),
        lambda: frozen.copy_thread(f"{thread}-source", thread),
    ]
    for change in changes:
        with pytest.raises(LeaseLost, match=f"{thread}.*Stop working on it"):
            change()
    assert list(other.list(config_of(thread))) == before
    assert other.client.pttl(thread_keys(thread)[0]) == -1
    frozen.delete_for_runs(["of nobody"])
    assert not frozen.renew_lease(lease)
    assert not frozen.release_lease(lease)
    assert other.lease_holder(thread) == "one"
    put_values(other, kept, a=5)


def test_an_expired_lease_that_nobody_took_does_no_harm(savers: tuple[RedisSaver, RedisSaver], thread: str) -> None:
    mine, _ = savers
    lease = taken(mine, thread, ttl=0.05)
    time.sleep(0.1)
    config = put_values(mine, config_of(thread), a=1)
    assert mine.lease_holder(thread) == ""
    assert mine.renew_lease(lease), "nobody else can have anything newer"
    assert mine.lease_holder(thread) == "one"
    mine.put_writes(config, [("a", 2)], "task")
    assert mine.release_lease(lease)
    assert not mine.renew_lease(lease), "what was given back is not held again"


def test_a_dead_holder_is_replaced_by_who_knows_it(savers: tuple[RedisSaver, RedisSaver], thread: str) -> None:
    dead, other = savers
    taken(dead, thread)
    assert other.acquire_lease(thread, holder="two", instead_of="somebody else") == "one"
    taken(other, thread, instead_of="one")
    with pytest.raises(LeaseLost):
        put_values(dead, config_of(thread), a=1)


def test_a_deleted_thread_still_knows_its_holder(savers: tuple[RedisSaver, RedisSaver], thread: str) -> None:
    frozen, other = savers
    taken(frozen, thread, ttl=0.05)
    time.sleep(0.1)
    lease = taken(other, thread)
    other.delete_thread(thread)
    put_values(other, config_of(thread), a=1)
    with pytest.raises(LeaseLost):
        put_values(frozen, config_of(thread), a=2)
    other.delete_thread(thread)
    other.release_lease(lease)
    with pytest.raises(LeaseLost):
        put_values(frozen, config_of(thread), a=2)
    only_the_lease_is_left_for_a_while(other, thread)
    other.client.delete(lease_key(thread))
    # Whether somebody has had it since is not known any more.
    with pytest.raises(LeaseLost):
        put_values(frozen, config_of(thread), a=2)
    later = taken(other, thread)
    assert int(later.token) > int(lease.token)
    with pytest.raises(LeaseLost):
        put_values(frozen, config_of(thread), a=3)


def test_a_lease_that_was_never_used_leaves_nothing(savers: tuple[RedisSaver, RedisSaver], thread: str) -> None:
    mine, _ = savers
    mine.release_lease(taken(mine, thread))
    only_the_lease_is_left_for_a_while(mine, thread)
    put_values(mine, config_of(thread), a=1)


def only_the_lease_is_left_for_a_while(saver: RedisSaver, thread: str) -> None:
    assert saver.lease_holder(thread) == ""
    assert saver.client.keys(f"*{thread}*") == [lease_key(thread).encode()]
    assert 0 < saver.client.pttl(lease_key(thread)) <= 600_000  # type: ignore[operator]  # the sync client's


def test_the_living_holder_goes_on_after_somebody_without_a_lease_deleted_the_thread(
    savers: tuple[RedisSaver, RedisSaver], thread: str
) -> None:
    frozen, living = savers
    taken(frozen, thread)
    put_values(frozen, config_of(thread), a=1)
    taken(living, thread, instead_of="one")
    RedisSaver(living.client).delete_thread(thread)
    with pytest.raises(LeaseLost):
        put_values(frozen, config_of(thread), a="stale")
    put_values(living, config_of(thread), a="living")
    with pytest.raises(LeaseLost):
        put_values(frozen, config_of(thread), a="stale")
    put_values(living, config_of(thread), a="living")


def test_what_is_under_way_when_a_lost_lease_is_given_back_stays_refused(
    savers: tuple[RedisSaver, RedisSaver], thread: str
) -> None:
    frozen, other = savers
    lost = taken(frozen, thread, ttl=0.05)
    time.sleep(0.1)
    lease = taken(other, thread)
    assert not frozen.release_lease(lost)
    for holder in (other, None):
        if holder is None:
            assert other.release_lease(lease)
        with pytest.raises(LeaseLost):
            put_values(frozen, config_of(thread), a="late")
    taken(frozen, thread)
    put_values(frozen, config_of(thread), a="anew")


def test_an_answer_that_was_lost_is_given_again(savers: tuple[RedisSaver, RedisSaver], thread: str) -> None:
    mine, other = savers
    acquire = _call(thread, "acquire", 15_000, "request-1", "me", "")
    first, again = mine._ask(acquire), mine._ask(acquire)
    assert first == again
    assert mine._ask(_call(thread, "acquire", 15_000, "request-2", "me", ""))[0] == b"0"
    assert other.acquire_lease(thread, holder="other") == "me"
    release = _call(thread, "release", first[0])
    assert (mine._ask(release), mine._ask(release)) == (1, 1)
    taken(other, thread)
    assert mine._ask(release) == 0


def test_a_copy_is_nobodys(savers: tuple[RedisSaver, RedisSaver], thread: str) -> None:
    mine, other = savers
    taken(mine, thread)
    put_values(mine, config_of(thread), a=1)
    mine.copy_thread(thread, f"{thread}-copy")
    mine.copy_thread(thread, f"{thread}-copy")
    assert other.lease_holder(f"{thread}-copy") == ""
    put_values(other, config_of(f"{thread}-copy"), a=2)


def test_of_40_who_reach_for_it_at_once_one_gets_it(any_url: str, thread: str) -> None:
    got: list[Lease] = []
    with RedisSaver.from_url(any_url) as saver:

        def reach(number: int) -> None:
            lease = saver.acquire_lease(thread, holder=str(number))
            if isinstance(lease, Lease):
                got.append(lease)

        reaching = [threading.Thread(target=reach, args=(number,)) for number in range(40)]
        for one in reaching:
            one.start()
        for one in reaching:
            one.join()
    assert len(got) == 1


async def test_the_async_saver_has_the_same_and_shares_it(cluster_service_url: str, thread: str) -> None:
    async with AsyncRedisSaver.from_url(cluster_service_url) as mine:
        lease = await mine.aacquire_lease(thread, holder="one", ttl=0.2)
        assert isinstance(lease, Lease)
        assert await mine.arenew_lease(lease, 0.05)
        assert await mine.alease_holder(thread) == "one"
        await asyncio.sleep(0.1)
        with RedisSaver.from_url(cluster_service_url) as other:
            await asyncio.to_thread(taken, other, thread)
        with pytest.raises(LeaseLost):
            await mine.aput_writes(config_of(thread, "", "c"), [("a", 1)], "task")
        assert not await mine.arelease_lease(lease)


def test_a_lease_of_no_time_is_refused(savers: tuple[RedisSaver, RedisSaver], thread: str) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds, not -1"):
        savers[0].acquire_lease(thread, ttl=-1)
