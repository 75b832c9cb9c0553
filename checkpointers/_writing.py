"""Plans of the operations that change what is stored."""

from __future__ import annotations

import builtins
import logging
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.serde.types import ERROR

from . import _scripts as scripts
from ._arguments import one_id
from ._base import Plan, config_of, damaged, namespace_of, thread_of
from ._codec import (
    FORMAT,
    escape,
    escape_name,
    follows,
    frame,
    log_of,
    short_seen,
    starts_of,
    unescape,
    value_name,
)
from ._logs import LEAST, Log, known_log, longer, new_log
from ._marks import marks_of
from ._moving import moved
from ._reading import whole
from ._removal import RemovalPlans
from ._scripts import Argument, Call, read_call
from ._sealing import log_seal_of, metadata_of, task_head, task_of
from ._upgrade import OLD, upgraded
from .errors import ThreadConflict, ThreadFormatUnknown, ValueNotStorable

_log = logging.getLogger("surefoot.saver")

INLINE = 48
"""Bytes of a value up to which it stands in the record itself: a field of its own would be longer."""


@dataclass(frozen=True, slots=True)
class _At:
    """The checkpoint that is put."""

    thread_id: str
    ns: bytes
    id: bytes
    channels: dict[bytes, str]
    """Channel by the name of its value."""


_CONTROL: Final = {*WRITES_IDX_MAP, "__error_source_node__"}
"""Channels that tell what became of a task; all others are its output (`langgraph.pregel._task_status`)."""
_SEAL: Final = struct.Struct(">H")
UPGRADES: Final = 50
"""Times that the old form of a thread may change while its new one is made."""
LONG: Final = 16
"""Elements from which it pays to look for a list's log on the server."""


def _of_one_end(writes: Sequence[tuple[str, Any]]) -> Sequence[tuple[str, Any]]:
    """Return the writes of a task without the output of one that failed or was cancelled.

    LangGraph hands over what such a task had written by then, together with its error, and would take a task with
    output as finished: the run would go on without what is missing, its way to the next node for example.
    """
    if not any(channel == ERROR for channel, _ in writes):
        return writes
    return [write for write in writes if write[0] in _CONTROL]


class WritePlans(RemovalPlans):
    """Each operation that writes, as a plan."""

    def _plan_put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Plan[RunnableConfig]:
        thread_id, ns, parent = thread_of(config), namespace_of(config), get_checkpoint_id(config) or ""
        if parent == checkpoint["id"]:
            # Put again under its own config, to note something in its metadata for example.
            parent = yield from self._plan_parent(thread_id, ns, parent)
        values, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
        channels = {value_name(channel, version): channel for channel, version in versions.items()}
        at = _At(thread_id, escape(ns), escape(checkpoint["id"]), channels)
        known = self._logs.at(thread_id, ns, parent) if parent else {}
        if known is None:
            long = {name: values[name] for name in new_versions if _is_long(values.get(name))}
            known = (yield from self._plan_known(thread_id, ns, parent, long)) if long else {}
        logs: dict[str, Log] = {}
        entries: dict[bytes, tuple[str, bytes]] = {}
        for name, channel in channels.items():
            if channel not in values:
                entries[name] = ("e", b"")
            elif channel in new_versions:
                entries[name] = self._entry(at, name, values[channel], known.get(channel), logs)
            else:
                entries[name] = ("k", b"")
                if channel in known:
                    logs[channel] = known[channel]
        head = (self._ttl_argument(), at.ns, at.id, escape(parent))
        record = self._record(at, escape(parent), config, checkpoint, metadata)

        note = self._note_put(thread_id, ns, checkpoint)

        def call() -> Call:
            args = [*head, *record]
            for name, entry in entries.items():
                args += (name, *entry)
            return self._change(scripts.PUT, thread_id, *args, beside=note)

        # Refused are unchanged values that are gone (the thread expired or was deleted under a running graph), and
        # logs that another writer has made longer: both are sent as a whole.
        whole_now: set[bytes] = set()
        while missing := (yield call()):
            if not whole_now.isdisjoint(missing) or not entries.keys() >= set(missing):
                raise damaged(thread_id, ValueError("what was sent as a whole was refused"))
            whole_now.update(missing)
            for name in missing:
                channel = channels[name]
                logs.pop(channel, None)
                entries[name] = self._entry(at, name, values[channel], None, logs)
        if follows(checkpoint):
            self._logs.keep(thread_id, ns, checkpoint["id"], logs)
        else:
            self._logs.drop(thread_id, ns)
        return config_of(thread_id, ns, checkpoint["id"])

    def _plan_parent(self, thread_id: str, ns: str, checkpoint_id: str) -> Plan[str]:
        """Find the parent of a checkpoint that is stored, empty for one without a parent and for one that is not."""
        rows, _stored, _more = yield read_call(thread_id, ns, checkpoint_id, "", None, 1)
        return unescape(rows[0][3]) if rows else ""

    def _plan_known(self, thread_id: str, ns: str, parent: str, lists: dict[str, list[Any]]) -> Plan[dict[str, Log]]:
        """Find the logs that lists go on with, by what is stored: for a saver that has forgotten them, or never knew.

        A trip more and a serialization of the lists, but nothing is stored twice.
        """
        rows, stored, _more = yield read_call(thread_id, ns, parent, "", None, 1)
        found: dict[str, Log] = {}
        for ref, directory, segments in self._stored_logs(thread_id, rows, stored):
            with whole(thread_id):
                value, (log, count), starts = lists.get(ref.channel, []), log_of(ref), starts_of(directory)
            if not count == starts[0] <= len(value) or len(segments) != len(starts) - 1:
                continue
            ends = (*starts[2:], count)
            place = (thread_id, escape(ns), escape_name(ref.channel), log)
            same = all(
                self._open(segment, (*place, str(first).encode(), b"segment"))
                == self._pack(value[first:end], ref.channel)
                for first, end, segment in zip(starts[1:], ends, segments, strict=True)
            )
            if same and (marks := marks_of(value[:count])) is not None:
                found[ref.channel] = known_log(log, starts[1:], value[:count], marks)
        return found

    def _entry(self, at: _At, name: bytes, value: Any, known: Log | None, logs: dict[str, Log]) -> tuple[str, bytes]:
        """Return how a value is sent; a list that is or becomes a log is put to `logs`."""
        channel = at.channels[name]
        if type(value) is not list:
            return self._single(at, name, self._pack(value, channel))

        def segment(log: bytes, first: int, packed: bytes) -> bytes:
            return self._seal(packed, (at.thread_id, at.ns, escape_name(channel), log, str(first).encode(), b"segment"))

        def sealed(log: Log, what: bytes) -> bytes:
            seal = self._seal(b"", (at.thread_id, *log_seal_of(at.ns, name, log.payload())))
            return _SEAL.pack(len(seal)) + seal + what

        if known is not None and known.begins(value):
            if len(value) == len(known.elements):
                logs[channel] = known
                return "l", sealed(known, known.payload())
            if (marks := marks_of(value[len(known.elements) :])) is not None:
                dump = partial(self._pack, name=channel)
                logs[channel], what = longer(
                    known, value, marks, lambda first, part: segment(known.id, first, dump(part))
                )
                return "a", sealed(logs[channel], what)
        packed = self._pack(value, channel)
        if len(packed) > LEAST and (marks := marks_of(value)) is not None:
            logs[channel] = log = new_log(value, marks)
            return "n", sealed(log, log.payload() + segment(log.id, 0, packed))
        return self._single(at, name, packed)

    def _single(self, at: _At, name: bytes, packed: bytes) -> tuple[str, bytes]:
        sealed = self._seal(packed, (at.thread_id, at.ns, name, b"value"))
        return ("i" if len(packed) <= INLINE else "b"), sealed

    def _record(
        self, at: _At, parent: bytes, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
    ) -> tuple[bytes, bytes, bytes, bytes]:
        """Return histories, run, body and metadata of a record."""
        versions, values = checkpoint["channel_versions"], checkpoint["channel_values"]
        story = get_checkpoint_metadata(config, metadata)
        # Channels that LangGraph stores as a history of writes and that have no value here: a prune must keep their
        # ancestors.
        histories = [c for c in story.get("counters_since_delta_snapshot", ()) if c in versions and c not in values]
        # Versions and the id stand in the refs and in the name of the record.
        body = {
            name: part for name, part in checkpoint.items() if name not in ("channel_values", "channel_versions", "id")
        } | {"versions_seen": short_seen(checkpoint["versions_seen"])}
        listed, run = frame(escape(c) for c in histories), escape(str(story.get("run_id", "")))
        channels = ((name, channel in values) for name, channel in at.channels.items())
        place = self._body_place(at.thread_id, at.ns, at.id, (parent, listed, run), channels)
        sealed = self._dump(body, "the checkpoint", place)
        place = (at.thread_id, *metadata_of(at.ns, at.id, sealed))
        return listed, run, sealed, self._dump(story, "the metadata", place)

    def _plan_put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> Plan[None]:
        if not (writes := _of_one_end(writes)):
            return
        thread_id, ns = thread_of(config), escape(namespace_of(config))
        checkpoint_id, task = escape(config["configurable"]["checkpoint_id"]), _short(task_id, "task id")
        indices = [WRITES_IDX_MAP.get(channel, position) for position, (channel, _) in enumerate(writes)]
        path = _short(task_path, "task path")
        if self.encryption is not None:
            path = self._seal(task_head(path, indices), (thread_id, *task_of(ns, checkpoint_id, task)))
        args: builtins.list[Argument] = [
            self._ttl_argument(), ns, checkpoint_id, task, path,
        ]  # fmt: skip
        for idx, (channel, value) in zip(indices, writes, strict=True):
            if channel == ERROR and isinstance(value, BaseException):
                # As LangGraph's other savers store it: a failure whose object cannot be stored is still to be seen.
                value = repr(value)  # noqa: PLW2901 - the same write
            name = _short(channel, "channel")
            place = (thread_id, ns, checkpoint_id, task, str(idx).encode(), name, b"write")
            args += (idx, name, self._dump(value, channel, place))
        note = self._note_writes(
            thread_id, namespace_of(config), config["configurable"]["checkpoint_id"], task_id, writes
        )
        yield self._change(scripts.PUT_WRITES, thread_id, *args, beside=note)

    def _plan_copy(self, source: str, target: str) -> Plan[None]:
        source, target = one_id(source), one_id(target)
        # Two calls, not COPY: the threads are in different slots of a cluster.
        fields, members = yield Call(scripts.EXPORT, source)
        if fields and source != target:
            if self.encryption is not None:
                with whole(source):
                    fields = moved(fields, source, target, self.encryption)
            args = (self._ttl_argument(), len(fields) // 2, *fields, *members)
            yield self._change(scripts.IMPORT, target, *args)
            yield from self._plan_noted(target)

    def _plan_upgrade(self, thread_id: str) -> Plan[None]:
        """Bring a thread of an older format to the present one, whoever writes to it meanwhile."""
        if self.encryption is not None:
            raise damaged(thread_id, ValueError("it is not encrypted, and this saver reads nothing that is not"))
        dump = partial(self._pack, name="the checkpoint")
        try:
            for _ in range(UPGRADES):
                flat, _members = yield Call(scripts.EXPORT, thread_id, format=OLD)
                with whole(thread_id):
                    fields = upgraded(dict(zip(flat[::2], flat[1::2], strict=True)), self.serde.loads_typed, dump)
                size = sum(map(len, flat))
                pairs = (part for pair in fields.items() for part in pair)
                if (yield Call(scripts.UPGRADE, thread_id, (size, FORMAT, *pairs), format=OLD)):
                    return
            raise ThreadConflict(
                f"Thread {thread_id!r} is stored in an older format, and an older version of this package keeps "
                "writing to it. Update that process, or end it."
            )
        except ThreadFormatUnknown as error:
            # Somebody else was quicker, or this one was, and its answer was lost.
            if error.format != FORMAT.decode():
                raise


def _is_long(value: Any) -> bool:
    return type(value) is list and len(value) >= LONG


def _short(name: str, what: str) -> bytes:
    """Escape a name that is stored with a length of two bytes."""
    raw = escape_name(name) if what == "channel" else escape(name)
    if len(raw) > 0xFFFF:
        raise ValueNotStorable(f"a {what} of {len(raw)} bytes cannot be stored: 65,535 are the most")
    return raw
