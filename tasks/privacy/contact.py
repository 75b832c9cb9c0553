"""How a person is reached: e-mail, telephone, links, and where they live."""

from __future__ import annotations

import re
from typing import Final

from tasks.embedded.lexicon import folded
from tasks.embedded.resume_lines import heading_of
from tasks.privacy.passages import BREAK, Passages, labels, trade_words, word_set

_EMAIL: Final = re.compile(
    r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}"
    r"|(?<![\w.+-])[\w.+-]{1,64} ?[(\[{](?:at|\u00e4t|@)[)\]}] ?[\w-]{1,63} ?(?:\."
    r"|[(\[{](?:dot|punkt|point)[)\]}]) ?\w{2,12}"
    r"|(?<![\w.+-])[\w.+-]{1,64} at [\w-]{1,63} dot \w{2,12}\b",
    re.IGNORECASE,
)
_SITES: Final = (
    "linkedin|xing|github|gitlab|bitbucket|twitter|facebook|instagram|medium|stackoverflow|behance|dribbble|kaggle"
    "|researchgate|orcid|youtube|telegram|skype|whatsapp|mastodon|bluesky"
)
_ENDINGS: Final = "com|net|org|de|fr|io|dev|me|eu|co|ch|at|info|app|design|tech|page|blog|site|uk|ca|us|be|nl|es|it"
_LINK: Final = re.compile(
    r"(?:https?://|www\.)[^\s<>\[\]|,;]{2,300}"
    rf"|\b(?:[a-z]{{2,3}}\.)?(?:{_SITES}|t|x)\.(?:com|de|io|me|org|net|fr)/[^\s|,;)\[\]]{{1,200}}",
    re.IGNORECASE,
)
_HANDLE: Final = re.compile(
    rf"^(?P<head>[^\n]{{0,80}}?\b(?:{_SITES}|x|handle|nickname)\s*[:/]\s*)(?P<value>@?[\w.-]{{2,60}})"
    r"(?=\s*(?:$|[|,;\u2022\u00b7]))",
    re.IGNORECASE | re.MULTILINE,
)
_AT_HANDLE: Final = re.compile(r"(?<![\w@/])@[A-Za-z][\w.]{2,30}\b")
_DOMAIN: Final = re.compile(
    rf"(?<![\w@./-])[a-z0-9-]{{2,40}}(?:\.(?:{_ENDINGS})){{1,2}}(?:/[^\s|,;]{{0,100}})?(?![\w.-])", re.IGNORECASE
)

_PHONE_LABEL: Final = (
    r"(?:tel(?:efon|ephone|\u00e9phone)?|t\u00e9l(?:\u00e9phone)?|phone|mobile?|mobil(?:telefon|nummer)?"
    r"|cell(?:ular)?|handy"
    r"|portable|fax|whatsapp|fon|festnetz|privat|home|rufnummer|call me|ph|m|t|p)"
)
_DIGITS: Final = r"\+?(?:\(\+?\d{1,4}\)|\d)(?:[ ./()\u2010-\u2013\u00a0-]{0,3}\d){5,16}"
_PHONE: Final = re.compile(
    rf"(?<![\w,])(?P<label>\b{_PHONE_LABEL}\.?\s{{0,3}}[:.]?\s{{0,3}})?(?P<value>{_DIGITS})(?![\w])", re.IGNORECASE
)
_DATES: Final = re.compile(
    r"(?:(?:0?[1-9]|[12]\d|3[01])[./-])?(?:(?:0?[1-9]|1[0-2])[./-]\s?)?(?<!\d)(?:19|20)\d\d(?!\d)"
    r"|(?<!\d)(?:19|20)\d\d[./-](?:0[1-9]|1[0-2])(?:[./-]\d\d)?(?!\d)"
)
_AMERICAN: Final = re.compile(r"\(?[2-9]\d\d\)?[ .-]{0,2}\d{3}[ .-]\d{4}")
_GROUPED: Final = re.compile(r"\d{1,3}(?:[ .\u00a0]\d{3})+")

_CAPITAL: Final = r"[A-Z\u00c0-\u00de][\w\u2019'.]{0,30}(?:-[\w\u2019'.]{1,30}){0,2}"
_EN_KIND: Final = (
    r"(?:street|st|avenue|ave|road|rd|lane|ln|drive|dr|boulevard|blvd|court|ct|place|way|square|sq|terrace|close"
    r"|crescent"
    r"|gardens|parkway|pkwy|highway|row|grove|mews|walk|quay|circle|trail|loop)\b\.?"
)
_STREET: Final = re.compile(
    rf"\b\d{{1,5}}[a-z]?,? (?:(?:[NSEW]|{_CAPITAL}|\d{{1,3}}(?:st|nd|rd"
    rf"|th)) ){{1,4}}(?i:{_EN_KIND})(?:,? (?i:apt|apartment|flat|unit|suite|#)\.? ?\w{{1,5}})?"
    rf"|\b(?i:flat|apt|apartment|unit) \w{{1,5}}, \d{{1,5}}[a-z]? (?:{_CAPITAL} ){{1,4}}(?i:{_EN_KIND})"
    r"|\b(?:[A-Z\u00c0-\u00de][\w.']{0,30}[ -]){0,3}(?i:\w{0,30}(?:stra(?:\u00df|ss)e|str\.|weg|platz|allee"
    r"|gasse|damm|ufer|chaussee|steig|stieg|wall|ring|markt|hof))\s{1,2}\d{1,4} ?[a-z]?\b(?!\s?(?:%|\w))"
    r"|\b(?:Am|An der|Auf der|Im|In der|Zum|Zur"
    r"|Unter den) (?:[A-Z\u00c0-\u00de][\w\u00df-]{1,30} ){1,2}\d{1,4} ?[a-z]?\b"
    r"|\b\d{1,4} ?(?:bis|ter)?,? (?i:rue|avenue|av\.|boulevard|bd\.?|place|all\u00e9e|impasse|chemin|quai|cours"
    r"|route|square|passage) (?:(?:d[eu]s?|la|le|les|l['\u2019]|d['\u2019]"
    r"|[A-Z\u00c0-\u00de][\w\u2019'-]{0,30}) ?){1,6}"
    r"|\b(?i:p\.? ?o\.? box|postfach|b\.p\.|bp) \d{2,6}(?: \d{2,3}){0,2}\b"
)
_POSTAL: Final = re.compile(
    rf"\b(?:(?:DE?|FR?|CH|A|L|B|NL)-)?(?!(?:19|20)\d\d\b)\d{{4,5}},? (?:{_CAPITAL})(?: (?:am|an der|im|sur|sous"
    rf"|en|{_CAPITAL})){{0,3}}"
    rf"|\b{_CAPITAL}(?: {_CAPITAL}){{0,2}},? [A-Z]{{2}},? \d{{5}}(?:-\d{{4}})?\b"
    rf"|(?:\b{_CAPITAL}(?: {_CAPITAL})?,? )?\b[A-Z]{{1,2}}\d[A-Z\d]? \d[A-Z]{{2}}\b"
)
_STATE_ZIP: Final = re.compile(
    rf"\b{_CAPITAL}(?: {_CAPITAL}){{0,2}}, [A-Z]{{2}} \d{{5}}\b"
    rf"|(?:\b{_CAPITAL},? )?\b[A-Z]{{1,2}}\d[A-Z\d]? \d[A-Z]{{2}}\b"
)
_ADDRESS_LABEL: Final = re.compile(
    rf"(?:^|(?<=[|\u2022\u00b7;,\t]))[ \t*\u2022-]{{0,4}}(?:{labels('address')})[ \t]{{0,3}}"
    r"(?:[:\u2013][ \t]{0,12}|[ \t]{2,12})"
    r"(?P<value>[^|\u2022\u00b7;\t\n\[]{2,90})",
    re.IGNORECASE | re.MULTILINE,
)
_LIVES: Final = re.compile(
    rf"\b(?:based in|living in|lives? in|wohnhaft in|residing in|habite \u00e0"
    rf"|domicili\u00e9e? \u00e0)\s(?P<value>{_CAPITAL}(?:,? {_CAPITAL}){{0,3}})"
)
_HEAD_WORDS: Final = 8
_HEAD_LINES: Final = 16
_CONTACT: Final = re.compile(r"\[(?:email|phone|link|address)\]")
_COUNTRIES: Final = word_set("countries")
_TITLES: Final = word_set("no_names")


def reachable(passages: Passages, name_parts: frozenset[str]) -> None:
    """Remove e-mail addresses, links, handles and telephone numbers; a domain or handle also where a name is in it."""
    passages.replace("email", _EMAIL)
    passages.replace("link", _LINK)
    passages.replace("link", _HANDLE)
    passages.replace("phone", _PHONE, _is_phone)
    near = _contact_lines(passages.text)

    def own(match: re.Match[str]) -> bool:
        plain = re.sub(r"[^a-z]", "", folded(match[0]))
        named = any(len(part) > 3 and part in plain for part in name_parts)
        return named or passages.text.count("\n", 0, match.start()) in near

    passages.replace("link", _DOMAIN, own)
    passages.replace("link", _AT_HANDLE, own)


def _is_phone(match: re.Match[str]) -> bool:
    """Tell telephone numbers from years, dates, sums and versions."""
    value = match["value"]
    digits = sum(char.isdigit() for char in value)
    if digits < 7 or digits > 16:
        return False
    if match["label"] and digits >= 7 and len(match["label"].strip(" .:")) > 1:
        return True
    left = _DATES.sub("", value)
    if sum(char.isdigit() for char in left) < 6:
        return False
    if value.startswith(("+", "00", "(")) or _AMERICAN.fullmatch(value):
        return True
    if _GROUPED.fullmatch(value) and not value.startswith("0"):
        return False
    return value[0] == "0" and digits >= 8 and value.count(".") != 3


def _contact_lines(text: str) -> set[int]:
    """Return the lines at the top in which somebody is reached."""
    return {place for place, line in enumerate(text.split("\n")[:_HEAD_LINES]) if _CONTACT.search(line)}


def addresses(passages: Passages) -> None:
    """Remove where a person lives; towns and countries of employers and schools stay."""
    passages.replace("address", _STREET)
    passages.replace("address", _ADDRESS_LABEL, lambda match: len(match["value"].split()) <= 12)
    passages.replace("address", _LIVES)
    passages.replace("address", _STATE_ZIP)
    near = _near(passages.text)
    passages.replace_lines(lambda place, line: _without_places(line) if place in near else None, "address")


def _near(text: str) -> set[int]:
    """Return the lines that stand at or next to where somebody is reached."""
    lines = text.split("\n")
    found = {place for place, line in enumerate(lines) if _CONTACT.search(line) and len(line.split()) <= 25}
    kept: set[int] = set()
    for place in found:
        kept.add(place)
        for step in (-1, 1):
            at, gone = place + step, 0
            while 0 <= at < len(lines) and gone < 3 and len(lines[at].split()) <= _HEAD_WORDS:
                if heading_of(lines[at]):
                    break
                kept.add(at)
                gone += bool(lines[at].strip())
                at += step
    return kept


def _without_places(line: str) -> str:
    """Return a line of contact data without its towns, postal codes and countries."""
    line = _POSTAL.sub("[address]", line)
    parts = re.split(rf"({BREAK}|,\s|\s/\s)", line)
    return "".join("[address]" if _is_place(part) else part for part in parts)


_PLACE: Final = re.compile(
    r"[A-Z\u00c0-\u00de][\w'\u2019.-]{0,30}(?: (?:am|an|der|im|sur|sous|la|le|de|upon"
    r"|[A-Z\u00c0-\u00de][\w'\u2019.-]{0,30})){0,3}"
)


def _is_place(part: str) -> bool:
    text = part.strip()
    plain = folded(text)
    if plain in _COUNTRIES:
        return True
    if not _PLACE.fullmatch(text) or heading_of(text) or plain in trade_words():
        return False
    words = re.findall(r"[^\W\d_]+", plain)
    return not any(word in _TITLES or word in trade_words() for word in words)
