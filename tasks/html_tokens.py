"""Splitting HTML into tags and text, in time that grows with its length whatever it holds.

`html.parser` of the standard library takes minutes for some texts of 200 kB (an opening `<a ` without an end, again
and again), and anybody can send one. This splitter knows less: no encodings, no CDATA, no recovery beyond "what is no
tag is text", so that no word is ever lost to markup that is broken.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

LONGEST_TAG: Final = 8_000
"""Characters of a tag in which attributes are looked for."""
RAW: Final = frozenset({"script", "style", "title", "textarea", "xmp", "noembed", "noframes"})
"""Elements whose content has no tags in it."""

_NAME: Final = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)(?::[a-zA-Z0-9]+)?(?=[\s/>])")
_ATTRIBUTE: Final = re.compile(r"""([^\s=/>"'<]+)(?:\s{0,9}=\s{0,9}("[^"]*"|'[^']*'|[^\s>"']+))?""")


class Token(NamedTuple):
    """A piece of HTML."""

    kind: str
    """`start`, `end` or `text`."""
    value: str
    """Name of the element in lower case, or the text with its entities resolved."""
    attributes: dict[str, str] = {}  # noqa: RUF012 - never changed


def tokens(text: str) -> Iterator[Token]:
    """Yield the tags and the text of HTML in their order; comments and declarations are left out."""
    at, end = 0, len(text)
    ends = _Ends(text)
    while at < end:
        begin = text.find("<", at)
        if begin < 0:
            begin = end
        if begin > at:
            yield Token("text", html.unescape(text[at:begin]))
        if begin == end:
            return
        at = begin
        if text.startswith("<!--", at) and (close := ends.after("-->", at + 4)) >= 0:
            at = close + 3
            continue
        close = ends.after(">", at)
        name = _NAME.match(text, at)
        if close < 0 or (name is None and text[at + 1 : at + 2] not in ("!", "?")):
            # What begins no tag is text, as are all tags without an end.
            yield Token("text", "<")
            at += 1
            continue
        close = _beyond_quotes(text, at, close, ends)
        if name is not None:
            tag = _tag(text, at, close, name)
            yield tag
            if tag.kind == "start" and tag.value in RAW and (raw := ends.after(f"</{tag.value}", close + 1)) >= 0:
                if tag.value in ("textarea", "xmp"):
                    yield Token("text", html.unescape(text[close + 1 : raw]))
                at = raw
                continue
        at = close + 1


class _Ends:
    """Where something comes next; what does not come any more is looked for once."""

    def __init__(self, text: str) -> None:
        self._text, self._lower = text, ""
        self._next: dict[str, int] = {}

    def after(self, what: str, at: int) -> int:
        """Return the first place from `at` on, -1 for none."""
        known = self._next.get(what)
        if known is not None and (known < 0 or known >= at):
            return known
        if what.startswith("</"):
            self._lower = self._lower or self._text.translate(_LOWER)
            found = self._lower.find(what, at)
        else:
            found = self._text.find(what, at)
        self._next[what] = found
        return found


_LOWER: Final = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
"""Lower case of ASCII alone: `str.lower` changes the length of some texts."""


def _beyond_quotes(text: str, at: int, close: int, ends: _Ends) -> int:
    """Return the end of a tag: a `>` inside of a quoted attribute is none."""
    first = close
    for _ in range(8):
        part = text[at:close] if close - at <= LONGEST_TAG else ""
        if not (part.count('"') % 2 and "=" in part) or (further := ends.after(">", close + 1)) < 0:
            return close
        close = further
    return first


def _tag(text: str, at: int, close: int, name: re.Match[str]) -> Token:
    if text[at + 1] == "/":
        return Token("end", name[1].lower())
    attributes: dict[str, str] = {}
    for match in _ATTRIBUTE.finditer(text[name.end() : min(close, at + LONGEST_TAG)]):
        attributes.setdefault(match[1].lower(), html.unescape((match[2] or "").strip("\"'")))
    return Token("start", name[1].lower(), attributes)
