"""The Lua scripts of the shared guard."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

SCRIPTS: Final = ("admit", "settle", "leave", "money", "time", "keep", "recall")


@dataclass(frozen=True)
class Script:
    """A script's text with the shared prelude, and the digest that EVALSHA knows it by."""

    text: str
    sha: str


@cache
def script(name: str) -> Script:
    """Return one of the scripts in `lua/`."""
    folder = files("nodes.call").joinpath("lua")
    text = "".join(folder.joinpath(part + ".lua").read_text(encoding="utf-8") for part in ("prelude", name))
    # The protocol names scripts by SHA-1; nothing depends on its strength.
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def read_all() -> None:
    """Read all of them; it blocks, as reading files does."""
    for name in SCRIPTS:
        script(name)
