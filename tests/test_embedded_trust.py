"""The embedded server is our own user's, or nothing is sent to it: directory, socket, locks and the process itself."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import config_of, embedded_directory, put_values

from checkpointers import AsyncRedisSaver, EmbeddedUnavailable, RedisSaver, connect, embedded
from checkpointers._watchdog import try_lock

OTHER = 4242
"""A user that is not there: the number is all that counts."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user; .ci/run does")

# Binds the socket, becomes another user if told to, listens, and writes down whatever it is sent.
STRANGER = """
    import os, socket, sys
    path, heard, before, after = sys.argv[1:]
    told = open(heard, "ab", buffering=0)
    os.umask(0)
    if int(before):
        os.setuid(int(before))
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    if int(after):
        os.setuid(int(after))
    server.listen()
    os.write(1, b"ready\\n")
    while True:
        one, _ = server.accept()
        one.settimeout(0.5)
        try:
            while data := one.recv(4096):
                told.write(data)
                one.sendall(b"+PONG\\r\\n")
        except OSError:
            pass
"""


@contextmanager
def stranger(path: Path, heard: Path, *, binds_as: int = 0, listens_as: int = 0) -> Iterator[None]:
    """Have a server of another user at a socket."""
    heard.touch()
    command = [sys.executable, "-c", textwrap.dedent(STRANGER), str(path), str(heard), str(binds_as), str(listens_as)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def failure_of(directory: Path) -> str:
    """Return what both savers, and the plain client, say of a directory that they may not use."""
    url = f"embedded:{directory}"
    told = set()
    with RedisSaver.from_url(url) as saver, pytest.raises(EmbeddedUnavailable) as caught:
        put_values(saver, config_of("t"), a="private")
    told.add(str(caught.value))

    async def use() -> str:
        async with AsyncRedisSaver.from_url(url) as asaver:
            with pytest.raises(EmbeddedUnavailable) as also:
                await asaver.aget_tuple(config_of("t"))
            return str(also.value)

    told.add(asyncio.run(use()))
    assert embedded.server_pid(os.path.realpath(directory)) is None
    assert len(told) == 1
    return told.pop()


@pytest.fixture
def private() -> Iterator[Path]:
    with embedded_directory() as directory:
        yield Path(os.path.realpath(directory))


@as_root
def test_a_socket_in_a_directory_of_another_user_is_not_spoken_to(private: Path, tmp_path: Path) -> None:
    os.chown(private, OTHER, OTHER)
    with stranger(private / "server.sock", tmp_path / "heard", binds_as=OTHER):
        told = failure_of(private)
    assert "belongs to another user (4242; this process runs as root, 0)" in told
    assert "chown" in told
    assert (tmp_path / "heard").read_bytes() == b""


@as_root
def test_nor_is_an_empty_directory_of_another_user_filled(private: Path) -> None:
    os.chown(private, OTHER, OTHER)
    assert "belongs to another user" in failure_of(private)
    assert list(private.iterdir()) == []


@as_root
def test_a_socket_of_another_user_in_a_directory_of_ours_is_not_spoken_to(private: Path, tmp_path: Path) -> None:
    with stranger(private / "server.sock", tmp_path / "heard", listens_as=OTHER):
        os.chown(private / "server.sock", OTHER, OTHER)
        assert "server.sock belongs to another user" in failure_of(private)
        os.chown(private / "server.sock", 0, 0)
        # As it looks to who checked the path a moment too early: only the connection itself tells.
        told = failure_of(private)
    assert "is one of another user (4242; this process runs as root, 0)" in told
    assert (tmp_path / "heard").read_bytes() == b""


@as_root
def test_what_another_user_left_in_a_directory_is_not_loaded(private: Path) -> None:
    (private / "appendonlydir").mkdir()
    os.chown(private / "appendonlydir", OTHER, OTHER)
    assert "appendonlydir is of another user" in failure_of(private)


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757])
def test_a_directory_that_others_can_write_to_is_refused_with_what_to_do(private: Path, mode: int) -> None:
    (private / "notes").write_text("")
    private.chmod(mode)
    told = failure_of(private)
    assert f"mode {mode:04o}" in told
    assert f"chmod go-w {private}" in told
    private.chmod(0o755)
    with connect(f"embedded:{private}") as client:
        assert client.ping()


def test_an_empty_directory_of_ours_is_closed_to_others(private: Path) -> None:
    private.chmod(0o777)
    with connect(f"embedded:{private}") as client:
        assert client.ping()
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    for path in private.rglob("*"):
        assert not path.stat().st_mode & 0o077, path


def test_what_stands_in_the_place_of_the_socket_is_told(private: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "s"
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(elsewhere))
    server.listen()
    (private / "server.sock").symlink_to(elsewhere)
    assert "server.sock is no socket" in failure_of(private)
    (private / "server.sock").unlink()
    (private / "server.sock").write_text("")
    assert "server.sock is no socket" in failure_of(private)
    server.settimeout(0.1)
    with pytest.raises(TimeoutError):
        server.accept()
    server.close()


@pytest.mark.parametrize("name", ["lock", "server.lock", "server.log", "appendonlydir", "socket.json"])
def test_a_link_in_the_place_of_a_file_of_ours_is_not_followed(private: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").write_text("precious")
    (private / name).symlink_to(tmp_path / "precious")
    assert f"{name} is a link" in failure_of(private)
    assert (tmp_path / "precious").read_text() == "precious"
    assert [path.name for path in private.iterdir()] == [name]


def test_no_lock_is_taken_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "made")
    with pytest.raises(OSError, match="lock"):
        try_lock(str(tmp_path / "lock"))
    assert not (tmp_path / "made").exists()


def test_a_link_to_a_directory_of_ours_is_that_directory(private: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(private)
    with connect(f"embedded:{tmp_path / 'link'}") as client, connect(f"embedded:{private}") as same:
        client.set("a", 1)
        assert same.get("a") == b"1"


ORDINARY = """
    import os, sys
    from checkpointers import RedisSaver, connect, EmbeddedUnavailable
    own, roots = sys.argv[1:]
    with connect(f"embedded:{own}") as client:
        client.set("a", 1)
        print(client.get("a"), flush=True)
    try:
        with RedisSaver.from_url(f"embedded:{roots}") as saver:
            saver.get({"configurable": {"thread_id": "t"}})
    except EmbeddedUnavailable as error:
        print(error)
"""


def python_of_others() -> str | None:
    """Return an interpreter of this version that another user can run: root's own may stand in a closed home."""
    for path in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        try:
            subprocess.run([path, "-c", ""], user=OTHER, group=OTHER, extra_groups=[], check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        return path
    return None


@as_root
def test_an_ordinary_user_has_a_server_of_their_own_and_none_of_roots(private: Path) -> None:
    python = python_of_others()
    if python is None:
        pytest.skip("another user can run no Python of this version here; .ci/run has one")
    root, packages = Path(__file__).parent.parent, Path(pytest.__file__).parent.parent
    with embedded_directory() as own, connect(f"embedded:{private}") as client:
        client.set("a", 1)
        private.chmod(0o755)
        # redis-py asks Pythons before 3.11.3 for a backport, which those that run the tests do not have.
        (own / "async_timeout.py").write_text("from asyncio import timeout\n")
        os.chown(own, OTHER, OTHER)
        own.chmod(0o755)
        done = subprocess.run(
            [python, "-c", textwrap.dedent(ORDINARY), str(own), str(private)],
            capture_output=True, text=True, check=False, user=OTHER, group=OTHER, extra_groups=[],
            env={"HOME": str(own), embedded.IDLE_VARIABLE: "0.2", "PYTHONPATH": f"{root}:{packages}:{own}"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        value, told = done.stdout.splitlines()
        assert value == "b'1'"
        assert "belongs to another user (root, 0; this process runs as 4242)" in told
        deadline = time.monotonic() + 20
        while (own / "server.sock").exists():
            assert time.monotonic() < deadline, "the server of an ordinary user ends when nobody uses it"
            time.sleep(0.05)
