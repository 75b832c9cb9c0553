"""Bad days, by name: which faults come how often."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from surefoot.errors import UsageError
from surefoot.testing import faults
from surefoot.testing.faults import Fault


@dataclass(frozen=True)
class Profile:
    """A way for an endpoint to misbehave: shares of the requests and what happens to them."""

    name: str
    told: str
    """One line for people."""
    menu: tuple[tuple[float, str, Fault], ...] = ()
    """Share of the requests (0 to 1, together at most 1), a name for the counts, and the fault."""
    latency_s: float = 0.05
    """Seconds that an answer takes."""

    def __post_init__(self) -> None:
        shares = [share for share, _, _ in self.menu]
        if any(share < 0 for share in shares) or sum(shares) > 1 + 1e-9:
            raise ValueError(f"profile {self.name!r}: shares must not be negative and come to at most 1 together")


@dataclass
class Injector:
    """Chooses a fault for each request; the same seed and order of requests make the same faults."""

    profile: Profile
    seed: int = 7
    injected: Counter[str] = field(default_factory=Counter)
    """How often each fault was chosen."""

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)  # noqa: S311 - faults are no secrets

    def __call__(self, _body: dict[str, Any]) -> Fault | None:
        """Return the fault of one request, or None."""
        left = self._dice.random()
        for share, name, fault in self.profile.menu:
            left -= share
            if left < 0:
                self.injected[name] += 1
                return fault
        return None


def _say(text: str) -> Callable[[str], str]:
    return lambda _answer: text


_GARBLED: Final = (
    (0.08, "fenced", faults.fenced()),
    (0.06, "wordy", faults.prose()),
    (0.05, "truncated", faults.truncated()),
    (0.04, "cut off without saying so", faults.truncated("stop")),
    (0.04, "wrong value", Fault(shape=_say('{"category": "spam", "urgency": "soon", "draft": ""}'))),
    (0.03, "no JSON", Fault(shape=_say("I am not sure what you mean."))),
)

_WRAPPED: Final = (
    (0.08, "502 in a 200", faults.body({"error": {"message": "Provider returned error", "code": 502}})),
    (0.06, "429 in a 200", faults.body({"error": {"message": "slow down", "code": 429, "retry_after": 1}})),
    (0.05, "no choices", faults.body({"choices": None})),
    (0.05, "ended with an error", faults.truncated("error")),
    (0.04, "reasoning only", Fault(shape=_say("<think>Let me see.</think>"))),
    (0.06, "reasoning before", Fault(shape=lambda answer: f"Let me see.\n</think>\n\n{answer}")),
)

PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile("flaky", "30 % of the requests end with 500", ((0.3, "500", faults.status(500)),)),
        Profile("dead", "every request ends with 503", ((1.0, "503", faults.status(503)),)),
        Profile("throttled", "20 % get 429 and a Retry-After of 2 s", ((0.2, "429", faults.throttle(2)),)),
        Profile("slow", "answers take 2 s, forty times as long as usual", (), latency_s=2.0),
        Profile("hanging", "5 % of the requests are never answered", ((0.05, "hang", faults.hang(600)),)),
        Profile("garbled", "30 % of the answers are malformed, cut off or wrong", _GARBLED),
        Profile("refusing", "10 % of the requests are declined", ((0.1, "refusal", faults.refusal()),)),
        Profile("wrapped", "errors inside of answers with status 200, missing ends, reasoning in the text", _WRAPPED),
        Profile(
            "mixed",
            "a bad afternoon: errors, throttling, hangs and malformed answers",
            (
                (0.1, "500", faults.status(500)),
                (0.05, "429", faults.throttle(1)),
                (0.01, "hang", faults.hang(600)),
                *((share / 2, name, fault) for share, name, fault in _GARBLED),
            ),
            latency_s=0.1,
        ),
    )
}


def profile_of(name: str) -> Profile:
    """Return a profile by name; raises `UsageError` naming those that exist."""
    if name not in PROFILES:
        raise UsageError(f"there is no chaos profile {name!r}; known: {', '.join(PROFILES)}")
    return PROFILES[name]
