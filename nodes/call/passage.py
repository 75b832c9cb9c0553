"""What lies between leave to send a request and its settlement, whoever sends it and however."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from nodes import events
from nodes.call.charge import Charge
from nodes.call.current import get_guard
from nodes.call.guard import Admission, Request
from nodes.call.hedge import Try
from nodes.call.queueing import Queueing
from nodes.call.reply import Usage


@dataclass
class Passage:
    """One admitted request."""

    admission: Admission
    charge: Charge
    """What it costs; whoever sends the request replaces it once that is known."""
    kept: dict[str, Any] | None = None
    """The answer as JSON-able data, to be kept for a replay."""
    taken_s: float | None = None
    """Seconds that the answer took, where that is less than the passage did: the reader of a stream takes his time."""

    @property
    def replay(self) -> dict[str, Any] | None:
        """The answer that was kept: then nothing may be sent."""
        return self.admission.replay

    @property
    def timeout_s(self) -> float:
        """Time limit of the request in seconds."""
        return self.admission.timeout_s


@asynccontextmanager
async def passage(request: Request, usage: Usage, clock: Queueing, one: Try | None = None) -> AsyncIterator[Passage]:
    """Admit a request, and settle it once however the block ends.

    Raises what `Guard.admit` raises. `usage` is added to; `clock` stands still until the request is
    admitted, and is given its time limit then.
    """
    guard = get_guard()
    with clock.waiting():
        admission = await guard.admit(request)
    # Whatever ends this without an answer or a refusal may have been billed, so it starts as the worst case.
    way = Passage(admission, Charge("cancelled", request.worst_microusd, unmetered=True))
    if way.replay is not None:
        usage.replayed += 1
        try:
            yield way
        finally:
            usage.add(way.charge)
        return
    began = time.monotonic()
    usage.calls += 1
    usage.timeout_s = admission.timeout_s
    clock.allow(admission.timeout_s)
    if one is not None:
        one.admitted(admission)
        if one.hedge:
            usage.hedged += 1
            events.emit(events.CallHedged(*events.place_of(request)))
    try:
        yield way
    finally:
        usage.add(way.charge)
        taken = time.monotonic() - began if way.taken_s is None else way.taken_s
        lost = one is not None and one.lost
        settlement = way.charge.settlement(taken, admission.timeout_s, answer=way.kept, lost=lost)
        await guard.settle(admission, settlement)
