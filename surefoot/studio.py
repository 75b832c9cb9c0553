"""LangGraph Studio: its server keeps checkpoints on the Redis of the settings, and shows threads begun elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import httpx
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient

from checkpointers import AsyncRedisSaver
from surefoot.errors import UsageError
from surefoot.serving import ServingSaver
from surefoot.store import open_store
from surefoot.threads import ThreadRecord

STUDIO: Final = "https://smith.langchain.com/studio"
"""The page; it runs in the browser and reads from the server on this machine."""


@asynccontextmanager
async def checkpointer() -> AsyncIterator[AsyncRedisSaver]:
    """Yield the saver of `SUREFOOT_REDIS_URL`; `langgraph.json` names it, and the server keeps it open.

    Its threads are in the registry, so that `surefoot threads` and `surefoot inbox` list what was begun in Studio.
    """
    async with open_store() as store:
        saver = ServingSaver(store.saver)
        async with saver.leases.renewing():
            yield saver


@dataclass(frozen=True)
class Shown:
    """A thread that a server lists now."""

    key: str
    thread_id: str
    link: str
    """Where Studio shows it."""


async def show(threads: Sequence[str], server: str) -> list[Shown]:
    """Make threads known to a running server, so that Studio can open them; without names all that wait or stalled.

    The server keeps a table of its own, in which it finds no thread that was begun elsewhere. Raises `UsageError` for a
    thread of no pipeline that the server has, for a server that does not answer, and for one that keeps its checkpoints
    elsewhere.
    """
    client = get_client(url=server, api_key=None)
    async with open_store() as store:
        if threads:
            records = [await store.find(thread) for thread in threads]
        else:
            records = [record for status in ("waiting", "stalled") for record in await store.records(status=status)]
    try:
        return [await _show(client, record, server) for record in records]
    except httpx.TransportError:
        raise UsageError(
            f"no server answers at {server}: start it with `make studio`, or name it with --server"
        ) from None


async def _show(client: LangGraphClient, record: ThreadRecord, server: str) -> Shown:
    if not record.pipeline:
        raise UsageError(
            f"thread {record.key} is of no pipeline of Surefoot, so the server has no graph to show it with"
        )
    await client.threads.create(
        thread_id=record.thread_id,
        if_exists="do_nothing",
        graph_id=record.pipeline,
        metadata={"surefoot_key": record.key},
    )
    state = await client.threads.get_state(record.thread_id)
    if not state["checkpoint"].get("checkpoint_id"):
        raise UsageError(
            f"the server at {server} has no checkpoint of {record.key}: start it with the same SUREFOOT_REDIS_URL"
        )
    return Shown(record.key, record.thread_id, f"{STUDIO}/thread/{record.thread_id}?{urlencode({'baseUrl': server})}")
