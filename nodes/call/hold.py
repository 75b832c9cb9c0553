"""What a request holds in this process: money of its command, its run and its step."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from nodes.call.budget import CommandBudget, Ledger
from nodes.call.guard import Request
from nodes.errors import BudgetSpent, OverBudget


@dataclass
class Hold:
    """A reservation under the local caps."""

    request: Request
    budget: CommandBudget | None
    room: list[tuple[str, int]] = field(default_factory=list)
    """What the caps of step and run have left without it, in micro-dollars."""


class LocalCaps:
    """The caps of command, run and step; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ledger = Ledger()

    def hold(self, request: Request, budget: CommandBudget | None) -> Hold | None:
        """Reserve the worst case of a request, None while calls in flight hold what is left of the command's cap.

        Raises `OverBudget` for the cap of a step or run, `BudgetSpent` for the command's.
        """
        worst = request.worst_microusd
        with self._lock:
            if worst:
                self._check(request)
                fits = budget.reserve(worst) if budget else "free"
                if fits == "spent_out":
                    raise BudgetSpent(_spent_out(budget, worst))
                if fits == "reserved_out":
                    return None
            room = []
            for cap in request.caps:
                room.append((cap.name, cap.limit_microusd - self._ledger.used(cap.key, cap.spent_microusd)))
                self._ledger.reserve(cap.key, cap.spent_microusd, worst)
        return Hold(request, budget, room)

    def settle(self, hold: Hold, cost: int, *, paid_before: bool = False) -> None:
        """Replace a reservation by what was spent; what was paid before is not charged to the command again."""
        worst = hold.request.worst_microusd
        with self._lock:
            for cap in hold.request.caps:
                self._ledger.settle(cap.key, worst, cost)
        if hold.budget is not None and (worst or cost):
            hold.budget.settle(worst, 0 if paid_before else cost)

    def _check(self, request: Request) -> None:
        for cap in request.caps:
            used = self._ledger.used(cap.key, cap.spent_microusd)
            if used + request.worst_microusd > cap.limit_microusd:
                raise OverBudget(
                    f"the call may cost {usd(request.worst_microusd)}, but its {cap.name} has "
                    f"{usd(max(0, cap.limit_microusd - used))} left of {usd(cap.limit_microusd)}"
                )


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
