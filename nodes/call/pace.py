"""The pace of a stream: how long its first token may take, each further one, and all of them."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import TypeVar

from nodes.errors import CallTimeout
from nodes.loading import Clock

T = TypeVar("T")


@dataclass
class Pace:
    """Time limits of one streamed answer, and the time that it took, in seconds."""

    first_s: float
    """Until the first token; a model that thinks before it speaks may need most of the time."""
    gap_s: float
    """Between two tokens: a stream that has begun and stands still is dead long before its whole time is over."""
    total_s: float
    waited_s: float = 0.0
    """Time spent waiting for the stream so far, without what its reader did in between."""


async def paced(chunks: AsyncIterator[T], pace: Pace, speaks: Callable[[T], bool]) -> AsyncGenerator[T, None]:
    """Pass chunks on; raises `CallTimeout` when one of the limits is broken.

    `speaks` tells a chunk with a token from one that only opens the stream. Only waiting for the stream is timed, not
    what its reader does with a chunk.
    """
    left, begun = pace.first_s, False
    while True:
        whole = pace.total_s - pace.waited_s
        asked = time.monotonic()
        try:
            async with Clock(max(0.0, min(left, whole))):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise CallTimeout(_told(pace, begun=begun, whole=whole <= left)) from None
        finally:
            waited = time.monotonic() - asked
            pace.waited_s += waited
        begun = begun or speaks(chunk)
        left = pace.gap_s if begun else left - waited
        yield chunk


def _told(pace: Pace, *, begun: bool, whole: bool) -> str:
    if whole:
        return f"the stream took longer than {pace.total_s:g} s"
    if begun:
        return f"the stream stood still for {pace.gap_s:g} s"
    return f"no token within {pace.first_s:g} s"
