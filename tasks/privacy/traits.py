"""What a person is beside their work: birth, age, gender, family, origin, belief, numbers of documents, photographs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from tasks.embedded.lexicon import folded
from tasks.privacy.passages import WORDS, Passages, labels

_MONTH: Final = (
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|j\u00e4n|m\u00e4r|mai|okt|dez|f\u00e9v|avr|juin|juil"
    r"|ao\u00fb|d\u00e9c|fev|aou"
    r")[\w\u00fb\u00e9\u00e4]{0,8}\.?"
)
_DAY: Final = r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th|er|\.)?"
_DATE: Final = (
    rf"(?:{_DAY} ?[./-] ?(?:0?[1-9]|1[0-2]) ?[./-] ?(?:19|20)?\d\d|(?:0?[1-9]|1[0-2])/{_DAY}/(?:19|20)?\d\d"
    rf"|(?:19|20)\d\d-\d\d-\d\d"
    rf"|{_DAY} (?:of )?{_MONTH},? (?:19|20)\d\d|{_MONTH} {_DAY},? (?:19|20)\d\d|{_MONTH} (?:19|20)\d\d|(?:19"
    rf"|20)\d\d)"
)
_PLACE: Final = (
    r"[A-Z\u00c0-\u00de][\w'\u2019.-]{0,30}(?:,? (?:am |an der |sur "
    r"|de )?[A-Z\u00c0-\u00de][\w'\u2019.-]{0,30}){0,3}"
)
_LABELED: Final = ("birth", "age", "gender", "family", "nationality", "id", "photo")
_VALUE: Final = (
    r"(?P<value>[^\s|\u2022\u00b7;\[][^|\u2022\u00b7;\t\n\[]{0,79}?)"
    r"(?=\s{0,5}(?:$|[|\u2022\u00b7;\t]|,\s{0,3}[A-Za-z\u00c0-\u00ff][^\W\d]{2,20}(?: [^\W\d]{2,12}){0,3}:|\s{3}))"
)
_ALONE: Final = r"(?:^|(?<=[|\u2022\u00b7;,])|(?<=\s[-\u2013]))[ \t]{0,4}"
_END: Final = r"(?=\s{0,4}(?:$|[|,;\u2022\u00b7.]|\s[-\u2013]\s))"
"""Where a part of a line begins and ends."""


def _labelled(names: str) -> re.Pattern[str]:
    """Match "Label: value" at the start of a part of a line."""
    return re.compile(
        rf"(?:^|(?<=[|\u2022\u00b7;,\t(\n])"
        rf"|(?<=\s\s))[ \t*\u2022-]{{0,4}}(?:{names})\s{{0,3}}[:=\u2013]\s{{0,12}}{_VALUE}",
        re.IGNORECASE | re.MULTILINE,
    )


def _tabular(names: str, shape: str) -> re.Pattern[str]:
    """Match a label and a value of a known shape without a colon between them, in one line or in two."""
    return re.compile(
        rf"^[ \t*\u2022-]{{0,4}}(?:{names})[ \t]{{0,12}}:?[ \t]{{0,12}}\n?[ \t]{{0,12}}(?P<value>{shape})"
        r"(?=[ \t]{0,5}(?:$|[|\u2022\u00b7;,]))",
        re.IGNORECASE | re.MULTILINE,
    )


_MARRIED: Final = (
    r"married|single|divorced|widowed|separated|engaged|in a relationship|verheiratet|ledig"
    r"|geschieden|verwitwet|getrennt lebend|verpartnert|mari\u00e9e?|c\u00e9libataire|divorc\u00e9e?|veuve?"
    r"|pacs\u00e9e?"
)
_COUNT: Final = (
    r"(?:\d|an?|one|two|three|four|five|ein|eine?|zwei|drei|vier|f\u00fcnf|une?|deux|trois|quatre|no|keine|sans)"
)
_CHILDREN: Final = (
    rf"{_COUNT} (?:children|child|kids?|kinder?n?|enfants?|sons?|daughters?|s\u00f6hne|t\u00f6chter|sohn|tochter)"
)
_SHAPES: Final[Mapping[str, str]] = {
    "birth": rf"{_DATE}(?:,? (?:in|at|\u00e0)? ?{_PLACE})?",
    "age": r"\d{2}(?: (?:years?(?: old)?|jahre(?: alt)?|ans))?",
    "gender": r"male|female|m|f|w|d|non-binary|m\u00e4nnlich|weiblich|divers|homme|femme|masculin|f\u00e9minin"
    r"|herrn?|frau|mr|mrs|ms|mme|(?:she|he|they|sie|er)/\w{2,6}(?:/\w{2,6})?|completed|exempt|served|abgeleistet"
    r"|done",
    "family": rf"(?:{_MARRIED}|{_CHILDREN})(?:(?:,| and| mit|;)? ?{_CHILDREN})?",
    "nationality": r"[A-Za-z\u00c0-\u00ff][a-z\u00c0-\u00ff-]{2,25}(?:(?:,| and| und| et"
    r"|/) ?[A-Za-z\u00c0-\u00ff][a-z\u00c0-\u00ff-]{2,25})?(?: citizen)?",
    "id": r"[A-Z0-9][A-Z0-9 ./-]{4,24}",
}

_PICTURE: Final = (
    r"(?:(?:passport|profile|applicant|application|id|bewerbungs|pass|profil)[ -]?)?"
    r"(?:photo(?:graph)?|foto|bild|picture|portrait|headshot)"
)
_BELIEFS: Final = (
    r"(?:r\u00f6m\.?(?:isch)?-kath\.?(?:olisch)?|roman catholic|catholic|katholisch|evangelisch|protestant|muslim|hindu"
    r"|jewish|buddhist|christian|sikh)"
)
_FREE: Final[Mapping[str, tuple[str, ...]]] = {
    "birth": (
        (
            rf"\b(?:born|geboren|geb\.|n\u00e9\(e\)|n\u00e9e?)(?: on| am| le| in| im| en"
            rf"|:)? ?(?:the )?(?P<value>{_DATE}(?:,? (?:in|at|\u00e0) {_PLACE}|, {_PLACE})?)"
        ),
        rf"\b(?:born(?: and raised)?|raised|grew up|geboren|aufgewachsen) in (?P<value>{_PLACE})",
        rf"\bn\u00e9e? \u00e0 (?P<value>{_PLACE}(?: le {_DATE})?)",
        rf"(?:^|(?<=\s))\*\s?(?P<value>{_DAY}[./]\s?(?:0?[1-9]|1[0-2])[./]\s?(?:19|20)?\d\d(?: in {_PLACE})?)",
    ),
    "age": (
        r"\b(?:aged|age|alter|\u00e2ge)\s?[:=]?\s?(?P<value>[1-7]\d)\b(?!\s?[%+-])(?! (?:percent|months?|days?))",
        r"\b(?P<value>[1-7]\d[ -]years?[ -](?:old|of[ -]age))\b",
        r"\b(?P<value>[1-7]\d ?(?:jahre (?:alt|jung)|-?j\u00e4hrige?[rns]?))\b",
        r"\b(?P<value>[1-7]\d ans)(?=\s*(?:$|[|,;\u2022\u00b7\u2013-]))",
        r"\b(?:\u00e2g\u00e9e? de) (?P<value>[1-7]\d ans)",
    ),
    "gender": (
        r"\(?\b(?:she/her(?:/hers)?|he/him(?:/his)?|they/them(?:/theirs)?|sie/ihr|er/ihm|elle/la|il/lui)\b\)?",
        r"\b(?:wehrdienst|grundwehrdienst|zivildienst|military service|national service|service militaire)\b",
        r"\b(?:girls|boys)(?= who| scouts?| guides?|'s?)",
    ),
    "family": (
        (
            rf"\b(?:mother|father|mum|dad|parent|mutter|vater|m\u00e8re|p\u00e8re)(?: of| von"
            rf"| de) (?:{_COUNT}\b(?: \w{{3,12}})?|\w{{3,12}} (?:children|kids))"
        ),
        rf"\b(?:happily )?(?:{_MARRIED})(?: (?:with|mit|avec))?(?:,| and)? ?{_CHILDREN}",
        (
            r"\b(?:maternity|paternity|parental)(?= leave)|\b(?:elternzeit|mutterschutz|erziehungsurlaub"
            r"|cong\u00e9 (?:de )?maternit\u00e9|cong\u00e9 (?:de )?paternit\u00e9|cong\u00e9 parental)\b"
        ),
        rf"{_ALONE}(?P<value>(?:happily )?(?:{_MARRIED})){_END}",
        rf"{_ALONE}(?P<value>{_CHILDREN}){_END}",
        r"\b(?:my|meine?|ma|mon) (?:wife|husband|children|kids|ehefrau|ehemann|kinder|femme|mari|enfants)\b",
    ),
    "nationality": (
        r"\b(?:de )?nationalit\u00e9 (?P<value>[a-z\u00c0-\u00ff]{4,20})",
        r"\b(?P<value>[a-z\u00e4\u00f6\u00fc]{4,20}e?) staatsangeh\u00f6rigkeit",
        rf"{_ALONE}(?P<value>{_BELIEFS}){_END}",
    ),
    "id": (
        r"\b(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])",
        r"\b[12] ?\d{2} ?(?:0[1-9]|1[0-2]) ?\d{2} ?\d{3} ?\d{3} ?\d{2}\b",
    ),
    "photo": (
        rf"^[ \t]*[\[(<]?\s?(?P<value>(?:{_PICTURE})(?: (?:d'identit\u00e9|(?:of|von) [^\n]{{1,40}}))?)\s?[\])>]?\s*$",
        r"\b[\w-]{1,60}\.(?:jpe?g|png|heic|gif)\b",
    ),
}

_TRAITS: Final = [
    *((kind, _labelled(labels(kind))) for kind in _LABELED),
    *((kind, _tabular(labels(kind), shape)) for kind, shape in _SHAPES.items()),
    *(
        (kind, re.compile(pattern, re.IGNORECASE | re.MULTILINE))
        for kind, patterns in _FREE.items()
        for pattern in patterns
    ),
]
_CITIZEN: Final = re.compile(
    r"\b[A-Z][a-z]{2,15}(?:[/-][A-Z][a-z]{2,15})? (?:citizen(?:ship)?|national|passport(?: holder)?)\b(?! [A-Z])"
    r"|\b(?:EU|US|UK|EEA)[ -]citizen\b"
)

_GENDERED: Final[dict[str, str]] = {
    form.strip(): neutral.strip()
    for form, _, neutral in (line.partition("=") for line in WORDS["gendered"].strip().splitlines())
}
_GENDERED_WORD: Final = re.compile(
    rf"\b(?:{'|'.join(sorted(_GENDERED, key=len, reverse=True))})(?P<more>en|s)?\b", re.IGNORECASE
)
_FEMININE: Final = re.compile(
    r"\b(\w{0,40}(?:entwickler|ingenieur|berater|leiter|lehrer|pfleger|verk\u00e4ufer|manager|designer|architekt"
    r"|administrator|analyst"
    r"|buchhalter|assistent|mechaniker|techniker|informatiker|programmierer|redakteur|referent|sachbearbeiter"
    r"|koordinator|direktor"
    r"|tester|trainer|student|praktikant|mitarbeiter|physiker|mathematiker|betreuer|erzieher|therapeut"
    r"|spezialist|praxisanleiter"
    r"|sekret\u00e4r|gesellschafter|gr\u00fcnder|inhaber|absolvent|doktorand|wissenschaftler|forscher"
    r"|elektroniker|disponent|helfer"
    r"|fahrer|kellner|b\u00e4cker|meister|volont\u00e4r|journalist|dozent|bibliothekar|steuerberater|controller"
    r"|scientist|engineer))in(?:nen)?\b",
    re.IGNORECASE,
)
_PRONOUNS: Final = {
    "he": "they", "she": "they", "him": "them", "his": "their", "hers": "theirs",
    "himself": "themself", "herself": "themself", "he's": "they are", "she's": "they are",
}  # fmt: skip
_PRONOUN: Final = re.compile(
    r"\b(?:[Ss]?[Hh]e['\u2019]s|[Hh]e|[Ss]he|[Hh]im(?:self)?|[Hh]is"
    r"|[Hh]ers?(?:elf)?)\b(?!-)"
)


def traits(passages: Passages) -> None:
    """Remove what the lines of personal data and free sentences tell of a person."""
    for kind, pattern in _TRAITS:
        passages.replace(kind, pattern)
    passages.replace("nationality", _CITIZEN)


def neutral_words(passages: Passages) -> None:
    """Write words for people that tell no gender; English pronouns only in a text that is English."""
    passages.rewrite("gender", _GENDERED_WORD, _neutral_word)
    passages.rewrite("gender", _FEMININE, lambda match: match[1])
    if _is_english(passages.text):
        passages.rewrite("gender", _PRONOUN, _neutral_pronoun)


def _neutral_word(match: re.Match[str]) -> str:
    word: str = match[0].casefold()
    more = match["more"] or ""
    neutral = _GENDERED.get(word) or _GENDERED[word.removesuffix(more)]
    if neutral.startswith("["):
        return neutral
    neutral += "s" if more == "s" and word not in _GENDERED else ""
    return neutral[:1].upper() + neutral[1:] if match[0][:1].isupper() else neutral


def _neutral_pronoun(match: re.Match[str]) -> str:
    word = match[0].casefold().replace("\u2019", "'")
    if word == "her":
        after = match.string[match.end() : match.end() + 2]
        other = "their" if re.match(r"\s\w", after) else "them"
    else:
        other = _PRONOUNS[word]
    return other.capitalize() if match[0][0].isupper() else other


def _is_english(text: str) -> bool:
    """Tell by the commonest words: "her" is an ordinary word in German."""
    words = re.findall(r"\b(?:and|the|of|und|der|die|et|de|les|des)\b", folded(text))
    return 2 * sum(word in ("and", "the", "of") for word in words) >= len(words)
