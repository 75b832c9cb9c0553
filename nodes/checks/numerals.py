"""Numbers as people write them: grouped, with a decimal comma or point, or as words."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

NUMBER: Final = re.compile(
    r"(?<!\d)(?<!\d[.,'])(?>\d{1,3}(?:[.,' ]\d{3}){1,5}(?!\d)(?:[.,]\d{1,2}(?!\d))?"
    r"|\d{1,15}(?:[.,]\d{1,4}(?!\d))?)(?!\d)"
)
"""A number, grouped or not; at most 15 digits, because nobody is owed more."""

_EN_ONES: Final = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_EN_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety"
_DE_ONES: Final = (
    "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn "
    "achtzehn neunzehn"
)
_DE_TENS: Final = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig"
_ES_ONES: Final = (
    "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete "
    "dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete "
    "veintiocho veintinueve"
)
_ES_TENS: Final = "treinta cuarenta cincuenta sesenta setenta ochenta noventa"
_HUNDRED: Final = {"hundred": 100, "hundert": 100, "cien": 100, "ciento": 100, "thousand": 1000, "tausend": 1000}


def _single_words() -> dict[str, int]:
    german = _DE_ONES.split()
    table = {word: n for ones in (_EN_ONES, _DE_ONES, _ES_ONES) for n, word in enumerate(ones.split())}
    for tens, first in ((_EN_TENS, 20), (_DE_TENS, 20), (_ES_TENS, 30)):
        table |= {word: first + 10 * n for n, word in enumerate(tens.split())}
    for ten, word in enumerate(_DE_TENS.split(), 2):
        table |= {f"{'ein' if one == 1 else german[one]}und{word}": 10 * ten + one for one in range(1, 10)}
    table |= {f"{'ein' if n == 1 else german[n]}hundert": 100 * n for n in range(1, 10)}
    return table | _HUNDRED


WORDS: Final = _single_words()
"""Number words of English, German and Spanish. `a`, `ein` and `un` are articles first, so they are left out."""

_LETTERS: Final = re.compile(r"[^\W\d_]{2,20}")
_JOINTS: Final = frozenset({"-", " ", " y "})


def _joined(first: int, second: int) -> int | None:
    """Return the number that two number words make together, if they make one."""
    if first in range(20, 100, 10) and 0 < second < 10:
        return first + second
    if 0 < first < 100 and second in (100, 1000):
        return first * second
    return None


def spelled_out(text: str) -> str:
    """Return the text with number words up to the thousands as digits: `forty-nine dollars` is `49 dollars`."""
    found: list[tuple[int, int, int]] = []
    for match in _LETTERS.finditer(text):
        value = WORDS.get(match[0].casefold())
        if value is None:
            continue
        start, end = match.span()
        if found and text[found[-1][1] : start] in _JOINTS:
            together = _joined(found[-1][2], value)
            if together is not None:
                start, value = found.pop()[0], together
        found.append((start, end, value))
    pieces, at = [], 0
    for start, end, value in found:
        pieces += [text[at:start], str(value)]
        at = end
    return "".join([*pieces, text[at:]])


def parse_number(written: str) -> Decimal:
    """Return the value of a match of `NUMBER`; the last separator decides between `1,200.00` and `1.200,00`."""
    bare = written.replace("'", "").replace(" ", "")
    point, comma = bare.rfind("."), bare.rfind(",")
    if point >= 0 and comma >= 0:
        thousands = "," if point > comma else "."
        return Decimal(bare.replace(thousands, "").replace(",", "."))
    separator = "." if point >= 0 else ","
    head, _, tail = bare.rpartition(separator)
    if head and (separator in head or (len(tail) == 3 and head != "0")):
        return Decimal(bare.replace(separator, ""))
    return Decimal(bare.replace(",", "."))
