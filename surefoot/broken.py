"""Why a thread cannot be read or go on, and the one thing that helps.

A key that is not here, a key that is another than the one that encrypted, and bytes that were changed are told apart as
far as cryptography allows: by the id of the key in each record, and by whether that key has opened anything else here.
What a key would bring back is never advised away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from pydantic import ValidationError

from checkpointers import KeyMissing, RecordDamaged, ThreadFormatUnknown, TypeNotAllowed
from checkpointers.encryption import VARIABLE, NoKey, NotSealed, SealBroken
from nodes.errors import SurefootError
from state import Checked, describe, redact
from surefoot.errors import Refused, UsageError
from surefoot.pipelines import Pipeline
from surefoot.pipelines import pipeline as find_pipeline
from surefoot.words import one_line, shell

if TYPE_CHECKING:
    from surefoot.store import Store
    from surefoot.threads import RawThread, ThreadRecord

Kind: TypeAlias = Literal[
    "key_missing", "key_wrong", "not_encrypted", "damaged", "newer_format", "record", "newer_record", "types", "field",
    "version", "node", "graph",
]  # fmt: skip

NEVER_ADVISED_AWAY: Final = frozenset({
    "key_missing", "key_wrong", "not_encrypted", "newer_format", "newer_record", "types", "version", "graph",
})  # fmt: skip
"""Kinds of threads that are whole: something here is missing to read them."""

KEYS_NEEDED: Final = f"set {VARIABLE} to the key that it was encrypted with; nothing is lost"

UPDATE: Final = "update this installation to the version of the one that wrote it; the thread is whole"


@dataclass(frozen=True)
class Broken:
    """What is broken about one thread."""

    kind: Kind
    told: str
    """What is broken, in which field, as a clause after the thread's key."""
    advice: str
    """What to do about it."""
    command: str = ""
    """What to type, where a command helps."""
    field: str = ""
    """The field of the state, where it is one."""

    def __str__(self) -> str:
        return f"{self.told}; {self.advice}" + (f": {self.command}" if self.command else "")


class ThreadUnreadable(SurefootError):
    """A thread cannot be read or go on; the message says what is broken and what helps."""

    def __init__(self, record: ThreadRecord, broken: Broken) -> None:
        super().__init__(f"thread {record.key} cannot go on: {broken}")
        self.broken = broken


def broken_record(record: ThreadRecord) -> Broken | None:
    """Return what is broken about the runner's own record of a thread, None for nothing."""
    if record.damage == "record":
        return Broken(
            "record", f"its record beside the checkpoints cannot be read ({record.unreadable})",
            "write it anew from the checkpoints", shell("doctor", "--repair"),
        )  # fmt: skip
    if record.damage == "newer_record":
        return Broken("newer_record", record.unreadable, UPDATE)
    return None


def broken_by(record: ThreadRecord, error: BaseException) -> Broken:
    """Return what an error means that reading a thread has raised."""
    key = record.key
    if isinstance(error, KeyMissing):
        return key_missing(_cause(error, NoKey))
    if isinstance(error, RecordDamaged):
        seal = _cause(error, SealBroken)
        if seal is not None and not seal.proven:
            return key_wrong(seal.key)
        if seal is None and record.damage == "key":
            # What is damaged in a thread that is encrypted is known once its key is here.
            return Broken("key_missing", record.unreadable, KEYS_NEEDED)
        if _cause(error, NotSealed) is not None:
            return Broken(
                "not_encrypted",
                f"it is stored without encryption, and with keys in {VARIABLE} nothing is read that is not encrypted",
                f"take it up without {VARIABLE} if it was written before there were keys",
            )
        return _damaged(_without_thread(error), proven=seal is not None)
    if isinstance(error, ThreadFormatUnknown):
        return Broken("newer_format", f"it is stored in format {error.format}, which this version cannot read", UPDATE)
    if isinstance(error, TypeNotAllowed):
        return Broken("types", _without_thread(error), "resume it in the program that began it; the thread is whole")
    return Broken("graph", f"{redact(str(error))} ({key})", "run it where its graph can be imported")


def key_missing(cause: NoKey | None) -> Broken:
    """Return what it means that a key is not here."""
    name = cause.key if cause is not None else ""
    named = f"with the key {one_line(name, 60)!r}" if name else "with a key"
    return Broken(
        "key_missing", f"it is encrypted {named}, which {VARIABLE} does not hold",
        f"add that key to {VARIABLE}, behind the one that encrypts now, and do the same again; nothing is lost",
    )  # fmt: skip


def key_wrong(name: str) -> Broken:
    """Return what it means that a key opens nothing."""
    named = one_line(name, 60)
    return Broken(
        "key_wrong",
        f"the key {named!r} in {VARIABLE} opens nothing that is stored under this id, so it is most likely another key "
        "than the one that encrypted the thread",
        f"set {VARIABLE} to the key that was called {named!r} then; nothing is lost",
    )  # fmt: skip


def of_seal(error: BaseException) -> bool:
    """Tell whether an error is about a key that does not open what it sealed."""
    return _cause(error, SealBroken) is not None


def _damaged(told: str, *, proven: bool) -> Broken:
    right = ", and the key is right, since it opens others" if proven else ""
    return Broken(
        "damaged", f"a stored record cannot be read: {told}{right}",
        "bring it back from a copy of the server's data, or put it aside and run the item again",
        shell("doctor", "--quarantine"),
    )  # fmt: skip


def _cause(error: BaseException, kind: type[Any]) -> Any:
    found: BaseException | None = error
    while found is not None and not isinstance(found, kind):
        found = found.__cause__
    return found


def _without_thread(error: BaseException) -> str:
    """Return an error's text without the id of the thread, which people know by its key."""
    text = str(error)
    head, marker, tail = text.partition("holds a record that cannot be read: ")
    return redact(tail if marker and head.startswith("Thread ") else text).rstrip(".")


def broken_state(record: ThreadRecord, raw: RawThread) -> Broken | None:
    """Return what keeps a thread that can be read from going on: a field, a removed node, another version."""
    try:
        found = find_pipeline(record.pipeline, record.spec)
    except UsageError as error:
        return Broken("graph", redact(str(error)), "go on where its graph can be imported") if record.spec else None
    if broken := broken_field(found, raw.values):
        return broken
    if not raw.next:
        return None
    if raw.graph_version and raw.graph_version != found.version:
        return Broken(
            "version",
            f"it was begun with version {raw.graph_version} of {found.name}, and this is version {found.version}",
            "finish it with that version, or run the item again with --rerun",
        )
    if gone := [name for name in raw.next if name.partition(":")[0] not in found.graph.nodes]:
        return Broken(
            "node", f"it stands before {', '.join(map(one_line, gone))}, a node that this graph no longer has",
            f"bring the node back with add_retired(builder, {gone[0]!r}, ...), or run the item again with --rerun",
        )  # fmt: skip
    return None


def broken_field(found: Pipeline, values: Any) -> Broken | None:
    """Return the first field that holds what it would not take, None where all fit."""
    if not isinstance(values, Mapping):
        return Broken("field", "its state is no set of fields", *_ASIDE)
    for name, value in values.items():
        channel = found.graph.channels.get(name)
        if not isinstance(channel, Checked):
            continue
        try:
            channel.adapter.validate_python(value)
        except ValidationError as error:
            why = describe(error).partition(";")[0]
            return Broken("field", f"field {name!r} holds a value that does not fit ({why})", *_aside(), name)
        except ValueError:
            return Broken("field", f"field {name!r} holds a value that does not fit", *_aside(), name)
    return None


def _aside() -> tuple[str, str]:
    return "put the thread aside, where it is kept, and run the item again", shell("doctor", "--quarantine")


_ASIDE: Final = _aside()


async def find_broken(store: Store, record: ThreadRecord) -> tuple[RawThread, Broken | None]:
    """Read a thread, and return it with what is broken about it; raises what the server raises."""
    from surefoot.foreign import UNREADABLE
    from surefoot.threads import RawThread

    try:
        raw = await store.channels(record.thread_id)
    except UNREADABLE as error:
        await prove_key(store, error)
        return RawThread(), broken_by(record, error)
    if record.status == "done" and not raw.next:
        own = None if record.spec else broken_state(record, raw)
        return raw, broken_record(record) or own
    return raw, broken_record(record) or broken_state(record, raw)


async def prove_key(store: Store, error: BaseException) -> None:
    """Try the key of an error on some other records, so that it is known whether it opens anything here."""
    seal = _cause(error, SealBroken)
    if seal is not None and not seal.proven:
        # Listing opens what is encrypted in the records of those that changed last.
        await store.latest("")


async def raw_or_refused(store: Store, record: ThreadRecord) -> RawThread:
    """Return what is stored of an item's earlier run; raises `Refused` that says why it cannot be read."""
    from surefoot.foreign import UNREADABLE

    try:
        return await store.channels(record.thread_id)
    except UNREADABLE as error:
        await prove_key(store, error)
        raise Refused(f"id {record.item_id!r} was run before, and {broken_by(record, error)}") from None
