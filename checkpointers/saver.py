"""The saver for sync graphs; under an async graph each operation runs in a thread."""

from __future__ import annotations

import builtins
import inspect
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Self, TypeVar, cast

import redis
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
)
from langgraph.checkpoint.serde.base import SerializerProtocol
from redis.client import NEVER_DECODE
from redis.exceptions import NoScriptError

from ._arguments import at_most, ids_of
from ._base import Plan, thread_of
from ._clients import make_client
from ._codec import KEY_PATTERN, thread_of_key
from ._failures import FAILURES, explain
from ._reading import Cursor
from ._removal import kept_for_others
from ._scripts import Call, Reply
from ._serial import AllowedType
from ._twins import InThreads
from ._upgrade import OLD
from .encryption import Encryption
from .errors import SaverError, ThreadConflict, ThreadFormatUnknown
from .leases import SyncLeases
from .upkeep import SyncUpkeep

T = TypeVar("T")
_log = logging.getLogger("surefoot.saver")


class RedisSaver(InThreads, SyncLeases, SyncUpkeep):
    """Keeps checkpoints on a plain Redis or Valkey server; one round trip for each operation.

    `client` is a sync redis-py client (also a cluster one) of the caller's. `ttl` is in seconds and covers a thread
    as a unit, counted from its last write, with `refresh_on_read` also from its last `get_tuple` (`get_state`, a
    resume); `None` keeps threads. `allow` lists the classes that may come back from the store beside LangGraph's own;
    with `encryption` nothing that is not encrypted is read; with `registry` each change is noted for `list_threads`
    and `list_waiting`. Every operation raises an error of `checkpointers.errors` when the server cannot do it.
    Thread-safe. `with` and `async with` give the saver itself, and leave the client open.
    """

    def __init__(
        self,
        client: redis.Redis | redis.RedisCluster,
        *,
        ttl: float | timedelta | None = None,
        refresh_on_read: bool = False,
        allow: Collection[AllowedType] = (),
        serde: SerializerProtocol | None = None,
        encryption: Encryption | None = None,
        registry: bool = False,
    ) -> None:
        super().__init__(
            ttl=ttl,
            refresh_on_read=refresh_on_read,
            allow=allow,
            serde=serde,
            encryption=encryption,
            registry=registry,
        )
        if inspect.iscoroutinefunction(client.execute_command):
            raise TypeError("RedisSaver needs a sync client; with an async one, use AsyncRedisSaver.")
        self.client = client

    @classmethod
    @contextmanager
    def from_url(
        cls,
        url: str,
        *,
        ttl: float | timedelta | None = None,
        refresh_on_read: bool = False,
        allow: Collection[AllowedType] = (),
        serde: SerializerProtocol | None = None,
        encryption: Encryption | None = None,
        registry: bool = False,
    ) -> Iterator[RedisSaver]:
        """Yield a saver on connections of its own, closed in the end.

        Raises `UnsupportedUrl` for a URL of no known form. Connects at the first operation.
        """
        client = make_client(url)
        try:
            yield cls(
                client,
                ttl=ttl,
                refresh_on_read=refresh_on_read,
                allow=allow,
                serde=serde,
                encryption=encryption,
                registry=registry,
            )
        finally:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the client open: it belongs to who made it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        """Leave the client open: it belongs to who made it."""

    def _send(self, calls: Sequence[Call]) -> builtins.list[Reply]:
        """Send calls together, as far as a cluster lets them, and return their answers, which may be exceptions."""
        commands = [call.command() for call in calls]
        replies = self._exchange(commands)
        for at, reply in enumerate(replies):
            if isinstance(reply, NoScriptError):
                replies[at] = self._exchange([calls[at].command(whole=True)])[0]
        return replies

    def _exchange(self, commands: Sequence[tuple[Any, ...]]) -> builtins.list[Reply]:
        if len(commands) > 1 and isinstance(self.client, redis.Redis):
            pipe: Any = self.client.pipeline(transaction=False)
            for command in commands:
                pipe.execute_command(*command, **{NEVER_DECODE: True})
            answered: builtins.list[Reply] = pipe.execute(raise_on_error=False)
            return answered
        send: Callable[..., Reply] = self.client.execute_command
        replies: builtins.list[Reply] = []
        for command in commands:
            try:
                replies.append(send(*command, **{NEVER_DECODE: True}))
            except FAILURES as error:
                # Of one command, on a cluster perhaps of one node: the others have answers of their own.
                replies.append(error)
        return replies

    def _ask(self, call: Call) -> Reply:
        try:
            reply, *noted = self._send([call] if call.beside is None else [call, call.beside])
            if isinstance(reply, Exception):
                raise reply
        except FAILURES as error:
            raise explain(error, self.client, call.thread_id) from error
        for note in noted:
            if isinstance(note, Exception):
                _log.warning("a note for the registry was lost: %s", type(note).__name__)
        return reply

    def _answer(self, call: Call) -> Reply:
        try:
            return self._ask(call)
        except ThreadFormatUnknown as error:
            if error.format != OLD.decode() or call.format == OLD:
                raise
        self._run(self._plan_upgrade(call.thread_id))
        return self._ask(call)

    def _answers(self, calls: Sequence[Call]) -> builtins.list[Reply]:
        try:
            replies = self._send(calls)
            for reply in replies:
                if isinstance(reply, Exception):
                    raise reply
        except FAILURES as error:
            raise explain(error, self.client, "*") from error
        return replies

    def _run(self, plan: Plan[T]) -> T:
        try:
            call = next(plan)
            while True:
                try:
                    reply = self._answers(call) if isinstance(call, builtins.list) else self._answer(call)
                except SaverError as error:
                    # A plan may know what to do about it.
                    call = plan.throw(error)
                else:
                    call = plan.send(reply)
        except StopIteration as stop:
            return cast(T, stop.value)

    def _threads(self) -> Iterator[str]:
        try:
            for key in self.client.scan_iter(match=KEY_PATTERN, count=1000):
                yield thread_of_key(key if isinstance(key, str) else key.decode())
        except FAILURES as error:
            raise explain(error, self.client, "*") from error

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return a checkpoint with its pending writes: the one named, or the latest of the namespace."""
        return self._run(self._plan_get(config, used=True))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Yield checkpoints, newest first: of a namespace, of a whole thread, or of every thread (`config=None`).

        `filter` compares metadata by key; `before` names the checkpoint to start after. Listing every thread scans the
        keys of the server.
        """
        left = at_most(limit)
        for thread_id in [thread_of(config)] if config else self._threads():
            cursor: Cursor | None = ((get_checkpoint_id(before) if before else None) or "", None)
            while cursor is not None and (left is None or left > 0):
                page, cursor = self._run(self._plan_page(thread_id, config, filter, cursor, left))
                yield from page[:left]
                left = None if left is None else left - len(page)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint and the channel values that are new with it.

        A version that already holds other data keeps it; this checkpoint refers to its own. Raises `ValueNotStorable`
        for a value without a safe form.
        """
        return self._run(self._plan_put(config, checkpoint, metadata, new_versions))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote; a second call of the same task adds to the first."""
        self._run(self._plan_put_writes(config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """Delete everything stored for a thread."""
        self._run(self._plan_delete_thread(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Delete the checkpoints that these runs made, with their writes, in every thread.

        Scans the keys of the server. A thread whose later checkpoints have delta channels that are rebuilt from what
        these runs wrote keeps all of them, and `ThreadConflict` is raised when the others are done.
        """
        refused: builtins.list[ThreadConflict] = []
        if run_ids := ids_of(run_ids, "run_ids", "run ids"):
            for thread_id in self._threads():
                try:
                    self._run(self._plan_delete_runs(thread_id, run_ids))
                except ThreadConflict as error:
                    refused.append(error)
        if (conflict := kept_for_others(refused)) is not None:
            raise conflict

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Copy everything stored for a thread to another id.

        Raises `ThreadConflict` when the target holds anything else, which with encryption an earlier copy is too.
        """
        self._run(self._plan_copy(source_thread_id, target_thread_id))

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest", keep: int = 1) -> None:
        """Delete all but the latest checkpoint of each namespace (`keep_latest`), or but the last `keep` (`keep_last`).

        The strategy `delete` leaves none. Pending writes of what is kept stay, and so do the ancestors that delta
        channels are rebuilt from, and the calls of subgraphs that began at what is kept. Calls that began before are
        deleted as a whole; a subgraph with a memory of its own (`checkpointer=True`) keeps its latest. What is kept and
        has lost its parent reads as one without a parent. Raises `TypeError` for a single id.
        """
        self._run(self._plan_prune(thread_ids, strategy, keep))

    def expire_thread(self, thread_id: str, ttl: float | timedelta | None) -> bool:
        """Let a thread expire in `ttl` seconds, or never (`None`), whatever the saver's own ttl is.

        A later write of a saver that has a ttl sets it again. Return whether the thread exists.
        """
        return self._run(self._plan_expire(thread_id, ttl))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """Return what the ancestors of a checkpoint wrote to each channel since its last stored value."""
        return self._run(self._plan_history(config, channels))

    def quarantine(self, thread_id: str) -> bool:
        """Put a thread that cannot be read aside, under keys that end in `.quarantined`; it reads as empty then.

        Return whether it was there.
        """
        return self._run(self._plan_quarantine(thread_id))
