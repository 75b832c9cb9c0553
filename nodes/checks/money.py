"""Amounts of money and percentages in a text, as values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from nodes.checks.numerals import NUMBER, parse_number, spelled_out
from nodes.checks.plain import plain

_CURRENCIES: Final = {
    "$": "$ us$ ca$ a$ au$ dollar dollars bucks dólar dólares dolares peso pesos usd cad aud nzd mxn",
    "€": "€ eur euro euros",
    "£": "£ gbp pound pounds quid pfund libra libras",
    "¥": "¥ jpy yen cny yuan",
    "₹": "₹ inr rs rupee rupees",
    "CHF": "chf sfr francs franken francos fr",
    "cent": "cent cents céntimos centimos ¢",
}
CURRENCY: Final = {name: sign for sign, names in _CURRENCIES.items() for name in names.split()}
"""Ways to write a currency. All dollars and pesos are one family, because most people write a bare `$`."""

_NAMES: Final = "|".join(sorted((re.escape(name) for name in CURRENCY if name[-1].isalpha()), key=len, reverse=True))
_BEFORE: Final = re.compile(rf"(?:([a-z]{{0,2}}[$€£¥₹])|\b({_NAMES})\.?)\s?\Z", re.IGNORECASE)
_AFTER: Final = re.compile(
    rf"(?:,-|\.-)?\s?(?:(k|m|mio|thousand|million|tausend|mil|millones|millionen)\b\.?)?\s?(?:de\s)?(?:([$€£¥₹¢])"
    rf"|({_NAMES})\b)?",
    re.IGNORECASE,
)
_PERCENT: Final = re.compile(r"\s?-?\s?(?:%|percent\b|per cent\b|pct\b|prozent\b|por ciento\b)", re.IGNORECASE)
_SCALE: Final = {"k": 1_000, "thousand": 1_000, "tausend": 1_000, "mil": 1_000}
_WHOLE: Final = re.compile(
    r"refund|credit|discount|off\b|erstatt|rabatt|gutschrift|reembols|devol|descuento|uptime|guarantee", re.IGNORECASE
)


class Quantity(NamedTuple):
    """A number with its unit: a currency sign, `%`, or empty when nothing says what it counts."""

    value: Decimal
    unit: str


def _scaled(value: Decimal, scale: str | None) -> Decimal:
    return value * _SCALE.get(scale.casefold(), 1_000_000) if scale else value


def _unit_of(text: str, start: int, end: int) -> tuple[str, str | None]:
    """Return the unit of the number at this place, and the word that scales it."""
    if _PERCENT.match(text, end):
        return "%", None
    after = _AFTER.match(text, end)
    scale = after[1] if after else None
    name = after and (after[2] or after[3])
    if name:
        return CURRENCY[name.casefold()], scale
    before = _BEFORE.search(text[max(0, start - 9) : start])
    if before:
        sign = before[1][-1] if before[1] else before[2].casefold()
        return CURRENCY[sign], scale
    return "", scale


def quantities(text: str) -> Iterator[Quantity]:
    """Yield amounts, percentages and plain numbers; those inside a date, a time or an identifier are left out."""
    text = spelled_out(plain(text))
    for match in NUMBER.finditer(text):
        unit, scale = _unit_of(text, match.start(), match.end())
        if not unit:
            around = text[max(0, match.start() - 1) : match.start()] + text[match.end() : match.end() + 1]
            if any((c.isalnum() and not scale) or c in ":/-_#" for c in around):
                continue
        value = parse_number(match[0])
        yield Quantity(_scaled(value, scale), unit)
        if not unit and " " in match[0]:
            yield from (Quantity(Decimal(piece), "") for piece in re.findall(r"\d+", match[0]))


def unknown_amounts(text: str, source: str) -> list[Quantity]:
    """Return amounts and percentages of the text whose value the source does not mention in that unit."""
    stated = [q for q in quantities(text) if q.unit]
    if not stated:
        return []
    known = set(quantities(source))
    if not _WHOLE.search(text):
        known.add(Quantity(Decimal(100), "%"))  # `100 % committed` claims nothing, a `100 % refund` does
    return [q for q in stated if q not in known and Quantity(q.value, "") not in known]


def describe(quantity: Quantity) -> str:
    """Return words for a message; long numbers are not repeated, since they may be a card or account number."""
    if quantity.unit == "%":
        return "a share" if quantity.value >= 1_000 else f"the share {quantity.value:.2f} %"
    return "an amount" if quantity.value >= 1_000_000 else f"the amount {quantity.value:,.2f}"
