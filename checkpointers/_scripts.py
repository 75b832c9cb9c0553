"""The Lua scripts, and one call of one of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ._codec import FORMAT, lease_key, thread_keys

_PRELUDE = files(__package__).joinpath("lua", "prelude.lua").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text with the shared prelude, and the digest EVALSHA knows it by."""

    name: str
    text: str
    sha: str
    leased: bool = False
    """Whether it needs the key of the thread's lease, too."""
    of_thread: bool = True
    """Whether it works on a thread: it begins with the shared part, and is sent the format."""


def _load(name: str, *, leased: bool = False, of_thread: bool = True) -> Script:
    text = files(__package__).joinpath("lua", name + ".lua").read_text(encoding="utf-8")
    text = _PRELUDE + text if of_thread else text
    # The protocol names scripts by SHA-1; nothing depends on its strength.
    return Script(name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), leased, of_thread)


PUT = _load("put")
PUT_WRITES = _load("put_writes")
READ = _load("read")
WALK = _load("walk")
PRUNE = _load("prune")
DELETE_RUNS = _load("delete_runs")
EXPORT = _load("export")
IMPORT = _load("import")
EXPIRE = _load("expire")
DELETE = _load("delete")
LEASE = _load("lease", leased=True)
QUARANTINE = _load("quarantine", of_thread=False)
REGISTER = _load("register", of_thread=False)
REGISTERED = _load("registered", of_thread=False)
WINDOW = _load("window", of_thread=False)
UNLIST = _load("unlist", of_thread=False)
RESTORE = _load("restore", of_thread=False)
UPGRADE = _load("upgrade")

Argument = bytes | str | int


@dataclass(frozen=True, slots=True)
class Call:
    """One round trip: a script, or a plain command on a thread's keys when `script` is a string."""

    script: Script | str
    thread_id: str
    args: tuple[Argument, ...] = ()
    format: bytes = FORMAT
    keys: tuple[str, ...] = ()
    """Other keys than those of the thread."""
    beside: Call | None = None
    """What is sent along; its failure is none of this call."""

    def command(self, *, whole: bool = False) -> tuple[Argument, ...]:
        """Return the command to send; `whole` sends the text of the script instead of its digest."""
        keys = self.keys or thread_keys(self.thread_id)
        if isinstance(self.script, str):
            return (self.script, *keys, *self.args)
        if self.script.leased:
            keys = (*keys, lease_key(self.thread_id))
        verb, body = ("EVAL", self.script.text) if whole else ("EVALSHA", self.script.sha)
        head = (self.format,) if self.script.of_thread else ()
        return (verb, body, len(keys), *keys, *head, *self.args)


Reply = Any
"""What a server answers; the shape of each script's answer is in its first lines."""
