"""What callers give: one where several belong is refused, and `with` works on a saver as on LangGraph's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import redis
import redis.asyncio as aredis
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel
from servers import checkpoint_of, config_of, put_values

from checkpointers import AsyncRedisSaver, RedisSaver, amigrate, connect_async, migrate, open_saver


class Parcel(BaseModel):
    street: str


@pytest.fixture
def saver(any_url: str) -> Iterator[RedisSaver]:
    with RedisSaver.from_url(any_url, registry=True) as opened:
        yield opened


SINGLE = ["ab", b"ab", None, 7]
CALLS: list[Callable[[RedisSaver, Any], Any]] = [
    lambda saver, ids: saver.prune(ids),
    lambda saver, ids: saver.prune(ids, strategy="delete"),
    lambda saver, ids: saver.delete_for_runs(ids),
    lambda saver, ids: asyncio.run(saver.aprune(ids)),
    lambda saver, ids: asyncio.run(saver.adelete_for_runs(ids)),
    lambda saver, ids: saver.get_delta_channel_history(config=config_of("ab"), channels=ids),
    lambda saver, ids: migrate(InMemorySaver(), saver, 7 if ids is None else ids),
    lambda saver, ids: asyncio.run(amigrate(InMemorySaver(), saver, 7 if ids is None else ids)),
    lambda saver, ids: saver.reconcile(7 if ids is None else ids),
    lambda saver, ids: saver.unlist(ids),
]


@pytest.mark.parametrize("single", SINGLE)
@pytest.mark.parametrize("call", CALLS)
def test_one_id_in_the_place_of_several_is_refused(
    saver: RedisSaver, call: Callable[[RedisSaver, Any], Any], single: Any
) -> None:
    for thread in ("ab", "a", "b", "97"):
        put_values(saver, config_of(thread), a=1)
    with pytest.raises(TypeError, match=r"must be a list of .* in brackets"):
        call(saver, single)
    for thread in ("ab", "a", "b", "97"):
        assert saver.get_tuple(config_of(thread)) is not None


@pytest.mark.asyncio
@pytest.mark.parametrize("single", SINGLE)
async def test_the_async_saver_refuses_it_too(any_url: str, single: Any) -> None:
    async with AsyncRedisSaver.from_url(any_url, registry=True) as saver:
        for call in (
            lambda: saver.aprune(single),
            lambda: saver.adelete_for_runs(single),
            lambda: saver.aget_delta_channel_history(config=config_of("ab"), channels=single),
            lambda: saver.areconcile(7 if single is None else single),
        ):
            with pytest.raises(TypeError, match="must be a list of"):
                await call()


def test_ids_of_any_kind_and_any_collection_are_taken(saver: RedisSaver) -> None:
    identity = uuid4()
    for ids in ([identity], (str(identity),), {identity}, iter([identity]), {identity: 1}):
        put_values(saver, config_of(str(identity)), a=1)
        saver.prune(ids, strategy="delete")  # type: ignore[arg-type] # more than the contract asks for
        assert saver.get_tuple(config_of(str(identity))) is None
    saver.prune([])
    saver.delete_for_runs([])
    with pytest.raises(TypeError, match="one of them is None"):
        saver.prune(["a", None])  # type: ignore[list-item]


@pytest.mark.parametrize("several", [["a", "b"], ("a",), None, b"a"])
def test_several_ids_in_the_place_of_one_are_refused(saver: RedisSaver, several: Any) -> None:
    for call in (
        lambda: saver.delete_thread(several),
        lambda: saver.copy_thread(several, "c"),
        lambda: saver.copy_thread("a", several),
        lambda: saver.expire_thread(several, 10),
        lambda: saver.quarantine(several),
    ):
        with pytest.raises(TypeError, match="a thread id must be one text"):
            call()
    saver.delete_thread(UUID(int=1))  # type: ignore[arg-type] # as others do


@pytest.mark.parametrize("allow", ["parcels.Parcel", Parcel, ("parcels", "Parcel"), ["Parcel"], None])
def test_a_single_type_in_the_place_of_several_is_refused(any_url: str, allow: Any) -> None:
    with pytest.raises(TypeError, match="allow must be a list of classes"), open_saver(any_url, allow=allow):
        pass
    with RedisSaver.from_url(any_url, allow=[Parcel, ("parcels", "Parcel")]) as saver:
        with pytest.raises(TypeError, match="allow must be a list of classes"):
            saver.allow(allow)
        saver.allow({Parcel})


def test_with_gives_the_saver_and_leaves_the_client_open(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        with RedisSaver(client) as saver:
            assert isinstance(saver, RedisSaver)
            config = put_values(saver, config_of(str(uuid4())), a=1)
        assert saver.get_tuple(config) is not None
    with RedisSaver.from_url(valkey_url) as opened, opened as same:
        assert same is opened


@pytest.mark.asyncio
async def test_async_with_gives_the_saver_and_leaves_the_client_open(valkey_url: str) -> None:
    client = aredis.Redis.from_url(valkey_url)
    checkpoint = checkpoint_of({"a": 1}, {"a": "1"})
    async with AsyncRedisSaver(client) as saver:
        config = await saver.aput(config_of(str(uuid4())), checkpoint, {}, {"a": "1"})
        assert len(client.connection_pool._in_use_connections) == 1  # type: ignore[attr-defined] # the line's
    assert not client.connection_pool._in_use_connections  # type: ignore[attr-defined] # given back
    # Used again it takes a connection again.
    assert await saver.aget_tuple(config) is not None
    async with saver as same:
        assert same is saver
    await client.aclose()
    async with AsyncRedisSaver.from_url(valkey_url) as opened:
        async with opened:
            assert await opened.aget_tuple(config) is not None
        assert await opened.aget_tuple(config) is not None


@pytest.mark.asyncio
async def test_a_sync_saver_takes_async_with(any_url: str) -> None:
    with RedisSaver.from_url(any_url) as opened:
        async with opened as saver:
            assert await saver.aget_tuple(config_of(str(uuid4()))) is None


@pytest.mark.asyncio
async def test_async_with_leaves_the_client_of_a_cluster_usable(cluster_service_url: str) -> None:
    async with connect_async(cluster_service_url) as client:
        checkpoint = checkpoint_of({"a": 1}, {"a": "1"})
        async with AsyncRedisSaver(client) as saver:
            config = await saver.aput(config_of(str(uuid4())), checkpoint, {}, {"a": "1"})
        await client.set("after", "1")
        assert await client.get("after") == b"1"
        assert await saver.aget_tuple(config) is not None
        await client.delete("after")
