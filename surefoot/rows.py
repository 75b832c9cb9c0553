"""The file of `--out`: one JSON line an item, written as items finish, with each id once in the end.

Rows are appended and flushed at once, so that a killed run leaves all of them but at most one torn line, which the
next run drops. A row that replaces an older one is appended too; `close` then writes the file anew beside the old
one and puts it in its place, so that no reader ever sees half of it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nodes.errors import SurefootError
from surefoot.errors import UsageError
from surefoot.words import escaped

_OURS = ("id", "thread_id", "status")
_BEGIN = b'{"id": '


class RowsLost(SurefootError):
    """Rows could not be written; the runs themselves are kept."""


class RowFile:
    """Rows by id, in a file (or on standard output with `-`)."""

    def __init__(self, target: str, *, source: str = "") -> None:
        """Open the file and read the rows that it holds.

        Raises `UsageError` for a folder, for the input itself, for a file that holds anything but rows, for one that
        may not be written and for one that another run writes right now.
        """
        self.name = "standard output" if target == "-" else target
        self._rows: dict[str, bytes] = {}
        self._replaced = False
        self._size = 0
        self.written = 0
        if target == "-":
            sys.stdout.flush()
            self._descriptor, self._path = os.dup(sys.stdout.fileno()), None
            return
        _refuse_planted(Path(target), target)
        path = Path(os.path.realpath(target))
        _refuse_input(path, source, target)
        try:
            self._descriptor = _open_locked(path, target)
            self._path = path if stat.S_ISREG(os.fstat(self._descriptor).st_mode) else None
            if self._path is not None:
                self._load(self._path)
        except IsADirectoryError:
            raise UsageError(f"--out {target} is a folder; name a file") from None
        except _NobodyReads:
            raise UsageError(
                f"--out {target} is a pipe that no program reads: start the one that reads it first, or name a file"
            ) from None
        except OSError as error:
            raise UsageError(f"--out {target} cannot be written: {_why(error)}") from None

    def __len__(self) -> int:
        return len(self._rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            os.close(self._descriptor)

    def write(self, row: Mapping[str, Any]) -> None:
        """Write a row and flush it; one that the file holds already is left alone. Raises `RowsLost`."""
        line = escaped(json.dumps(row, ensure_ascii=False)).encode("utf-8", "backslashreplace") + b"\n"
        row_id = str(row["id"])
        if self._rows.get(row_id) == line:
            return
        try:
            _write_all(self._descriptor, line)
        except OSError as error:
            self._cut_back()
            raise self._lost(error) from None
        self._size += len(line)
        self._replaced = self._replaced or row_id in self._rows
        self._rows[row_id] = line
        self.written += 1

    def close(self) -> None:
        """Leave each id once in the file, and everything on the disk. Raises `RowsLost`."""
        try:
            if self._path is not None and self._replaced:
                self._rewrite(self._path)
            elif self._path is not None:
                os.fsync(self._descriptor)
        except OSError as error:
            raise self._lost(error) from None
        finally:
            os.close(self._descriptor)

    def _load(self, path: Path) -> None:
        """Read the rows of earlier runs and drop a torn last line."""
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                row_id = _id_of_row(line)
                if row_id is None and not line.endswith(b"\n") and (_BEGIN.startswith(line) or line.startswith(_BEGIN)):
                    break
                if row_id is None:
                    raise UsageError(
                        f"--out {self.name} holds something else than rows (line {number}): choose another file"
                    )
                self._replaced = self._replaced or row_id in self._rows
                self._rows[row_id] = line if line.endswith(b"\n") else line + b"\n"
                self._size += len(line)
        self._cut_back()
        if self._rows and not _ends_with_newline(path):
            _write_all(self._descriptor, b"\n")
            self._size += 1

    def _cut_back(self) -> None:
        """Remove what stands after the last whole row."""
        if self._path is not None and os.fstat(self._descriptor).st_size > self._size:
            os.ftruncate(self._descriptor, self._size)

    def _rewrite(self, path: Path) -> None:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(self._rows.values())
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), stat.S_IMODE(os.fstat(self._descriptor).st_mode))
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _lost(self, error: OSError) -> RowsLost:
        return RowsLost(f"rows cannot be written to {self.name}: {_why(error)}")


def _why(error: OSError) -> str:
    return "permission denied" if error.errno == errno.EACCES else (error.strerror or type(error).__name__).lower()


def _refuse_input(path: Path, source: str, target: str) -> None:
    try:
        same = bool(source) and source != "-" and path.samefile(source)
    except OSError:
        return
    if same and path.is_file():
        raise UsageError(f"--out {target} is the input itself: choose another file")


class _NobodyReads(Exception):
    """The other end of a pipe is not open."""


def _refuse_planted(path: Path, target: str) -> None:
    """Raise `UsageError` for what another user put into a folder that all can write to, such as /tmp.

    A link there may lead to a file of ours, and a file or pipe there is read by whoever made it.
    """
    try:
        found, folder = path.lstat(), path.parent.stat()
    except OSError:
        return
    shared = folder.st_mode & stat.S_IWOTH and stat.S_ISDIR(folder.st_mode)
    if shared and found.st_uid not in (os.geteuid(), folder.st_uid):
        raise UsageError(
            f"--out {target} belongs to another user, in a folder that all can write to: name another file"
        )


def _open_locked(path: Path, target: str) -> int:
    """Open for appending, create with its folders where needed, and keep other runs out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        # A pipe without a reader would be waited for without a word.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        try:
            descriptor = os.open(path, flags, 0o666)
        except OSError as error:
            if error.errno == errno.ENXIO and path.is_fifo():
                raise _NobodyReads from None
            raise
        os.set_blocking(descriptor, True)
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISBLK(mode):
            os.close(descriptor)
            raise UsageError(f"--out {target} is a disk device; name a file")
        if not stat.S_ISREG(mode):
            return descriptor
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UsageError(f"--out {target} is being written by another run: choose another file") from None
        except OSError:
            # Some network file systems know no locks; one writer at a time is then up to the user.
            return descriptor
        # Another run may have put a new file in its place between the opening and the lock.
        if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _id_of_row(line: bytes) -> str | None:
    """Return the id of a line that is one of our rows."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return str(row["id"]) if isinstance(row, dict) and all(name in row for name in _OURS) else None


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
