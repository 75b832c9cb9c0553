"""Plans of the operations that change what is stored."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import ormsgpack
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
from ._codec import escape, frame, value_name
from ._scripts import Argument, Call


class WritePlans(SaverBase):
    """Each operation that writes, as a plan."""

    def _plan_put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Plan[RunnableConfig]:
        thread_id, ns = thread_of(config), namespace_of(config)
        values, versions = checkpoint["channel_values"], checkpoint["channel_versions"]
        record = self._record(config, checkpoint, metadata)
        fresh = {value_name(c, v): self._dump(values[c], c) for c, v in new_versions.items() if c in values}
        kept = {value_name(c, v): c for c, v in versions.items() if c in values and c not in new_versions}

        def call() -> Call:
            pairs = [part for pair in fresh.items() for part in pair]
            rest = [name for name in kept if name not in fresh]
            args = (self._ttl_argument(), escape(ns), escape(checkpoint["id"]), record, len(fresh), *pairs, *rest)
            return Call(scripts.PUT, thread_id, args)

        # A thread that expired or was deleted under a running graph has lost its unchanged channels: send them again.
        while missing := (yield call()):
            for name in missing:
                fresh[name] = self._dump(values[kept[name]], kept[name])
        return config_of(thread_id, ns, checkpoint["id"])

    def _record(self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata) -> bytes:
        versions, values = checkpoint["channel_versions"], checkpoint["channel_values"]
        story = get_checkpoint_metadata(config, metadata)
        # Channels that LangGraph stores as a history of writes and that have no value here: a prune must keep their
        # ancestors.
        histories = [c for c in story.get("counters_since_delta_snapshot", ()) if c in versions and c not in values]
        body = {name: part for name, part in checkpoint.items() if name != "channel_values"}
        return frame(
            (
                escape(get_checkpoint_id(config) or ""),
                frame(value_name(c, v) for c, v in versions.items()),
                frame(escape(c) for c in histories),
                escape(str(story.get("run_id", ""))),
                self._dump(body, "the checkpoint"),
                self._dump(story, "the metadata"),
            )
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
            escape(task_id),
        ]
        for position, (channel, value) in enumerate(writes):
            body = ormsgpack.packb((escape(task_path), self._dump(value, channel)))
            args += (WRITES_IDX_MAP.get(channel, position), escape(channel), body)
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
