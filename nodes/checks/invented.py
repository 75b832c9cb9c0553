"""Does the text state facts that it cannot know?"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final, Literal, get_args

from nodes.checks import dates, money
from nodes.checks.contacts import emails, known_phones, phones, unknown_links
from nodes.checks.deadlines import unknown_times
from nodes.checks.names import unknown_names
from nodes.checks.references import unknown_references

Kind = Literal["amount", "date", "name", "link", "number"]
"""What is compared: amounts and percentages; dates and deadlines; names; links, addresses and phone numbers;
reference numbers and versions."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

SAID: Final = 2
"""Violations of a kind that a message lists; the writer has to look at all of them again anyway."""


def _amounts(text: str, source: str, _allow: frozenset[str]) -> Iterator[str]:
    for quantity in dict.fromkeys(money.unknown_amounts(text, source)[:SAID]):
        yield f"states {money.describe(quantity)}"


def _dates(text: str, source: str, _allow: frozenset[str]) -> Iterator[str]:
    for day in dict.fromkeys(dates.unknown_days(text, source)[:SAID]):
        yield f"states the date {dates.describe(day)}"
    for time in unknown_times(text, source)[:SAID]:
        yield f"states a time ({time})"


def _names(text: str, source: str, _allow: frozenset[str]) -> Iterator[str]:
    # The name itself is not repeated: it may belong to a real person.
    for place in unknown_names(text, source)[:SAID]:
        yield f"uses a name {place}"


def _links(text: str, source: str, allow: frozenset[str]) -> Iterator[str]:
    if unknown_links(text, source, allow):
        yield "contains a link"
    if emails(text) - emails(source):
        yield "contains an e-mail address"
    if phones(text) - known_phones(source):
        yield "contains a phone number"


def _numbers(text: str, source: str, _allow: frozenset[str]) -> Iterator[str]:
    if unknown_references(text, source):
        yield "gives a reference, error or version number"


_FINDERS: Final[dict[Kind, Callable[[str, str, frozenset[str]], Iterator[str]]]] = {
    "amount": _amounts,
    "date": _dates,
    "name": _names,
    "link": _links,
    "number": _numbers,
}


def invented(kinds: Collection[Kind] = KINDS, *, allow: Collection[str] = ()) -> Callable[[str, str], str | None]:
    """Return a check that a text states no amounts, dates, names, links or numbers that its source does not mention.

    Both sides are compared by value: `$1,200.00` is `1200 USD`, `3rd March` is `2026-03-03`, `24 hours` is `1 day`.
    `allow` adds words, addresses and hosts that are always fine, such as the company's own name and help pages.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ValueError(f"invented knows the kinds {', '.join(KINDS)}, not {', '.join(sorted(unknown))}")
    if isinstance(allow, str):
        raise TypeError("allow is a collection of strings, not one string")
    own = "\n".join(allow)
    hosts = frozenset(word.casefold() for word in allow)

    def check(text: str, source: str) -> str | None:
        known = f"{source}\n{own}" if own else source
        found = [said for kind in KINDS if kind in kinds for said in _FINDERS[kind](text, known, hosts)]
        if not found:
            return None
        return f"{', '.join(found)}, which the ticket does not mention"

    return check
