"""The seam between a call and everything shared between calls: one `admit` before a request, one `settle` after.

Requests, admissions and settlements are plain JSON-able data, so that a guard may keep its state in another process.
`MemoryGuard` keeps it in this one, `RedisGuard` in Redis for all processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from nodes.call.limits import Limits
from state import Outcome

HaltScope = Literal["key", "model"]
"""What an endpoint refused: the key (with everything under it), or one model."""


@dataclass(frozen=True)
class Cap:
    """A limit that a call must fit into, such as that of its step or its run."""

    name: str
    """For messages: `step` or `run`."""
    key: str
    """What the reservations of calls side by side are added up under."""
    limit_microusd: int
    spent_microusd: int
    """What the state of the run says is spent."""


@dataclass(frozen=True)
class Request:
    """A call that asks to be sent."""

    endpoint: str
    """Host and port."""
    model: str
    key_id: str
    """Identifies address and API key without telling them."""
    step: str
    thread: str
    tenant: str
    worst_microusd: int
    """Upper bound of the cost; 0 for a free call, which no budget refuses."""
    timeout_s: float
    """Time limit in seconds as long as the guard has learned no better one."""
    caps: tuple[Cap, ...] = ()
    ceiling_s: float | None = None
    """Highest time limit in seconds; None is the guard's (`Limits.ceiling_of`)."""
    max_tokens: int = 512
    """Longest answer in tokens; calls of a kind are told apart by it."""
    call_id: str = ""
    """Identifies the call over replays of its step; empty for one whose answer is not kept."""
    prompt_hash: str = ""
    """Identifies the prompt without telling it; empty for one that is not counted."""
    retry: bool = False
    """Whether a request for the same purpose was sent before: a later attempt, a reask, a hedge."""
    patience_s: float = 0.0
    """Seconds that it waits for an endpoint that is down or refuses most requests; 0 does not wait for one that is
    down."""
    hedge: bool = False
    """Whether the first request is still under way."""


@dataclass(frozen=True)
class Admission:
    """Leave to send one request."""

    id: str
    request: Request
    timeout_s: float
    """Time limit of this request in seconds."""
    reserved_microusd: int
    p95_s: float | None = None
    """Latency in seconds that 95 % of calls of its kind stay below; None while that is not known."""
    probe: bool = False
    """Whether this request finds out for all others if an endpoint works again."""
    replay: dict[str, Any] | None = None
    """The answer that was given to this very call before: nothing is sent, and nothing is to be settled."""


@dataclass(frozen=True)
class Settlement:
    """How an admitted request ended."""

    outcome: Outcome | Literal["cancelled"]
    """`ok` when an answer came, whatever it is worth."""
    cost_microusd: int
    latency_s: float
    tokens_in: int = 0
    tokens_out: int = 0
    unmetered: bool = False
    """True when the endpoint did not tell the usage and the cost is the worst case."""
    halt: HaltScope | None = None
    """What the endpoint refused for good, with the reason in `error`."""
    error: str = ""
    retry_after_s: float | None = None
    """Seconds that the endpoint asked to wait."""
    answer: dict[str, Any] | None = None
    """The answer as JSON-able data, kept for a replay of the same call."""
    lost: bool = False
    """True for the slower of two hedged requests: it took at least its latency."""
    connected: bool = True
    """False when no connection to the endpoint was made."""


@dataclass(frozen=True)
class CapReport:
    """What has become of a day's cap, in micro-dollars."""

    name: str
    """`day`, or `tenant:` and the tenant."""
    date: str
    """The day (UTC), as 2026-01-31."""
    spent: int
    """What settled calls did cost."""
    reserved: int
    """What calls under way may cost."""
    unknown: int
    """What calls may have cost that ended without a word, because their process died."""
    unknown_calls: int
    unknown_since: float
    """When the first of these was given up, in seconds since the epoch; 0 without any."""
    limit: int | None = None
    """The cap; None where this guard has none of this name."""


class Guard(Protocol):
    """Decides whether a request may be sent, and learns how it ended."""

    @property
    def limits(self) -> Limits:
        """The knobs of this guard."""
        ...

    async def admit(self, request: Request) -> Admission:
        """Reserve what a request may need, waiting in line if need be.

        Raises `ConfigurationError` for an endpoint that refused key or model, `BudgetSpent` when the cap of the command
        or a day is spent, `GuardUnavailable` when the shared state cannot be reached; and the `CallError`s `OverBudget`
        (step or run), `Runaway`, `RetriesSpent`, `BreakerOpen` (with `EndpointLost` and `EndpointDown`),
        `ThrottledLocally` (the endpoint refuses most requests) and `Throttled` (a place or money was not free until the
        timeout, or the endpoint asked to be left alone). A request with patience waits for an endpoint that is down.
        """
        ...

    async def settle(self, admission: Admission, settlement: Settlement) -> None:
        """Give back what was reserved and charge the real cost; a second time does nothing."""
        ...

    async def keep(self, thread: str, call_id: str, answer: dict[str, Any]) -> None:
        """Keep an answer for a replay that came with no request of its own, such as a part of a batch.

        Raises `GuardUnavailable` when the shared state cannot be reached, as do `recall` and `forget`.
        """
        ...

    async def recall(self, thread: str, call_id: str) -> dict[str, Any] | None:
        """Return an answer that was kept, None where there is none."""
        ...

    async def forget(self, thread: str) -> None:
        """Drop what is kept for a thread, so that the next run asks anew: answers, and calls of unknown outcome."""
        ...

    async def caps(self, settle: Mapping[str, int] | None = None, date: str = "") -> list[CapReport]:
        """Return what has become of the caps of a day (today's without one).

        `settle` names caps and what their unknown calls did cost together, in micro-dollars: it becomes spent, and
        nothing of theirs is unknown any more. Raises `GuardUnavailable` when the shared state cannot be reached.
        """
        ...
