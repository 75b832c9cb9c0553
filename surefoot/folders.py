"""A folder as the input of a run: one item a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from state import describe
from surefoot.errors import UsageError

if TYPE_CHECKING:
    from surefoot.pipelines import Pipeline


def files_of(folder: Path, pipeline: Pipeline) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield a number and the raw item of each file, by name: its id, its path, and a digest of what it holds.

    All items share what stands in `<field>.json`, such as the job of a folder of résumés. The digest makes a changed
    file another item under the same id. Hidden files are left out, no other: what cannot be read is told.
    Raises `UsageError` for a pipeline that takes no folders, and for a folder without files or without what they share.
    """
    field = pipeline.folder_field
    if not field:
        raise UsageError(f"{folder} is a folder, and {pipeline.name} takes a file")
    shared = _shared(folder / f"{field}.json", field, pipeline)
    found = sorted(path for path in folder.rglob("*") if _wanted(path.relative_to(folder), field) and path.is_file())
    if not found:
        raise UsageError(f"{folder} holds no files beside {field}.json")
    for number, path in enumerate(found, 1):
        name = path.relative_to(folder).as_posix()
        yield number, {"id": name, "path": str(path.resolve()), "digest": _digest(path), field: shared}


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


def _wanted(inside: Path, field: str) -> bool:
    return not any(part.startswith(".") for part in inside.parts) and str(inside) != f"{field}.json"


def _digest(path: Path) -> str:
    """Return a hash of a file; an empty text for one that cannot be read, which its run will tell."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:24]
    except OSError:
        return ""
