"""Records that every run carries: attempts, failures, verdicts, provenance, spend.

All of them are plain data: channels store their JSON form, so a checkpoint can be read without this code.
Fields have defaults and are only ever loosened between versions, so that old threads stay readable.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt

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

ERROR_LIMIT = 200
"""Most characters of an error text that are stored: enough to act on, too few to hold a document."""

SCAN_LIMIT = 4096
"""Most characters of a text that are searched for secrets; what follows is dropped before it is looked at."""

_SECRETS = (
    (
        re.compile(
            r"(?i)\b(authorization[\"']?\s{0,4}[:=]\s{0,4}[\"']?(?:basic|bearer|token)?)\s{1,4}"
            r"[^\s'\",;]+"
        ),
        r"\1 [redacted]",
    ),
    (re.compile(r"(?i)\b(bearer)\s{1,4}[\w.~+/=*-]{8,}"), r"\1 [redacted]"),
    # `api_key=x`, `"password": "x"`, `OPENAI_API_KEY: x`, `access_token='x'`, `API key provided: x`.
    (
        re.compile(
            r"(?i)((?:api[ _-]?key|token|passw(?:or)?d|secret|credentials?)(?: provided)?"
            r"[\"']?\s{0,4}[=:]\s{0,4})"
            r"(?:\"[^\"]*\"?|'[^']*'?|[^\s'\",;)}\]]+)"
        ),
        r"\1[redacted]",
    ),
    (re.compile(r"\b(?:sk|pk|rk|gsk|xoxb|xoxp|ghp|gho|github_pat|glpat|key)[-_][\w\-*.]{6,}"), "[redacted]"),
    (re.compile(r"\bAKIA[A-Z0-9]{12,}"), "[redacted]"),
    (re.compile(r"\beyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?"), "[redacted]"),
    (re.compile(r"://[^\s/@]{1,200}@"), "://[redacted]@"),
    (re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"), "[e-mail]"),
    (re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"), "[number]"),
    (re.compile(r"(?<!\w)\+?\d(?:[ ()./-]{0,2}\d){8,18}(?!\w)"), "[number]"),
)


def scrub(text: str) -> str:
    """Remove keys, passwords, tokens, e-mail addresses and long numbers from a text of at most `SCAN_LIMIT`."""
    text = text[:SCAN_LIMIT]
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def redact(text: str) -> str:
    """Scrub a text and cut it to one line of `ERROR_LIMIT` characters."""
    text = " ".join(scrub(text).split())
    return text if len(text) <= ERROR_LIMIT else text[: ERROR_LIMIT - 1] + "…"


Redacted = Annotated[str, AfterValidator(redact)]
"""A text that is redacted and shortened whenever it enters a record."""


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
