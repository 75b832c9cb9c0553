"""Names of people, companies and products that a text brings in from nowhere.

German capitalises every noun, and every language the start of a sentence, so a capital alone proves nothing. A word
counts as a name where the text treats it as one: after a greeting or a title, under a sign-off, before a company
suffix, as `Name from our team`, or as one of several capitalised words in a row inside an English or Spanish sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from nodes.checks.name_words import GENERIC
from nodes.checks.plain import folded, language, plain

_WORD: Final = r"[^\W\d_a-zß-öø-ÿ][\w'-]{0,40}"
"""A word that may start with a capital; whether it does is asked of the letter itself."""
_GAP: Final = r"[ \t]{1,3}"
_TITLE: Final = r"(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Herrn?|Frau|Sra?|Señora?|Don|Doña)\b\.?"

_GREETING: Final = re.compile(
    rf"^[ \t]{{0,8}}(?:¡|Good (?:morning|afternoon|evening)|Guten (?:Tag|Morgen|Abend)|Buen[oa]s (?:días|tardes)|Hi"
    rf"|Hello|Hey|Dear"
    rf"|Hallo|Liebe[rs]?|Sehr geehrte[rs]?|Hola|Estimad[oa]s?|Querid[oa]s?|Thanks|Thank you|Gracias|Danke),?{_GAP}"
    rf"(?P<names>(?:{_TITLE}{_GAP})?{_WORD}(?:{_GAP}{_WORD}){{0,3}})",
    re.MULTILINE,
)
_TITLED: Final = re.compile(
    rf"\b(?<!Don )(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herrn?|Frau|Sra?|Señora?"
    rf"|Doña)\b\.?{_GAP}(?P<names>{_WORD}(?:{_GAP}{_WORD})?)"
)
_SIGN_OFF: Final = re.compile(
    r"(?i:regards|best|sincerely|wishes|cheers|thanks|thank you|yours|truly|grüße|grüßen|gruß|saludos?|atentamente"
    r"|cordialmente)"
    rf"[,.!]?[ \t]{{0,4}}(?:(?:\r?\n[ \t]{{0,8}}){{1,3}}|(?<=, ))[-*_ ]{{0,4}}"
    rf"(?P<names>{_WORD}(?:{_GAP}{_WORD}){{0,3}})",
)
_INTRODUCED: Final = re.compile(
    r"\b(?:[Mm]y name is|[Tt]his is|I am|I'm|[Mm]ein Name ist|[Ii]ch hei(?:ß|ss)e|[Mm]e llamo|[Mm]i nombre es|[Ss]oy"
    r"|named|called"
    r"|colleagues?|[Kk]olleg(?:e|in|en)|compañer[oa]|(?:account|success|support|project|product) (?:manager|engineer"
    r"|specialist|lead)"
    r"|técnic[oa]|gestora?|engineer|technician|specialist|asked|assigned(?: (?:it|this|your (?:ticket|case"
    r"|request)))?(?: to)?"
    r"|forwarded (?:it|this|your (?:ticket|case|request|message)) to|spoke (?:to|with)|reach out to|(?:ask|speak"
    r"|talk) (?:to|with|for)"
    rf"|asignado a|hablado con|contacte con|pregunte por)[ \t,]{{1,3}}(?P<names>{_WORD}(?:{_GAP}{_WORD}){{0,2}})"
)
_FROM: Final = re.compile(
    rf"(?P<names>{_WORD}(?:{_GAP}{_WORD})?),?{_GAP}(?:from|of|de|del|aus)(?={_GAP}(?:our|the|nuestro|nuestra|equipo"
    rf"|unserem|dem|{_WORD}{_GAP}(?:team|equipo)))"
)
_SUFFIX: Final = re.compile(
    rf"(?P<names>{_WORD}(?:{_GAP}(?:& )?{_WORD}){{0,3}}),?{_GAP}(?:Inc|Ltd|Limited|LLC|LLP|PLC|Corp|Corporation|GmbH"
    rf"|AG|KG|UG|SE|S\.L|S\.A|SL|SA|BV|B\.V|Pty)\b"
)
_PLAN: Final = re.compile(
    rf"\b(?:the|our|your|new|el plan|plan|the new){_GAP}(?P<names>{_WORD})(?:{_GAP}(?:[Pp]lan|[Ee]dition|[Tt]ier"
    rf"|[Pp]ackage|[Aa]dd-on|[Aa]pp)\b)"
)
_CAMEL: Final = re.compile(
    r"(?<![\w./@-])(?P<names>[A-Z][a-z]{2,20}[A-Z][a-z]{2,20})(?:[A-Z][a-z]{1,20}){0,2}(?![\w/@-])"
)
_RUN: Final = re.compile(rf"(?<![\w.@/'-])(?P<names>{_WORD}(?:{_GAP}{_WORD}){{1,5}})")
_TOKEN: Final = re.compile(r"[\w'-]+")
_STARTS: Final = re.compile(r"(?:\A|[\n.!?:;•*>|\"“”«»„¿¡()\[\]/-])[ \t\"'*_]{0,4}\Z")
_LABEL: Final = re.compile(
    r"(?:[\"'“”«»„*`>_\[]|->)[ \t]{0,2}\Z|\b(?:click|select|choose|open|under|press|tap|menu|go to|pulse|seleccione"
    r"|abra)(?: on)?[ \t]{1,3}\Z",
    re.IGNORECASE,
)
_PREDICATE: Final = re.compile(rf"{_GAP}(?:will|has|have|is|was|can|would|se|le|ha|va)\b")


class Naming(NamedTuple):
    """Words that a text uses as a name, and where."""

    tokens: tuple[str, ...]
    place: str
    least: int
    """How many of the words must be unknown for the name to count as invented."""


def _capitalised(names: str) -> tuple[str, ...]:
    """Return the leading words that look like a name: a capital first, small letters after it."""
    found: list[str] = []
    for word in _TOKEN.findall(names):
        if not word[0].isupper():
            break
        if any(letter.islower() for letter in word) or not found:
            found.append(word)
    return tuple(found)


def _signalled(text: str, lang: str | None) -> Iterator[Naming]:
    patterns = [
        (_GREETING, "in the greeting"),
        (_TITLED, "after a title"),
        (_SIGN_OFF, "under the sign-off"),
        (_SUFFIX, "as a company"),
        (_PLAN, "as a product"),
        (_CAMEL, "as a product"),
        (_INTRODUCED, "as a person"),
    ]
    if lang != "de":
        patterns.append((_FROM, "as a person"))
    for pattern, place in patterns:
        for match in pattern.finditer(text):
            start = match.start("names")
            if pattern is _FROM and _STARTS.search(text[max(0, start - 8) : start]):
                continue
            if pattern in (_PLAN, _CAMEL) and _LABEL.search(text[max(0, start - 16) : start]):
                continue
            yield Naming(_capitalised(match["names"]), place, 1)


def _runs(text: str) -> Iterator[Naming]:
    """Yield two or more capitalised words in a row; at the start of a sentence only when they do something."""
    for line in text.split("\n"):
        found = _TOKEN.findall(line)
        if sum(word[0].isupper() for word in found) * 2 > len(found):
            continue  # a heading
        for match in _RUN.finditer(line):
            before = line[max(0, match.start() - 16) : match.start()]
            names = _capitalised(match["names"])
            if _LABEL.search(before):
                continue
            if _STARTS.search(before or "\n") and not _PREDICATE.match(line, match.end()):
                names = names[1:]
            if len(names) >= 2:
                yield Naming(names, "in a sentence", 2)


def _known_words(source: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", folded(source)))


_GENERIC: Final = frozenset(folded(word) for word in GENERIC)


def _is_known(token: str, known: set[str]) -> bool:
    """Tell whether every part of a word occurs in the source, also with an ending such as `'s`."""
    for part in re.findall(r"[^\W_]+", folded(token.split("'", 1)[0] if "'s" in token else token)):
        if len(part) == 1 or part in known or part in _GENERIC:
            continue
        if part.endswith("s") and part[:-1] in known:
            continue
        return False
    return True


def _namings(text: str, lang: str | None) -> list[Naming]:
    return [*_signalled(text, lang), *(() if lang == "de" else _runs(text))]


def unknown_names(text: str, source: str) -> list[str]:
    """Return the places where a text names somebody or something that its source does not mention."""
    text = plain(text)
    lang = language(text)
    known = _known_words(source)
    # Cut the source as the text is cut: a name may end where a word of the source goes on in another script.
    cut = {token for naming in _namings(plain(source), lang) for token in naming.tokens}
    found = []
    for naming in _namings(text, lang):
        unknown = [token for token in naming.tokens if token not in cut and not _is_known(token, known)]
        if len(unknown) >= naming.least:
            found.append(naming.place)
    return list(dict.fromkeys(found))
