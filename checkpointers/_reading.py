"""Plans of the operations that read."""

from __future__ import annotations

import builtins
import struct
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    PendingWrite,
    get_checkpoint_id,
)

from . import _scripts as scripts
from ._arguments import several
from ._base import Plan, SaverBase, config_of, damaged, namespace_of, thread_of
from ._codec import (
    Ref,
    escape,
    field_of,
    follows,
    log_of,
    ref_of,
    starts_of,
    unescape,
    unframe,
    unframe_writes,
    wide_seen,
)
from ._ids import follow
from ._logs import Log, known_log
from ._marks import marks_of
from ._scripts import Call, read_call
from ._sealing import channels_of, log_seal_of, metadata_of, path_of, task_of

Cursor = tuple[str, str | None]
"""Where a listing goes on: before this id, or at this id in namespaces before the second part."""

Page = tuple[list[CheckpointTuple], Cursor | None]

PAGE = 200
"""Checkpoints fetched by one round trip of a listing; bounds how long the server is busy with one reply."""

FILTERED_PAGE = 50
"""The same under a filter, which is applied after the fetch."""

WALK_PAGE = 500
"""Ancestors visited by one round trip of a history walk."""


class ReadPlans(SaverBase):
    """Each operation that reads, as a plan."""

    def _plan_get(self, config: RunnableConfig, *, used: bool = False) -> Plan[CheckpointTuple | None]:
        """Read one checkpoint; `used` tells that it is read for its thread's sake, and not to look after it."""
        thread_id = thread_of(config)
        found = get_checkpoint_id(config) or ""
        ttl = self._ttl_argument() if used and self.refresh_on_read else ""
        rows, values, _more = yield read_call(thread_id, namespace_of(config), found, "", None, 1, ttl)
        if not rows:
            return None
        logs: dict[str, Log] = {}
        read = self._tuple(thread_id, rows[0], _pairs(values), logs)
        if used:
            follow(read.checkpoint["id"])
        ended = not follows(read.checkpoint)
        self._logs.keep(thread_id, namespace_of(config), read.checkpoint["id"], logs, ended=ended)
        return read

    def _plan_page(
        self,
        thread_id: str,
        config: RunnableConfig | None,
        wanted: dict[str, Any] | None,
        cursor: Cursor,
        limit: int | None,
    ) -> Plan[Page]:
        conf = config["configurable"] if config else {}
        ns, found = conf.get("checkpoint_ns"), conf.get("checkpoint_id") or ""
        # A filter is applied here, because a script cannot look into what may be encrypted.
        size = FILTERED_PAGE if wanted else PAGE if limit is None else min(limit, PAGE)
        rows, values, more = yield read_call(thread_id, ns, found, cursor[0], cursor[1], size)
        pairs = _pairs(values)
        page = []
        for row in rows:
            metadata = self._metadata(thread_id, row)
            if not wanted or all(metadata.get(key) == value for key, value in wanted.items()):
                page.append(self._tuple(thread_id, row, pairs))
        if not more or not rows or (ns is not None and found):
            return page, None
        return page, (unescape(rows[-1][1]), None if ns is not None else unescape(rows[-1][0]))

    def _plan_history(self, config: RunnableConfig, channels: Sequence[str]) -> Plan[dict[str, DeltaChannelHistory]]:
        writes: dict[str, builtins.list[builtins.list[PendingWrite]]] = {
            channel: [] for channel in several(channels, "channels", "names of channels")
        }
        seeds: dict[str, Any] = {}
        at, thread_id, ns = escape(get_checkpoint_id(config) or ""), thread_of(config), escape(namespace_of(config))
        visited: set[bytes] = set()
        while writes:
            left = [escape(channel) for channel in writes if channel not in seeds]
            verified = "" if self.encryption is None else "1"
            reply = yield Call(scripts.WALK, thread_id, (ns, at, WALK_PAGE, verified, *left))
            with whole(thread_id):
                if verified:
                    self._verify(thread_id, ns, at, reply, {*writes} - {*seeds})
                at, steps, *_start = reply
                for step_id, _record, found, *records in steps:
                    if step_id in visited:
                        raise ValueError("its checkpoints follow from each other in a circle")
                    visited.add(step_id)
                    met = {}
                    for entry, value in zip(found[::2], found[1::2], strict=True):
                        ref = ref_of(entry)
                        met[ref.channel] = self._value(thread_id, ns, ref, value)
                    step: dict[str, builtins.list[PendingWrite]] = {}
                    for write in self._writes(thread_id, ns, step_id, records, wanted=writes):
                        step.setdefault(write[1], []).append(write)
                    for channel, entries in step.items():
                        if channel not in seeds:
                            writes[channel].append(entries)
                    seeds.update(met)
            if not at or not steps:
                break
        # The walk went from young to old; a history is read from old to young.
        histories: dict[str, DeltaChannelHistory] = {}
        for channel, steps_of in writes.items():
            histories[channel] = {"writes": [write for entries in reversed(steps_of) for write in entries]}
            if channel in seeds:
                histories[channel]["seed"] = seeds[channel]
        return histories

    def _verify(self, thread_id: str, ns: bytes, at: bytes, reply: Sequence[Any], wanted: set[str]) -> None:
        """Raise for a walk that did not go from parent to parent, or left out values of wanted channels."""
        following, steps, start, record = reply
        if not steps:
            return
        parent, _entries = self._authentic(thread_id, ns, at or start, record)
        for step_id, record, found, *_writes in steps:
            if step_id != parent:
                raise ValueError("a parent is not the one that it was")
            parent, entries = self._authentic(thread_id, ns, step_id, record)
            refs = [(entry, ref) for entry in entries if (ref := ref_of(entry)).kind != "e" and ref.channel in wanted]
            if [entry for entry, _ref in refs] != found[::2]:
                raise ValueError("values of its history are missing")
            wanted = wanted - {ref.channel for _entry, ref in refs}
        if following not in (b"", steps[-1][0]):
            raise ValueError("a parent is not the one that it was")

    def _authentic(
        self, thread_id: str, ns: bytes, checkpoint_id: bytes, record: bytes
    ) -> tuple[bytes, builtins.list[bytes]]:
        """Return the parent and the refs of a record, as they were put."""
        parent, framed, histories, run, body, _metadata = _frames(record)
        entries = unframe(framed)
        channels = channels_of(map(ref_of, entries))
        self._open(body, self._body_place(thread_id, ns, checkpoint_id, (parent, histories, run), channels))
        return parent, entries

    def _tuple(
        self,
        thread_id: str,
        row: builtins.list[bytes],
        values: dict[bytes, Any],
        logs: dict[str, Log] | None = None,
    ) -> CheckpointTuple:
        """Build what was stored; the lists that are logs are put to `logs`."""
        with whole(thread_id):
            return self._built(thread_id, row, values, logs)

    def _built(
        self,
        thread_id: str,
        row: builtins.list[bytes],
        values: dict[bytes, Any],
        logs: dict[str, Log] | None,
    ) -> CheckpointTuple:
        ns, checkpoint_id, record, there, *records = row
        parent, framed, histories, run, body, _metadata = _frames(record)
        ns_text, id_text = unescape(ns), unescape(checkpoint_id)
        entries = unframe(framed)
        refs = builtins.list(map(ref_of, entries))
        place = self._body_place(thread_id, ns, checkpoint_id, (parent, histories, run), channels_of(refs))
        checkpoint: Checkpoint = self._load(body, place)
        if not _is_body(checkpoint):
            raise ValueError("what stands for a checkpoint is none")
        checkpoint["id"] = id_text
        checkpoint["versions_seen"] = wide_seen(checkpoint["versions_seen"])
        checkpoint["channel_versions"], checkpoint["channel_values"] = {}, {}
        for entry, ref in zip(entries, refs, strict=True):
            checkpoint["channel_versions"][ref.channel] = ref.version
            field = field_of(ns, entry, ref)
            if ref.kind == "e":
                continue
            if field and field not in values:
                raise ValueError(f"the value of {ref.channel!r} is missing")
            value = self._value(thread_id, ns, ref, values.get(field))
            checkpoint["channel_values"][ref.channel] = value
            if ref.kind == "l" and logs is not None:
                _remember(logs, ref, value, values[field][0])
        return CheckpointTuple(
            config=config_of(thread_id, ns_text, id_text),
            checkpoint=checkpoint,
            metadata=cast(CheckpointMetadata, self._metadata(thread_id, row)),
            # A parent that was deleted is none: nothing could be read or gone on with under its id.
            parent_config=config_of(thread_id, ns_text, unescape(there)) if there else None,
            pending_writes=builtins.list(self._writes(thread_id, ns, checkpoint_id, records)),
        )

    def _value(self, thread_id: str, ns: bytes, ref: Ref, found: Any) -> Any:
        """Rebuild the value that an entry of refs stands for, from what its field holds."""
        if ref.kind != "l":
            return self._load(ref.payload if ref.kind == "i" else found, (thread_id, ns, ref.name, b"value"))
        directory, *segments = found
        log, count = log_of(ref)
        self._open(ref.payload[12:], (thread_id, *log_seal_of(ns, ref.name, ref.payload[:12])))
        starts = starts_of(directory)[1:]
        if len(starts) != len(segments) or None in segments:
            raise ValueError(f"parts of {ref.channel!r} are missing")
        elements: builtins.list[Any] = []
        for first, segment in zip(starts, segments, strict=True):
            if first < count:
                if len(elements) != first:
                    raise ValueError(f"parts of {ref.channel!r} are missing")
                place = (thread_id, ns, escape(ref.channel), log, str(first).encode(), b"segment")
                elements += self._load(segment, place)
        if len(elements) < count:
            raise ValueError(f"{ref.channel!r} has {len(elements)} of {count} elements")
        return elements[:count]

    def _stored_logs(
        self, thread_id: str, rows: builtins.list[builtins.list[bytes]], flat: Sequence[Any]
    ) -> builtins.list[tuple[Ref, bytes, builtins.list[bytes]]]:
        """Return each log that the first of some rows refers to, with its directory and segments."""
        values, found = _pairs(flat), []
        with whole(thread_id):
            for entry in unframe(_frames(rows[0][2])[1]) if rows else ():
                ref = ref_of(entry)
                stored = values.get(field_of(rows[0][0], entry, ref))
                if ref.kind == "l" and stored and None not in stored:
                    found.append((ref, stored[0], stored[1:]))
        return found

    def _metadata(self, thread_id: str, row: builtins.list[bytes]) -> dict[str, Any]:
        with whole(thread_id):
            *_, body, found = _frames(row[2])
            metadata: dict[str, Any] = self._load(found, (thread_id, *metadata_of(row[0], row[1], body)))
            if type(metadata) is not dict:
                raise ValueError("what stands for its metadata is none")
        return metadata

    def _writes(
        self,
        thread_id: str,
        ns: bytes,
        checkpoint_id: bytes,
        records: Sequence[bytes],
        wanted: Container[str] | None = None,
    ) -> Iterator[PendingWrite]:
        """Yield the writes of one checkpoint in the order live execution applies them: task path, task id, index."""
        found = []
        for task, head, entries in zip(records[::3], records[1::3], records[2::3], strict=True):
            writes = builtins.list(unframe_writes(entries))
            path = head
            if self.encryption is not None:
                opened = self._open(head, (thread_id, *task_of(ns, checkpoint_id, task)))
                path = path_of(opened, [write[0] for write in writes])
            for idx, channel, body in writes:
                if wanted is not None and unescape(channel) not in wanted:
                    continue
                place = (thread_id, ns, checkpoint_id, task, str(idx).encode(), channel, b"write")
                found.append((unescape(path), unescape(task), idx, unescape(channel), body, place))
        found.sort(key=lambda write: write[:3])
        return ((task_id, name, self._load(data, place)) for _path, task_id, _idx, name, data, place in found)


@contextmanager
def whole(thread_id: str) -> Iterator[None]:
    """Raise `RecordDamaged` for bytes inside the block that are not what any put writes."""
    try:
        yield
    except (ValueError, struct.error) as error:
        raise damaged(thread_id, error) from error


def _is_body(value: Any) -> bool:
    """Tell whether a value has what a checkpoint's body has (see `WritePlans._record`)."""
    seen = value.get("versions_seen") if isinstance(value, dict) else None
    return isinstance(seen, dict) and all(isinstance(versions, dict) for versions in seen.values())


def _frames(record: bytes) -> builtins.list[bytes]:
    found = unframe(record)
    if len(found) != 6:
        raise ValueError("it has not all of its parts")
    return found


def _remember(logs: dict[str, Log], ref: Ref, value: builtins.list[Any], directory: bytes) -> None:
    """Put a log that was read to those that are known, when it can be made longer."""
    starts = starts_of(directory)
    if len(value) == starts[0] and (marks := marks_of(value)) is not None:
        log_id, _count = log_of(ref)
        logs[ref.channel] = known_log(log_id, starts[1:], value, marks)


def _pairs(flat: Sequence[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
