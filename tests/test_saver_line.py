"""The line of an async saver: many ask at once on one connection, and each gets the answer that is its own."""

from __future__ import annotations

import asyncio
import gc
from contextlib import AsyncExitStack, ExitStack
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio as aredis
from servers import checkpoint_of, config_of, free_port, tcp_server

from checkpointers import AsyncRedisSaver, SaverUnavailable, ThreadConflict, _lane
from checkpointers._place import binary
from checkpointers._scripts import Call

pytestmark = pytest.mark.asyncio


async def put(saver: AsyncRedisSaver, thread: str, value: Any) -> Any:
    version = saver.get_next_version(None, None)
    checkpoint = checkpoint_of({"v": value}, {"v": version})
    metadata: Any = {"source": "loop", "step": 0, "parents": {}}
    return await saver.aput(config_of(thread), checkpoint, metadata, {"v": version})


async def value_of(saver: AsyncRedisSaver, thread: str) -> Any:
    found = await saver.aget_tuple(config_of(thread))
    return None if found is None else found.checkpoint["channel_values"]["v"]


@pytest.mark.parametrize("kind", ["valkey_url", "cluster_service_url"])
async def test_of_a_thousand_at_once_each_gets_its_own_answer_and_failures_go_to_theirs(
    request: pytest.FixtureRequest, kind: str
) -> None:
    mark = uuid4().hex
    async with AsyncRedisSaver.from_url(request.getfixturevalue(kind)) as saver:
        await put(saver, f"{mark} source", "source")
        await put(saver, f"{mark} target", "something else")

        async def one(number: int) -> Any:
            if number % 10 == 3:
                # The target holds other data: the server refuses.
                with pytest.raises(ThreadConflict, match=f"{mark} target"):
                    await saver.acopy_thread(f"{mark} source", f"{mark} target")
                return number
            await put(saver, f"{mark} {number}", number)
            return await value_of(saver, f"{mark} {number}")

        assert await asyncio.gather(*map(one, range(1000))) == list(range(1000))
        assert await value_of(saver, f"{mark} target") == "something else"


@pytest.mark.parametrize("kind", ["valkey_url", "cluster_service_url"])
async def test_who_gives_up_takes_nobody_elses_answer_along(request: pytest.FixtureRequest, kind: str) -> None:
    mark = uuid4().hex
    async with AsyncRedisSaver.from_url(request.getfixturevalue(kind)) as saver:
        for number in range(40):
            await put(saver, f"{mark} {number}", number)
        for turn in range(20):
            reads = [asyncio.create_task(value_of(saver, f"{mark} {number}")) for number in range(40)]
            for _ in range(turn % 5):
                await asyncio.sleep(0)
            for read in reads[:: 2 + turn % 3]:
                read.cancel()
            answers = await asyncio.gather(*reads, return_exceptions=True)
            assert all(
                answer == number or isinstance(answer, asyncio.CancelledError) for number, answer in enumerate(answers)
            )
            assert any(answer == number for number, answer in enumerate(answers))


async def test_a_lost_server_raises_for_everybody_and_is_found_again() -> None:
    port = free_port()
    with ExitStack() as first:
        url = first.enter_context(tcp_server(binary(), port=port))
        async with AsyncRedisSaver.from_url(url) as saver:
            await put(saver, "before", 1)
            reads = [asyncio.create_task(value_of(saver, "before")) for _ in range(50)]
            await asyncio.sleep(0)
            first.close()
            for answer in await asyncio.gather(*reads, return_exceptions=True):
                # What was answered before the end is right, and nothing is made up after it.
                assert answer == 1 or isinstance(answer, SaverUnavailable), answer
            for answer in await asyncio.gather(*(value_of(saver, "before") for _ in range(20)), return_exceptions=True):
                assert isinstance(answer, SaverUnavailable), answer
            with tcp_server(binary(), port=port):
                assert await value_of(saver, "before") is None
                await put(saver, "after", 2)
                assert await value_of(saver, "after") == 2


async def test_a_connection_that_the_server_closes_is_opened_again_unnoticed(valkey_url: str) -> None:
    thread = uuid4().hex
    async with AsyncRedisSaver.from_url(valkey_url) as saver, aredis.Redis.from_url(valkey_url) as other:
        for number in range(10):
            await put(saver, thread, number)
            own = await other.client_id()
            for client in await other.client_list():
                if int(client["id"]) != own and client["name"] != "keep":
                    await other.client_kill_filter(_id=client["id"])
            assert await asyncio.gather(*(value_of(saver, thread) for _ in range(20))) == [number] * 20


async def test_a_server_that_forgets_the_scripts_gets_them_again(valkey_url: str) -> None:
    mark = uuid4().hex
    async with AsyncRedisSaver.from_url(valkey_url) as saver:

        async def forget() -> None:
            for _ in range(20):
                await saver.client.script_flush()
                await asyncio.sleep(0.002)

        async def write(number: int) -> None:
            for turn in range(20):
                await put(saver, f"{mark} {number}", turn)
                assert await value_of(saver, f"{mark} {number}") == turn

        await asyncio.gather(forget(), *map(write, range(20)))


async def test_a_huge_value_goes_through_beside_small_ones(valkey_url: str) -> None:
    mark, huge = uuid4().hex, bytes(range(256)) * 80_000
    async with AsyncRedisSaver.from_url(valkey_url) as saver:
        await asyncio.gather(*(put(saver, f"{mark} {n}", huge if n == 20 else n) for n in range(40)))
        found = await asyncio.gather(*(value_of(saver, f"{mark} {n}") for n in range(40)))
    assert [huge if n == 20 else n for n in range(40)] == found


@pytest.mark.parametrize(("kind", "lanes"), [("valkey_url", 1), ("cluster_service_url", 3)])
async def test_askers_wait_when_too_many_are_unanswered(
    request: pytest.FixtureRequest, kind: str, lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lane, "WAITING", 8)
    most, used = 0, set()
    ask = _lane.Lane.ask

    def counted(self: _lane.Lane, call: Call, *, whole: bool = False) -> asyncio.Future[Any]:
        nonlocal most
        answer = ask(self, call, whole=whole)
        used.add(self)
        most = max(most, len(self._asked))
        return answer

    monkeypatch.setattr(_lane.Lane, "ask", counted)
    mark = uuid4().hex
    async with AsyncRedisSaver.from_url(request.getfixturevalue(kind)) as saver:
        await asyncio.gather(*(put(saver, f"{mark} {n}", n) for n in range(300)))
        assert await asyncio.gather(*(value_of(saver, f"{mark} {n}") for n in range(300))) == list(range(300))
    assert 0 < most <= 9
    assert len(used) == lanes


@pytest.mark.parametrize("own", [True, False])
async def test_a_server_that_says_nothing_is_given_up_in_the_time_that_its_client_says(own: bool) -> None:
    asked = 0

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        try:
            while data := await reader.read(65536):
                # Answers to what opens a connection, and to nothing after it.
                if b"EVAL" in data:
                    asked += 1
                    continue
                writer.write(b"+OK\r\n" * data.count(b"\r\n$6\r\nCLIENT\r\n"))
        finally:
            writer.close()

    silent = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    url = f"redis://127.0.0.1:{port}?protocol=2&socket_timeout=0.3"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(silent)
        if own:
            saver = AsyncRedisSaver(await stack.enter_async_context(aredis.Redis.from_url(url)))
        else:
            saver = await stack.enter_async_context(AsyncRedisSaver.from_url(url))
        answers = await asyncio.gather(*(value_of(saver, "t") for _ in range(3)), return_exceptions=True)
    assert asked >= 1
    for answer in answers:
        assert isinstance(answer, SaverUnavailable)
        assert "did not answer in time" in str(answer)


async def test_a_saver_that_is_left_with_work_under_way_leaves_nothing_behind(valkey_url: str) -> None:
    mark = uuid4().hex
    troubles: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: troubles.append(context))
    async with AsyncRedisSaver.from_url(valkey_url) as saver:
        tasks = [asyncio.create_task(put(saver, f"{mark} {n}", n)) for n in range(50)]
        await asyncio.sleep(0)
    for answer in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(answer, dict | SaverUnavailable), answer
    del tasks, answer
    gc.collect()
    await asyncio.sleep(0.01)
    assert not troubles


async def test_a_client_of_ones_own_is_left_open_by_the_saver(valkey_url: str) -> None:
    thread = uuid4().hex
    async with aredis.Redis.from_url(valkey_url) as client:
        first, second = AsyncRedisSaver(client), AsyncRedisSaver(client)
        await put(first, thread, 1)
        assert await value_of(second, thread) == 1
        assert await client.ping()
