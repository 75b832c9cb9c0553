"""The cap of a command, and what calls of one run have reserved between two checkpoints."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Literal

from nodes.call.bell import Bell

Room = Literal["free", "reserved_out", "spent_out"]
"""Whether an amount fits: now, once calls in flight have settled, or never."""

_money = threading.Lock()
"""Guards every budget: a reservation looks at several, and one lock cannot deadlock."""


class CommandBudget:
    """What one command may spend and has spent, in micro-dollars; shared by all threads and loops of the command."""

    def __init__(self, limit_microusd: int | None, outer: CommandBudget | None = None) -> None:
        if limit_microusd is not None and limit_microusd < 0:
            raise ValueError("a spending cap cannot be negative")
        self.limit_microusd = limit_microusd
        self.outer = outer
        self.changed: Bell = outer.changed if outer else Bell()
        self.spent_microusd = 0
        """Micro-dollars of settled calls."""
        self.reserved_microusd = 0
        """Micro-dollars held for calls in flight."""

    def reserve(self, amount: int) -> Room:
        """Hold an amount here and in the budgets around, or nowhere; tell whether that was possible."""
        with _money:
            rooms = [budget.room(amount) for budget in self._chain()]
            if "spent_out" in rooms:
                return "spent_out"
            if "reserved_out" in rooms:
                return "reserved_out"
            for budget in self._chain():
                budget.reserved_microusd += amount
            return "free"

    def settle(self, reserved: int, cost: int) -> None:
        """Replace a reservation by what the call did cost."""
        with _money:
            for budget in self._chain():
                budget.reserved_microusd -= reserved
                budget.spent_microusd += cost
        self.changed.ring()

    def _chain(self) -> Iterator[CommandBudget]:
        budget: CommandBudget | None = self
        while budget is not None:
            yield budget
            budget = budget.outer

    def room(self, amount: int) -> Room:
        """Tell whether an amount fits into this budget alone."""
        if self.limit_microusd is None or amount == 0:
            return "free"
        left = self.limit_microusd - self.spent_microusd
        if amount > left:
            return "spent_out"
        return "reserved_out" if amount > left - self.reserved_microusd else "free"


_command: ContextVar[CommandBudget | None] = ContextVar("surefoot_command_budget", default=None)


@contextmanager
def spending_cap(microusd: int | None) -> Iterator[CommandBudget]:
    """Cap what all calls inside the block spend together, in micro-dollars; None only counts.

    It lives in a context variable, so it holds in tasks that the block starts and on the background loop. A cap inside
    another one counts in both. Calls that no longer fit raise `BudgetSpent`.
    """
    budget = CommandBudget(microusd, _command.get())
    token = _command.set(budget)
    try:
        yield budget
    finally:
        _command.reset(token)


def command_budget() -> CommandBudget | None:
    """Return the budget of the current command, if it has one."""
    return _command.get()


LEDGER_SIZE: Final = 10_000
"""Accounts that are remembered, the least recently used are dropped: only runs in flight need theirs."""


@dataclass
class _Account:
    base: int
    since: int = 0
    reserved: int = 0


class Ledger:
    """What was reserved and settled since the state of a run last told what it had spent.

    A run's state learns of costs at the end of a superstep. Calls that run side by side see the same old figure, so
    the guard adds what it has seen itself since that figure was new.
    """

    def __init__(self) -> None:
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def used(self, key: str, base: int) -> int:
        """Return what is spent or held under a key, in micro-dollars; `base` is what the state says is spent."""
        account = self._account(key, base)
        return account.base + account.since + account.reserved

    def reserve(self, key: str, base: int, amount: int) -> None:
        """Hold an amount."""
        self._account(key, base).reserved += amount

    def settle(self, key: str, reserved: int, cost: int) -> None:
        """Replace a reservation by what the call did cost."""
        if (account := self._accounts.get(key)) is not None:
            account.reserved = max(0, account.reserved - reserved)
            account.since += cost

    def _account(self, key: str, base: int) -> _Account:
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = _Account(base)
            while len(self._accounts) > LEDGER_SIZE:
                self._accounts.popitem(last=False)
        elif account.base != base:
            # A new checkpoint, or the run begins anew: what had settled is in the figure. What is in flight stays.
            account.base, account.since = base, 0
        self._accounts.move_to_end(key)
        return account
