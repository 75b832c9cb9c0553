"""Where the history of a mail is: quoted lines, and what stands below the mark of an older mail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tasks.mail.words import folded, headers, pattern, wrote

MOST_LINES: Final = 3
"""Lines that an introduction of a quote may be broken into."""
LONGEST_INTRODUCTION: Final = 300

_QUOTED: Final = re.compile(r"^ ?>")
_PROMPT: Final = re.compile(r"^ ?>>> \S")
_ADDRESS: Final = re.compile(r"[^\s@<>:]{1,64}@[^\s@<>]{1,190}\.\w{2,}")
_DATE: Final = re.compile(r"\d{1,4}[./-]\s?\d{1,2}[./-]\s?\d{0,4}|\b(?:19|20)\d\d\b|\d{4}年")
_TIME: Final = re.compile(r"\b\d{1,2}[:.h]\d{2}\b")
_RULED: Final = re.compile(r"^[\s\-\u2013\u2014_=#*~.]{3,}$")
_RULE: Final = re.compile(r"^\s*[_\u2500-]{10,}\s*$")


@dataclass(frozen=True)
class Mark:
    """Where an older mail begins."""

    begin: int
    """First line of the mark."""
    end: int
    """First line after it."""
    kind: Literal["introduction", "headers", "original", "reply_above"]


def is_quoted(line: str) -> bool:
    """Tell whether a line is quoted."""
    return bool(_QUOTED.match(line))


def quoted_lines(lines: Sequence[str]) -> list[bool]:
    """Tell of each line whether it is quoted; a block of Python's prompts is none."""
    marks = [is_quoted(line) for line in lines]
    begin = 0
    while begin < len(lines):
        end = begin
        while end < len(lines) and marks[end]:
            end += 1
        if end > begin and all(_PROMPT.match(line) for line in lines[begin:end]):
            marks[begin:end] = [False] * (end - begin)
        begin = max(end, begin + 1)
    return marks


def introduction(lines: Sequence[str], quoted: Sequence[bool], at: int) -> Mark | None:
    """Return the introduction of a quote that begins at a line: "On Tuesday, Ada wrote:", in up to three lines."""
    if not lines[at].strip() or quoted[at]:
        return None
    for end in range(at + 1, min(at + MOST_LINES, len(lines)) + 1):
        if not lines[end - 1].strip() or quoted[end - 1]:
            return None
        told = " ".join(line.strip() for line in lines[at:end])
        if len(told) > LONGEST_INTRODUCTION:
            return None
        if told.endswith((":", "：")):
            break
    else:
        return None
    evidence = _evidence(told)
    if end - at > 1 and _evidence(" ".join(lines[at + 1 : end])) == evidence:
        # The first of these lines says nothing about the quote: it is not part of its introduction.
        return None
    dated, timed, addressed, verb = evidence
    follows = next((n for n in range(end, len(lines)) if lines[n].strip()), len(lines))
    before_quote = follows < len(lines) and quoted[follows]
    # Before a quote its form is enough, in whatever language: it ends with a colon and tells a sender or a moment.
    if before_quote and (addressed or (dated and timed) or (verb and (dated or timed))):
        return Mark(at, end, "introduction")
    alone = at == 0 or not lines[at - 1].strip()
    if not before_quote and alone and verb and (addressed or dated) and (addressed or timed):
        return Mark(at, end, "introduction")
    return None


def _torn_introduction(lines: Sequence[str], quoted: Sequence[bool], at: int) -> Mark | None:
    """Return an introduction that its program has put together badly: torn by blank lines, or one with its quote."""
    dated, timed, addressed, verb = _evidence(lines[at][:LONGEST_INTRODUCTION])
    if not (dated and timed):
        return None
    alone = at == 0 or not lines[at - 1].strip()
    if alone and addressed and verb and re.search(r">\s?\S{1,12}\s?:\s", lines[at][:LONGEST_INTRODUCTION]):
        # "On 3 Mar 2026 at 10:12, Ada<ada@example.com> wrote:   the first line of the quote", as Yahoo does on phones.
        return Mark(at, at + 1, "introduction")
    for end in range(at + 1, min(at + 8, len(lines))):
        line = lines[end].strip()
        if line and not re.search(r"[<>@]", line):
            return None
        if line.endswith(":") and len(line) <= 40 and wrote().search(folded(line)):
            follows = next((n for n in range(end + 1, len(lines)) if lines[n].strip()), len(lines))
            return Mark(at, end + 1, "introduction") if follows < len(lines) and quoted[follows] else None
    return None


def _evidence(told: str) -> tuple[bool, bool, bool, bool]:
    """Tell what a line names: a date, a time, an address, and a verb such as "wrote"."""
    plain = folded(told)
    return (
        bool(_DATE.search(plain)),
        bool(_TIME.search(plain)),
        bool(_ADDRESS.search(told)),
        bool(wrote().search(plain)),
    )


def first_attributed(lines: Sequence[str], quoted: Sequence[bool]) -> int:
    """Return the first line of a quote that says itself whose it is, as Apple's programs write it, else the end."""
    for at, line in enumerate(lines):
        if not quoted[at] or not line.strip(" >") or (at and quoted[at - 1] and lines[at - 1].strip(" >")):
            continue
        inner = [re.sub(r"^ ?> ?", "", one) for one in lines[at : at + 16]]
        # What is inside of it need not be quoted once more.
        within = [False] * len(inner)
        if introduction(inner, within, 0) or header_block(inner, 0):
            return at
    return len(lines)


def header_block(lines: Sequence[str], at: int) -> Mark | None:
    """Return the block of headers above an older mail that begins at a line: sender, moment, addressee, subject."""
    found: dict[str, str] = {}
    end = at
    while end < len(lines) and end - at < 14:
        labelled = _label(lines[end])
        if labelled is None:
            # A long list of addressees goes on in the next line.
            if end > at and "to" in found and lines[end].strip() and _goes_on(lines[end]):
                end += 1
                continue
            break
        found.setdefault(*labelled)
        end += 1
    addressed = any(_ADDRESS.search(found.get(kind, "")) for kind in ("from", "to"))
    whole = "from" in found and "subject" in found and ("date" in found or "to" in found)
    if whole or (addressed and {"from", "date", "to"} <= found.keys()):
        return Mark(at, end, "headers")
    return None


def _label(line: str) -> tuple[str, str] | None:
    plain = folded(line)
    for kind, form in headers().items():
        if match := form.match(plain):
            return kind, match["value"]
    return None


def _goes_on(line: str) -> bool:
    return line.startswith((" ", "\t")) or bool(_ADDRESS.search(line)) or line.rstrip().endswith(";")


def is_forward(line: str) -> bool:
    """Tell whether a line says that a mail is passed on below."""
    return bool(pattern("lines", "forwarded").match(folded(line)))


def marks_of(lines: Sequence[str], quoted: Sequence[bool]) -> list[Mark]:
    """Return all marks of older mails outside of quotes, in their order."""
    found: list[Mark] = []
    at = 0
    while at < len(lines):
        mark = None if quoted[at] or not lines[at].strip() else _mark_at(lines, quoted, at)
        if mark is not None:
            found.append(mark)
        at = mark.end if mark is not None else at + 1
    return found


def _mark_at(lines: Sequence[str], quoted: Sequence[bool], at: int) -> Mark | None:
    line = folded(lines[at])
    if _asks_above(line) and _is_ruled(line):
        return Mark(at, at + 1, "reply_above")
    if _RULED.match(line) and at + 1 < len(lines) and _asks_above(folded(lines[at + 1])):
        return Mark(at, at + 2, "reply_above")
    if len(line) <= 80 and pattern("lines", "original").match(line) and re.search(r"[-_=*]{2}", line):
        block = _block_below(lines, at + 1)
        return Mark(at, block.end if block else at + 1, "original")
    if _RULE.match(lines[at]):
        block = _block_below(lines, at + 1)
        return Mark(at, block.end, "headers") if block else None
    return header_block(lines, at) or introduction(lines, quoted, at) or _torn_introduction(lines, quoted, at)


def _block_below(lines: Sequence[str], at: int) -> Mark | None:
    """Return a block of headers that begins within the next two lines."""
    return next((block for n in range(at, min(at + 2, len(lines))) if (block := header_block(lines, n))), None)


def _asks_above(line: str) -> bool:
    """Tell whether a line asks to write above it."""
    return len(line) <= 200 and bool(pattern("lines", "reply_above").search(line))


def _is_ruled(line: str) -> bool:
    """Tell whether a line is set apart as machines do it, and not a sentence of a person."""
    return bool(re.match(r"^\s*[-#=_*~<>+|(\[]{2,}", line) or re.search(r"[-#=_*~<>+|)\]]{2,}\s*$", line))
