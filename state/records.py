"""Records that every run carries: attempts, failures, verdicts, provenance, spend.

All of them are plain data: channels store their JSON form, so a checkpoint can be read without this code.
Fields have defaults and are only ever loosened between versions, so that old threads stay readable.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

from state.redaction import Redacted

Outcome = Literal[
    "ok",
    "throttled",
    "transient",
    "timeout",
    "invalid_output",
    "gate_failed",
    "refused",
    "truncated",
    "over_budget",
    "breaker_open",
    "throttled_locally",
    "retry_budget_spent",
    "permanent",
    "crashed",
]
"""How one attempt ended."""


class Record(BaseModel):
    """Base of all records: unknown fields are kept out, values never appear in validation errors."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class Attempt(Record):
    """One attempt of one step, kept for good: the list of attempts is the story of the run."""

    step: str = ""
    member: str = ""
    """Which member of a group; empty for a step of its own."""
    visit: NonNegativeInt = 0
    """Turn or regeneration: attempts are counted anew in each."""
    n: NonNegativeInt = 1
    """1 for the first attempt of a visit."""
    entry: str = ""
    """Entry of the fallback ladder as the policy or the context named it, such as `openai:gpt-4.1`."""
    provider: str = ""
    model: str = ""
    variant: str = ""
    outcome: Outcome = "ok"
    started_at: float = 0.0
    """Seconds since the epoch."""
    latency_ms: NonNegativeInt = 0
    """What the attempt took, without the time that it waited for admission."""
    queued_ms: NonNegativeInt = 0
    """What its requests waited for admission: for a place, for money, or held back by the throttle."""
    timeout_ms: NonNegativeInt = 0
    tokens_in: NonNegativeInt = 0
    tokens_out: NonNegativeInt = 0
    calls: NonNegativeInt = 0
    """Requests sent to an endpoint; 0 for an embedded provider."""
    held: bool = False
    """True when the guard held it back and nothing was sent: it uses up no retry."""
    repaired: NonNegativeInt = 0
    """Answers of this attempt that were read by more than strict JSON."""
    reasked: NonNegativeInt = 0
    """Answers of this attempt that did not fit and were asked for once more."""
    replayed: NonNegativeInt = 0
    """Answers of this attempt that were known from before a crash; their cost was paid once and is counted here."""
    hedged: NonNegativeInt = 0
    """Second requests of this attempt, sent because the first was slow."""
    cost_microusd: NonNegativeInt = 0
    wait_ms: NonNegativeInt = 0
    """Time that the retry node waited before this attempt."""
    error: Redacted = ""

    @property
    def key(self) -> tuple[str, str, int, int]:
        """What makes an attempt unique in its thread."""
        return (self.step, self.member, self.visit, self.n)


class Decision(Record):
    """What the retry node chose for a failure."""

    action: Literal["again", "fallback", "escalate", "give_up"]
    at: float = 0.0
    """Absolute time of the next attempt, in seconds since the epoch (`again` and `fallback`)."""
    made_at: float = 0.0
    """When it was made, by the same clock: what lies between is how long to wait, whatever another clock says."""
    provider: str = ""
    """Provider of the next attempt."""
    reason: str = ""


class Failure(Record):
    """A failure that is not dealt with yet: it waits in `RunState.failures` for the retry node."""

    step: str = ""
    outcome: Outcome = "crashed"
    error: Redacted = ""
    retryable: bool = False
    retry_after: float | None = None
    """Seconds that the endpoint asked to wait."""
    failed_at: float = 0.0
    visit: NonNegativeInt = 0
    decision: Decision | None = None
    released: bool = False
    """True once the wait is over and the step may run."""
    escalate: bool = False
    """True when a person has to look at it before anything else is tried."""


class DecisionMade(Record):
    """A decision of the retry node, kept for good: why it was made, what was tried before it and what comes after.

    `Failure.decision` says what to do and goes away once the failure is settled; this stays to be explained.
    """

    step: str = ""
    member: str = ""
    visit: NonNegativeInt = 0
    attempt: NonNegativeInt = 0
    """Attempt of that visit that the decision is about."""
    action: Literal["again", "fallback", "escalate", "give_up"] = "again"
    outcome: Outcome = "crashed"
    """How the attempt failed; `gate_failed` when its answer came and a gate refused it."""
    before: Redacted = ""
    """Entry of the ladder that was tried."""
    after: Redacted = ""
    """Entry that is tried next, or the node that the run goes to."""
    at: float = 0.0
    """Seconds since the epoch at which it was decided."""
    until: float = 0.0
    """Absolute time of the next attempt in seconds since the epoch; 0 where there is none."""
    retry_after: float | None = None
    """Seconds that the endpoint asked to wait."""
    reason: Redacted = ""


class Verdict(Record):
    """What a gate found about one version of an output."""

    gate: str = ""
    check: str = ""
    visit: NonNegativeInt = 0
    attempt: NonNegativeInt = 0
    """Attempt of that visit that made the version: a fallback has the same visit and another attempt."""
    passed: bool = True
    action: Literal["pass", "regenerate", "fallback", "escalate", "record"] = "pass"
    detail: Redacted = ""
    at: float = 0.0


class Provenance(Record):
    """Where the value of a field came from."""

    step: str = ""
    visit: NonNegativeInt = 0
    attempt: NonNegativeInt = 0
    provider: str = ""
    """A provider's name, `person`, `default` or `rule`."""
    model: str = ""
    variant: str = ""
    input_hash: str = ""
    """Hash of the inputs that the value was derived from."""


class Spend(Record):
    """What one step has cost so far, over all its attempts."""

    calls: NonNegativeInt = 0
    tokens_in: NonNegativeInt = 0
    tokens_out: NonNegativeInt = 0
    cost_microusd: NonNegativeInt = Field(default=0)
