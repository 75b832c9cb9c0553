"""kill -9 of the embedded server, of the application, and of both, with nothing lost that was acknowledged."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
from servers import checkpoint_of, config_of, put_values

from checkpointers import AsyncRedisSaver, RedisSaver, embedded


def kill_server(directory: Path) -> int:
    """Kill the directory's server, if one answers; return how many were killed."""
    pid = embedded.server_pid(os.path.realpath(directory))
    if pid is None:
        return 0
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return 1


def test_a_server_killed_between_operations_loses_none_of_1000(embedded_dir: Path) -> None:
    with RedisSaver.from_url(f"embedded:{embedded_dir}") as saver:
        config = config_of("t")
        for step in range(1000):
            config = put_values(saver, config, step=step, a=step)
            if step % 100 == 50:
                assert kill_server(embedded_dir) == 1
        found = list(saver.list(config_of("t")))
        assert [t.checkpoint["channel_values"]["a"] for t in found] == list(range(999, -1, -1))


def test_a_server_killed_in_the_middle_of_operations_loses_none_of_1000(embedded_dir: Path) -> None:
    writers, each = 10, 100
    failures: list[BaseException] = []
    done: list[int] = []
    with RedisSaver.from_url(f"embedded:{embedded_dir}") as saver:

        def write(number: int) -> None:
            try:
                config = config_of(f"t{number}")
                for step in range(each):
                    config = put_values(saver, config, step=step, a=[number, step])
                    saver.put_writes(config, [("a", step)], "task")
                    done.append(number)
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
        for thread in threads:
            thread.start()
        kills, seen = 0, 0
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.01)
            # Not faster than it can come back for everybody: then operations may fail, and say so.
            at_work = {number for number, thread in enumerate(threads) if thread.is_alive()}
            if len(done) > seen + 100 and at_work <= set(done[seen:]):
                kills, seen = kills + kill_server(embedded_dir), len(done)
        for thread in threads:
            thread.join()
        assert failures == []
        assert kills >= 2
        kept = [t for number in range(writers) for t in saver.list(config_of(f"t{number}"))]
        assert len(kept) == writers * each
        assert all(t.pending_writes == [("task", "a", t.metadata["step"])] for t in kept)


@pytest.mark.asyncio
async def test_the_same_for_the_async_saver(embedded_dir: Path) -> None:
    done: list[int] = []
    async with AsyncRedisSaver.from_url(f"embedded:{embedded_dir}") as saver:

        async def write(number: int) -> None:
            config = config_of(f"t{number}")
            for step in range(100):
                version = saver.get_next_version(None, None)
                checkpoint = checkpoint_of({"a": step}, {"a": version})
                config = await saver.aput(config, checkpoint, {"step": step}, {"a": version})
                done.append(number)

        work = asyncio.gather(*(write(number) for number in range(10)))
        kills, seen = 0, 0
        while not work.done():
            await asyncio.sleep(0.01)
            if len(done) > seen + 100:
                kills, seen = kills + await asyncio.to_thread(kill_server, embedded_dir), len(done)
        await work
        assert kills >= 2
        kept = [t async for t in saver.alist(None)]
        assert len(kept) == 1000


WRITER = textwrap.dedent("""
    import sys
    sys.path.insert(0, sys.argv[2])
    from servers import config_of, put_values
    from checkpointers import RedisSaver
    with RedisSaver.from_url("embedded:" + sys.argv[1]) as saver:
        config = config_of("t")
        for step in range(100_000):
            config = put_values(saver, config, step=step, a="x" * 200, b=step)
            saver.put_writes(config, [("b", step)], "task")
            print(step, flush=True)
""")


@pytest.mark.parametrize("server_too", [False, True])
def test_a_killed_application_loses_nothing_it_was_told(embedded_dir: Path, server_too: bool) -> None:
    command = [sys.executable, "-c", WRITER, str(embedded_dir), str(Path(__file__).parent)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    try:
        for line in writer.stdout:
            if int(line) >= 300:
                break
    finally:
        if server_too:
            kill_server(embedded_dir)
        writer.kill()
        rest, _ = writer.communicate()
    told = int((rest.split() or [line])[-1])
    with RedisSaver.from_url(f"embedded:{embedded_dir}") as saver:
        found = list(saver.list(config_of("t")))
        assert len(found) >= told + 1
        whole = [t for t in found if t.metadata["step"] <= told]
        assert [t.checkpoint["channel_values"]["b"] for t in whole] == list(range(told, -1, -1))
        assert all(t.pending_writes == [("task", "b", t.metadata["step"])] for t in whole)


def test_a_torn_file_loads_up_to_the_tear(embedded_dir: Path) -> None:
    with RedisSaver.from_url(f"embedded:{embedded_dir}") as saver:
        for step in range(50):
            put_values(saver, config_of("t"), step=step, a=step)
        kill_server(embedded_dir)
        (tail,) = (embedded_dir / "appendonlydir").glob("*.incr.aof")
        os.truncate(tail, tail.stat().st_size - 30)
        assert [t.metadata["step"] for t in saver.list(config_of("t"))] == list(range(48, -1, -1))
        put_values(saver, config_of("t"), step=99, a=99)
        kill_server(embedded_dir)
        latest = saver.get_tuple(config_of("t"))
        assert latest is not None
        assert latest.metadata["step"] == 99


def test_a_big_store_is_awaited_while_it_loads(embedded_dir: Path) -> None:
    with RedisSaver.from_url(f"embedded:{embedded_dir}") as saver:
        blob = os.urandom(1_000_000)
        for step in range(60):
            put_values(saver, config_of(f"t{step}"), a=blob)
        kill_server(embedded_dir)
        assert (saver.get(config_of("t59")) or {})["channel_values"] == {"a": blob}
        assert saver.get_tuple(config_of(str(uuid4()))) is None
