"""Reading a support ticket: cut, fold, split into tokens, guess the language.

Pure functions of the standard library. The folded form (lower case, no accents, no apostrophes) is what the cues and
the word features are written against, so that typing habits ("cant", "can't", "Können", "konnen") make no difference.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal

Language = Literal["en", "de", "es", "other"]

HEAD_CHARS: Final = 2_400
"""Characters kept from the start of a text; nearly all tickets are shorter than this."""

TAIL_CHARS: Final = 1_200
"""Characters kept from the end, where people who paste a log say what they want."""

SUBJECT_CHARS: Final = 300
"""Characters kept of a subject line."""

MIN_LETTERS: Final = 3
"""Fewer letters than this say nothing."""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_URL: Final = re.compile(r"\b(?:https?://|www\.)\S+")
_MAIL: Final = re.compile(r"[^\s@]{1,64}@[^\s@]{1,200}\.\w+")
_ERROR: Final = re.compile(
    r"\b(?:(?:40[0-9]|413|422|429|50[0-4])\b(?! +(?:\w\w+s|people|staff|min|sek)\b)|0x[0-9a-f]+|err[_-]?\w*\d\w*"
    r"|e\d{3,}|\w+(?:error|exception)\b(?=[:( ])|traceback|segfault|http[ /]?[45]\d\d"
    r"|(?:error|code|status)[ :#-]*\d+)",
    re.IGNORECASE,
)
_CURRENCY: Final = r"(?:[$€£¥]|\b(?:usd|eur|gbp|chf|euros?|dollars?|pounds?|franken|francs?|bucks|quid)\b)"
_MONEY: Final = re.compile(
    rf"{_CURRENCY} ?\d[\d.,' ]*\d?|\d[\d.,']*k? ?{_CURRENCY}|\b\d{{1,3}}(?:[.,]\d{{3}})*[.,]\d\d\b(?! ?%)"
)
_PERCENT: Final = re.compile(r"\d+(?:[.,]\d+)? ?%")
_TIME: Final = re.compile(
    r"\b(?:[01]?\d|2[0-3])[:h][0-5]\d\b|\b\d{1,2} ?(?:am|pm|uhr)\b"
    r"|\b(?:noon|midnight|mitternacht|medianoche|mediodia)\b"
)
_NUMBER: Final = re.compile(r"\d[\d.,']*")
_APOSTROPHE: Final = re.compile(r"(?<=\w)['\u2019\u02bc`\u00b4](?=\w)")
_TOKEN: Final = re.compile(r"<\w+>|[^\W\d_]+|[?]|[.!;:\n\u2026]+")
_LEVEL: Final = (
    r"(?:critical|urgen\w+|priorit\w+|severity|sev ?\d|p[01]|emergency|kritisch\w*|dringend\w*|critic[oa]|urgente)"
)
_STEERING: Final = re.compile(
    rf"\b(?:mark|set|classify|label|flag|treat|rate|raise|bump|categori[sz]e|triage|assign|give|make"
    rf"|setze?n?|markier\w*|stufe|marca\w*|pon\w*|clasifi\w+|trata\w*)\b[^.,;!\n]{{0,60}}?\b{_LEVEL}\b[^.,;!\n]{{0,30}}"
    rf"|\b(?:urgency|priority|severity|category|level)\b ?(?:[:=]|is|to|must be|should be) ?\S+"
    r"|\b(?:ignor\w*|disregard)\b[^.;!\n]{0,60}\b(?:instructions?|rules?|anweisung\w*|regeln|instrucciones|reglas)\b[^.;!\n]{0,30}",
    re.IGNORECASE,
)


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_FILLER: Final = _words("""
    hi hello hey hiya dear team all there folks guys yo good morning afternoon evening greetings support so ok
    okay um uh well and but also pls plz please kindly just hallo guten tag moin servus zusammen liebes bitte
    also hola buenas buenos dias tardes por favor pues subject re fwd fw aw wg
""")
_STOP_WORDS: Final[dict[Language, frozenset[str]]] = {
    "en": _words("""
        the and is are was we you to of in on it for our my not with that this have has can how do please i your
        be as but from when at or there what if an thanks would after since all no
    """),
    "de": _words("""
        der die das und ist sind wir ihr sie ich nicht mit ein eine einen zu im in auf bei den dem des uns unser
        unsere fur von kann konnen haben hat wie seit nach wird werden bitte es mir mein meine aber noch nur
        auch als oder wenn man dass mehr keine kein bekomme wo euch danke am gibt vom zum zur
    """),
    "es": _words("""
        el la los las de que y en un una es son no con por para se nos me mi su al del lo como desde pero mas
        muy ha han hay este esta puedo podemos tenemos cuando donde sin ya si le les nuestra nuestro tras hola
        gracias porque
    """),
    "other": _words("""
        le la les et est sont nous vous je ne pas un une des du au aux ce cette pour dans qui que sur avec
        depuis merci bonjour il lo gli di che non per sono abbiamo una con del della da o os as um uma nao em
        para por mais ele het een van niet wij ik zijn voor met naar ook nie jest sie na do w z
    """),
}
"""Folded words that tell the languages apart; `other` holds those of their neighbours (French, Italian, ...)."""


def cut(text: str) -> str:
    """Return head and tail of a long text, at most `HEAD_CHARS` + `TAIL_CHARS`, without control characters."""
    if len(text) > HEAD_CHARS + TAIL_CHARS:
        text = f"{text[:HEAD_CHARS]}\n{text[-TAIL_CHARS:]}"
    return _CONTROL.sub(" ", text)


def fold(text: str) -> str:
    """Return the text in lower case without accents and inner apostrophes."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    return _APOSTROPHE.sub("", plain)


def mask(folded: str) -> str:
    """Return folded text with links, addresses, error codes and quantities replaced by their kind."""
    text = _URL.sub(" <url> ", folded.replace("<", " ").replace(">", " "))
    text = _MAIL.sub(" <mail> ", text)
    text = _ERROR.sub(lambda m: f" <err> {m[0] if m[0].isalpha() else ''} ", text)
    text = _MONEY.sub(" <money> ", text)
    text = _PERCENT.sub(" <percent> ", text)
    text = _TIME.sub(" <time> ", text)
    return _NUMBER.sub(_kind_of_number, text)


def _kind_of_number(match: re.Match[str]) -> str:
    digits = re.sub(r"\D", "", match[0])
    return " <big> " if len(digits) >= 3 else " <num> "


def tokens(masked: str) -> list[str]:
    """Split masked text into words and marks; `^` opens each sentence, after greetings and fillers."""
    found: list[str] = ["^"]
    for token in _TOKEN.findall(masked):
        if token[0] in ".!;:\n\u2026":
            if found[-1] != "^":
                found.append("^")
        elif token == "?":  # noqa: S105 - a mark, no password
            found += ["?", "^"]
        elif found[-1] != "^" or token not in _FILLER:
            found.append(token)
    return found


def without_steering(text: str) -> str:
    """Remove what tells the reader how to judge ("mark this as critical"): a wish to be urgent is no evidence for it.

    Only the wish goes, up to the end of its clause: the outage described beside it still counts.
    """
    return _STEERING.sub(" ", cut(text))


def readable(subject: str, text: str) -> bool:
    """Tell whether there is anything to read: enough letters of an alphabet that the models know."""
    letters = [c for c in fold(f"{subject[:SUBJECT_CHARS]} {cut(text)}") if c.isalpha()]
    latin = sum("a" <= c <= "z" for c in letters)
    return latin >= MIN_LETTERS and latin * 2 >= len(letters)


def language(subject: str, text: str) -> Language:
    """Guess the language by counting stop words: English when nothing stands out, `other` when none fits."""
    words = re.findall(r"[^\W\d_]+", fold(f"{subject[:SUBJECT_CHARS]} {cut(text)}"))
    scores = {name: sum(word in stop for word in words) for name, stop in _STOP_WORDS.items()}
    best = max(scores, key=lambda name: scores[name])
    if scores[best] == 0 and len(words) >= 8:
        return "other"
    return best if scores[best] > scores["en"] else "en"
