"""The name of a person: found at the top of a text, in labels and e-mail addresses, and removed wherever it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tasks.embedded.lexicon import folded
from tasks.embedded.resume_lines import MONTHS, heading_of
from tasks.privacy.passages import BREAK, MARK, Passages, labels, trade_words, word_set

_GIVEN: Final = word_set("given_names")
_NO_NAMES: Final = word_set("no_names")
_ORDINARY: Final = word_set("ordinary") | frozenset(MONTHS)
_PARTICLES: Final = word_set("particles")
_MAILBOXES: Final = word_set("mailboxes")
_WORD: Final = r"(?:[dD]['\u2019])?[A-Z\u00c0-\u00de\u0100-\u017d][\w\u2019'`-]{0,30}\.?"
_TITLE: Final = re.compile(
    r"^(?:(?:Dr|Prof|Mr|Mrs|Ms|Miss|Mx|Herrn?|Frau|Monsieur|Madame|Mme|Mlle|M|Dipl|Ing|med|rer|nat|phil|jur|pol"
    r"|hc|oec)\b[.-]*\s*)+",
    re.IGNORECASE,
)
_AFTER: Final = re.compile(
    r",?\s+(?:ph\.? ?d|m\.? ?sc|b\.? ?sc|mba|m\.? ?a|b\.? ?a|m\.? ?eng|b\.? ?eng|rn|cpa|pmp|cfa|jr|sr|ii|iii|esq"
    r"|md|llm)\.?(?=$|[\s,])",
    re.IGNORECASE,
)
_CV: Final = re.compile(
    r"^\W{0,5}(?:curriculum vitae|r\u00e9sum\u00e9|resume|lebenslauf|cv|bewerbung(?:sunterlagen)?"
    r"|application)\b\s*(?:of|for|von|de|:|-|\u2013|\||als)?\s*",
    re.IGNORECASE,
)
_NAME: Final = rf"{_WORD}(?:[ ,]{{1,2}}(?:van|von|der|de|la|del|di|da|bin|al|{_WORD})){{0,4}}"
_LABEL: Final = re.compile(
    rf"(?:^|(?<=[|\u2022\u00b7;,\t(]))[ \t*\u2022-]{{0,4}}(?i:{labels('name')})(?:[ \t]{{0,3}}:[ \t]{{0,12}}"
    rf"|[ \t]{{2,12}}|\t)"
    rf"(?P<value>(?:(?:Dipl\.-? ?[A-Z][a-z]{{1,6}}|Dr|Prof|Mr|Mrs|Ms|Herr|Frau|M|Mme)\.? ){{0,3}}{_NAME})"
    rf"|\b(?:geb\.|geborene|n\u00e9e) (?P<maiden>{_WORD})",
    re.MULTILINE,
)
_ADDRESSED: Final = re.compile(
    r"\b(?:(?:Mr|Mrs|Ms|Miss|Mx|Herrn?|Frau|Monsieur|Madame|Mme|Mlle)\b\.?|M\.)(?:[ \t](?:Dr|Prof)\.?){0,2}[ \t]"
    rf"(?!Sc|A\.|Eng|Ed|Office|Excel|Access|Word|SQL)(?:(?:van|von|der|de|la|del) )?{_WORD}(?:[ \t](?:(?:van"
    rf"|von|der|de|la|del) )?{_WORD}){{0,2}}"
    rf"|\b(?:Dr|Prof)\.(?:[ \t]?(?:Dr|med|rer|nat|phil|jur|h|c|habil)\.){{0,4}}[ \t](?:(?:van|von|der|de|la"
    rf"|del) )?{_WORD}(?:[ \t](?:(?:van|von|der|de) )?{_WORD}){{0,2}}"
)
_REFEREES: Final = re.compile(
    r"^\W{0,4}(?:references?|referees|referenzen|r\u00e9f\u00e9rences)\W{0,4}$", re.IGNORECASE
)
_REPORTED: Final = re.compile(
    rf"\b(?:reported (?:directly )?to|supervisor|supervised by|line manager|referee|reference|contact person"
    rf"|ansprechpartner(?:in)?|vorgesetzter?|encadr\u00e9e? par)[:,]? "
    rf"(?P<value>{_WORD} {_WORD}(?: {_WORD})?)",
)
_LOCAL: Final = re.compile(r"(?<![\w.+-])([\w.+-]{3,64})(?:@| ?[(\[{](?:at|@)[)\]}])", re.IGNORECASE)
_SLUG: Final = re.compile(
    r"(?:linkedin\.com/in|xing\.com/profile|github\.com|twitter\.com)/([\w.-]{3,80})", re.IGNORECASE
)
_TOP: Final = 14


_JOINT: Final = (
    r"(?:[ \t,._\"\u201c\u201d()-]{1,3}(?:(?:[A-Z]\.?|van|von|der|den|de|del|la|di|da|bin|al|zu)[ \t]{1,2}){0,2})"
)
"""What stands between the parts of a name: a space, a comma, initials."""
_REMAINS: Final = re.compile(
    r"\b[A-Z]\.?(?:[ -]?[A-Z]\.)?[ \t]\[name\]|\[name\](?:,? \[name\]){1,4}|\[name\],? [A-Z]\.(?=\s|$)"
)
"""Initials beside a name, and names beside each other."""


def find_names(text: str) -> frozenset[str]:
    """Return the parts of the name of whose résumé a text is, as they are written; empty if none is found."""
    hints = _hints(text)
    found: set[str] = set()
    for match in _LABEL.finditer(text):
        value = match["value"] or match["maiden"]
        if not _excluded(value):
            found.update(part for part in _parts(value) if folded(part) not in _NO_NAMES)
    if not found or len(found) < 2:
        found.update(_at_the_top(text, hints))
    found.update(_from_addresses(hints, found))
    return frozenset(found)


def names(passages: Passages, parts: frozenset[str]) -> None:
    """Remove a name with its parts, and other people where a title, a label or the list of referees names them."""
    passages.replace("name", _LABEL, lambda match: not _excluded(match["value"] or match["maiden"]))
    if parts:
        _everywhere(passages, parts)
    passages.replace("name", _ADDRESSED, lambda match: folded(match[0].split()[-1]) not in _NO_NAMES - _ORDINARY)
    passages.replace("name", _REPORTED, lambda match: not _excluded(match["value"]))
    _referees(passages)


def _everywhere(passages: Passages, parts: frozenset[str]) -> None:
    """Remove the whole name, then lines that are one part of it, then the parts that are no ordinary words."""
    passages.text = _spaced(passages, parts)
    whole, single = _written(parts), [part for part in parts if folded(part) not in _ordinary_words()]
    run = rf"(?<![^\W_])(?:{whole})(?:{_JOINT}(?:{whole})){{1,5}}(?![^\W_])"
    passages.replace("name", re.compile(run), _no_list)
    passages.replace("name", re.compile(rf"^[ \t]*(?P<value>{whole})[ \t]*,?$", re.MULTILINE))
    if single:
        passages.replace("name", re.compile(rf"(?<![^\W_])(?:{_written(single)})(?![^\W_])"))
    passages.replace("name", _REMAINS)


def _no_list(match: re.Match[str]) -> bool:
    """Tell "Swift, Ruby" in a list of skills from a surname in front of a given name."""
    if "," not in match[0] or any(
        folded(word) not in _ordinary_words() for word in re.findall(r"[^\W\d_]{2,}", match[0])
    ):
        return True
    text = match.string
    alone = text[: match.start()].rpartition("\n")[2].strip() + text[match.end() :].partition("\n")[0].strip()
    return not alone


def _ordinary_words() -> frozenset[str]:
    return _ORDINARY | _NO_NAMES | trade_words()


def _written(parts: frozenset[str] | list[str]) -> str:
    """Return an alternation of the parts in all the ways in which they are written."""
    forms: set[str] = set()
    for part in parts:
        plain = _ascii(part)
        for form in (part, plain):
            forms.update((form, form.upper(), form.capitalize(), form.title()))
            if len(form) > 3 and folded(form) not in _ordinary_words():
                forms.add(form.lower())
    return "|".join(re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form)) if len(form) > 1)


def _ascii(part: str) -> str:
    german = part.translate({0xE4: "ae", 0xF6: "oe", 0xFC: "ue", 0xC4: "Ae", 0xD6: "Oe", 0xDC: "Ue", 0xDF: "ss"})
    return german if german != part else folded(part)


def _hints(text: str) -> list[str]:
    """Return what stands before the @ of the first addresses, and the names of profiles."""
    return [match[1].casefold() for pattern in (_LOCAL, _SLUG) for match in list(pattern.finditer(text))[:2]]


def _from_addresses(hints: list[str], found: set[str]) -> Iterator[str]:
    """Yield the parts of an address that is a name: one of its parts is known as one."""
    known = {folded(part) for part in found} | _GIVEN
    for hint in hints:
        parts = [part for part in re.split(r"[\W\d_]+", hint) if len(part) > 1 and part not in _MAILBOXES]
        parts = [part for part in parts if part not in _NO_NAMES]
        if 2 <= len(parts) <= 4 and any(part in known for part in parts):
            yield from (part.capitalize() for part in parts if len(part) > 2)


def _parts(name: str) -> Iterator[str]:
    for token in re.findall(r"[^\W\d_]+(?:[\u2019'`-][^\W\d_]+)*", _TITLE.sub("", name.strip())):
        if len(token) > 1 and folded(token) not in _PARTICLES:
            yield token
            yield from (piece for piece in token.split("-") if len(piece) > 2 and piece != token)


def _excluded(name: str) -> bool:
    """Tell whether what looks like a name has a word that stands in none."""
    words = re.findall(r"[^\W\d_]+", folded(name))
    return not words or all(word in _NO_NAMES or word in trade_words() for word in words)


def _at_the_top(text: str, hints: list[str]) -> list[str]:
    """Return the parts of the likeliest name among the first lines, then among all."""
    lines = [line for line in map(str.strip, text.split("\n")) if line]
    if any("[name]" in line for line in lines[:_TOP]):
        return []
    best: tuple[float, list[str]] = (1.5, [])
    for place, line in enumerate(lines[:400]):
        following = lines[place + 1] if place + 1 < len(lines) else ""
        for candidate in _candidates(line, following, "".join(hints)):
            points = _likely(candidate, hints) + (2 if place == 0 else 1 if place < 3 else 0 if place < _TOP else -1.5)
            # A profession below it, and that the text calls somebody so again.
            points += any(word in _NO_NAMES for word in folded(following).split()[:4])
            points += len(candidate[0]) > 2 and text.count(candidate[0]) > 1
            if points > best[0]:
                best = points, candidate
    return [part for token in best[1] for part in _parts(token)]


def _candidates(line: str, following: str, hints: str) -> Iterator[list[str]]:
    """Yield what may be a name in a line: its first part, "Surname, Given", letters set apart."""
    line = _CV.sub("", line)
    if len(line) > 200 or MARK.search(line[:12]):
        return
    if re.fullmatch(r"(?:\w[ \u00a0]){3,40}\w", re.sub(r"\s{2,}", " ", line)):
        line = " ".join(re.sub(r"\s", "", part) for part in re.split(r"\s{2,}", line))
    part = _TITLE.sub("", re.split(rf"{BREAK}|\s[\u2014/]\s|\(", line)[0].strip())
    part = _AFTER.sub("", part).strip(" .,:")
    first, comma, second = part.partition(",")
    if comma and (pair := _tokens(f"{second} {first}", hints)) and len(pair) <= 4:
        if folded(pair[0]) in _GIVEN:
            yield pair
        first = ""
    if tokens := _tokens(first, hints):
        if len(tokens) >= 2:
            yield tokens
        elif (more := _tokens(following.strip(), hints)) and len(more) <= 2:
            yield tokens + more
    else:
        # "JANE DOE Senior Engineer" in one line.
        words = first.split()[:6]
        for size in range(min(4, len(words) - 1), 1, -1):
            if folded(words[0]) in _GIVEN and (tokens := _tokens(" ".join(words[:size]), hints)):
                yield tokens
                return


def _tokens(part: str, hints: str = "") -> list[str]:
    """Return the words of a name, an empty list for what is none.

    A word that is also an ordinary one belongs to a name where it follows a given name, or an address has it.
    """
    words = re.sub(r"[\"\u201c\u201d]", "", part).split()
    if not 1 <= len(words) <= 6 or heading_of(part):
        return []
    given = folded(words[0]) in _GIVEN
    for word in words:
        plain = folded(word).strip(".")
        if plain in _PARTICLES:
            continue
        if not re.fullmatch(_WORD, word) or re.search(r"[\d_]", word):
            return []
        if plain in _NO_NAMES or plain in trade_words():
            surname = given and plain in _ORDINARY
            if plain not in _GIVEN and not surname and not (len(plain) > 3 and plain in hints):
                return []
    named = [word for word in words if folded(word) not in _PARTICLES]
    return words if named and any(len(word.strip(".")) > 1 for word in named) else []


def _likely(tokens: list[str], hints: list[str]) -> float:
    """Return how much speaks for a name: a common given name, and an address that is made of it."""
    plain = [folded(token).strip(".") for token in tokens if folded(token) not in _PARTICLES]
    points = 3.0 if any(piece in _GIVEN for piece in plain[0].split("-")) else 1.0 if plain[-1] in _GIVEN else 0.0
    for hint in hints:
        letters = re.sub(r"[^a-z]", "", folded(_ascii(hint)))
        matched = sum(len(_letters(token)) > 2 and _letters(token) in letters for token in tokens)
        points += 3.0 * matched
        if (
            not matched
            and len(plain) > 1
            and len(letters) > 2
            and letters.startswith(plain[0][:1] + plain[-1][:1])
            and len(letters) < 5
        ):
            points += 1.0
    if 2 <= len(plain) <= 3:
        points += 0.5
    return points


def _letters(token: str) -> str:
    return re.sub(r"[^a-z]", "", folded(_ascii(token)))


def _spaced(passages: Passages, parts: frozenset[str]) -> str:
    """Return the text without a name in letters that are set apart, as in "J A N E  D O E"."""
    wanted = {part.casefold() for part in parts}

    def mark(match: re.Match[str]) -> str:
        letters = [re.sub(r"\s", "", part).casefold() for part in re.split(r"\s{2,}", match[0].strip())]
        if not any(part in wanted for part in letters):
            return match[0]
        passages.removed["name"] += 1
        return "[name]"

    return re.sub(r"(?m)^[ \t]*(?:\w[ \t]{1,4}){3,40}\w[ \t]*$", mark, passages.text)


def _referees(passages: Passages) -> None:
    """Remove the names that begin the lines below the heading of references."""
    inside = False

    def change(_place: int, line: str) -> str | None:
        nonlocal inside
        if _REFEREES.match(line):
            inside = True
        elif heading_of(line):
            inside = False
        elif inside and line.strip():
            first = re.split(rf"{BREAK}|,\s", line.strip(" \t*\u2022-"))[0].strip()
            tokens = _tokens(_TITLE.sub("", first))
            if 2 <= len(tokens) <= 4:
                return line.replace(first, "[name]", 1)
        return None

    passages.replace_lines(change, "name")
