"""Watching one item while it runs: what happens, the answers as they come in, and the result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, Unpack

from nodes.bridge import run_sync
from nodes.call.tokens import CONFIRMED, RETRACTED, TOKEN
from nodes.events import Event, listening
from surefoot.api import RunOptions, item_of, run_item
from surefoot.drive import Result
from surefoot.threads import thread_id


@dataclass(frozen=True)
class Token:
    """A piece of an answer that is still coming in, and what became of the pieces."""

    kind: Literal["token", "confirmed", "retracted"]
    """`confirmed` when the attempt succeeded and its gate let the answer pass, `retracted` when it did not."""
    step: str
    visit: int
    attempt: int
    text: str = ""
    """The piece; provisional until the attempt is confirmed."""
    reason: str = ""
    """Why the pieces are taken back."""


@dataclass(frozen=True)
class Custom:
    """What a node of one's own wrote to LangGraph's stream."""

    value: Any


Part: TypeAlias = Event | Token | Custom | Result
"""What a run yields while it goes on; the `Result` comes last."""

_KINDS: Mapping[str, Literal["token", "confirmed", "retracted"]] = {
    TOKEN: "token", CONFIRMED: "confirmed", RETRACTED: "retracted",
}  # fmt: skip


async def astream(pipeline: str, input: Mapping[str, Any], **options: Unpack[RunOptions]) -> AsyncGenerator[Part, None]:
    """Run one item as `arun` does, and yield events, pieces of answers and, last, the `Result`.

    Whoever stops listening stops the run: the thread stands at its last checkpoint and goes on with the same call.
    Raises what `arun` raises.
    """
    given: dict[str, Any] = dict(options)
    found, item = item_of(pipeline, input, given.pop("id", None), given.get("namespace", ""))
    thread = thread_id(found.name, item.id, given.get("namespace", ""))
    parts: asyncio.Queue[Part | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def put(part: Part | None) -> None:
        # Work that blocks runs in threads, and may emit events from there.
        loop.call_soon_threadsafe(parts.put_nowait, part)

    def take(event: Event) -> None:
        if getattr(event, "thread", None) == thread:
            put(event)

    async def run() -> Result:
        try:
            return await run_item(found, item, on_part=lambda value: put(part_of(value)), **given)
        finally:
            put(None)

    with listening(take):
        running = asyncio.create_task(run())
        try:
            while (part := await parts.get()) is not None:
                yield part
            yield await running
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def part_of(value: Any) -> Token | Custom:
    """Return what was written to the stream as one of ours, or as somebody else's."""
    kind = _KINDS.get(value.get("type", "")) if isinstance(value, Mapping) else None
    if kind is None:
        return Custom(value)
    return Token(
        kind,
        value["step"],
        value["visit"],
        value["attempt"],
        text=value.get("text", ""),
        reason=value.get("reason", ""),
    )


def stream(pipeline: str, input: Mapping[str, Any], **options: Unpack[RunOptions]) -> Generator[Part, None, None]:
    """Run one item and yield its parts; see `astream`."""
    parts = astream(pipeline, input, **options)

    async def following() -> Part | None:
        return await anext(parts, None)

    try:
        while (part := run_sync(following())) is not None:
            yield part
    finally:
        run_sync(parts.aclose())
