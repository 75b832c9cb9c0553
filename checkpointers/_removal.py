"""Plans of the operations that remove what is stored."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from . import _scripts as scripts
from ._arguments import ids_of, one_id
from ._base import Plan
from ._codec import escape, thread_keys
from ._scripts import Argument, Call
from ._sealing import metadata_of
from .errors import RecordDamaged, ThreadConflict, TypeNotAllowed
from .registry import RegistryPlans

_log = logging.getLogger("surefoot.saver")

CALLS_PAGE: Final = 1000
"""Calls of subgraphs that one round trip of a pruning looks at."""


class RemovalPlans(RegistryPlans):
    """Each operation that removes, as a plan."""

    def _plan_delete_thread(self, thread_id: str) -> Plan[None]:
        thread_id = one_id(thread_id)
        yield self._change(scripts.DELETE, thread_id)
        # Not beside it: a thread that was not deleted must not leave the registry.
        yield from self._plan_drop(thread_id)

    def _plan_delete_runs(self, thread_id: str, run_ids: Sequence[str]) -> Plan[None]:
        if (yield self._change(scripts.DELETE_RUNS, thread_id, *(escape(str(run_id)) for run_id in run_ids))):
            yield from self._plan_noted(thread_id)

    def _plan_prune(self, thread_ids: Sequence[str], strategy: str, keep: int) -> Plan[None]:
        if strategy not in ("keep_latest", "keep_last", "delete"):
            raise ValueError(f"unknown prune strategy {strategy!r}: use 'keep_latest', 'keep_last' or 'delete'")
        if keep < 1:
            raise ValueError(f"keep must be 1 or more, not {keep}: to remove everything use the strategy 'delete'")
        for thread_id in ids_of(thread_ids, "thread_ids", "thread ids"):
            if strategy == "delete":
                yield from self._plan_delete_thread(thread_id)
            else:
                yield from self._plan_keep(thread_id, 1 if strategy == "keep_latest" else keep)

    def _plan_keep(self, thread_id: str, keep: int) -> Plan[None]:
        """Keep the last checkpoints of each namespace, and no calls of subgraphs that began before them.

        What a call began at stands in its metadata, which a script cannot read. A thread without calls takes one trip.
        """
        _removed, calls = yield self._change(scripts.PRUNE, thread_id, keep)
        after = b""
        while calls:
            page = yield Call(scripts.CALLS, thread_id, (after, CALLS_PAGE))
            if page:
                yield self._change(scripts.PRUNE, thread_id, keep, *self._begun(thread_id, page))
            if len(page) < CALLS_PAGE or page[-1][0] <= after:
                break
            after = page[-1][0]

    def _begun(self, thread_id: str, calls: Sequence[Sequence[bytes]]) -> Iterator[Argument]:
        """Yield for each call, and each namespace around it, which checkpoint there it began at."""
        for ns, checkpoint_id, body, found in calls:
            try:
                metadata: Any = self._load(found, (thread_id, *metadata_of(ns, checkpoint_id, body)))
            except (RecordDamaged, TypeNotAllowed) as error:
                _log.warning("a subgraph's call was not pruned, because its metadata cannot be read: %s", error)
                continue
            parents = metadata.get("parents") if isinstance(metadata, dict) else None
            for around, at in (parents if isinstance(parents, dict) else {}).items():
                if isinstance(around, str) and isinstance(at, str) and escape(around) != ns:
                    yield from (ns, escape(around), escape(at))

    def _plan_quarantine(self, thread_id: str) -> Plan[bool]:
        thread_id = one_id(thread_id)
        aside = tuple(f"{key}.quarantined" for key in thread_keys(thread_id))
        there = yield self._change(scripts.QUARANTINE, thread_id, secrets.token_hex(8), keys=aside)
        yield from self._plan_drop(thread_id)
        return bool(there)

    def _plan_expire(self, thread_id: str, ttl: float | timedelta | None) -> Plan[bool]:
        seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
        reply = yield self._change(scripts.EXPIRE, one_id(thread_id), "" if seconds is None else int(seconds * 1000))
        return bool(reply)


def kept_for_others(refused: Sequence[ThreadConflict]) -> ThreadConflict | None:
    """Return the error of a deletion that some threads refused, None when none did."""
    if len(refused) < 2:
        return refused[0] if refused else None
    return ThreadConflict(f"{refused[0]} The same holds for {len(refused) - 1} more.")
