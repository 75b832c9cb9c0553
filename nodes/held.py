"""Runs that their saver looks after from the first step to the last.

LangGraph tells a saver of checkpoints, and of no end: a run that stops at a breakpoint, that is cancelled or that
raises just writes nothing more. The saver of LangGraph's API server has to know (see `surefoot.serving`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any, Protocol, TypeGuard

from langchain_core.runnables import RunnableConfig


class RunHolder(Protocol):
    """A saver that holds a thread while it is run."""

    def hold_run(
        self, config: RunnableConfig, context: Any, schema: type[Any] | None
    ) -> AbstractAsyncContextManager[Any]:
        """Hold the thread of a run while the block runs; yields the context to run with, of the class `schema`."""


def holds_runs(saver: Any) -> TypeGuard[RunHolder]:
    """Tell whether a saver, or what a server has wrapped around it, holds threads while they are run."""
    return callable(getattr(saver, "hold_run", None))


async def held_run(
    holder: RunHolder,
    config: RunnableConfig,
    context: Any,
    schema: type[Any] | None,
    run: Callable[[Any], AsyncIterator[Any]],
) -> AsyncIterator[Any]:
    """Yield what a run yields, while its thread is held."""
    async with holder.hold_run(config, context, schema) as found, aclosing(run(found)) as parts:  # type: ignore[type-var] # LangGraph returns an async generator
        async for part in parts:
            yield part
