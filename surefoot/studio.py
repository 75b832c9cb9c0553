"""LangGraph Studio: its server keeps checkpoints on the Redis of the settings, and shows threads begun elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit, urlunsplit
from uuid import UUID

import httpx
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.errors import APIStatusError, NotFoundError

from checkpointers import AsyncRedisSaver
from state import has_stray_credentials, mask_url, redact
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


@dataclass(frozen=True)
class Passed:
    """A thread that a server cannot show."""

    key: str
    why: str


async def show(threads: Sequence[str], server: str) -> tuple[list[Shown], list[Passed]]:
    """Make threads known to a running server, so that Studio can open them; without names all that wait or stalled.

    The server keeps a table of its own, in which it finds no thread that was begun elsewhere. Without names, threads
    that it cannot show are passed over; of named ones the first such raises `UsageError`, as does a server that does
    not answer.
    """
    if has_stray_credentials(server):
        raise UsageError("--server has an @ behind its host: write each / in a user or password as %2F, and # as %23")
    client = get_client(url=server, api_key=None)
    async with open_store() as store:
        if threads:
            records = [await store.find(thread) for thread in threads]
        else:
            records = [record for status in ("waiting", "stalled") for record in await store.records(status=status)]
    shown, passed = [], []
    try:
        for record in records:
            try:
                shown.append(await _show(client, record, server))
            except UsageError as error:
                if threads:
                    raise
                passed.append(Passed(record.key, str(error)))
    except httpx.TransportError:
        raise UsageError(
            f"no server answers at {mask_url(server)}: start it with `make studio`, or name it with --server"
        ) from None
    return shown, passed


async def _show(client: LangGraphClient, record: ThreadRecord, server: str) -> Shown:
    """Make one thread known; raises `UsageError` that says why the server cannot show it."""
    if not record.pipeline:
        raise UsageError(
            f"thread {record.key} is of no pipeline of Surefoot, so the server has no graph to show it with"
        )
    try:
        UUID(record.thread_id)
    except ValueError:
        raise UsageError(
            f"thread {record.key}: the server takes only UUIDs for ids, as the runner makes them of keys"
        ) from None
    # Asked first: the server would list the thread, and then not find its graph.
    if not await _has_graph(client, record.pipeline):
        raise UsageError(
            f"the server at {mask_url(server)} has no graph {record.pipeline!r} for thread {record.key}: name it in "
            "langgraph.json"
        )
    try:
        await client.threads.create(
            thread_id=record.thread_id,
            if_exists="do_nothing",
            graph_id=record.pipeline,
            metadata={"surefoot_key": record.key},
        )
        state = await client.threads.get_state(record.thread_id)
    except APIStatusError as error:
        raise UsageError(
            f"the server at {mask_url(server)} cannot show thread {record.key}: {redact(str(error))}"
        ) from None
    if not state["checkpoint"].get("checkpoint_id"):
        raise UsageError(
            f"the server at {mask_url(server)} has no checkpoint of {record.key}: start it with the same "
            "SUREFOOT_REDIS_URL"
        )
    # The browser asks for user and password by itself; a link is passed on, and stands in histories.
    parts = urlsplit(server)
    base = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return Shown(record.key, record.thread_id, f"{STUDIO}/thread/{record.thread_id}?{urlencode({'baseUrl': base})}")


async def _has_graph(client: LangGraphClient, name: str) -> bool:
    try:
        return bool(await client.assistants.search(graph_id=name, limit=1))
    except NotFoundError:
        return False
