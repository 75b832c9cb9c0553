"""Ctrl-C and SIGTERM: the first one drains a run, the second one ends the process at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from surefoot.progress import Board

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def draining(stop: asyncio.Event, board: Board) -> Iterator[None]:
    """Set `stop` at the first Ctrl-C or SIGTERM, and end the process at the second.

    The handlers stay when the block ends, because the second signal may come while the summary is made; `main` puts
    the earlier ones back with `handlers_restored`.
    """
    loop, asked, running = asyncio.get_running_loop(), False, True

    def stopped(number: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            # This may interrupt anything, a write to stderr too, which must not be entered twice.
            with suppress(Exception):
                board.close()
                os.write(2, b"surefoot: ended at once; what was finished is kept\n")
            os._exit(128 + number)
        asked = True
        if running:
            loop.call_soon_threadsafe(drain)

    def drain() -> None:
        stop.set()
        board.stopping("stopping: calls under way are finished and kept; Ctrl-C again ends at once")

    for number in SIGNALS:
        signal.signal(number, stopped)
    try:
        yield
    finally:
        running = False


@contextmanager
def handlers_restored() -> Iterator[None]:
    """Put back, in the end, the signal handlers that `draining` has replaced inside the block."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler or signal.SIG_DFL)
