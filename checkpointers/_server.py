"""Starts and finds the private server of a data directory.

Files in the directory: `lock` (held while the server is started or stopped), `server.lock` (held by the server as long
as it lives, through an inherited descriptor), `watch.lock` (held by the watchdog), `server.sock`, `server.pid`,
`server.log` and `appendonlydir/` with the data.
"""

# Paths here are the strings that servers, sockets and file descriptors take.
# ruff: noqa: PTH103, PTH110, PTH116, PTH118, PTH120

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from . import _watchdog
from ._place import (
    binary,
    check_directory,
    check_peer,
    check_private,
    check_socket,
    check_system,
    is_new,
    prepare,
    record_socket,
    socket_path,
)
from ._start_failure import disk_reason, start_failure
from ._watchdog import LOCK, SERVER_LOCK, WATCH_LOCK, Line, try_lock
from .errors import EmbeddedUnavailable

START_WAIT = 60.0
"""Seconds to wait for the lock and for a server that starts or loads its data."""

IDLE_VARIABLE = "SUREFOOT_EMBEDDED_IDLE_SECONDS"
IDLE_SECONDS = 60.0
"""After this long without a connection the server stops; read from the variable when a server is started."""

STARTS = 3
"""A server that ends while it starts is started this often, because it may have been killed."""

GRACE = 0.5
"""Seconds that a dying server has before it counts as one that cannot be reached."""

POLL = 0.01

State = Literal["ready", "loading", "busy", "absent"]


def ensure(directory: str) -> str:
    """Return the socket of the directory's server, starting one when none answers. Blocks until it is ready.

    Raises `EmbeddedUnavailable` with one clear line when there is no binary for this machine, the directory cannot be
    used, or the server ends or does not answer within `START_WAIT` seconds.
    """
    check_system()
    path = trusted_socket(directory)
    for left in reversed(range(STARTS)):
        try:
            _find_or_start(directory, path)
            break
        except _Ended:
            if not left:
                raise
        except (OSError, subprocess.SubprocessError) as error:
            why = disk_reason(error, directory) if isinstance(error, OSError) else ""
            why = why or f"The embedded server cannot be started in {directory}: {error}."
            raise EmbeddedUnavailable(why) from error
    _await_loaded(directory, path)
    return path


def trusted_socket(directory: str) -> str:
    """Return the socket of a directory; raises `EmbeddedUnavailable` where either could be another user's."""
    if not is_new(directory):
        check_directory(directory)
    path = socket_path(directory)
    check_socket(path)
    return path


class _Ended(EmbeddedUnavailable):
    """The server ended while it started."""


def _find_or_start(directory: str, path: str) -> None:
    if probe(path) == "absent":
        prepare(directory)
        with _lock(directory):
            if probe(path) == "absent":
                _start(directory, path)
    elif _unwatched(directory):
        with _lock(directory):
            if _unwatched(directory):
                _start_watchdog(directory, path, _idle_seconds())


def probe(path: str) -> State:
    """Return what answers at a socket; `busy` is a server that does not answer a PING within seconds.

    Raises `EmbeddedUnavailable` for a server of another user, to which nothing is sent.
    """
    try:
        line = Line.to(path, timeout=5)
    except (TimeoutError, BlockingIOError):  # the latter: too many callers are waiting to be accepted
        return "busy"
    except OSError:
        return "absent"
    try:
        check_peer(line.socket)
        return "loading" if line.ask("PING").startswith(b"-LOADING") else "ready"
    except TimeoutError:
        return "busy"
    except (OSError, EOFError):
        return "absent"
    finally:
        line.close()


@contextmanager
def _lock(directory: str) -> Iterator[None]:
    deadline = time.monotonic() + START_WAIT
    while (held := try_lock(os.path.join(directory, LOCK))) is None:
        if time.monotonic() > deadline:
            raise EmbeddedUnavailable(f"Another process has been starting the server in {directory} for too long.")
        time.sleep(POLL)
    try:
        yield
    finally:
        os.close(held)


def _start(directory: str, path: str) -> None:
    """Start a server; the caller holds the lock and nothing answers at the socket."""
    idle = _idle_seconds()
    held = _own(directory, path)
    if held is None:
        return
    try:
        log = Path(directory, "server.log")
        log_size = log.stat().st_size if log.exists() else 0
        if os.path.dirname(path) != directory:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            check_private(os.path.dirname(path))
            record_socket(directory, path)
        # Daemonized by itself, so that it is no child of ours: it outlives us, and leaves no zombie when it ends.
        launch = subprocess.run(  # noqa: S603 - our own binary
            [binary(), *_settings(directory, path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            pass_fds=(held,),
            start_new_session=True,
            umask=0o077,
            timeout=START_WAIT,
            check=False,
        )
        if launch.returncode:
            raise EmbeddedUnavailable(start_failure(directory, launch.stdout.decode(errors="replace")))
    finally:
        os.close(held)
    deadline = time.monotonic() + START_WAIT
    while probe(path) == "absent":
        free = try_lock(os.path.join(directory, SERVER_LOCK))
        if free is not None:
            os.close(free)
            raise _Ended(start_failure(directory, log.read_bytes()[log_size:].decode(errors="replace")))
        if time.monotonic() > deadline:
            raise EmbeddedUnavailable(f"The embedded server in {directory} does not answer; see {log}.")
        time.sleep(POLL)
    _start_watchdog(directory, path, idle)


def _own(directory: str, path: str) -> int | None:
    """Return a descriptor with the server's lock on it, which the server inherits and holds as long as it lives.

    Return `None` when a server answers after all. One that lives but cannot be reached (its socket was deleted) is
    ended first: two would write one file. Others hold the lock only for a moment, to see whether a server lives.
    """
    begun, asked = time.monotonic(), False
    while (held := try_lock(os.path.join(directory, SERVER_LOCK))) is None:
        waited = time.monotonic() - begun
        if probe(path) != "absent":
            return None
        if waited > GRACE and not asked:
            asked = True
            _end_unreachable(directory, path)
        if waited > START_WAIT:
            raise EmbeddedUnavailable(f"A server in {directory} does not answer and does not end. End it by hand.")
        time.sleep(POLL)
    return held


def _end_unreachable(directory: str, path: str) -> None:
    """Ask the recorded process to end if its title says that it serves this socket.

    Its number may have gone to another program.
    """
    with suppress(OSError, ValueError):
        pid = int(Path(directory, "server.pid").read_text())
        if os.path.exists("/proc/self"):
            title = Path("/proc", str(pid), "cmdline").read_bytes()
        else:
            title = subprocess.run(  # noqa: S603 - a fixed command
                ["ps", "-ww", "-o", "command=", "-p", str(pid)],  # noqa: S607 - its place differs between systems
                capture_output=True,
                check=False,
            ).stdout
        if b"valkey-server" in title and os.fsencode(path) in title:
            os.kill(pid, signal.SIGTERM)


def _settings(directory: str, path: str) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": path,
        "unixsocketperm": "700",
        "dir": directory,
        "daemonize": "yes",
        "pidfile": os.path.join(directory, "server.pid"),
        "logfile": os.path.join(directory, "server.log"),
        "loglevel": "warning",
        "save": "",
        "appendonly": "yes",
        # Written to the system before each answer, so nothing answered is lost with the process. `everysec` is weaker:
        # while its own sync runs it answers before it writes, for up to two seconds (measured: writes lost by kill -9).
        # `always` would wait for the disk each time. The watchdog syncs once a second instead, which bounds what a
        # crash of the whole machine can cost.
        "appendfsync": "no",
        "aof-load-truncated": "yes",
        "maxmemory": "0",
        "maxmemory-policy": "noeviction",
    }
    return [word for name, value in settings.items() for word in ("--" + name, value)]


def _idle_seconds() -> float:
    given = os.environ.get(IDLE_VARIABLE)
    try:
        return float(given) if given else IDLE_SECONDS
    except ValueError:
        raise EmbeddedUnavailable(f"{IDLE_VARIABLE} must be a number of seconds, not {given!r}.") from None


def _start_watchdog(directory: str, path: str, idle: float) -> None:
    try:
        line, own = Line.to(path, timeout=START_WAIT), os.stat(path)
    except OSError:
        return  # the server died meanwhile: whoever finds it dead starts the next one
    try:
        descriptor = line.socket.fileno()
        words = [directory, path, str(own.st_dev), str(own.st_ino), str(descriptor), str(idle)]
        # It forks and ends once it holds the watch, so this waits only for the interpreter to start.
        subprocess.run(  # noqa: S603 - our own interpreter and file
            [sys.executable or "python3", "-I", "-S", str(_watchdog.__file__), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            pass_fds=(descriptor,),
            start_new_session=True,
            timeout=START_WAIT,
            check=False,
        )
    finally:
        line.close()


def _unwatched(directory: str) -> bool:
    try:
        free = try_lock(os.path.join(directory, WATCH_LOCK))
    except OSError:
        return False
    if free is not None:
        os.close(free)
    return free is not None


def _await_loaded(directory: str, path: str) -> None:
    deadline = time.monotonic() + START_WAIT
    while probe(path) == "loading":
        if time.monotonic() > deadline:
            raise EmbeddedUnavailable(f"The embedded server in {directory} is still loading its data. Try again later.")
        time.sleep(POLL)
