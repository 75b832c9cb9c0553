"""Events as Prometheus metrics.

Names follow OpenTelemetry's semantic conventions for generative AI where they have one; labels are names of steps,
models and endpoints, never of threads, so that their number stays small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import singledispatchmethod
from typing import Any, Final

from nodes import events
from nodes.events import Event

DURATION_BUCKETS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Seconds; the boundaries that OpenTelemetry advises for `gen_ai.client.operation.duration`."""
TOKEN_BUCKETS: Final = tuple(4**power for power in range(14))
"""Tokens; the boundaries that OpenTelemetry advises for `gen_ai.client.token.usage`."""
STATES: Final[Mapping[str, int]] = {"closed": 0, "half_open": 1, "open": 2}


class Metrics:
    """All metrics on a registry of their own; raises `ImportError` without the extra `telemetry`."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()

        def made(kind: Any, name: str, told: str, *labels: str, **more: Any) -> Any:
            return kind(name, told, labels, registry=self.registry, **more)

        self.duration = made(
            Histogram, "gen_ai_client_operation_duration_seconds", "Duration of model calls.",
            "gen_ai_request_model", "server_address", "error_type", buckets=DURATION_BUCKETS,
        )  # fmt: skip
        self.tokens = made(
            Histogram, "gen_ai_client_token_usage", "Tokens of an attempt.",
            "gen_ai_request_model", "gen_ai_token_type", buckets=TOKEN_BUCKETS,
        )  # fmt: skip
        self.attempts = made(Counter, "surefoot_attempts", "Attempts of steps.", "step", "provider", "outcome")
        self.cost = made(Counter, "surefoot_cost_usd", "US dollars spent on model calls.", "step", "model")
        self.retry_cost = made(Counter, "surefoot_retry_cost_usd", "US dollars spent on retries.", "step", "model")
        self.decisions = made(Counter, "surefoot_retry_decisions", "What followed failures.", "step", "action")
        self.verdicts = made(Counter, "surefoot_gate_verdicts", "Verdicts of gates.", "gate", "check", "passed")
        self.reviews = made(Counter, "surefoot_reviews_asked", "Questions to people.", "reason")
        self.decided = made(Counter, "surefoot_reviews_decided", "Answers of people.", "decision")
        self.in_flight = made(Gauge, "surefoot_calls_in_flight", "Admitted and not settled.", "server_address")
        self.refused = made(Counter, "surefoot_calls_refused", "Refused by the guard.", "server_address", "cause")
        self.hedged = made(Counter, "surefoot_calls_hedged", "Second requests for slow ones.", "step")
        self.replayed = made(Counter, "surefoot_calls_replayed", "Answered from the call ledger.", "step")
        self.breaker = made(
            Gauge, "surefoot_breaker_state", "0 closed, 1 half open, 2 open.", "server_address", "model"
        )
        self.budget = made(Gauge, "surefoot_retry_budget_empty", "1 while retries are refused.", "server_address")
        self.preparing = made(Gauge, "surefoot_preparing", "Loaded for the first time just now, by what it is.", "what")
        self.prepared = made(Counter, "surefoot_prepared", "Loaded, or failed to.", "what", "failed")
        self.limit = made(Gauge, "surefoot_concurrency_limit", "Calls at one time.", "server_address")

    def subscriber(self) -> Callable[[Event, float], None]:
        """Return what `EventQueue` calls."""
        return lambda event, _at: self.take(event)

    @singledispatchmethod
    def take(self, _event: Any) -> None:
        """Count an event; one that no metric is made of is left out."""

    @take.register
    def _(self, event: events.AttemptEnded) -> None:
        attempt = event.attempt
        self.attempts.labels(attempt.step, attempt.provider, attempt.outcome).inc()
        if attempt.calls:
            self.tokens.labels(attempt.model, "input").observe(attempt.tokens_in)
            self.tokens.labels(attempt.model, "output").observe(attempt.tokens_out)
            dollars = attempt.cost_microusd / 1_000_000
            self.cost.labels(attempt.step, attempt.model).inc(dollars)
            if attempt.n > 1:
                self.retry_cost.labels(attempt.step, attempt.model).inc(dollars)

    @take.register
    def _(self, event: events.RetryDecided) -> None:
        self.decisions.labels(event.step, event.decision.action).inc()

    @take.register
    def _(self, event: events.GateJudged) -> None:
        for verdict in event.verdicts:
            self.verdicts.labels(verdict.gate, verdict.check, str(verdict.passed).lower()).inc()

    @take.register
    def _(self, event: events.ReviewAsked) -> None:
        for reason in event.reasons:
            self.reviews.labels(reason).inc()

    @take.register
    def _(self, event: events.ReviewDecided) -> None:
        self.decided.labels(event.decision).inc()

    @take.register
    def _(self, event: events.CallAdmitted) -> None:
        self.in_flight.labels(event.endpoint).inc()

    @take.register
    def _(self, event: events.CallSettled) -> None:
        self.in_flight.labels(event.endpoint).dec()
        error = "" if event.outcome == "ok" else event.outcome
        self.duration.labels(event.model, event.endpoint, error).observe(event.latency_ms / 1000)

    @take.register
    def _(self, event: events.CallRefused) -> None:
        self.refused.labels(event.endpoint, event.cause).inc()

    @take.register
    def _(self, event: events.CallHedged) -> None:
        self.hedged.labels(event.step).inc()

    @take.register
    def _(self, event: events.CallReplayed) -> None:
        self.replayed.labels(event.step).inc()

    @take.register
    def _(self, event: events.BreakerChanged) -> None:
        self.breaker.labels(event.endpoint, event.model).set(STATES[event.after])

    @take.register
    def _(self, event: events.RetryBudgetChanged) -> None:
        self.budget.labels(event.endpoint).set(int(event.empty))

    @take.register
    def _(self, event: events.PreparingBegan) -> None:
        self.preparing.labels(event.what).inc()

    @take.register
    def _(self, event: events.PreparingEnded) -> None:
        self.preparing.labels(event.what).dec()
        self.prepared.labels(event.what, str(bool(event.error)).lower()).inc()

    @take.register
    def _(self, event: events.LimitChanged) -> None:
        self.limit.labels(event.endpoint).set(event.after)
