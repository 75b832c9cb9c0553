"""A folder as the input of a run: one item a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from surefoot.errors import UsageError

SHARED: Final = "job.json"
"""A file with fields that all items of the folder have, such as the job of a folder of résumés."""


def files_of(folder: Path, suffixes: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield a number and the raw item of each file, by name: its id, its path, and a digest of what it holds.

    The digest makes a changed file another content of the same id. Hidden files are left out. Raises `UsageError` for
    a folder that cannot be read or holds nothing of these kinds.
    """
    try:
        found = sorted(path for path in folder.rglob("*") if _wanted(path, folder, suffixes))
        shared = (folder / SHARED).read_text() if (folder / SHARED).is_file() else ""
    except OSError as error:
        raise UsageError(f"{folder} cannot be read: {error.strerror or type(error).__name__}") from None
    if not found:
        raise UsageError(f"{folder} holds no files of these kinds: {', '.join(suffixes)}")
    for number, path in enumerate(found, 1):
        item = {"id": str(path.relative_to(folder)), "path": str(path.resolve()), "digest": _digest(path)}
        yield number, item | ({"job": shared} if shared else {})


def _wanted(path: Path, folder: Path, suffixes: tuple[str, ...]) -> bool:
    inside = path.relative_to(folder)
    hidden = any(part.startswith(".") for part in inside.parts)
    return path.is_file() and not hidden and path.suffix.lower() in suffixes and str(inside) != SHARED


def _digest(path: Path) -> str:
    """Return a hash of a file; an empty text for one that cannot be read, which its run will tell."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:24]
    except OSError:
        return ""
