"""A pytest plugin that gives LangGraph's tests one saver: `SUREFOOT_SUITE_SAVER` names it.

Their `conftest.py` makes the fixtures `sync_checkpointer` and `async_checkpointer` with a parameter for each saver of
theirs. This plugin puts fixtures of the same names in their place, before pytest has looked at them. Each test begins
with an empty server, which is a private one of this process.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from typing import Any

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from checkpointers import AsyncRedisSaver, Encryption, RedisSaver, connect

SAVER = os.environ["SUREFOOT_SUITE_SAVER"]
OURS: dict[str, Callable[[], dict[str, Any]]] = {
    "redis": dict,
    "redis-jsonplus": lambda: {"serde": JsonPlusSerializer()},
    "redis-encrypted": lambda: {"serde": JsonPlusSerializer(), "encryption": Encryption({"key": bytes(range(32))})},
    "redis-registry-ttl": lambda: {
        "serde": JsonPlusSerializer(), "registry": True, "ttl": timedelta(hours=1), "refresh_on_read": True,
    },
}  # fmt: skip
"""Arguments of our savers, by what the table calls them."""

_directory = tempfile.TemporaryDirectory(prefix="surefoot-suite-")
URL = f"embedded:{_directory.name}"


def _theirs(name: str) -> Any:
    """Return a maker of a saver from their own `conftest_checkpointer.py`."""
    from tests import conftest_checkpointer

    return getattr(conftest_checkpointer, f"_checkpointer_{name}")()


def _sync_saver() -> AbstractContextManager[Any]:
    if SAVER not in OURS:
        return _theirs(SAVER)  # type: ignore[no-any-return] # tests have no types
    with connect(URL) as client:
        client.flushall()
    return RedisSaver.from_url(URL, **OURS[SAVER]())


def _async_saver() -> AbstractAsyncContextManager[Any] | AbstractContextManager[Any]:
    if SAVER not in OURS:
        return _theirs("sqlite_aio" if SAVER == "sqlite" else SAVER)  # type: ignore[no-any-return] # tests have no types
    with connect(URL) as client:
        client.flushall()
    return AsyncRedisSaver.from_url(URL, **OURS[SAVER]())


@pytest.fixture(params=[SAVER])
def sync_checkpointer() -> Iterator[Any]:
    """Replace theirs."""
    with _sync_saver() as saver:
        yield saver


@pytest.fixture(params=[SAVER])
async def async_checkpointer() -> AsyncIterator[Any]:
    """Replace theirs."""
    opened = _async_saver()
    if hasattr(opened, "__aenter__"):
        async with opened as saver:
            yield saver
    else:
        with opened as saver:
            yield saver


def pytest_plugin_registered(plugin: object) -> None:
    """Replace the fixtures of a `conftest.py` when it is loaded, which is before pytest collects fixtures from it."""
    if getattr(plugin, "__name__", "").endswith("conftest") and hasattr(plugin, "sync_checkpointer"):
        plugin.sync_checkpointer = sync_checkpointer
        plugin.async_checkpointer = async_checkpointer  # type: ignore[attr-defined] # theirs has both
