"""Plans of the operations that read."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, CheckpointTuple, DeltaChannelHistory, PendingWrite, get_checkpoint_id

from . import _scripts as scripts
from ._base import Plan, SaverBase, config_of, namespace_of, thread_of
from ._codec import Ref, escape, field_of, log_of, ref_of, starts_of, unescape, unframe, unframe_writes
from ._logs import Log, known_log, marks_of
from ._scripts import Call

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

    def _plan_get(self, config: RunnableConfig) -> Plan[CheckpointTuple | None]:
        thread_id = thread_of(config)
        found = get_checkpoint_id(config) or ""
        rows, values, _more = yield _read(thread_id, namespace_of(config), found, "", None, 1)
        if not rows:
            return None
        logs: dict[str, Log] = {}
        read = self._tuple(thread_id, rows[0], _pairs(values), logs)
        self._logs.keep(thread_id, namespace_of(config), read.checkpoint["id"], logs)
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
        rows, values, more = yield _read(thread_id, ns, found, cursor[0], cursor[1], size)
        pairs = _pairs(values)
        page = []
        for row in rows:
            metadata = self._metadata(row)
            if not wanted or all(metadata.get(key) == value for key, value in wanted.items()):
                page.append(self._tuple(thread_id, row, pairs))
        if not more or not rows or (ns is not None and found):
            return page, None
        return page, (unescape(rows[-1][1]), None if ns is not None else unescape(rows[-1][0]))

    def _plan_history(self, config: RunnableConfig, channels: Sequence[str]) -> Plan[dict[str, DeltaChannelHistory]]:
        writes: dict[str, builtins.list[builtins.list[PendingWrite]]] = {channel: [] for channel in channels}
        seeds: dict[str, Any] = {}
        at = escape(get_checkpoint_id(config) or "")
        while channels:
            left = [escape(channel) for channel in writes if channel not in seeds]
            call = Call(scripts.WALK, thread_of(config), (escape(namespace_of(config)), at, WALK_PAGE, *left))
            at, steps = yield call
            for found, *records in steps:
                met = {}
                for entry, field, value in zip(found[::3], found[1::3], found[2::3], strict=True):
                    ref = ref_of(entry)
                    met[ref.channel] = self._value(ref, {field: value} if field else {}, field)
                step: dict[str, builtins.list[PendingWrite]] = {}
                for write in self._writes(records):
                    step.setdefault(write[1], []).append(write)
                for channel, entries in step.items():
                    if channel not in seeds:
                        writes[channel].append(entries)
                seeds.update(met)
            if not at:
                break
        # The walk went from young to old; a history is read from old to young.
        histories: dict[str, DeltaChannelHistory] = {}
        for channel, steps_of in writes.items():
            histories[channel] = {"writes": [write for entries in reversed(steps_of) for write in entries]}
            if channel in seeds:
                histories[channel]["seed"] = seeds[channel]
        return histories

    def _tuple(
        self,
        thread_id: str,
        row: builtins.list[bytes],
        values: dict[bytes, Any],
        logs: dict[str, Log] | None = None,
    ) -> CheckpointTuple:
        """Build what was stored; the lists that are logs are put to `logs`."""
        ns, checkpoint_id, record, *records = row
        parent, entries, _histories, _run, body, metadata = unframe(record)
        ns_text, id_text = unescape(ns), unescape(checkpoint_id)
        checkpoint: Checkpoint = self._load(body)
        checkpoint["id"] = id_text
        checkpoint["channel_versions"], checkpoint["channel_values"] = {}, {}
        for entry in unframe(entries):
            ref = ref_of(entry)
            checkpoint["channel_versions"][ref.channel] = ref.version
            field = field_of(ns, entry, ref)
            if ref.kind == "i" or field in values:
                value = self._value(ref, values, field)
                checkpoint["channel_values"][ref.channel] = value
                if ref.kind == "l" and logs is not None:
                    _remember(logs, ref, value, values[field][0])
        return CheckpointTuple(
            config=config_of(thread_id, ns_text, id_text),
            checkpoint=checkpoint,
            metadata=self._load(metadata),
            parent_config=config_of(thread_id, ns_text, unescape(parent)) if parent else None,
            pending_writes=builtins.list(self._writes(records)),
        )

    def _value(self, ref: Ref, values: dict[bytes, Any], field: bytes) -> Any:
        """Rebuild the value that an entry of refs stands for."""
        if ref.kind == "i":
            return self._load(ref.payload)
        found = values[field]
        if ref.kind != "l":
            return self._load(found)
        _directory, *segments = found
        _log, count = log_of(ref)
        elements: builtins.list[Any] = []
        for segment in segments:
            if len(elements) < count:
                elements += self._load(segment)
        return elements[:count]

    def _metadata(self, row: builtins.list[bytes]) -> dict[str, Any]:
        metadata: dict[str, Any] = self._load(unframe(row[2])[5])
        return metadata

    def _writes(self, records: Sequence[bytes]) -> Iterator[PendingWrite]:
        """Yield the writes of one checkpoint in the order live execution applies them: task path, task id, index."""
        found = []
        for task, path, entries in zip(records[::3], records[1::3], records[2::3], strict=True):
            for idx, channel, body in unframe_writes(entries):
                found.append((unescape(path), unescape(task), idx, unescape(channel), body))
        found.sort(key=lambda write: write[:3])
        return ((task_id, channel_name, self._load(data)) for _path, task_id, _idx, channel_name, data in found)


def _remember(logs: dict[str, Log], ref: Ref, value: builtins.list[Any], directory: bytes) -> None:
    """Put a log that was read to those that are known, when it can be made longer."""
    marks = [marks_of(element) for element in value]
    starts = starts_of(directory)
    if None not in marks and len(value) == starts[0]:
        log_id, _count = log_of(ref)
        logs[ref.channel] = known_log(log_id, starts[1:], value, [m for m in marks if m is not None])


def _read(thread_id: str, ns: str | None, found: str, before: str, last_ns: str | None, limit: int) -> Call:
    args = (
        "all" if ns is None else "one",
        escape(ns or ""),
        escape(found),
        escape(before),
        escape(last_ns or ""),
        limit,
        "0" if last_ns is None else "1",
    )
    return Call(scripts.READ, thread_id, args)


def _pairs(flat: Sequence[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
