"""HTML as text: what a person would see of a mail, an article or a résumé that comes as HTML.

The text has the form of a plain mail: blocks are paragraphs, list items begin with "- ", quotes with "> ", cells are
joined by " | ". Styles, scripts and what is hidden are left out; broken HTML is taken as far as it goes.
"""

from __future__ import annotations

import re
from typing import Final

from tasks.html_reader import HISTORY_MARK, KNOWN, SIGNATURE_MARK, Reader

_OPENING: Final = re.compile(r"\s*(?:<!--.*?-->\s*)*<(!doctype\s+html|[a-z][a-z0-9]*)\b", re.IGNORECASE | re.DOTALL)
_TAG: Final = re.compile(r"</?([a-zA-Z][a-zA-Z0-9]*)(?::[a-zA-Z]+)?(?:\s[^<>]*)?/?>")
_BREAK: Final = re.compile(r"(?<=\S)<br\s*/?>", re.IGNORECASE)
_BREAK_IN_PROSE: Final = re.compile(r"[ \t]<br\s*/?>", re.IGNORECASE)
_DOCUMENT: Final = frozenset({"!doctype", "html", "head", "body", "meta", "style"})

SHARE_OUTSIDE: Final = 0.2
"""Part of the text that may stand outside of all elements: more of it, and somebody writes about HTML."""


def looks_like_html(text: str) -> bool:
    """Tell whether a text is HTML, and not a text that has `<` or some tags in it.

    HTML begins with a document or a block, and nearly all of its text is inside of elements; or it is text whose lines
    end with `<br>`, as programs write it that know no more of HTML.
    """
    if "<" not in text or "```" in text:
        return False
    opening = _OPENING.match(text)
    if opening is None:
        return _only_breaks(text)
    first = opening[1].lower().split()[0]
    if first in _DOCUMENT:
        return True
    if first not in KNOWN:
        return False
    reader = Reader().read(text)
    total = reader.inside + reader.outside
    return (total > 0 and reader.outside <= SHARE_OUTSIDE * total) or _only_breaks(text)


def _only_breaks(text: str) -> bool:
    """Tell whether a text has its lines ended by `<br>` and no tags but those of ordinary formatting."""
    breaks = list(_BREAK.finditer(text))
    if not breaks or _BREAK_IN_PROSE.search(text):
        return False
    if any(name.lower() not in KNOWN for name in _TAG.findall(text)):
        return False
    at_line_ends = all(text[match.end() :][:1] in ("\n", "\r", "<", "") for match in breaks)
    return at_line_ends or len(breaks) > 1


def text_of(text: str) -> str:
    """Return HTML as text, and any other text as it is."""
    if not looks_like_html(text):
        return text
    return _rendered(text).replace(SIGNATURE_MARK, "").replace(HISTORY_MARK, "")


def marked_text_of(text: str) -> str:
    """Return HTML as text in which lines begin with `SIGNATURE_MARK` or `HISTORY_MARK` where the HTML says so."""
    clean = text.replace(SIGNATURE_MARK, "").replace(HISTORY_MARK, "")
    return _rendered(clean) if looks_like_html(clean) else clean


def _rendered(text: str) -> str:
    return Reader().read(text).text()
