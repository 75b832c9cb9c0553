"""LangGraph checkpoint savers on plain Redis or Valkey, with a private embedded server as the default.

    with RedisSaver.from_url("embedded:", allow=[MyState]) as saver:
        graph = builder.compile(checkpointer=saver)

URLs: `redis://`, `rediss://`, `unix://`, `redis+cluster://`, `redis+sentinel://`, `embedded:` (data in the user's data
directory) and `embedded:DIRECTORY`.
"""

from ._clients import connect, connect_async
from ._codec import follows, thread_keys
from ._entries import Asked, ThreadEntry
from ._failures import server_errors
from ._migrate import amigrate, migrate
from ._open import open_saver
from .aio import AsyncRedisSaver
from .encryption import Encryption, new_key
from .errors import (
    EmbeddedUnavailable,
    KeyMissing,
    LeaseLost,
    RecordDamaged,
    RecordTooLarge,
    SaverDenied,
    SaverError,
    SaverFull,
    SaverUnavailable,
    SaverUnreachable,
    ThreadConflict,
    ThreadFormatUnknown,
    TypeNotAllowed,
    UnsupportedUrl,
    ValueNotStorable,
    WrongLoop,
)
from .leases import Lease
from .saver import RedisSaver

__all__ = [
    "Asked",
    "AsyncRedisSaver",
    "EmbeddedUnavailable",
    "Encryption",
    "KeyMissing",
    "Lease",
    "LeaseLost",
    "RecordDamaged",
    "RecordTooLarge",
    "RedisSaver",
    "SaverDenied",
    "SaverError",
    "SaverFull",
    "SaverUnavailable",
    "SaverUnreachable",
    "ThreadConflict",
    "ThreadEntry",
    "ThreadFormatUnknown",
    "TypeNotAllowed",
    "UnsupportedUrl",
    "ValueNotStorable",
    "WrongLoop",
    "amigrate",
    "connect",
    "connect_async",
    "follows",
    "migrate",
    "new_key",
    "open_saver",
    "server_errors",
    "thread_keys",
]
