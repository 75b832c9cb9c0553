"""What calls cost, in exact arithmetic.

A price in USD per million tokens is the same number in micro-dollars per token, so costs are sums of products of
`Decimal`s, rounded up once at the end. The list of prices is the one that genai-prices ships: nothing is fetched.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from nodes.call.settings import CallSettings, ModelPrice, call_settings
from nodes.errors import ConfigurationError

MESSAGE_OVERHEAD: Final = 16
"""Tokens reserved for each message beside its text. Chat formats wrap a message in a role and delimiters: 3 to 5
tokens with OpenAI's, up to 10 with the templates of open models."""

REQUEST_OVERHEAD: Final = 64
"""Tokens reserved once a request: the opening of the answer, and the words in which endpoints present a schema."""

CHARS_A_TOKEN: Final = 4
"""English prose has about four characters a token; other languages have fewer, so an estimate is no bound."""


@dataclass(frozen=True)
class TokenUsage:
    """Tokens of one answer as the endpoint reported them; the cached and written ones are part of `input`."""

    input: int
    output: int
    cached: int = 0
    written: int = 0
    """Input tokens that were written to the endpoint's cache."""


def output_of(tokens_in: int, tokens_out: int, total: object) -> int:
    """Return the tokens that are billed as output.

    xAI and Gemini's compatible endpoint leave the reasoning out of the completion tokens and count it in the total only
    (inspect_ai#5528); everybody bills it as output.
    """
    return max(tokens_out, total - tokens_in) if isinstance(total, int) else tokens_out


@dataclass(frozen=True)
class Rates:
    """Micro-dollars a token, from a number of input tokens on."""

    above: int
    input: Decimal
    output: Decimal
    cached: Decimal
    written: Decimal

    def cost(self, usage: TokenUsage) -> Decimal:
        """Return the exact cost of the tokens in micro-dollars."""
        cached = min(max(usage.cached, 0), usage.input)
        written = min(max(usage.written, 0), usage.input - cached)
        plain = usage.input - cached - written
        return plain * self.input + cached * self.cached + written * self.written + usage.output * self.output

    @property
    def dearest_input(self) -> Decimal:
        """The most that one input token can cost."""
        return max(self.input, self.cached, self.written)


@dataclass(frozen=True)
class Price:
    """The price of one model."""

    model: str
    tiers: tuple[Rates, ...]
    """By ascending `above`; the last tier that the input exceeds prices all tokens of the request."""
    per_request: Decimal = Decimal(0)
    """Micro-dollars a request."""
    source: str = field(default="settings", compare=False)

    @property
    def free(self) -> bool:
        """Whether no number of tokens costs anything."""
        return self.per_request == 0 and not any(tier.dearest_input or tier.output for tier in self.tiers)

    def actual(self, usage: TokenUsage) -> int:
        """Return the cost of an answer in micro-dollars, rounded up."""
        usage = TokenUsage(max(usage.input, 0), max(usage.output, 0), usage.cached, usage.written)
        rates = next((tier for tier in reversed(self.tiers) if usage.input > tier.above), self.tiers[0])
        return math.ceil(rates.cost(usage) + self.per_request)

    def worst_case(self, prompt_bytes: int, max_tokens: int, messages: int = 1) -> int:
        """Return an upper bound of the cost in micro-dollars, known before the request.

        Tokenizers work on bytes and no token is shorter than one, so a text has at most as many tokens as UTF-8
        bytes; `prompt_bytes` counts everything that is sent as prompt, the schema too. English prose really has a
        quarter of that: the bound is loose, and it is a bound whatever the language and the model.
        """
        tokens_in = prompt_bytes + MESSAGE_OVERHEAD * messages + REQUEST_OVERHEAD
        reached = [tier for tier in self.tiers if tokens_in > tier.above] or [self.tiers[0]]
        dearest = max(tier.dearest_input * tokens_in + tier.output * max_tokens for tier in reached)
        return math.ceil(dearest + self.per_request)

    def estimate(self, prompt_chars: int, out_tokens: int) -> int:
        """Return the likely cost in micro-dollars, at about four characters a token."""
        return self.actual(TokenUsage(math.ceil(prompt_chars / CHARS_A_TOKEN), out_tokens))


def price(model: str, settings: CallSettings | None = None) -> Price:
    """Return the price of a model: from the settings, else from the list that genai-prices ships.

    Names of gateways such as `openai/gpt-4.1-mini` are looked up without their prefix too. Raises
    `ConfigurationError` for a model without a price: free has to be said.
    """
    settings = settings or call_settings()
    ours = {name.lower(): value for name, value in settings.prices.items()}
    for name in _names(model):
        if (own := ours.get(name)) is not None:
            return _own_price(model, own)
    if (listed := _listed_price(model, settings.base_url, int(time.time() // 3600))) is not None:
        return listed
    example = json.dumps({model: {"input": 0.1, "output": 0.4}})
    free = json.dumps({model: "free"})
    raise ConfigurationError(
        f"model {model!r} has no known price: set SUREFOOT_PRICES='{example}' (USD per million tokens), "
        f"or SUREFOOT_PRICES='{free}'"
    )


def estimate_microusd(model: str, prompt_chars: int, out_tokens: int, settings: CallSettings | None = None) -> int:
    """Return the likely cost of one call in micro-dollars; an empty `model` is the one of the settings.

    Raises `ConfigurationError` for a model without a price.
    """
    settings = settings or call_settings()
    return price(model or settings.model, settings).estimate(prompt_chars, out_tokens)


def _names(model: str) -> list[str]:
    """Return the names under which a model may be listed, the exact one first."""
    parts = model.lower().split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))]


def free_price(model: str) -> Price:
    """Return the price of a model that costs nothing."""
    zero = Decimal(0)
    return Price(model, (Rates(0, zero, zero, zero, zero),))


def _own_price(model: str, own: ModelPrice | str) -> Price:
    if not isinstance(own, ModelPrice):
        return free_price(model)
    cached = own.input if own.cached is None else own.cached
    return Price(model, (Rates(0, own.input, own.output, cached, own.input),))


@lru_cache(maxsize=256)
def _listed_price(model: str, base_url: str | None, hour: int) -> Price | None:
    """Look a model up in the shipped list; `hour` makes the answer fresh, as some prices depend on the time."""
    del hour
    from genai_prices import Usage
    from genai_prices.data_snapshot import get_snapshot

    whole, *shorter = _names(model)
    prefix = whole.partition("/")[0]
    lookups: list[tuple[str, str | None, str | None]] = [(whole, None, base_url)] if base_url else []
    lookups.append((whole, None, None))
    for name in shorter:
        lookups += [(name, prefix, None), (name, None, None)]
    for name, provider, url in lookups:
        try:
            found = get_snapshot().calc(Usage(input_tokens=0, output_tokens=0), name, provider, url, None)
        except (LookupError, ValueError):
            continue
        if (listed := _from_list(model, found.model_price)) is not None:
            return listed
    return None


def _from_list(model: str, listed: Any) -> Price | None:
    """Turn an entry of the list into rates; None when it does not price text tokens."""
    plain, output = listed.input_mtok, listed.output_mtok
    if plain is None or output is None:
        return None
    cached = plain if listed.cache_read_mtok is None else listed.cache_read_mtok
    written = plain if listed.cache_write_mtok is None else listed.cache_write_mtok
    columns = (plain, output, cached, written)
    starts = sorted({0, *(tier.start for column in columns for tier in getattr(column, "tiers", ()))})
    tiers = tuple(Rates(start, *(_rate(column, start) for column in columns)) for start in starts)
    # The list gives USD per thousand requests.
    per_request = Decimal(0) if listed.requests_kcount is None else _rate(listed.requests_kcount, 0) * 1000
    return Price(model, tiers, per_request, source="genai-prices")


def _rate(column: Any, start: int) -> Decimal:
    """Return the rate of a column from a number of input tokens on."""
    if isinstance(column, Decimal):
        return column
    rate: Decimal = column.base
    for tier in column.tiers:
        if start >= tier.start:
            rate = tier.price
    return rate
