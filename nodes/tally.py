"""The arithmetic of a vote: weighted probabilities of those who are there, and when nothing can change any more.

Pure functions. The score is the mean of the members' calibrated probabilities, weighted by how good each was on cases
that it had not seen, and renormalised over the members that are present.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["yes", "no", "unsure"]


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a vote needs to count; raises `ValueError` naming the rule that makes no sense."""

    threshold: float = 0.5
    """Score from which the verdict is yes."""
    quorum: int = 4
    """Members that have to be there."""
    least_weight: float = 0.6
    """Part of the whole weight that they have to have."""
    thin: float = 0.1
    """Distance from the threshold below which the verdict is unsure."""

    def __post_init__(self) -> None:
        for name in ("threshold", "least_weight", "thin"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ValueError(f"vote: {name} must be between 0 and 1, got {value!r}")
        if isinstance(self.quorum, bool) or not isinstance(self.quorum, int) or self.quorum < 1:
            raise ValueError(f"vote: quorum must be at least 1, got {self.quorum!r}")


@dataclass(frozen=True)
class Tally:
    """How a vote stands."""

    score: float
    """Weighted mean of the probabilities of those present; with no quorum the highest of them, and 1 with nobody."""
    verdict: Verdict
    present: int
    weight: float
    """Part of the whole weight that is present."""
    reason: str = ""
    """Why the verdict is unsure."""

    @property
    def quorate(self) -> bool:
        """Whether enough members were there."""
        return not self.reason.startswith("only ")


def tally(ballots: Mapping[str, float], weights: Mapping[str, float], rules: Rules) -> Tally:
    """Count the probabilities of those who voted; members of `weights` that are not in `ballots` are missing.

    Without a quorum nothing is decided: the score is the highest probability that anybody gave, as if the missing
    would have agreed with the worst, and a person has to look. Raises `ValueError` for somebody without a weight and
    for what is no probability.
    """
    for member, p in ballots.items():
        if member not in weights:
            raise ValueError(f"vote: {member!r} has no weight; known: {', '.join(weights)}")
        if not 0 <= p <= 1:
            raise ValueError(f"vote: {member!r} gave {p!r}, which is no probability")
    whole, present = math.fsum(weights.values()), len(ballots)
    there = math.fsum(weights[member] for member in ballots)
    share = there / whole if whole > 0 else 0.0
    if present < rules.quorum or share < rules.least_weight or there <= 0:
        reason = f"only {present} of {len(weights)} models answered, with {share:.0%} of the weight"
        return Tally(max(ballots.values(), default=1.0), "unsure", present, share, reason)
    score = math.fsum(weights[member] * p for member, p in ballots.items()) / there
    return _judged(score, present, share, rules)


def settled(ballots: Mapping[str, float], weights: Mapping[str, float], rules: Rules) -> bool:
    """Tell whether the verdict stands, whoever of the missing still votes and however.

    The score lies lowest when all the missing give 0, and highest when all give 1; those who stay away leave it in
    between.
    """
    now = tally(ballots, weights, rules)
    if not now.quorate or now.verdict == "unsure":
        return False
    missing = [member for member in weights if member not in ballots]
    lowest = tally({**ballots, **dict.fromkeys(missing, 0.0)}, weights, rules)
    highest = tally({**ballots, **dict.fromkeys(missing, 1.0)}, weights, rules)
    return lowest.verdict == highest.verdict == now.verdict


def weight_of(accuracy: float, cases: int, prior: int = 20) -> float:
    """Return the weight of a member that was right in this share of so many held-out cases: its log-odds.

    The share is shrunk towards one half by `prior` imagined cases, so that few cases make no great expert; weights of
    those that are no better than chance are 0 (Littlestone and Warmuth, "The Weighted Majority Algorithm", 1994, and
    Nitzan and Paroush, 1982, on log-odds as the best weights of independent voters).
    """
    if cases < 0 or not 0 <= accuracy <= 1:
        raise ValueError("vote: accuracy must be between 0 and 1, and cases not negative")
    shrunk = (accuracy * cases + prior / 2) / (cases + prior)
    return max(0.0, math.log(shrunk / (1 - shrunk))) if shrunk < 1 else math.inf


def relearned(
    weights: Mapping[str, float], right: Mapping[str, tuple[int, int]], most: float = 0.25, prior: int = 100
) -> dict[str, float]:
    """Return weights learned anew from cases that people decided: `right` holds (right ones, cases) of each member.

    The old weight counts like `prior` cases, and no weight moves by more than `most` of itself at once: a week of odd
    cases must not silence a good member.
    """
    found = {}
    for member, old in weights.items():
        hits, cases = right.get(member, (0, 0))
        if hits > cases or hits < 0:
            raise ValueError(f"vote: {member!r} cannot be right in {hits} of {cases} cases")
        known = 1 / (1 + math.exp(-old))
        accuracy = (hits + known * prior) / (cases + prior)
        new = max(0.0, math.log(accuracy / (1 - accuracy))) if accuracy < 1 else old
        found[member] = min(max(new, old * (1 - most)), old * (1 + most))
    return found


def _judged(score: float, present: int, share: float, rules: Rules) -> Tally:
    distance = score - rules.threshold
    if abs(distance) < rules.thin:
        return Tally(score, "unsure", present, share, f"the models are close ({score:.2f} of {rules.threshold:.2f})")
    return Tally(score, "yes" if distance >= 0 else "no", present, share)
