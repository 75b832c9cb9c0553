"""Which guard a call goes through: the one of the block around it, else the process's."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Final

from nodes.call.guard import Guard
from nodes.call.limits import Limits
from nodes.call.memory_guard import MemoryGuard
from nodes.call.sealed import Sealer
from nodes.call.settings import CallSettings, call_settings

_SHARED: Final = ("redis://", "rediss://", "unix://")

POOL_SIZE: Final = 64
"""Connections of one event loop to the guard's server; callers beyond it wait for one."""

SOCKET_S: Final = 5.0
"""Seconds until a server that does not answer is given up."""

KEYS: Final = "SUREFOOT_CHECKPOINT_KEYS"
"""The variable that asks for encryption."""

_around: ContextVar[Guard | None] = ContextVar("surefoot_guard", default=None)
_lock = threading.Lock()
_set: Guard | None = None
_sealer: Sealer | None = None
_default: tuple[object, Guard] | None = None


@contextmanager
def using_guard(guard: Guard | None) -> Iterator[None]:
    """Send all calls inside the block through a guard; None leaves it as it is.

    It lives in a context variable, so it holds in tasks that the block starts and on the background loop.
    """
    token = _around.set(guard or _around.get())
    try:
        yield
    finally:
        _around.reset(token)


def get_guard() -> Guard:
    """Return the guard of the block around, else the process's own.

    That is a `RedisGuard` when `SUREFOOT_REDIS_URL` names a server, which connects at its first request, else a
    `MemoryGuard`. Raises `ConfigurationError` for settings that make no sense.
    """
    global _default  # noqa: PLW0603 - one guard for the process, made at first use
    if (guard := _around.get()) is not None:
        return guard
    settings = call_settings()
    key = (settings.guard_url, settings.concurrency, settings.retry_budget, settings.max_cost_per_day_usd,
           settings.max_cost_per_tenant_day_usd, _sealer)  # fmt: skip
    with _lock:
        if _set is not None:
            return _set
        if _default is None or _default[0] != key:
            _default = (key, _make(settings))
        return _default[1]


def set_guard(guard: Guard | None) -> None:
    """Use another guard for the process from now on; None makes a new one at the next use."""
    global _set, _default
    with _lock:
        _set, _default = guard, None


def set_sealer(sealer: Sealer | None) -> None:
    """Encrypt what the process's own guard keeps in Redis from now on."""
    global _sealer  # noqa: PLW0603 - one for the process, as the guard is
    with _lock:
        _sealer = sealer


def limits_of(settings: CallSettings) -> Limits:
    """Return the limits that the settings name."""
    return Limits(
        concurrency=settings.concurrency,
        retry_deposit=settings.retry_budget,
        max_cost_per_day_microusd=_microusd(settings.max_cost_per_day_usd),
        max_cost_per_tenant_day_microusd=_microusd(settings.max_cost_per_tenant_day_usd),
    )


def _microusd(usd: float | None) -> int | None:
    return None if usd is None else round(usd * 1_000_000)


def _make(settings: CallSettings) -> Guard:
    limits = limits_of(settings)
    if not settings.guard_url.startswith(_SHARED):
        return MemoryGuard(limits)
    from nodes.call.redis_guard import RedisGuard
    from nodes.call.redis_line import make_client

    # A graph that is invoked bare in a process without our front door has nobody to encrypt what it would keep.
    keeps = _sealer is not None or not os.environ.get(KEYS)
    make = partial(make_client, settings.guard_url, POOL_SIZE, SOCKET_S)
    return RedisGuard(make, limits, sealer=_sealer, keeps=keeps)
