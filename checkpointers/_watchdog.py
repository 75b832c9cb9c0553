"""Stops an embedded server that nobody uses any more, and syncs its data to the disk once a second.

Run as `python -I -S _watchdog.py DIRECTORY SOCKET DEVICE INODE DESCRIPTOR IDLE_SECONDS`, by path and with the standard
library only, so that it starts at once and stays small. The descriptor is a connection to the server: it watches that
server and no later one, whatever happens to the paths. It detaches itself, holds `watch.lock` while it lives, and ends
when its server does.
"""

# Paths here are the strings that servers, sockets and file descriptors take.
# ruff: noqa: PTH104, PTH108, PTH116, PTH118

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import IO

try:
    import fcntl
except ImportError:  # Windows, where no embedded server runs
    fcntl = None  # type: ignore[assignment] # a platform without it has no embedded server

LOCK = "lock"
SERVER_LOCK = "server.lock"
WATCH_LOCK = "watch.lock"

ANSWER_WAIT = 60.0
"""Seconds that a server may take for an answer while somebody else keeps it busy."""

MOST_REPLY = 16_000_000
"""Bytes of an answer to what is asked here, such as a list of 50,000 clients; a longer one is none of our server's."""

HANDOVER = 2.0
"""Seconds to wait for the watchdog of a server that just died, which lets go at once."""


def try_lock(path: str) -> int | None:
    """Return a descriptor that holds an exclusive lock on a file, or `None` when another one does. Raises `OSError`."""
    # A link in its place would have another file locked, or made.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class Line:
    """A connection that sends one command at a time; enough of the protocol for simple, integer and bulk replies."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self.stream: IO[bytes] = connected.makefile("rb")

    @classmethod
    def to(cls, path: str, timeout: float) -> Line:
        """Connect to a socket; `timeout` in seconds is for each answer too. Raises `OSError`."""
        if not hasattr(socket, "AF_UNIX"):
            raise OSError("this system has no Unix sockets")
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(timeout)
            connection.connect(path)
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    def ask(self, *words: str) -> bytes:
        """Return the reply without its type, or with its leading `-` for an error; raises `EOFError` or `OSError`."""
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            data = word.encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self.socket.sendall(b"".join(parts))
        head = self.stream.readline(MOST_REPLY)
        if not head.endswith(b"\r\n"):
            raise EOFError("the server closed the connection")
        if head[:1] == b"$":
            size = int(head[1:]) if head[1:-2].isdigit() else MOST_REPLY
            if size >= MOST_REPLY:
                raise EOFError("it does not answer as a server of ours does")
            return self.stream.read(size + 2)[:-2]
        return head[:-2] if head[:1] == b"-" else head[1:-2]

    def close(self) -> None:
        """Close the connection."""
        self.stream.close()
        self.socket.close()


def alone(line: Line) -> bool:
    """Return whether this connection is the server's only one."""
    return len(line.ask("CLIENT", "LIST").splitlines()) <= 1


def detail(line: Line, section: str, name: bytes) -> bytes:
    """Return one value of the server's INFO."""
    for row in line.ask("INFO", section).splitlines():
        key, _, value = row.partition(b":")
        if key == name:
            return value
    return b""


def stop_if_alone(directory: str, path: str, line: Line) -> None:
    """Stop the server unless somebody came meanwhile; raises `EOFError` or `OSError` when it stopped.

    Under the lock that every start takes, the socket is first moved out of sight. Whoever came before that is in the
    list of clients after one more round trip, and then the socket is moved back; whoever comes later finds none and
    waits for the lock.
    """
    try:
        held = try_lock(os.path.join(directory, LOCK))
    except FileNotFoundError:
        line.ask("SHUTDOWN", "NOSAVE", "FORCE")  # the directory was deleted: nothing is left to keep
        return
    if held is None:
        return
    hidden = path + ".closing"
    try:
        with suppress(FileNotFoundError):
            os.rename(path, hidden)
        line.ask("PING")
        if alone(line):
            # No snapshot: the append-only file has everything and is flushed on the way out. It answers only to refuse.
            line.ask("SHUTDOWN", "NOSAVE")
        with suppress(FileNotFoundError):
            os.rename(hidden, path)
    except (EOFError, ConnectionError):
        for leftover in (hidden, path):
            with suppress(FileNotFoundError):
                os.unlink(leftover)
        raise
    finally:
        os.close(held)


def identity(path: str) -> tuple[int, int] | None:
    """Return what a path stands for now, or `None` when there is nothing."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def watch(directory: str, path: str, own: tuple[int, int], line: Line, idle: float) -> None:
    """Watch until the server ends; raises `EOFError` or `OSError` then."""
    pid = int(detail(line, "server", b"process_id"))
    beat = max(0.01, min(1.0, idle / 4))
    last_use, count = time.monotonic(), detail(line, "stats", b"total_connections_received")
    synced: dict[str, int] = {}
    while True:
        readable, _, _ = select.select([line.socket], [], [], beat)
        if readable:
            raise EOFError("the server ended")
        sync(directory, synced)
        before, count = count, detail(line, "stats", b"total_connections_received")
        if count != before or not alone(line):
            last_use = time.monotonic()
        elif time.monotonic() - last_use >= idle:
            if identity(path) not in (own, None):
                # The directory was deleted and made anew, and another server has it. Ours has nothing to keep, and a
                # shutdown would delete the socket of the other.
                os.kill(pid, signal.SIGKILL)
                return
            stop_if_alone(directory, path, line)


def sync(directory: str, synced: dict[str, int]) -> None:
    """Bring what the server appended to the disk; `synced` holds the sizes of the files at the last time."""
    with suppress(FileNotFoundError):
        for entry in os.scandir(os.path.join(directory, "appendonlydir")):
            size = entry.stat().st_size
            if size != synced.get(entry.name):
                descriptor = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                synced[entry.name] = size


def take_watch(directory: str) -> bool:
    """Return whether this process is to watch; it then holds the lock until it ends."""
    deadline = time.monotonic() + HANDOVER
    try:
        while try_lock(os.path.join(directory, WATCH_LOCK)) is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
    except FileNotFoundError:  # the directory is gone already, the server is not
        pass
    return True


def main(directory: str, path: str, device: str, inode: str, descriptor: str, idle: str) -> None:
    """Take the watch, detach and watch. A watch that another one holds is left to it."""
    # The parent ends here, so that whoever started it has no child left to wait for.
    if not take_watch(directory) or os.fork():
        return
    connection = socket.socket(fileno=int(descriptor))
    connection.settimeout(ANSWER_WAIT)
    with suppress(OSError, EOFError):
        watch(directory, path, (int(device), int(inode)), Line(connection), float(idle))


if __name__ == "__main__":
    main(*sys.argv[1:])
