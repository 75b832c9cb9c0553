"""The public contract of savers: the conformance package, gated on counts because it calls a partial run FULL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate

from checkpointers import AsyncRedisSaver, RedisSaver

CHECKS = 81


async def async_saver(url: str) -> AsyncIterator[BaseCheckpointSaver[str]]:
    async with AsyncRedisSaver.from_url(url) as saver:
        yield saver


async def sync_saver(url: str) -> AsyncIterator[BaseCheckpointSaver[str]]:
    """The sync methods, through the async twins that run them in a thread."""
    with RedisSaver.from_url(url) as saver:
        yield saver


@pytest.mark.asyncio
@pytest.mark.parametrize("factory", [async_saver, sync_saver])
async def test_every_conformance_check_runs_and_passes(
    factory: Callable[[str], AsyncIterator[Any]], every_url: str
) -> None:
    @checkpointer_test(name=factory.__name__)
    async def registered() -> AsyncIterator[BaseCheckpointSaver[str]]:
        async for saver in factory(every_url):
            yield saver

    report = await validate(registered)
    results = report.results.values()
    assert [failure for result in results for failure in result.failures] == []
    assert (sum(r.tests_passed for r in results), sum(r.tests_skipped for r in results)) == (CHECKS, 0)
