"""Twenty-four desks of a support centre, generated from a table: each answers what it knows and hands over the rest.

from graphs.desks import graph
result = graph.invoke({"text": "The VAT on my invoice is wrong."})
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from pydantic import BaseModel, Field

from graphs.handoff import HAND_OVER, Agent, build_handoff
from nodes import Policy
from nodes.call import Call

TABLE: Final = """
reception: hello hi question help please
invoices: invoice invoices bill receipt statement
refunds: refund money back reimburse return
tax: vat tax gst exempt
cards: card visa mastercard payment declined
pricing: price pricing plan discount quote
renewals: renew renewal cancel subscription contract
passwords: password reset forgot login
two_factor: code authenticator sms factor
accounts: account profile email rename
permissions: permission role admin access seat
privacy: gdpr delete personal data consent
security: phishing breach leaked hacked suspicious
outages: down outage offline unavailable 503
speed: slow lag timeout loading
mobile: phone app ios android
browser: browser chrome safari firefox
imports: import csv upload migrate
exports: export download report pdf
api: api token webhook endpoint
integrations: slack zapier integration sync
delivery: parcel shipping address courier
languages: language french german translate
feedback: idea feature wish improve
"""
"""Desk and the words that it knows; a ticket belongs where most of its words are known."""

WORDS: Final = {
    name.strip(): frozenset(words.split())
    for name, _, words in (line.partition(":") for line in TABLE.strip().splitlines())
}


class Ticket(BaseModel):
    """What comes in."""

    text: str = Field(min_length=1)


class Answer(BaseModel):
    """What comes out."""

    desk: str
    known: int
    """Words of the ticket that the desk knows."""


def at_desk(name: str) -> Callable[[Any, Call], dict[str, Any]]:
    """Return the work of one desk: to answer, or to find the desk that knows more."""

    def work(state: Any, _call: Call) -> dict[str, Any]:
        said = set(re.findall(r"[a-z0-9]+", state.text.lower()))
        known = {desk: len(said & words) for desk, words in WORDS.items()}
        best = max(known, key=lambda desk: (known[desk], desk == name))
        if best == name:
            return {"desk": name, "known": known[name]}
        return {HAND_OVER: (best, f"it knows {known[best]} words of the ticket, this desk {known[name]}")}

    return work


graph: Final = build_handoff(
    "desks",
    input=Ticket,
    result=Answer,
    agents=[
        Agent(name, at_desk(name), tuple(other for other in WORDS if other != name), Policy(retries=1))
        for name in WORDS
    ],
    first="reception",
)
builder: Final = graph.builder
