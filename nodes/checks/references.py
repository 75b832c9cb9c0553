"""Numbers by which things are looked up: tickets, orders, invoices, versions, error codes."""

from __future__ import annotations

import re
from typing import Final

from nodes.checks.contacts import without_phones
from nodes.checks.plain import plain

_STANDARD_NAMES: Final = "ISO SHA UTF RFC HTTP HTTPS AES TLS SSL WCAG EN DIN MP IPV WPA WEB OFFICE WINDOWS BS IEEE"
_STANDARDS: Final = frozenset(_STANDARD_NAMES.split())
"""Letters before a number that name a standard or a product, not a thing of the customer's."""

_CUE: Final = re.compile(
    r"\b(?:ticket|case|order|invoice|reference|ref|number|no|nr|account|error|code|confirmation|tracking|incident"
    r"|request|claim|id"
    r"|vorgang\w{0,9}|bestell\w{0,9}|rechnung\w{0,9}|kundennummer|ticketnummer|fehler\w{0,5}|referenz\w{0,7}"
    r"|caso|pedido|factura|número|numero|referencia|código|incidencia|solicitud)\b"
    r"[ .:º°#]{0,3}(?:(?:number|nummer|no|nr|número|numero|code|código|id|is|ist|lautet|es|de)\b[ .:º°#]{0,3}){0,2}\Z",
    re.IGNORECASE,
)
_TOKEN: Final = re.compile(
    r"(?<![\w.,@/+$€£-])#?(?=[A-Za-z_/-]{0,12}\d)[A-Za-z0-9]{1,64}(?:[-_/][A-Za-z0-9]{1,64}){0,6}(?![\w@])"
)
_VERSION: Final = re.compile(r"\b(?:version|versión|release|build|v)[ .]?(\d{1,5}(?:\.\d{1,5}){1,4})\b", re.IGNORECASE)
_TIME: Final = re.compile(
    r"\d{4}[-/]\d\d?[-/]\d\d?(?:T\d+)?|\d\d?[-/]\d\d?(?:[-/]\d{2,4})?|(?:19|20)\d\d(?:[-/](?:(?:19|20)\d\d|\d\d))?"
)
_PARTS: Final = re.compile(r"[A-Za-z]+|\d+")
_UNITED: Final = re.compile(
    r"(?:[.,' ]\d{3})*+(?:[.,]\d+)?\s?-?(?:%|[$€£]|(?:k?b|mb|gb|tb|ms|s|h|px|usd|eur|gbp|chf|euros?|dollars?)\b)",
    re.IGNORECASE,
)


def _is_reference(token: str, before: str, after: str) -> bool:
    named = before.split()[-1:]
    if named and named[0].strip("(,").upper() in _STANDARDS:
        return False
    digits = sum(c.isdigit() for c in token)
    letters = re.match(r"#?([A-Za-z]*)", token)
    prefix = letters[1].upper() if letters else ""
    if prefix in _STANDARDS or _TIME.fullmatch(token):
        return False
    if token[0] == "#":
        return digits >= 2
    if token.isdigit():
        return (digits >= 5 and not _UNITED.match(after)) or (digits >= 3 and _CUE.search(before) is not None)
    if prefix and prefix.isupper() and token[: len(prefix)].isupper() and digits >= 3:
        return True
    return (digits >= 4 and len(token) >= 8) or (digits >= 3 and _CUE.search(before) is not None)


def _keys(token: str) -> set[str]:
    """Return what an identifier is compared by: all of it, or the numbers in it."""
    pieces = _PARTS.findall(token)
    return {"".join(pieces).upper()} | {p.lstrip("0") for p in pieces if p.isdigit() and len(p) >= 2}


def unknown_references(text: str, source: str) -> int:
    """Return how many reference numbers and versions of a text do not occur in the source.

    `QM-20931`, `#20931` and `invoice 20931` are the same; a prefix alone invents nothing.
    """
    text, source = without_phones(plain(text)), plain(source)
    stated = []
    for match in _TOKEN.finditer(text):
        before = text[max(0, match.start() - 40) : match.start()]
        if _is_reference(match[0], before, text[match.end() : match.end() + 24]):
            stated.append(match[0])
    versions = set(_VERSION.findall(text))
    if not stated and not versions:
        return 0
    known = {key for token in re.findall(r"[A-Za-z0-9]+(?:[-_/][A-Za-z0-9]+)*+", source) for key in _keys(token)}
    known_versions = {
        match[0][:end]
        for match in re.finditer(r"\d{1,5}(?:\.\d{1,5}){1,6}", source)
        for end in [*(dot.start() for dot in re.finditer(r"\.", match[0])), len(match[0])]
    }
    return sum(not _known(token, known) for token in stated) + len(versions - known_versions)


def _known(token: str, known: set[str]) -> bool:
    keys = _keys(token)
    numbers = {key for key in keys if key.isdigit()}
    whole = "".join(_PARTS.findall(token)).upper()
    return whole in known or (bool(numbers) and numbers <= known)
