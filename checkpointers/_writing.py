"""Plans of the operations that change what is stored."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    get_checkpoint_id,
    get_checkpoint_metadata,
)

from . import _scripts as scripts
from ._base import Plan, SaverBase, config_of, namespace_of, thread_of
from ._codec import escape, escape_name, frame, value_name
from ._logs import LEAST, Log, longer, marks_of, new_log
from ._scripts import Argument, Call
from .errors import ValueNotStorable

INLINE = 48
"""Bytes of a value up to which it stands in the record itself: a field of its own would be longer."""


class WritePlans(SaverBase):
    """Each operation that writes, as a plan."""

    def _plan_put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Plan[RunnableConfig]:
        thread_id, ns, parent = thread_of(config), namespace_of(config), get_checkpoint_id(config) or ""
        values, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
        known = self._logs.at(thread_id, ns, parent) if parent else {}
        logs: dict[str, Log] = {}
        entries: dict[bytes, tuple[str, bytes]] = {}
        channels = {value_name(channel, version): channel for channel, version in versions.items()}
        for name, channel in channels.items():
            if channel not in values:
                entries[name] = ("e", b"")
            elif channel in new_versions:
                entries[name] = self._entry(channel, values[channel], known.get(channel), logs)
            else:
                entries[name] = ("k", b"")
                if channel in known:
                    logs[channel] = known[channel]
        head = (self._ttl_argument(), escape(ns), escape(checkpoint["id"]), escape(parent))
        record = self._record(config, checkpoint, metadata)

        def call() -> Call:
            rest = (part for name, (kind, what) in entries.items() for part in (name, kind, what))
            return Call(scripts.PUT, thread_id, (*head, *record, *rest))

        # Refused are unchanged values that are gone (the thread expired or was deleted under a running graph), and
        # logs that another writer has made longer: both are sent as a whole.
        while missing := (yield call()):
            for name in missing:
                channel = channels[name]
                logs.pop(channel, None)
                entries[name] = self._entry(channel, values[channel], None, logs)
        self._logs.keep(thread_id, ns, checkpoint["id"], logs)
        return config_of(thread_id, ns, checkpoint["id"])

    def _entry(self, channel: str, value: Any, known: Log | None, logs: dict[str, Log]) -> tuple[str, bytes]:
        """Return how a value is sent; a list that is or becomes a log is put to `logs`."""
        listed = type(value) is list

        def dump(part: Any) -> bytes:
            return self._dump(part, channel)

        if listed and known is not None and known.begins(value):
            if len(value) == len(known.elements):
                # A new version of the same list.
                return "a", self._longer(known, value, [], logs, channel, dump)
            marks = [marks_of(element) for element in value[len(known.elements) :]]
            if None not in marks:
                return "a", self._longer(known, value, marks, logs, channel, dump)
        packed = dump(value)
        if len(packed) <= INLINE:
            return "i", packed
        if listed and len(packed) > LEAST:
            marks = [marks_of(element) for element in value]
            if None not in marks:
                logs[channel], what = new_log(value, marks, packed)
                return "n", what
        return "b", packed

    @staticmethod
    def _longer(known, value, marks, logs, channel, dump):
        logs[channel], what = longer(known, value, marks, dump)
        return what

    def _record(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata
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
        }
        return (
            frame(escape(c) for c in histories),
            escape(str(story.get("run_id", ""))),
            self._dump(body, "the checkpoint"),
            self._dump(story, "the metadata"),
        )

    def _plan_put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> Plan[None]:
        if not writes:
            return
        args: builtins.list[Argument] = [
            self._ttl_argument(),
            escape(namespace_of(config)),
            escape(config["configurable"]["checkpoint_id"]),
            _short(task_id, "task id"),
            _short(task_path, "task path"),
        ]
        for position, (channel, value) in enumerate(writes):
            args += (WRITES_IDX_MAP.get(channel, position), _short(channel, "channel"), self._dump(value, channel))
        yield Call(scripts.PUT_WRITES, thread_of(config), tuple(args))

    def _plan_delete_thread(self, thread_id: str) -> Plan[None]:
        yield Call("UNLINK", str(thread_id))

    def _plan_delete_runs(self, thread_id: str, run_ids: Sequence[str]) -> Plan[None]:
        yield Call(scripts.DELETE_RUNS, thread_id, tuple(escape(str(run_id)) for run_id in run_ids))

    def _plan_prune(self, thread_ids: Sequence[str], strategy: str) -> Plan[None]:
        if strategy not in ("keep_latest", "delete"):
            raise ValueError(f"unknown prune strategy {strategy!r}: use 'keep_latest' or 'delete'")
        for thread_id in thread_ids:
            yield Call(scripts.PRUNE if strategy == "keep_latest" else "UNLINK", str(thread_id))

    def _plan_copy(self, source: str, target: str) -> Plan[None]:
        # Two calls, not COPY: the threads are in different slots of a cluster.
        fields, members = yield Call(scripts.EXPORT, str(source))
        if fields and str(source) != str(target):
            args = (self._ttl_argument(), len(fields) // 2, *fields, *members)
            yield Call(scripts.IMPORT, str(target), args)

    def _plan_expire(self, thread_id: str, ttl: float | timedelta | None) -> Plan[bool]:
        seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
        reply = yield Call(scripts.EXPIRE, str(thread_id), ("" if seconds is None else int(seconds * 1000),))
        return bool(reply)


def _short(name: str, what: str) -> bytes:
    """Escape a name that is stored with a length of two bytes."""
    raw = escape_name(name) if what == "channel" else escape(name)
    if len(raw) > 0xFFFF:
        raise ValueNotStorable(f"a {what} of {len(raw)} bytes cannot be stored: 65,535 are the most")
    return raw
