"""Threads of any saver, copied to another one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, CheckpointTuple

from ._arguments import ids_of
from ._base import config_of, namespace_of


class _Writes(NamedTuple):
    """What one task wrote, as one call of `put_writes`: its writes are numbered by their place in it."""

    writes: list[tuple[str, Any]]
    task_id: str
    task_path: str


class _Step(NamedTuple):
    """One checkpoint as it is put, under its parent and in its own namespace."""

    under: RunnableConfig
    found: CheckpointTuple
    new_versions: ChannelVersions
    at: RunnableConfig
    tasks: list[_Writes]


def migrate(
    old: BaseCheckpointSaver[Any], new: BaseCheckpointSaver[Any], thread_ids: Iterable[str] | None = None
) -> int:
    """Copy threads from one saver to another, all of them by default, and return how many.

    A thread is copied whole: history, subgraphs, what tasks wrote, pending questions. It can be resumed on `new` where
    it stood on `old`, which is only read. Copying again adds what has come since and changes nothing else, so that a
    copy that broke off is simply started again. Nobody should write to a thread meanwhile.

    Savers do not tell the `task_path` of a write. In its place the copy keeps the order in which `old` tells the tasks
    of a checkpoint, which matters to delta channels only.
    """
    if thread_ids is None:
        thread_ids = dict.fromkeys(_thread_of(found) for found in old.list(None))
    count = 0
    for thread_id in ids_of(thread_ids, "thread_ids", "thread ids"):
        steps = list(old.list(_whole_thread(thread_id)))
        for step in _steps(str(thread_id), steps):
            new.put(step.under, step.found.checkpoint, step.found.metadata, step.new_versions)
            for task in step.tasks:
                new.put_writes(step.at, *task)
        count += bool(steps)
    return count


async def amigrate(
    old: BaseCheckpointSaver[Any], new: BaseCheckpointSaver[Any], thread_ids: Iterable[str] | None = None
) -> int:
    """Copy threads from one async saver to another, as `migrate` does."""
    if thread_ids is None:
        thread_ids = dict.fromkeys([_thread_of(found) async for found in old.alist(None)])
    count = 0
    for thread_id in ids_of(thread_ids, "thread_ids", "thread ids"):
        steps = [found async for found in old.alist(_whole_thread(thread_id))]
        for step in _steps(str(thread_id), steps):
            await new.aput(step.under, step.found.checkpoint, step.found.metadata, step.new_versions)
            for task in step.tasks:
                await new.aput_writes(step.at, *task)
        count += bool(steps)
    return count


def _thread_of(found: CheckpointTuple) -> str:
    return str(found.config["configurable"]["thread_id"])


def _whole_thread(thread_id: str) -> RunnableConfig:
    """Without a namespace a listing has those of subgraphs, too."""
    return {"configurable": {"thread_id": thread_id}}


def _steps(thread_id: str, history: Sequence[CheckpointTuple]) -> Iterator[_Step]:
    """Yield the checkpoints of a thread, the oldest first: each after its parent."""
    versions_of: dict[tuple[str, str], ChannelVersions] = {}
    for found in sorted(history, key=lambda found: found.checkpoint["id"]):
        ns, identity, versions = (
            namespace_of(found.config), found.checkpoint["id"], found.checkpoint["channel_versions"],
        )  # fmt: skip
        parent = found.parent_config["configurable"]["checkpoint_id"] if found.parent_config else ""
        before = versions_of.get((ns, parent), {})
        versions_of[ns, identity] = versions
        under = config_of(thread_id, ns, parent)
        if not parent:
            del under["configurable"]["checkpoint_id"]
        new = {channel: version for channel, version in versions.items() if before.get(channel) != version}
        yield _Step(under, found, new, config_of(thread_id, ns, identity), _tasks(found))


def _tasks(found: CheckpointTuple) -> list[_Writes]:
    by_task: dict[str, list[tuple[str, Any]]] = {}
    for task_id, channel, value in found.pending_writes or ():
        by_task.setdefault(task_id, []).append((channel, value))
    return [_Writes(writes, task_id, f"{place:08}") for place, (task_id, writes) in enumerate(by_task.items())]
