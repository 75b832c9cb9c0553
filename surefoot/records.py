"""Records of threads: what the runner keeps beside a thread's checkpoints.

A record carries the fencing token of the lease that it was written under. Whoever takes the lease puts its token there
at once, so that a process which was frozen, and has lost the thread meanwhile, cannot write over what its successor
says. With keys, what may quote an item (reasons and errors) is encrypted; ids, status and costs stay readable, so that
threads can be listed and told apart without a key.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from pydantic import ValidationError

from checkpointers import Encryption, server_errors
from surefoot.threads import ThreadRecord

PAGE: Final = 500
MOST_BYTES: Final = 4_000_000
"""Bytes of a record beyond which it is not read: it holds ids, times and a few lines."""
PRIVATE: Final = ("reasons", "error")
"""Fields that may quote an item."""

_SCRIPT: Final = """
-- KEYS: record. ARGV: token of the writer or '', then `take`, `drop`, or `write` with text and life in ms (or '').
-- A record is its text, after the token and a space once somebody had a lease. Answers 0 to who was superseded.
local stored = redis.call('GET', KEYS[1])
local last, text = '', stored
if stored and string.match(stored, '^%d+ ') then last, text = string.match(stored, '^(%d+) (.*)$') end
local token = ARGV[1]
if token ~= '' and last ~= '' and tonumber(token) < tonumber(last) then return 0 end
if token == '' then token = last end
local head = token ~= '' and token .. ' ' or ''
if ARGV[2] == 'drop' then
  redis.call('DEL', KEYS[1])
elseif ARGV[2] == 'take' then
  if stored then redis.call('SET', KEYS[1], head .. text, 'KEEPTTL') end
elseif ARGV[4] == '' then
  redis.call('SET', KEYS[1], head .. ARGV[3])
else
  redis.call('SET', KEYS[1], head .. ARGV[3], 'PX', ARGV[4])
end
return 1
"""


def record_key(thread_id: str) -> str:
    """Return the key of a thread's record."""
    return f"surefoot:thread:{{{thread_id}}}"


class Records:
    """The records on one server; a write tells whether the writer still had the thread."""

    def __init__(self, client: Any, encryption: Encryption | None) -> None:
        self._client, self._encryption = client, encryption

    async def get(self, thread_id: str) -> ThreadRecord | None:
        """Return a thread's record as it was written, or None."""
        with server_errors(self._client):
            raw = await self._client.get(record_key(thread_id))
        return None if raw is None else self._load(thread_id, raw)

    async def get_all(self, thread_ids: Sequence[str]) -> dict[str, ThreadRecord]:
        """Return the records of those that have one, by thread id."""
        raws: list[bytes | None] = []
        with server_errors(self._client):
            for start in range(0, len(thread_ids), PAGE):
                pipe = self._client.pipeline(transaction=False)
                for thread_id in thread_ids[start : start + PAGE]:
                    pipe.get(record_key(thread_id))
                raws += await pipe.execute()
        found = zip(thread_ids, raws, strict=True)
        return {thread_id: self._load(thread_id, raw) for thread_id, raw in found if raw is not None}

    async def take(self, thread_id: str, token: str) -> bool:
        """Shut out all who had the thread before the holder of a lease."""
        return await self._run(thread_id, token, "take")

    async def write(self, record: ThreadRecord, token: str, keep_ms: int | None) -> bool:
        """Write a record, with its life in milliseconds; False for a holder who was superseded."""
        return await self._run(record.thread_id, token, "write", self._dump(record), keep_ms or "")

    async def drop(self, thread_id: str, token: str) -> bool:
        """Delete a record; False for a holder who was superseded."""
        return await self._run(thread_id, token, "drop")

    async def ids(self) -> AsyncIterator[str]:
        """Yield the ids of all threads that have a record; scans the keys of the server."""
        head, _, tail = record_key("*").partition("*")
        with server_errors(self._client):
            async for key in self._client.scan_iter(match=record_key("*"), count=1000):
                yield key.decode().removeprefix(head).removesuffix(tail)

    async def _run(self, thread_id: str, token: str, *words: Any) -> bool:
        with server_errors(self._client):
            return bool(await self._client.eval(_SCRIPT, 1, record_key(thread_id), token, *words))

    def _dump(self, record: ThreadRecord) -> str:
        if self._encryption is None:
            return record.model_dump_json()
        told = record.model_dump(mode="json")
        private = json.dumps({name: told.pop(name) for name in PRIVATE}).encode()
        sealed = self._encryption.seal(private, _place(record.thread_id))
        return json.dumps(told | {"sealed": base64.b64encode(sealed).decode()})

    def _load(self, thread_id: str, raw: bytes) -> ThreadRecord:
        """Read a record; one of a newer version, which may say what this one does not know, is still listed."""
        try:
            told = _fields_of(raw)
            if sealed := told.pop("sealed", ""):
                told |= self._opened(thread_id, base64.b64decode(sealed))
            return ThreadRecord.model_validate(told)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            why = f"{error.error_count()} fields are unknown" if isinstance(error, ValidationError) else "it is damaged"
            why = f"its record cannot be read by this version: {why}"
            return ThreadRecord(thread_id=thread_id, key=thread_id, pipeline="", item_id=thread_id, unreadable=why)

    def _opened(self, thread_id: str, sealed: bytes) -> dict[str, Any]:
        """Return what is encrypted, nothing where its key is not there: the checkpoints say so loudly enough."""
        try:
            opened = self._encryption.unseal(sealed, _place(thread_id)) if self._encryption else b"{}"
        except ValueError:
            opened = b"{}"
        found: dict[str, Any] = json.loads(opened)
        return found


def _fields_of(raw: bytes) -> dict[str, Any]:
    """Read a record without the token before it; raises `ValueError` for what is none, `RecursionError` as well."""
    if len(raw) > MOST_BYTES:
        raise ValueError("no record is that long")
    found: dict[str, Any] = json.loads(raw[raw.find(b"{") :])
    return found


def _place(thread_id: str) -> bytes:
    return b"record\0" + thread_id.encode("utf-8", "surrogatepass")
