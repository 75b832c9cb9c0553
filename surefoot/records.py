"""Records of threads: what the runner keeps beside a thread's checkpoints.

A record carries the fencing token of the lease that it was written under. Whoever takes the lease puts its token there
at once, so that a process which was frozen, and has lost the thread meanwhile, cannot write over what its successor
says. With keys, what may quote an item (reasons and errors) is encrypted; ids, status and costs stay readable, so that
threads can be listed and told apart without a key.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from checkpointers import Encryption, server_errors
from checkpointers.encryption import NoKey, SealBroken
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
            return record.model_dump_json(exclude={"damage"})
        told = record.model_dump(mode="json", exclude={"damage"})
        private = json.dumps({name: told.pop(name) for name in PRIVATE}).encode()
        sealed = self._encryption.seal(private, _place(record.thread_id))
        return json.dumps(told | {"sealed": base64.b64encode(sealed).decode()})

    def _load(self, thread_id: str, raw: bytes) -> ThreadRecord:
        """Read a record; one that is damaged, of a newer version or encrypted is still listed, with the reason."""
        try:
            told: Any = _fields_of(raw)
        except (ValueError, RecursionError):
            told = None
        if not isinstance(told, dict):
            return _unread(thread_id, {}, "record", "it is damaged")
        if sealed := told.pop("sealed", ""):
            told |= self._opened(thread_id, sealed)
        try:
            return ThreadRecord.model_validate(told)
        except ValidationError as error:
            names = ", ".join(dict.fromkeys(str(item["loc"][0]) for item in error.errors() if item["loc"]))
            return _unread(thread_id, told, "newer_record", f"field {names}")

    def _opened(self, thread_id: str, sealed: Any) -> dict[str, Any]:
        """Return what is encrypted, or why it cannot be opened here."""
        try:
            data = base64.b64decode(sealed)
            if self._encryption is None:
                return _sealed_with(data[2 : 2 + data[1]].decode(errors="replace") if len(data) > 1 else "")
            found: dict[str, Any] = json.loads(self._encryption.unseal(data, _place(thread_id)))
        except NoKey as error:
            return _sealed_with(error.key)
        except SealBroken as error:
            why = f"the key {error.key!r} that is set here does not open it"
            return {"damage": "key", "unreadable": why}
        except (ValueError, TypeError):
            return {"damage": "key", "unreadable": "what is encrypted in its record is damaged"}
        return found


def _sealed_with(key: str) -> dict[str, Any]:
    return {"damage": "key", "unreadable": f"it is encrypted with the key {key!r}, which is not set here"}


def _unread(thread_id: str, told: Mapping[str, Any], damage: Any, why: str) -> ThreadRecord:
    """Return a record of what can be read of one."""
    named = {
        name: told[name] for name in ("key", "pipeline", "item_id", "spec", "namespace") if _is_text(told.get(name))
    }
    given = {"key": thread_id, "pipeline": "", "item_id": thread_id, **named}
    why = f"its record cannot be read by this version ({why})" if damage == "newer_record" else why
    return ThreadRecord(thread_id=thread_id, **given, damage=damage, unreadable=why)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _fields_of(raw: bytes) -> Any:
    """Read a record without the token before it; raises `ValueError` for what is none, `RecursionError` as well."""
    if len(raw) > MOST_BYTES:
        raise ValueError("no record is that long")
    return json.loads(raw[raw.find(b"{") :])


def _place(thread_id: str) -> bytes:
    return b"record\0" + thread_id.encode("utf-8", "surrogatepass")
