"""What one request is charged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from nodes.call.chat import Answer
from nodes.call.classify import EndpointRefusal, never_connected, never_sent
from nodes.call.guard import HaltScope, Settlement
from nodes.call.prices import Price
from nodes.errors import CallError, ConfigurationError
from state import Outcome

LATE: Final = 0.9
"""Part of its time limit after which a cancelled request counts as timed out."""


@dataclass(frozen=True)
class Charge:
    """How a request ended and what it is charged: decided once, for the attempt's usage and the guard's settlement.

    A request that ended without an answer or a refusal (a timeout, a broken connection, a cancellation) may have been
    billed in full, so it is charged at its worst case: a cap that trusted the absence of an answer would not hold.
    """

    outcome: Outcome | Literal["cancelled"]
    cost: int
    tokens_in: int = 0
    tokens_out: int = 0
    unmetered: bool = False
    halt: HaltScope | None = None
    error: str = ""
    retry_after: float | None = None
    """Seconds that the endpoint asked to wait."""
    unreached: bool = False
    """True when no connection to the endpoint was made."""

    @classmethod
    def of_answer(cls, answer: Answer, cost: Price, worst: int) -> Charge:
        """Charge what the endpoint says was used, or the worst case when it does not say."""
        if answer.usage is None:
            return cls("ok", worst, unmetered=True)
        return cls("ok", cost.actual(answer.usage), answer.usage.input, answer.usage.output)

    @classmethod
    def of_failure(cls, raw: Exception, error: CallError | ConfigurationError, worst: int) -> Charge:
        """Charge nothing for what an endpoint refused or never saw; anything else may have been billed."""
        nothing = never_sent(raw)
        outcome: Outcome = error.outcome if isinstance(error, CallError) else "permanent"
        halt = error.scope if isinstance(error, EndpointRefusal) else None
        wait = error.retry_after if isinstance(error, CallError) else None
        cost = 0 if nothing else worst
        return cls(
            outcome, cost, unmetered=not nothing, halt=halt, error=str(error), retry_after=wait,
            unreached=never_connected(raw),
        )  # fmt: skip

    def settlement(
        self, latency_s: float, timeout_s: float, *, answer: dict[str, Any] | None = None, lost: bool = False
    ) -> Settlement:
        """Return it as the guard takes it; `answer` is kept for a replay, `lost` marks the slower of two."""
        # The time limit of the attempt ends with that of its request, and cancels it: it is as slow as any timeout.
        late = self.outcome == "cancelled" and not lost and latency_s >= LATE * timeout_s
        return Settlement(
            outcome="timeout" if late else self.outcome,
            cost_microusd=self.cost,
            latency_s=latency_s,
            tokens_in=self.tokens_in,
            tokens_out=self.tokens_out,
            unmetered=self.unmetered,
            halt=self.halt,
            error=self.error,
            retry_after_s=self.retry_after,
            answer=answer,
            unreached=self.unreached,
            lost=lost,
        )
