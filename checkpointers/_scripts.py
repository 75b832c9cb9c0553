"""The Lua scripts, and one call of one of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ._codec import FORMAT, escape, lease_key, thread_keys


def _text(name: str) -> str:
    return files(__package__).joinpath("lua", name + ".lua").read_text(encoding="utf-8")


_ORDER, _PRELUDE, _FENCE = map(_text, ("order", "prelude", "fence"))
_REFUSE = "do local refused = superseded() if refused then return refused end end\n"


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text with the parts it shares with others, and the digest EVALSHA knows it by."""

    name: str
    text: str
    sha: str
    formatted: bool = False
    """Whether it is sent the format, and refuses a thread of another one."""
    fenced: bool = False
    """Whether it is sent the thread's lease and the writer's token, and refuses who was superseded."""


def _load(name: str, *shared: str, formatted: bool = False, fenced: bool = False, at_once: bool = True) -> Script:
    """Read a script; `at_once` tells that a fenced one refuses before it looks at the thread."""
    shared += (_ORDER, _PRELUDE) if formatted else ()
    shared += (_FENCE, _REFUSE if at_once else "") if fenced else ()
    text = "".join((*shared, _text(name)))
    # The protocol names scripts by SHA-1; nothing depends on its strength.
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(name, text, sha, formatted, fenced)


PUT = _load("put", formatted=True, fenced=True)
PUT_WRITES = _load("put_writes", formatted=True, fenced=True)
READ = _load("read", formatted=True)
WALK = _load("walk", formatted=True)
PRUNE = _load("prune", formatted=True, fenced=True)
CALLS = _load("calls", formatted=True)
DELETE_RUNS = _load("delete_runs", formatted=True, fenced=True, at_once=False)
EXPORT = _load("export", formatted=True)
IMPORT = _load("import", formatted=True, fenced=True)
EXPIRE = _load("expire", formatted=True, fenced=True)
DELETE = _load("delete", fenced=True)
LEASE = _load("lease")
QUARANTINE = _load("quarantine", fenced=True)
RESTORE = _load("restore")
REGISTER = _load("register", _ORDER, _text("entry"))
REGISTERED = _load("registered")
WINDOW = _load("window")
UNLIST = _load("unlist", _text("entry"))
UPGRADE = _load("upgrade", formatted=True)

Argument = bytes | str | int


@dataclass(frozen=True, slots=True)
class Call:
    """One round trip: a script, or a plain command on a thread's keys when `script` is a string."""

    script: Script | str
    thread_id: str
    args: tuple[Argument, ...] = ()
    format: bytes = FORMAT
    keys: tuple[str, ...] = ()
    """Other keys than those of the thread; of a fenced script, those that come after them."""
    beside: Call | None = None
    """What is sent along; its failure is none of this call."""
    token: str = ""
    """The fencing token of the writer, for a fenced script."""

    @property
    def key(self) -> str:
        """The first key, whose slot is that of all of them."""
        return (self.keys or thread_keys(self.thread_id))[0]

    def command(self, *, whole: bool = False) -> tuple[Argument, ...]:
        """Return the command to send; `whole` sends the text of the script instead of its digest."""
        keys = self.keys or thread_keys(self.thread_id)
        if isinstance(self.script, str):
            return (self.script, *keys, *self.args)
        head: tuple[Argument, ...] = (self.format,) if self.script.formatted else ()
        if self.script.fenced:
            keys = (*thread_keys(self.thread_id), lease_key(self.thread_id), *self.keys)
            head = (self.format, self.token)
        verb, body = ("EVAL", self.script.text) if whole else ("EVALSHA", self.script.sha)
        return (verb, body, len(keys), *keys, *head, *self.args)


Reply = Any
"""What a server answers; the shape of each script's answer is in its first lines."""


def read_call(
    thread_id: str, ns: str | None, found: str, before: str, last_ns: str | None, limit: int, ttl: Argument = ""
) -> Call:
    """Return the call that reads checkpoints with their values and writes; with `ttl` the thread lives on as long."""
    args = (
        "all" if ns is None else "one",
        escape(ns or ""),
        escape(found),
        escape(before),
        escape(last_ns or ""),
        limit,
        "0" if last_ns is None else "1",
        ttl,
    )
    return Call(READ, thread_id, args)
