"""Telling the new message of a mail apart from the rest of it.

When in doubt a line belongs to the message: a quote that is all there is, a mail that is passed on, a quote that the
customer has made. Nothing is lost; what is not new is returned beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from tasks.html_reader import HISTORY_MARK, SIGNATURE_MARK
from tasks.html_text import marked_text_of
from tasks.mail.history import Mark, first_attributed, is_forward, marks_of, quoted_lines
from tasks.mail.signature import split_signature
from tasks.mail.words import folded, pattern

SELF_STANDING: Final = 4
"""Words from which the message of a reply is judged without the subject, which is older than the message."""


@dataclass(frozen=True)
class Message:
    """A mail taken apart."""

    text: str
    """What is new."""
    subject: str
    """The subject without its prefixes; empty where it belongs to the history."""
    quoted: str = ""
    """The history, as it came."""
    signature: str = ""
    """Signatures, and what phones, lawyers and scanners have added."""


@lru_cache(maxsize=256)
def read_mail(subject: str, text: str) -> Message:
    """Take a mail apart; the text of HTML is read first."""
    plain = marked_text_of(text).replace("\r\n", "\n").replace("\r", "\n")
    prefix, bare = split_subject(subject)
    named = [line.startswith(HISTORY_MARK) for line in plain.split("\n")]
    unmarked = plain.replace(HISTORY_MARK, "").split("\n")
    lines = [line.rstrip(" \t") if line.strip("- \t") else line for line in unmarked]
    segments, history = _cut(lines, named, prefix)
    message: list[str] = []
    signature: list[str] = []
    for segment in segments:
        body, end = split_signature(segment)
        message += [*body, ""]
        signature += [*end, ""] if end else []
    new = _joined(message)
    if not new and signature:
        new, signature = _joined(signature), []
    # A reply's subject was written with an older message: what stands there may long be settled.
    older = prefix == "reply" and len(new.split()) >= SELF_STANDING
    return Message(new, "" if older else bare, _joined(history), _joined(signature))


def split_subject(subject: str) -> tuple[Literal["reply", "forward", ""], str]:
    """Return what the outermost prefix of a subject says, and the subject without prefixes ("Re: AW: WG: ...")."""
    kind: Literal["reply", "forward", ""] = ""
    rest = subject.strip()
    for _ in range(20):
        plain = folded(rest)
        forwarded, replied = pattern("subjects", "forward").match(plain), pattern("subjects", "reply").match(plain)
        if not (forwarded or replied):
            break
        kind = kind or ("forward" if forwarded else "reply")
        # Folding may change lengths; the prefix ends at its colon.
        rest = rest[rest.replace("：", ":").index(":", len(_list_tag(rest))) + 1 :].strip()
    return kind, rest


def _list_tag(subject: str) -> str:
    """Return the tag of a mailing list that a subject begins with, such as `[team: ops]`."""
    return subject[: subject.index("]") + 1] if subject.startswith("[") and "]" in subject else ""


def _cut(lines: list[str], named: Sequence[bool], prefix: str) -> tuple[list[list[str]], list[str]]:
    """Return the parts of a mail that are new, and its history; all is new where nothing else would be."""
    quoted = quoted_lines(lines)
    forwarded = next((at for at, line in enumerate(lines) if not quoted[at] and is_forward(line)), None)
    if forwarded is not None:
        # Apple's programs quote what they pass on.
        named = _unquote(lines, quoted, named, forwarded + 1)
    marks = marks_of(lines, quoted)
    if forwarded is not None:
        # The headers of what is passed on are no history; what comes later in it is.
        headers = next((mark for mark in marks if mark.begin > forwarded and mark.kind == "headers"), None)
        marks = [mark for mark in marks if mark is not headers]
    elif marks and (prefix == "forward" or (not prefix and _presented(lines[: marks[0].begin]))):
        marks = marks[1:]
    begun = first_attributed(lines, quoted)
    old = _history_of(lines, quoted, marks, begun, replied=prefix == "reply")
    history = [one or by_name for one, by_name in zip(old, named, strict=True)]
    segments = _segments(lines, history)
    if not any(line.strip() for segment in segments for line in segment) or _only_added(segments):
        return [lines], []
    return segments, [line for line, old in zip(lines, history, strict=True) if old]


def _unquote(lines: Sequence[str], quoted: list[bool], named: Sequence[bool], at: int) -> list[bool]:
    """Take the block that begins at a line, after blank ones, for no quote; return what is named history elsewhere."""
    named = list(named)
    while at < len(lines) and not lines[at].strip():
        at += 1
    while at < len(lines) and (quoted[at] or not lines[at].strip()):
        quoted[at] = named[at] = False
        at += 1
    return named


def _presented(above: Sequence[str]) -> bool:
    """Tell whether a customer shows an older mail: "I got this:", "see below"."""
    told = [line for line in above if line.strip()]
    if not told:
        return False
    shown = pattern("lines", "see_below").search(folded("\n".join(told)))
    return told[-1].rstrip().endswith(":") or shown is not None


def _history_of(
    lines: list[str], quoted: Sequence[bool], marks: Sequence[Mark], begun: int, *, replied: bool
) -> list[bool]:
    """Tell of each line whether it belongs to the history; quoted lines do from `begun` on."""
    old = [False] * len(lines)
    for mark in marks:
        if old[mark.begin]:
            continue
        above = any(line.strip() and not old[at] for at, line in enumerate(lines[: mark.begin]))
        if mark.kind == "introduction" and _before_quote(quoted, lines, mark.end):
            old[mark.begin : mark.end] = [True] * (mark.end - mark.begin)
            begun = min(begun, mark.begin)
        elif above:
            # All that is below an older mail's headers is older.
            old[mark.begin :] = [True] * (len(lines) - mark.begin)
            begun = min(begun, mark.begin)
    first = next((at for at, line in enumerate(lines) if line.strip()), 0)
    leads = next((at for at in range(first, len(lines)) if not quoted[at]), len(lines))
    for at, marked in enumerate(quoted):
        if marked and (at >= begun or replied or at < leads):
            old[at] = True
    return old


def _before_quote(quoted: Sequence[bool], lines: Sequence[str], at: int) -> bool:
    follows = next((n for n in range(at, len(lines)) if lines[n].strip()), len(lines))
    return follows < len(lines) and quoted[follows]


def _segments(lines: list[str], history: Sequence[bool]) -> list[list[str]]:
    """Return the runs of lines that are no history."""
    segments: list[list[str]] = [[]]
    for line, old in zip(lines, history, strict=True):
        if not old:
            segments[-1].append(line)
        elif segments[-1]:
            segments.append([])
    return [segment for segment in segments if segment]


def _only_added(segments: Sequence[list[str]]) -> bool:
    """Tell whether all that is new is what a phone or a scanner adds."""
    lines = [line for segment in segments for line in segment if line.strip()]
    message, _ = split_signature(lines)
    return not any(line.strip() for line in message)


def _joined(lines: Sequence[str]) -> str:
    """Return lines as a text without blank lines around it, and with one at most inside of it."""
    kept: list[str] = []
    for line in lines:
        clean = line.replace(SIGNATURE_MARK, "")
        if clean.strip() or (kept and kept[-1].strip()):
            kept.append(clean)
    while kept and not kept[-1].strip():
        kept.pop()
    return "\n".join(kept)
