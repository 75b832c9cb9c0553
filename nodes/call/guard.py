"""The seam between a call and everything shared between calls: one `admit` before a request, one `settle` after.

Requests, admissions and settlements are plain JSON-able data, so that a guard may keep its state in another process.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from nodes.call.bell import Bell
from nodes.call.budget import CommandBudget, Ledger, command_budget
from nodes.errors import BudgetSpent, ConfigurationError, OverBudget, Throttled
from state import Outcome

HALT_S: Final = 30.0
"""Seconds that an endpoint which refused a key or a model is left alone before one call tries again: long enough to
stop a crowd, short enough for somebody who has just fixed the account."""

RESERVED_OUT_POLL_S: Final = 0.25
"""Longest sleep of a call that waits for others to settle; normally it is woken sooner."""

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
    caps: tuple[Cap, ...] = ()


@dataclass(frozen=True)
class Admission:
    """Leave to send one request."""

    id: str
    request: Request
    timeout_s: float
    """Time limit of this request in seconds."""
    reserved_microusd: int


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


class Guard(Protocol):
    """Decides whether a request may be sent, and learns how it ended."""

    async def admit(self, request: Request) -> Admission:
        """Reserve the worst case of a request, waiting if need be.

        Raises `ConfigurationError` for an endpoint that refused key or model, `OverBudget` when a step's or run's cap
        is too small, `BudgetSpent` when the command's is, `Throttled` when it stays reserved by others until the
        timeout.
        """
        ...

    async def settle(self, admission: Admission, settlement: Settlement) -> None:
        """Release the reservation and charge the real cost; a second time does nothing."""
        ...


@dataclass
class _Halt:
    error: str
    until: float


@dataclass
class _Open:
    request: Request
    reserved: int
    budget: CommandBudget | None
    caps: list[str] = field(default_factory=list)


class MemoryGuard:
    """A guard for one process: thread-safe, and independent of event loops."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, halt_s: float = HALT_S) -> None:
        self._clock = clock
        self._halt_s = halt_s
        self._lock = threading.Lock()
        self._halts: dict[tuple[str, str], _Halt] = {}
        self._open: dict[str, _Open] = {}
        self._ledger = Ledger()
        self._unbudgeted = Bell()

    @property
    def in_flight(self) -> int:
        """Requests that are admitted and not settled."""
        with self._lock:
            return len(self._open)

    async def admit(self, request: Request) -> Admission:
        """Reserve the worst case of a request; see `Guard.admit`."""
        budget = command_budget()
        give_up_at = time.monotonic() + request.timeout_s
        bell = budget.changed if budget else self._unbudgeted
        with bell.listening() as ear:
            while (admission := self._try(request, budget)) is None:
                left = give_up_at - time.monotonic()
                if left <= 0:
                    raise Throttled("the cap of the command is reserved by calls in flight")
                await ear.heard(min(RESERVED_OUT_POLL_S, left))
        # No await from here on: a cancelled caller must not lose an admission that was granted.
        return admission

    async def settle(self, admission: Admission, settlement: Settlement) -> None:
        """Release the reservation and charge the real cost; a second time does nothing."""
        if settlement.cost_microusd < 0:
            raise ValueError("a cost cannot be negative")
        with self._lock:
            entry = self._open.pop(admission.id, None)
            if entry is None:
                return
            for key in entry.caps:
                self._ledger.settle(key, entry.reserved, settlement.cost_microusd)
            self._learn(entry.request, settlement)
        if entry.budget is not None:
            entry.budget.settle(entry.reserved, settlement.cost_microusd)

    def _try(self, request: Request, budget: CommandBudget | None) -> Admission | None:
        """Admit, refuse, or return None when calls in flight hold what is left."""
        with self._lock:
            self._check_halts(request)
            worst = request.worst_microusd
            if worst:
                self._check_caps(request)
                room = budget.reserve(worst) if budget else "free"
                if room == "spent_out":
                    raise BudgetSpent(_spent_out(budget, worst))
                if room == "reserved_out":
                    return None
            admission = Admission(uuid.uuid4().hex, request, request.timeout_s, worst)
            for cap in request.caps:
                self._ledger.reserve(cap.key, cap.spent_microusd, worst)
            self._open[admission.id] = _Open(request, worst, budget, [cap.key for cap in request.caps])
            return admission

    def _check_caps(self, request: Request) -> None:
        for cap in request.caps:
            used = self._ledger.used(cap.key, cap.spent_microusd)
            if used + request.worst_microusd > cap.limit_microusd:
                raise OverBudget(
                    f"the call may cost {usd(request.worst_microusd)}, but its {cap.name} has "
                    f"{usd(max(0, cap.limit_microusd - used))} left of {usd(cap.limit_microusd)}"
                )

    def _check_halts(self, request: Request) -> None:
        now = self._clock()
        for key in ((request.key_id, ""), (request.key_id, request.model)):
            halt = self._halts.get(key)
            if halt is None:
                continue
            if now < halt.until:
                raise ConfigurationError(halt.error)
            # This call is the probe; if its process dies with it, another one tries after the same time.
            halt.until = now + max(self._halt_s, request.timeout_s)

    def _learn(self, request: Request, settlement: Settlement) -> None:
        keys = {"key": (request.key_id, ""), "model": (request.key_id, request.model)}
        if settlement.halt is not None:
            self._halts[keys[settlement.halt]] = _Halt(settlement.error, self._clock() + self._halt_s)
        if settlement.halt == "model" or settlement.outcome == "ok":
            # An answer about the model proves the key.
            self._halts.pop(keys["key"], None)
        if settlement.outcome == "ok":
            self._halts.pop(keys["model"], None)


def usd(microusd: int) -> str:
    """Write micro-dollars for people: `$0.0021`."""
    digits = f"{microusd / 1_000_000:.6f}".rstrip("0")
    whole, _, cents = digits.partition(".")
    return f"${whole}.{cents.ljust(2, '0')}"


def _spent_out(budget: CommandBudget | None, worst: int) -> str:
    chain: list[CommandBudget] = []
    while budget is not None:
        chain.append(budget)
        budget = budget.outer
    tightest = min((b for b in chain if b.limit_microusd is not None), key=_left)
    return (
        f"the command may spend {usd(tightest.limit_microusd or 0)} and has spent {usd(tightest.spent_microusd)}; the "
        f"next call may cost {usd(worst)}: raise the cap (--max-cost or SUREFOOT_MAX_COST_USD) and resume"
    )


def _left(budget: CommandBudget) -> int:
    return (budget.limit_microusd or 0) - budget.spent_microusd


_guard_lock = threading.Lock()
_guard: Guard | None = None


def get_guard() -> Guard:
    """Return the guard of the process, a `MemoryGuard` unless another one was set."""
    global _guard  # noqa: PLW0603 - one guard for the process, made at first use
    with _guard_lock:
        if _guard is None:
            _guard = MemoryGuard()
        return _guard


def set_guard(guard: Guard | None) -> None:
    """Use another guard from now on; None makes a new `MemoryGuard` at the next use."""
    global _guard  # noqa: PLW0603 - one guard for the process, see get_guard
    with _guard_lock:
        _guard = guard
