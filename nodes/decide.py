"""What to do about a failure: a pure function, so that every decision can be tested and explained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from nodes.patience import SPACING_S, TRANSPORT
from nodes.policy import ResolvedPolicy
from state import Attempt, Decision, DecisionMade, Failure


@dataclass(frozen=True)
class Again:
    """Try the same provider again at an absolute time (seconds since the epoch)."""

    at: float
    provider: str


@dataclass(frozen=True)
class Fallback:
    """Go to the next provider of the ladder at once."""

    to: str
    reason: str


@dataclass(frozen=True)
class Escalate:
    """Ask a person."""

    reason: str


@dataclass(frozen=True)
class GiveUp:
    """Go on without this step, and say so in the result."""

    reason: str


Choice: TypeAlias = Again | Fallback | Escalate | GiveUp


def decide(
    policy: ResolvedPolicy,
    attempts: Sequence[Attempt],
    failure: Failure,
    now: float,
    *,
    deadline: float | None = None,
    patient_until: float = 0.0,
    jitter: float = 0.5,
) -> Choice:
    """Choose what follows a failure.

    `attempts` are those of the step's current visit, oldest first, the failed one last; `now`, `deadline` and
    `patient_until` are seconds since the epoch; `jitter` is a random number in [0, 1). A retry is chosen while the
    failure can pass, the provider has retries left and the wait ends before the deadline (attempts that were held back
    before anything was sent use up no retry, for as long as `policy.max_wait`). Beyond the retries, a fault of
    transport is tried again while the item is patient. Then comes the next provider of the ladder; then
    `policy.on_exhausted`. A failure that escalates goes to a person at once; an open breaker goes to the next provider
    without a wait, unless the item is patient.
    """
    current = attempts[-1].entry if attempts else ""
    ours = [a for a in attempts if a.entry == current]
    waits = bool(ours) and now - ours[0].started_at <= policy.max_wait
    transport, patience = failure.outcome in TRANSPORT, patient_until > now
    # With patience the two are counted apart: an outage leaves the retries to the wrong answers that come after it.
    counted = [a for a in ours if (a.outcome in TRANSPORT) == transport] if patience else ours
    used = sum(1 for a in counted if not (a.held and waits))
    late = deadline is not None and now >= deadline
    untried = [entry for entry in policy.fallback if entry not in {a.entry for a in attempts}]
    if failure.escalate:
        return Escalate(f"{failure.step}: {failure.error}")
    # What was never reached is a wrong address rather than an outage, and no patience helps with that.
    gone = failure.outcome == "breaker_open" and not failure.retryable
    if failure.outcome == "breaker_open" and untried and not late and (gone or not patience):
        # Nobody answers there for a while: waiting would only be a longer way to the same place.
        return Fallback(to=untried[0], reason=summarise(failure.step, attempts))
    within, beyond = failure.retryable and used <= policy.retries, transport and patience and not gone
    if (within or beyond) and not late:
        wait_from_backoff = now + policy.backoff(min(max(used, 1), policy.retries + 1), jitter)
        asked = failure.retry_after or 0.0
        # Never longer than it asked for, should the failure have been written down by another clock.
        wait_from_endpoint = min(failure.failed_at + asked, now + asked)
        at = max(wait_from_backoff, wait_from_endpoint)
        if not within:
            at = max(at, now + SPACING_S * (0.5 + jitter))
        in_time = within or at < patient_until
        if in_time and at - now <= policy.max_wait and (deadline is None or at < deadline):
            return Again(at=at, provider=current)
    reason = summarise(failure.step, attempts, late=late)
    if failure.outcome == "gate_failed":
        reason = f"{failure.step}: no version passed its gate, last: {failure.error}"
    if untried and not late:
        return Fallback(to=untried[0], reason=reason)
    return Escalate(reason) if policy.on_exhausted == "escalate" else GiveUp(reason)


def summarise(step: str, attempts: Sequence[Attempt], *, late: bool = False) -> str:
    """Say in one line why a step failed: how often, how, and the last error."""
    failed = [a for a in attempts if a.outcome != "ok"]
    listed = ", ".join(f"{n} x {name}" if n > 1 else name for name, n in Counter(a.outcome for a in failed).items())
    why = f"{step}: the run's deadline passed" if late else f"{step} failed"
    if attempts and not failed and not late:
        return f"{step}: no version passed its gate"
    last = next((a.error for a in reversed(failed) if a.error), "")
    return why + (f" ({listed})" if listed else "") + (f", last: {last}" if last else "")


def decision_made(
    failure: Failure, attempts: Sequence[Attempt], decision: Decision, now: float, after: str
) -> DecisionMade:
    """Return the record of a decision that stays when its failure is settled; `after` is where it leads."""
    last = attempts[-1] if attempts else Attempt(step=failure.step, n=0)
    return DecisionMade(
        step=last.step,
        member=last.member,
        visit=failure.visit,
        attempt=last.n,
        action=decision.action,
        outcome=failure.outcome,
        before=last.entry,
        after=after,
        at=now,
        until=decision.at,
        retry_after=failure.retry_after,
        reason=decision.reason,
    )
