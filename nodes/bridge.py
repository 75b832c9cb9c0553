"""One coroutine under both `invoke` and `ainvoke`.

LangGraph calls a node's sync function under `invoke` and its coroutine under `ainvoke`. Here the sync function hands
the coroutine to one background event loop of the process and waits: one implementation, one set of connection pools.
Context variables travel along, because stream writers, trace parents, the runtime and spending caps live in them.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.errors import GraphBubbleUp, InvalidUpdateError

from nodes.errors import SurefootError, UnexpectedError
from state import redact, scrub

T = TypeVar("T")
NodeFunction = Callable[[Any, RunnableConfig], Awaitable[Any]]

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of the background thread, started at first use; it lives as long as the process."""
    global _loop, _thread  # noqa: PLW0603 - one loop for the process, made at first use
    with _lock:
        if _loop is None or _loop.is_closed():
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_loop.run_forever, name="surefoot-loop", daemon=True)
            _thread.start()
        return _loop


def _forget_loop() -> None:
    """A forked child has the loop but not its thread: it starts one of its own."""
    global _loop, _lock
    _loop, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_loop)


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on the background loop and wait for it; an interrupt of the waiting thread cancels it."""
    loop = background_loop()
    if threading.current_thread() is _thread:
        coroutine.close()
        raise SurefootError(
            "a blocking call was made on Surefoot's event loop, it would wait for itself: use the async twin"
        )
    context = contextvars.copy_context()
    done: concurrent.futures.Future[T] = concurrent.futures.Future()
    task: asyncio.Task[T] | None = None

    def start() -> None:
        nonlocal task
        task = loop.create_task(coroutine, context=context)
        task.add_done_callback(finish)

    def finish(ended: asyncio.Task[T]) -> None:
        if ended.cancelled():
            done.cancel()
        elif (error := ended.exception()) is not None:
            done.set_exception(error)
        else:
            done.set_result(ended.result())

    def cancel() -> None:
        if task is not None:
            task.cancel()

    loop.call_soon_threadsafe(start)
    try:
        return done.result()
    except BaseException:
        loop.call_soon_threadsafe(cancel)
        raise


def node(function: NodeFunction, name: str) -> RunnableLambda[Any, Any]:
    """Make a graph node of a coroutine function `(state, config)` that works under `invoke` and `ainvoke`."""

    async def running(state: Any, config: RunnableConfig) -> Any:
        return await function(state, config)

    def blocking(state: Any, config: RunnableConfig) -> Any:
        return run_sync(running(state, config))

    return RunnableLambda(blocking, afunc=running, name=name)


class Route(Runnable[Any, str]):
    """Chooses the next node, on the loop itself: a function that must not block.

    LangGraph stores what a node has written also when the run is cancelled before its route was taken, and goes on
    after it without one: the graph would end as if it had succeeded. Between the two nothing may give way.
    """

    name: str | None = "route"

    def __init__(self, choose: Callable[[Any], str]) -> None:
        self.choose = choose

    def __call__(self, state: Any) -> str:
        """Choose."""
        return self.choose(state)

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> str:  # noqa: ARG002
        """Choose."""
        return self.choose(input)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> str:  # noqa: ARG002
        """Choose."""
        return self.choose(input)


@contextmanager
def redacting(name: str) -> Iterator[None]:
    """Redact what is raised inside the block: LangGraph stores the raw text of what a node raises.

    Errors of ours keep their type and lose only secrets; anything unknown becomes an `UnexpectedError`.
    """
    try:
        yield
    except (GraphBubbleUp, InvalidUpdateError):
        raise
    except SurefootError as error:
        error.args = (scrub(str(error)),)
        raise
    except Exception as error:
        raise UnexpectedError(f"{name}: {type(error).__name__}: {redact(str(error))}") from None


async def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run a function in a thread of its own and wait for it.

    Not the loop's pool: functions that hang would fill it, and everything else would wait behind them. A thread that
    never comes back is left behind and does not keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type] # None is a result like any other

    def work() -> None:
        result: T | None = None
        failed: BaseException | None = None
        try:
            result = context.run(function, *args)
        except StopIteration as error:
            failed = RuntimeError(f"StopIteration: {error}")
        except BaseException as error:
            failed = error
        # The loop may have ended meanwhile; then nobody waits any more.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=work, name="surefoot-task", daemon=True).start()
    return await done


def thread_of(config: RunnableConfig) -> str:
    """Return the thread id of a run, or an empty string where there is none."""
    return str(config.get("configurable", {}).get("thread_id", ""))


def has_saver(config: RunnableConfig) -> bool:
    """Tell whether the graph runs with a checkpointer; LangGraph hands it down under a private key."""
    return bool(config.get("configurable", {}).get("__pregel_checkpointer"))
