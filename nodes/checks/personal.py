"""Does the text give away personal data?"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from itertools import islice
from typing import Final

from nodes.checks.contacts import emails, known_phones, phones
from nodes.checks.plain import folded, plain
from state import hide_secrets
from state.redaction import SCAN_LIMIT

_CARD: Final = re.compile(r"(?<![\d.])[2-6](?>(?:[ .-]{0,2}\d){12,18})(?!\d)")
"""ISO/IEC 7812: 13 to 19 digits; the networks in use begin with 2 to 6."""

_IBAN_START: Final = re.compile(r"(?<![^\W_])[a-z]{2}\d\d(?=[ -]?[a-z0-9])", re.IGNORECASE)
_LENGTHS: Final = (
    "AT20 BE16 BG22 CH21 CY28 CZ24 DE22 DK18 EE20 ES24 FI18 FR27 GB22 GR27 HR21 HU28 IE22 IS26 IT27 LI21 LT20 LU20 "
    "LV21 MC27 MT31 NL18 NO15 PL28 PT25 RO24 SA24 SE24 SI19 SK24 SM27 TR26 AE23 IL23 BR29"
)
IBAN_LENGTHS: Final = {entry[:2]: int(entry[2:]) for entry in _LENGTHS.split()}
"""Characters of an IBAN by country, from the SWIFT IBAN registry."""

_SSN: Final = re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}([- ])(?!00)\d\d\1(?!0000)\d{4}(?![\w-])")
"""US social security numbers; the excluded ranges are never issued (SSA, since 2011)."""
_SSN_NAMED: Final = re.compile(r"\b(?:ssn|social security)\b[^\d\n]{0,24}\d{3}[ -]?\d\d[ -]?\d{4}(?!\d)", re.IGNORECASE)
_DNI: Final = re.compile(r"(?<!\w)([XYZ]?\d{7,8})[ -]?([A-HJ-NP-TV-Z])(?!\w)")
_DNI_LETTERS: Final = "TRWAGMYFPDXBNJZSQVHLCKE"
"""Spanish identity numbers carry this letter at the number modulo 23."""

_CAP: Final = r"[A-ZÀ-ÖØ-Þ][\w'.-]{1,30}"
_STREET: Final = re.compile(
    rf"(?<![\w#.-])\d{{1,5}}[a-zA-Z]?,? (?:(?:N|S|E|W)\.? )?(?:{_CAP} ){{1,3}}"
    r"(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Boulevard|Blvd|Terrace|Crescent|(?:Drive|Dr|Way|Place|Pl|Court|Ct"
    r"|Square|Close)(?=[.,\n]|\Z))\b"
    r"|\b[A-ZÄÖÜ](?:[\wäöüß-]{1,30}|[\wäöüß]{0,30}[ -])(?:[Ss]traße|[Ss]trasse|[Ss]tr\.|[Aa]llee"
    r"|[Gg]asse) ?\d{1,4}[a-z]?\b"
    r"|\b[A-ZÄÖÜ][\wäöüß-]{1,30}(?:weg|platz|ring|damm|ufer) \d{1,4}[a-z]?, ?\d{5} [A-ZÄÖÜ]"
    rf"|(?:\b(?:[Cc]alle|[Aa]venida|Avda\.?|[Pp]laza|[Pp]aseo|[Cc]amino)|\bC/) ?(?:de |del |la |las |los "
    rf"|el ){{0,3}}{_CAP}(?: {_CAP}){{0,3}},? (?:n\.?[ºo]? ?)?\d{{1,4}}\b"
)
_ABBREVIATED: Final = (
    "st=street ave=avenue rd=road ln=lane blvd=boulevard dr=drive pl=place ct=court avda=avenida c=calle"
)
_STREET_WORDS: Final = dict(pair.split("=") for pair in _ABBREVIATED.split())


def _passes_luhn(digits: str) -> bool:
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[::-2])) + sum(doubled)) % 10 == 0


def has_card(text: str) -> bool:
    """Tell whether a text contains a payment card number, recognised by its check digit."""
    for match in _CARD.finditer(plain(text)):
        digits = re.sub(r"\D", "", match[0])
        if len(set(digits)) > 1 and _passes_luhn(digits):
            return True
    return False


def has_iban(text: str) -> bool:
    """Tell whether a text contains a bank account number, recognised by its country and checksum."""
    text = plain(text)
    for match in _IBAN_START.finditer(text):
        size = IBAN_LENGTHS.get(match[0][:2].upper())
        if size is None:
            continue
        window = text[match.start() : match.start() + 2 * size]
        number = "".join(islice((c for c in window if c not in " -.\t\n"), size)).upper()
        if len(number) == size and number.isascii() and number.isalnum():
            turned = number[4:] + number[:4]
            if int("".join(str(int(c, 36)) for c in turned)) % 97 == 1:
                return True
    return False


def has_identity_number(text: str) -> bool:
    """Tell whether a text contains a US social security number or a Spanish identity number."""
    text = plain(text)
    if _SSN.search(text) or _SSN_NAMED.search(text):
        return True
    for number, letter in _DNI.findall(text):
        digits = number.translate(str.maketrans("XYZ", "012"))
        if len(digits) == 8 and _DNI_LETTERS[int(digits) % 23] == letter:
            return True
    return False


def _streets(text: str) -> Iterator[str]:
    yield from (_street_key(match[0]) for match in _STREET.finditer(plain(text)))


def _street_key(text: str) -> str:
    found = re.findall(r"[^\W_]+", folded(text.replace("ß", "ss")).replace("strasse", "str"))
    return " ".join(_STREET_WORDS.get(word, word) for word in found)


def _of_others(text: str, source: str) -> Iterator[str]:
    if emails(text) - emails(source):
        yield "an e-mail address"
    if phones(text) - known_phones(source):
        yield "a phone number"
    if stated := set(_streets(text)):
        known = f" {_street_key(source)} "
        if any(f" {street} " not in known for street in islice(stated, 20)) or len(stated) > 20:
            yield "a street address"


def _in_full(text: str) -> Iterator[str]:
    if has_card(text):
        yield "a card number"
    if has_iban(text):
        yield "a bank account number"
    if has_identity_number(text):
        yield "an identity number"


def personal_data(*, allow: Collection[str] = ()) -> Callable[[str, str], str | None]:
    """Return a check that a text gives away no personal data.

    An e-mail address, phone number or street that the source does not contain belongs to somebody else. Numbers of
    cards, bank accounts and identity papers are refused even when the source has them: a reply does not repeat them.
    `allow` lists contact data of one's own that a reply may give, such as the support address.
    """
    if isinstance(allow, str):
        raise TypeError("allow is a collection of strings, not one string")
    own = "\n".join(allow)

    def check(text: str, source: str) -> str | None:
        known = f"{source}\n{own}"
        said = []
        if repeated := list(_in_full(text)):
            said.append(f"repeats {' and '.join(repeated)} in full")
        if others := list(_of_others(text, known)):
            said.append(f"contains {' and '.join(others)} of others, which the ticket does not mention")
        return "; ".join(said) or None

    return check


def masked(text: str) -> str:
    """Return a text with secrets, e-mail addresses, long numbers, identity numbers and streets replaced.

    Rules find what has a form; names of people stay.
    """
    # In lines, because only so much is looked at in one go.
    lines = (
        line[at : at + SCAN_LIMIT] for line in text.splitlines(keepends=True) for at in range(0, len(line), SCAN_LIMIT)
    )
    found = "".join(map(hide_secrets, lines))
    return _STREET.sub("[street]", _DNI.sub("[number]", _SSN.sub("[number]", found)))
