"""The decision about a failure is pure and keeps its promises for every input."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from nodes import Again, Escalate, Fallback, GiveUp, Policy, decide, exponential, fixed
from nodes.policy import ResolvedPolicy
from state import Attempt, Failure, RunState

NOW = 1_000_000.0
LADDER = ("second", "third")


def policy(**values: object) -> ResolvedPolicy:
    return Policy(**values).resolve(RunState())  # type: ignore[arg-type] # tests vary the fields


def failed(*entries: str, outcome: str = "transient") -> list[Attempt]:
    return [Attempt(step="s", n=n, entry=e, provider=e, outcome=outcome) for n, e in enumerate(entries, 1)]  # type: ignore[arg-type]


def failure(retryable: bool = True, retry_after: float | None = None) -> Failure:
    return Failure(step="s", outcome="transient", retryable=retryable, retry_after=retry_after, failed_at=NOW)


policies = st.builds(
    lambda retries, seconds, ladder, end: policy(
        retries=retries, backoff=fixed(seconds), fallback=ladder, on_exhausted=end
    ),
    st.integers(0, 5),
    st.floats(0, 100),
    st.sampled_from([(), ("second",), LADDER]),
    st.sampled_from(["escalate", "give_up"]),
)
entries = st.lists(st.sampled_from(["first", "second", "third"]), min_size=1, max_size=12)
waits = st.one_of(st.none(), st.floats(0, 5000))
deadlines = st.one_of(st.none(), st.floats(NOW - 100, NOW + 1000))
jitters = st.floats(0, 1, exclude_max=True)


@given(policies, entries, st.booleans(), waits, deadlines, jitters)
def test_every_choice_keeps_its_promises(
    p: ResolvedPolicy,
    tried: list[str],
    retryable: bool,
    retry_after: float | None,
    deadline: float | None,
    jitter: float,
) -> None:
    choice = decide(p, failed(*tried), failure(retryable, retry_after), NOW, deadline=deadline, jitter=jitter)
    match choice:
        case Again(at, provider):
            assert retryable
            assert provider == tried[-1]
            assert tried.count(provider) <= p.retries
            assert at >= NOW
            assert at >= NOW + (retry_after or 0)
            assert at - NOW <= p.max_wait
            assert deadline is None or at < deadline
        case Fallback(to, reason):
            assert to in p.fallback
            assert to not in tried
            assert reason
            assert deadline is None or deadline > NOW
        case Escalate(reason) | GiveUp(reason):
            assert reason
            assert isinstance(choice, Escalate) == (p.on_exhausted == "escalate")


@given(policies, st.booleans(), jitters)
def test_every_failing_step_comes_to_an_end(p: ResolvedPolicy, retryable: bool, jitter: float) -> None:
    """Whatever fails, a step makes at most (retries + 1) attempts for each entry of its ladder."""
    attempts = failed("first")
    for _ in range(200):
        choice = decide(p, attempts, failure(retryable), NOW, jitter=jitter)
        if isinstance(choice, (Escalate, GiveUp)):
            break
        attempts += failed(choice.provider if isinstance(choice, Again) else choice.to)
    else:
        raise AssertionError("the step went on for ever")
    assert len(attempts) <= (p.retries + 1) * (len(p.fallback) + 1)


@given(st.integers(1, 2000), jitters, st.floats(0, 60), st.floats(1, 10), st.floats(0, 600))
def test_full_jitter_stays_between_zero_and_the_cap(
    k: int, jitter: float, base: float, factor: float, cap: float
) -> None:
    wait = exponential(base, factor, cap)(k, jitter)
    assert 0 <= wait <= cap
    assert math.isfinite(wait)


def test_retries_of_three_mean_four_attempts() -> None:
    p = policy(retries=3, backoff=fixed(5))
    assert decide(p, failed("a", "a", "a"), failure(), NOW) == Again(at=NOW + 5, provider="a")
    assert isinstance(decide(p, failed("a", "a", "a", "a"), failure(), NOW), Escalate)


def test_the_longer_of_backoff_and_retry_after_wins() -> None:
    p = policy(retries=3, backoff=fixed(5))
    assert decide(p, failed("a"), failure(retry_after=2), NOW) == Again(at=NOW + 5, provider="a")
    assert decide(p, failed("a"), failure(retry_after=9), NOW) == Again(at=NOW + 9, provider="a")


def test_the_reason_counts_the_outcomes() -> None:
    attempts = failed("a", "a") + failed("a", outcome="throttled")
    choice = decide(policy(retries=0, on_exhausted="give_up"), attempts, failure(), NOW)
    assert choice == GiveUp("s failed (2 x transient, throttled)")


def test_attempts_that_were_held_back_use_up_no_retry_while_waiting_is_worth_it() -> None:
    p = policy(retries=1, backoff=fixed(1), max_wait=60, on_exhausted="give_up")
    held = [
        Attempt(step="s", n=n, entry="first", outcome="throttled", held=True, started_at=NOW - 50) for n in range(1, 9)
    ]
    sent = Attempt(step="s", n=9, entry="first", outcome="transient", started_at=NOW - 1)
    assert isinstance(decide(p, held, failure(retry_after=5), NOW), Again)
    assert isinstance(decide(p, [*held, sent], failure(), NOW), Again)
    assert isinstance(decide(p, [*held, sent, sent], failure(), NOW), GiveUp)
    assert isinstance(decide(p, held, failure(retry_after=5), NOW + 20), GiveUp), "a minute of waiting is enough"
