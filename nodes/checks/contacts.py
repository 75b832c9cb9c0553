"""Ways to reach somebody in a text: e-mail addresses, phone numbers, links, as comparable values."""

from __future__ import annotations

import re
from typing import Final

from nodes.checks.plain import plain

_SPELLED_AT: Final = re.compile(r"\s?[(\[{]\s?(?:at|arroba|klammeraffe)\s?[)\]}]\s?", re.IGNORECASE)
_SPELLED_DOT: Final = re.compile(r"\s?[(\[{]\s?(?:dot|punkt|punto)\s?[)\]}]\s?", re.IGNORECASE)
# Every repetition is bounded or possessive: a long run of any character costs a constant for each of its characters.
_EMAIL: Final = re.compile(
    r"(?<![\w.%+-])[\w.%+'-]{1,64}+@((?:[\w-]{1,63}\.){1,8}[\w-]{2,24})|[\w%+-]{1,32}@(?:[\w-]{1,63}\.){1,8}[\w-]{2,24}"
)

_CUE: Final = (
    r"\b(?:tel|telefon|telefono|teléfono|phone|call|mobile|cell"
    r"|mobil|handy|móvil|whatsapp|fax|hotline|rufnummer|llam\w{1,8}|anrufen)\b"
)
_PHONE: Final = re.compile(
    r"(?<![\w#])\+\d{1,3}(?>(?:[ ./()-]{0,3}\d){6,14})(?!\d)"
    r"|(?<![\w#-])(?:1[ .-])?\(?\d{3}\)?[ .-]{1,2}\d{3}[ .-]\d{4}(?![\d-])"
    r"|(?<![\w#-])\d{3}-\d{4}(?![\w-])"
    r"|(?<![\w#.,-])\(?0\d{1,5}\)?[ /-]{1,3}(?>\d{2,8}(?:[ /-]\d{2,8}){0,4})(?![\d.,]\d|-?\d)"
    r"|(?<![\w#.,-])[6789]\d{2}(?: \d{3} \d{3}| \d{2} \d{2} \d{2})(?!\d)"
    rf"|{_CUE}[^\d\n]{{0,16}}(?>\d(?:[ ./()-]{{0,2}}\d){{6,14}})(?!\d)",
    re.IGNORECASE,
)
_DATE: Final = re.compile(r"\d{4}[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.]\d{2,4}|\(?0?\d{1,2}[-/ ]\d{4}")
_LONG_RUN: Final = re.compile(r"\d(?:[ ./()-]{0,2}\d){6,}+")

TOP_LEVEL: Final = (
    "com|org|net|io|dev|app|ai|info|biz|eu|uk|de"
    "|es|at|ch|fr|it|nl|us|ca|mx|ar|cl|test|example|invalid|shop|cloud|help|support|ly|gl"
)
"""Endings by which a bare domain is recognised; a link with a scheme or `www.` needs none of them."""
_LINK: Final = re.compile(
    r"\b(?:https?|ftp)://[^\s<>\"'`|]{1,2000}"
    r"|\bwww\.[^\s<>\"'`|]{1,2000}"
    rf"|(?<![\w@./-])(?:[a-z0-9][a-z0-9-]{{0,62}}\.){{1,6}}(?:{TOP_LEVEL})\b(?![\w@-]"
    rf"|\.\w)(?:[/?:#][^\s<>\"'`|]{{0,2000}})?",
    re.IGNORECASE,
)
_SCHEME: Final = re.compile(r"(?:https?|ftp)://|www\.", re.IGNORECASE)


def emails(text: str) -> set[str]:
    """Return e-mail addresses in lower case, also when written `name (at) example (dot) com`."""
    text = _SPELLED_DOT.sub(".", _SPELLED_AT.sub("@", plain(text)))
    return {match[0].strip(".'-").casefold() for match in _EMAIL.finditer(text)}


def phones(text: str) -> set[str]:
    """Return the phone numbers of a text by their last seven digits, which every way to write one shares."""
    found = set()
    for match in _PHONE.finditer(plain(text)):
        digits = re.sub(r"\D", "", match[0])
        if 7 <= len(digits) <= 15 and not _DATE.fullmatch(match[0].strip()):
            found.add(digits[-7:])
    return found


def without_phones(text: str) -> str:
    """Return the text without its phone numbers, for whoever looks for other numbers."""
    return _PHONE.sub(" ", text)


def known_phones(source: str) -> set[str]:
    """Return what counts as a known phone number: any run of seven or more digits of the source."""
    text = plain(source)
    runs = (re.sub(r"\D", "", match[0]) for match in _LONG_RUN.finditer(text))
    return phones(source) | {digits[-7:] for digits in runs}


def links(text: str) -> set[str]:
    """Return links without scheme, `www.` and closing punctuation; the host in lower case."""
    found = set()
    for match in _LINK.finditer(plain(text)):
        bare = match[0]
        while (scheme := _SCHEME.match(bare)) and len(bare) > scheme.end():
            bare = bare[scheme.end() :]
        bare = bare.rstrip(".,;:!?)]}*_>/\\")
        host, slash, path = bare.partition("/")
        if host:
            found.add(host.casefold() + slash + path)
    return found


def host_of(link: str) -> str:
    """Return the host of a link as `links` gives it."""
    return re.split(r"[/?#:]", link, maxsplit=1)[0]


def unknown_links(text: str, source: str, allow: frozenset[str]) -> list[str]:
    """Return links of the text that neither stand in the source nor lead to an allowed host or one below it.

    The host alone of a known link is fine; another path on a known host is not, because it may not exist.
    """
    stated = links(text)
    if not stated:
        return []
    known = links(source)
    known |= {link.split("?")[0].rstrip("/") for link in known} | {host_of(link) for link in known}
    domains = {address.partition("@")[2] for address in emails(text)}
    return [
        link for link in stated - known if not allow & set(_parents(host_of(link))) and link.casefold() not in domains
    ]


def _parents(host: str) -> list[str]:
    labels = host.split(".")[-8:]
    return [".".join(labels[i:]) for i in range(len(labels))]
