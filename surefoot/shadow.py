"""Files of the user that stand in front of our packages.

`state`, `nodes`, `tasks`, `graphs` and `checkpointers` are ordinary top-level packages. A script with a `state.py`
beside it makes Python import that file instead of ours, and what follows is a puzzling error deep inside. This
module finds such files before any of ours is imported, so it uses the standard library only.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("state", "nodes", "tasks", "graphs", "checkpointers")
"""Packages of ours that are installed beside `surefoot`."""


class ShadowedPackage(ImportError):
    """A file of another project is found under the name of one of our packages."""


@dataclass(frozen=True)
class Shadow:
    """One of our packages and the file that stands in front of it."""

    package: str
    path: str

    def __str__(self) -> str:
        way_out = "run from a folder where Python does not find it first"
        if self._beside_the_script():
            way_out = "move your script to another folder: Python looks beside the script first"
        return f"{self.path} shadows surefoot's package '{self.package}': rename it, or {way_out}"

    def _beside_the_script(self) -> bool:
        script, path = Path(sys.argv[0] if sys.argv else ""), Path(self.path)
        folder = path.parent.parent if path.name == "__init__.py" else path.parent
        return script.is_file() and _same(str(script.absolute().parent), folder)


def shadows() -> list[Shadow]:
    """Return the files that Python finds, or has imported, under the names of our packages."""
    home = Path(__file__).resolve().parent.parent
    found = []
    for package in PACKAGES:
        ours = home / package / "__init__.py"
        theirs = _location(package)
        if theirs and ours.is_file() and not _same(theirs, ours):
            found.append(Shadow(package, theirs))
    return found


def refuse_shadows() -> None:
    """Stop here when one of our packages is shadowed.

    Raises `ShadowedPackage`; the command line prints the line instead and ends with exit status 2.
    """
    found = shadows()
    if not found:
        return
    told = "; ".join(str(shadow) for shadow in found)
    if _is_command_line():
        sys.stderr.write(f"surefoot: {told}\n")
        raise SystemExit(2)
    raise ShadowedPackage(told)


def _location(package: str) -> str:
    """Return the file that an import of the package gives, or an empty string where there is none."""
    module = sys.modules.get(package)
    if module is not None:
        return str(getattr(module, "__file__", None) or "")
    try:
        spec = find_spec(package)
    except (ImportError, ValueError, AttributeError):
        return ""
    return _origin(spec)


def _origin(spec: ModuleSpec | None) -> str:
    # A folder without __init__.py has no origin: it never wins over a package, so it shadows nothing.
    return spec.origin or "" if spec is not None else ""


def _same(one: str, other: Path) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return False


def _is_command_line() -> bool:
    """Tell whether this process is the `surefoot` command, which imports this package before its own `main` can run."""
    called = Path(sys.argv[0] if sys.argv else "")
    # Python sets `-m` while it looks for the module, and imports this package on the way only if the module is ours.
    if called.stem == "surefoot" or called == Path("-m"):
        return True
    return called.name == "__main__.py" and Path(__file__).parent in called.absolute().parents
