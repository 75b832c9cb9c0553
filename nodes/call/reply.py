"""What a task gets back from a model, and what it cost."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from nodes.call.charge import Charge
from nodes.call.chat import Answer, TokenLogprob
from nodes.call.parsing import How, parse, parse_text

T = TypeVar("T")


@dataclass
class Usage:
    """What the calls of one attempt used, the failed ones too."""

    calls: int = 0
    """Requests sent to an endpoint."""
    replayed: int = 0
    """Answers that were known from before a crash; their tokens and cost are counted, for they were paid once."""
    tokens_in: int = 0
    tokens_out: int = 0
    cost_microusd: int = 0
    repaired: int = 0
    """Answers that needed more than strict JSON."""
    reasked: int = 0
    """Answers that were asked for a second time because the first did not fit."""
    hedged: int = 0
    """Second requests that were sent because the first was slow."""
    unmetered: bool = False
    """True when some endpoint did not tell what a request used: its cost is the worst case."""
    model: str = ""
    """The model of the last request."""
    timeout_s: float = 0.0
    """Time limit of the last request in seconds; 0 when none was sent."""

    def add(self, charge: Charge) -> None:
        """Add what one request was charged."""
        self.tokens_in += charge.tokens_in
        self.tokens_out += charge.tokens_out
        self.cost_microusd += charge.cost
        self.unmetered |= charge.unmetered

    def take(self, other: Usage) -> None:
        """Add what other calls used."""
        for field in dataclasses.fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            added = theirs or mine if field.name in ("model", "timeout_s") else mine + theirs
            setattr(self, field.name, bool(added) if field.name == "unmetered" else added)

    def part(self, index: int, parts: int) -> Usage:
        """Return the part of one of several that share a request; whole numbers add up, the request is the first's."""

        def share(number: int) -> int:
            return number * (index + 1) // parts - number * index // parts

        shared = {name: share(getattr(self, name)) for name in ("tokens_in", "tokens_out", "cost_microusd")}
        first = {"calls": self.calls, "repaired": self.repaired, "reasked": self.reasked, "hedged": self.hedged}
        return Usage(
            **shared, **(first if index == 0 else {}), unmetered=self.unmetered, model=self.model,
            timeout_s=self.timeout_s,
        )  # fmt: skip


@dataclass(frozen=True)
class Reply(Generic[T]):
    """A validated answer."""

    value: T
    """The object, or the text when no schema was asked for."""
    text: str
    """The answer as it came."""
    how: How
    """How the value was found: `strict`, `stripped`, `repaired`, or `text` without a schema."""
    logprobs: tuple[TokenLogprob, ...] = ()

    def token_probability(self, value_text: str) -> float | None:
        """Return the probability of the tokens that spell a value in the answer, such as the chosen enum.

        It is the product over all tokens that touch the value. None when the endpoint told no log-probabilities, and
        when the value cannot be found in the answer for certain.
        """
        if not self.logprobs or not value_text:
            return None
        spelled = "".join(item.token for item in self.logprobs)
        place = _place_of(value_text, spelled)
        if place is None:
            return None
        begin, end = place
        position, total = 0, 0.0
        for item in self.logprobs:
            if position < end and position + len(item.token) > begin:
                total += item.logprob
            position += len(item.token)
        return min(1.0, math.exp(total)) if math.isfinite(total) else 0.0


def reply_of(answer: Answer, schema: type[BaseModel] | None, max_tokens: int = 0) -> Reply[Any]:
    """Read an answer; raises the errors of `parse` and `parse_text`. `max_tokens` is the limit that was sent."""
    read: Any
    if schema is None:
        used_up = answer.usage is not None and 0 < max_tokens <= answer.usage.output
        read = parse_text(
            answer.text, finish_reason=answer.finish_reason, refused=answer.refused,
            unfinished=used_up or not answer.closed,
        )  # fmt: skip
    else:
        read = parse(answer.text, schema, finish_reason=answer.finish_reason, refused=answer.refused)
    return Reply(read.value, answer.text, read.how, answer.logprobs)


def _place_of(value: str, spelled: str) -> tuple[int, int] | None:
    """Find a value of JSON, or the value as the whole text; several places that could be meant are none."""
    pattern = rf"""(?:[:\[,]\s*["']?|\A\s*["']?)\s*({re.escape(value)})\s*["']?\s*(?=[,}}\]]|\Z)"""
    found = list(re.finditer(pattern, spelled, re.IGNORECASE))
    return found[0].span(1) if len(found) == 1 else None
