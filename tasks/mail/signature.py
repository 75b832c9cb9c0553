"""What ends a mail without being its message: signatures, what phones write, what lawyers and scanners add."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tasks.html_reader import SIGNATURE_MARK
from tasks.mail.words import folded, pattern, table

MOST_LINES: Final = 15
"""Lines of a signature below its delimiter."""
AFTER_CLOSING: Final = 9
"""Lines of a signature below "Kind regards"."""
KINDS_OF_DISCLAIMER: Final = 3

_DELIMITER: Final = re.compile(r"^(?:-- ?|\u2014|\u2013\u2013)$")
_THANKS: Final = re.compile(
    r"(?:many |muchas |vielen |mille |muito )?(?:thank|thx|dank|merci|graci|grazi|obrigad|bedankt)"
)
_SENTENCE: Final = re.compile(r"[.!?\u2026]\s*$")
_CONTACT: Final = re.compile(
    r"@|www\.|https?://|\+?\d[\d ()/.-]{5,}|\||\bGmbH\b|\bLtd\b|\bInc\b|\bS\.?[AL]\.?\b|\bTel\b"
)


def split_signature(lines: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the lines of a message and those of its signature; all lines are in one of the two, in their order.

    In doubt a line belongs to the message; a text that is nothing but a signature has no message.
    """
    named = [line.startswith(SIGNATURE_MARK) for line in lines]
    ends = list(named)
    plain = [line.removeprefix(SIGNATURE_MARK) for line in lines]
    _mark_added(plain, ends)
    begin = _last(plain, ends)
    if begin is not None:
        ends[begin:] = [True] * (len(plain) - begin)
    # A delimiter directly above a named signature is its own.
    for at, line in enumerate(plain):
        if _DELIMITER.match(line.strip()) and all(ends[n] or not plain[n].strip() for n in range(at + 1, len(plain))):
            ends[at:] = [True] * (len(plain) - at)
            break
    message = [line for line, end in zip(plain, ends, strict=True) if not end]
    return message, [line for line, end in zip(plain, ends, strict=True) if end]


def _mark_added(lines: Sequence[str], ends: list[bool]) -> None:
    """Mark the paragraphs that programs add: of a phone anywhere, of lawyers and scanners at an end."""
    spans = _paragraphs(lines)
    for begin, end in spans:
        if end - begin == 1 and is_device_line(lines[begin]):
            ends[begin] = True
    for begin, end in reversed(spans):
        if not all(ends[begin:end]) and not _is_added("\n".join(lines[begin:end])):
            break
        ends[begin:end] = [True] * (end - begin)
    if spans and pattern("footers", "banner").search(folded(" ".join(lines[slice(*spans[0])]))):
        begin, end = spans[0]
        ends[begin:end] = [True] * (end - begin)


def _paragraphs(lines: Sequence[str]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    begin: int | None = None
    for at, line in enumerate([*lines, ""]):
        if line.strip() and not _DELIMITER.match(line.strip()):
            begin = at if begin is None else begin
        elif begin is not None:
            spans.append((begin, at))
            begin = None
    return spans


def is_device_line(line: str) -> bool:
    """Tell whether a phone or a mail program has written a line."""
    plain = folded(line).strip(" *_>-")
    if len(plain) > 90 or not pattern("signature", "device").match(plain):
        return False
    # "Sent from my warehouse in Berlin" is written by a person.
    named = pattern("signature", "devices").search(plain)
    return bool(named) and len(plain.split("<")[0].split()) <= 9 and not plain.endswith("?")


def _is_added(paragraph: str) -> bool:
    plain = " ".join(folded(paragraph).split())
    if len(plain) > 4_000:
        return False
    if pattern("footers", "lines").search(plain) and len(plain) < 400:
        return True
    kinds = [kind for kind in table()["disclaimer"] if pattern("disclaimer", kind).search(plain)]
    return "this" in kinds and len(kinds) >= KINDS_OF_DISCLAIMER and ("secret" in kinds or "error" in kinds)


def _last(lines: Sequence[str], ends: Sequence[bool]) -> int | None:
    """Return the line at which a signature begins that reaches to the end, None for none."""
    full = [at for at, line in enumerate(lines) if line.strip() and not ends[at]]
    if not full:
        return None
    for at in reversed(full):
        below = [lines[n] for n in full if n > at]
        if _DELIMITER.match(lines[at].strip()) and len(below) <= MOST_LINES:
            return at
        if len(below) <= AFTER_CLOSING and _is_closing(lines[at], below):
            return at
        if len(below) > MOST_LINES:
            return None
    return None


def _is_closing(line: str, below: Sequence[str]) -> bool:
    """Tell whether "Kind regards" and what is below it end a mail: a name, and lines that are no sentences."""
    plain = folded(line).strip(" ,.!;:-*")
    closing = pattern("signature", "closing").match(plain)
    if closing is None or len(line) > 60:
        return False
    same_line = line.strip()[closing.end() :].strip(" ,.!;:-")
    if not below:
        # "Thanks" alone is said, not signed.
        return _is_name(same_line) if same_line else not _THANKS.match(plain)
    if same_line and not _is_name(same_line):
        return False
    first, *rest = below
    if not (_is_name(first) or _is_contact(first)):
        return False
    return all(_is_contact(one) for one in rest)


def _is_name(line: str) -> bool:
    """Tell whether a line may be a name: a few words that begin with capitals."""
    words = re.findall(r"[^\W\d_][\w'.\u2019-]*", line)
    if not 1 <= len(words) <= 6 or len(line) > 60 or line.strip().endswith(("?", "!", ":")):
        return False
    return all(word[0].isupper() for word in words if len(word) > 3) and words[0][0].isupper()


def _is_contact(line: str) -> bool:
    """Tell whether a line may stand below a name: a role, a firm, an address, a number."""
    text = line.strip()
    words = text.split()
    if len(text) > 120 or text.endswith(("?", "!")) or folded(text).startswith(("ps", "p.s", "nb:")):
        return False
    if _CONTACT.search(text):
        return not (len(words) >= 7 and _SENTENCE.search(text))
    capitals = sum(word[0].isupper() or word[0].isdigit() for word in words if len(word) > 3)
    long = sum(len(word) > 3 for word in words)
    return not (_SENTENCE.search(text) and len(words) > 4) and (len(words) <= 4 or capitals * 2 >= long)
