"""A folder as the input of a run: one item a file.

Only regular files inside the folder are read. A link to such a file is read under its own name. Links that lead out of
the folder, to a folder or to nothing are not followed, and pipes, sockets and devices are not opened: each is left out
with its name and the reason. Whoever can put a file into the folder can put a link there, to anything that this process
may read.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from state import describe
from surefoot.errors import UsageError

if TYPE_CHECKING:
    from surefoot.pipelines import Pipeline


@dataclass(frozen=True)
class LeftOut:
    """An entry of a folder that is not read, and why."""

    name: str
    """Its path in the folder."""
    reason: str


def files_of(folder: Path, pipeline: Pipeline) -> Iterator[tuple[int, dict[str, Any] | LeftOut]]:
    """Yield a number and the raw item of each file, by name: its id, its path, and a digest of what it holds.

    All items share what stands in `<field>.json`, such as the job of a folder of résumés. The digest makes a changed
    file another item under the same id. Hidden files and folders are left out; what else is left out comes first.
    Raises `UsageError` for a pipeline that takes no folders, and for a folder without files or without what they share.
    """
    field = pipeline.folder_field
    if not field:
        raise UsageError(f"{folder} is a folder, and {pipeline.name} takes a file")
    root = Path(os.path.realpath(folder))
    _refuse_special(folder / f"{field}.json", root)
    shared = _shared(folder / f"{field}.json", field, pipeline)
    found, left_out = _entries(root, f"{field}.json")
    for number, entry in enumerate(left_out, 1):
        yield number, entry
    if not found and not left_out:
        raise UsageError(f"{folder} holds no files beside {field}.json")
    for number, (name, path) in enumerate(found, len(left_out) + 1):
        yield number, {"id": name, "path": str(path), "digest": _digest(path), field: shared}


def _entries(root: Path, shared: str) -> tuple[list[tuple[str, Path]], list[LeftOut]]:
    """Return name and path of each file below a folder, and what is none; both in the order of their names."""
    found: list[tuple[str, Path]] = []
    left_out: list[LeftOut] = []
    folders = [""]
    while folders:
        inside = folders.pop()
        try:
            listed = list(os.scandir(root / inside))
        except OSError as error:
            left_out.append(LeftOut(inside.rstrip("/") or ".", f"this folder cannot be opened: {_why(error)}"))
            continue
        for entry in listed:
            name = inside + entry.name
            if entry.name.startswith(".") or name == shared:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(name + "/")
                continue
            path, reason = _readable(root, name)
            if reason:
                left_out.append(LeftOut(name, reason))
            else:
                found.append((name, path))
    return sorted(found, key=lambda one: one[0].split("/")), sorted(left_out, key=lambda one: one.name.split("/"))


def _readable(root: Path, name: str) -> tuple[Path, str]:
    """Return the path of an entry's file, and why it is not read."""
    path = root / name
    try:
        is_link = path.is_symlink()
        real = path.resolve(strict=True)
        mode = real.stat().st_mode
    except OSError as error:
        reasons = {errno.ENOENT: "it is a link to nothing", errno.ELOOP: "it is a link that leads to itself"}
        return path, reasons.get(error.errno or 0, f"it cannot be opened: {_why(error)}")
    except RuntimeError:  # a loop of links, before Python 3.13
        return path, "it is a link that leads to itself"
    if is_link and not real.is_relative_to(root):
        return path, "it is a link out of the folder, which is not followed: copy the file into the folder"
    if is_link and stat.S_ISDIR(mode):
        return path, "it is a link to a folder, which is not followed: files are read where they are"
    if not stat.S_ISREG(mode):
        return path, f"it is {kind_of(mode)}, and no file"
    return real, ""


_KINDS: Final = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a disk device",
    stat.S_IFCHR: "a device",
    stat.S_IFDIR: "a folder",
}


def kind_of(mode: int) -> str:
    """Say what a path is that is no regular file."""
    return _KINDS.get(stat.S_IFMT(mode), "something of another kind")


def refuse_endless(path: Path, mode: int) -> None:
    """Raise `UsageError` for a socket and for a device; pipes are input like any other, and so is a terminal."""
    if stat.S_ISREG(mode) or stat.S_ISFIFO(mode):
        return
    if stat.S_ISCHR(mode):
        with path.open("rb", buffering=0) as device:
            if device.isatty() or os.fstat(device.fileno()).st_rdev == Path(os.devnull).stat().st_rdev:
                return
    raise UsageError(f"{path} is {kind_of(mode)}: give a file, a pipe or - for standard input")


def _refuse_special(path: Path, root: Path) -> None:
    """Raise `UsageError` where what all items share is no regular file inside the folder."""
    if not os.path.lexists(path):
        return
    _, reason = _readable(root, path.name)
    if reason:
        raise UsageError(f"{path} cannot be read: {reason}")


def _why(error: OSError) -> str:
    return "permission denied" if error.errno == errno.EACCES else (error.strerror or type(error).__name__).lower()


def _shared(path: Path, field: str, pipeline: Pipeline) -> Any:
    """Read what all items have; raises `UsageError` that says what to write."""
    try:
        shared = json.loads(path.read_text(encoding="utf-8"))
        pipeline.input.model_validate({field: shared})
    except FileNotFoundError:
        raise UsageError(f"there is no {path}: write what all files of the folder have in common there") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    except ValidationError as error:
        raise UsageError(f"{path}: {describe(error)}") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}, line {error.lineno}: no valid JSON ({error.msg.lower()})") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{path} is no JSON in UTF-8") from None
    return shared


def _digest(path: Path) -> str:
    """Return a hash of a file; an empty text for one that cannot be read, which its run will tell."""
    try:
        # What was a file a moment ago may be a link or a pipe by now.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return ""
            return hashlib.file_digest(file, "blake2b").hexdigest()[:24]
    except OSError:
        return ""
