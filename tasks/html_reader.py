"""Reading HTML into lines: blocks, breaks, lists, tables, links and quotes, in one pass."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from tasks.html_tokens import tokens

SIGNATURE_MARK: Final = "\ue000"
"""Begins each line of a signature that the HTML names as one; a private character, which no text holds."""
HISTORY_MARK: Final = "\ue001"
"""The same for each line of a quote that only a mail program makes."""


def _names(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_SKIPPED: Final = _names("script style head title template noscript svg object iframe select xml math")
_VOID: Final = _names("area base br col embed hr img input link meta param source track wbr")
_PARAGRAPHS: Final = _names("p h1 h2 h3 h4 h5 h6 ul ol dl table blockquote pre")
BLOCKS: Final = _PARAGRAPHS | _names("""
    div li tr section article header footer main aside nav address center form fieldset figure figcaption dt dd body
    html caption thead tbody tfoot details summary hr
""")
INLINE: Final = _names("""
    a abbr b bdi big button cite code del em font i img input ins kbd label mark q s samp small span strike strong sub
    sup td th time tt u var br wbr meta link style script title head base col colgroup
""")
KNOWN: Final = BLOCKS | INLINE
_HIDDEN: Final = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden"
    r"|(?:^|;)\s*(?:max-height|opacity)\s*:\s*0(?:\.0+)?(?:px|pt|em|%)?\s*(?:!important\s*)?(?:;|$)",
    re.IGNORECASE,
)
_QUOTE_NAMES: Final = re.compile(
    r"^(?:yahoo_quoted|protonmail_quote|tutanota_quote|zmail_extra|quoted-content|skiptranslate-quote|mailru_quote"
    r"|ydp\w*yahoo_quoted|icloud_quote|freebirdquote|mb-quote|cryptmail_quote)",
    re.IGNORECASE,
)
"""Classes, ids and names under which mail programs put the older mail, where no blockquote says so."""
_SIGNATURE_NAMES: Final = re.compile(
    r"^(?:gmail_signature|moz-signature|signature|protonmail_signature_block|ms-outlook-mobile-signature"
    r"|ms-outlook-(?:ios|android)-signature|x_signature|apple-mail-signature|yahoo_signature|tutanota_signature)$",
    re.IGNORECASE,
)
MOST_QUOTES: Final = 5
"""Marks of a quoted line at most."""
DEEPEST: Final = 300
"""Elements inside of each other that are told apart; deeper ones only have their text read."""


@dataclass
class _Element:
    """An element that is open."""

    tag: str
    hidden: bool = False
    quote: bool = False
    history: bool = False
    """Whether it is a quote that only a mail program makes."""
    signature: bool = False
    href: str = ""
    begins: int = 0
    """Length of the text of the line at which the element begins."""


@dataclass
class _Line:
    """One line of the text in the making."""

    quotes: int = 0
    signature: bool = False
    history: bool = False
    text: str = ""


@dataclass
class Reader:
    """Turns tags into lines."""

    lines: list[_Line] = field(default_factory=lambda: [_Line()])
    inside: int = 0
    """Letters inside of elements."""
    outside: int = 0
    """Letters outside of all elements."""

    def __post_init__(self) -> None:
        self._open: list[_Element] = []
        self._blank = False
        """Whether a blank line comes before the next text."""

    def read(self, text: str) -> Reader:
        """Take a whole text and return self."""
        for kind, value, attributes in tokens(text):
            if kind == "text":
                self._data(value)
            elif kind == "start":
                self._start(value, attributes)
            else:
                self._finish(value)
        return self

    def _start(self, tag: str, given: dict[str, str]) -> None:
        """Open an element."""
        if tag == "p" or tag in _PARAGRAPHS:
            self._close("p", within=("td", "th", "li", "div", "blockquote", "body"))
        if tag in ("li", "td", "th", "tr", "option", "dt", "dd"):
            self._close(tag, within=("ul", "ol", "table", "dl", "tr" if tag in ("td", "th") else "table"))
        if tag == "br":
            self._break()
            return
        if tag == "img":
            self._inline(given.get("alt", ""))
            return
        if tag in BLOCKS:
            self._block(blank=tag in _PARAGRAPHS)
        if tag in ("td", "th") and self.lines[-1].text.strip() and not self._hidden:
            self.lines[-1].text = self.lines[-1].text.rstrip() + " | "
        if tag in _VOID:
            return
        element = _Element(
            tag,
            hidden=tag in _SKIPPED or "hidden" in given or bool(_HIDDEN.search(given.get("style", ""))),
            quote=tag == "blockquote" or self._named(_QUOTE_NAMES, given),
            history=self._named(_QUOTE_NAMES, given)
            or (tag == "blockquote" and (given.get("type") == "cite" or given.get("cite", "").startswith("mid:"))),
            signature=self._named(_SIGNATURE_NAMES, given),
            href=given.get("href", "") if tag == "a" else "",
        )
        if element.quote and any(one.quote for one in self._open[-2:]) and tag != "blockquote":
            element.quote = False
        if element.quote or element.signature:
            self._block(blank=False)
        if len(self._open) < DEEPEST:
            self._open.append(element)
        if tag == "li" and not self._hidden:
            self._fresh().text = "- "
        element.begins = len(self.lines[-1].text)

    def _finish(self, tag: str) -> None:
        """Close an element; an end without a beginning means nothing."""
        if tag == "p" and not any(element.tag == "p" for element in self._open):
            self._block(blank=True)
        if tag == "br":
            self._break()
        self._close(tag)

    def _data(self, data: str) -> None:
        """Take text."""
        letters = sum(not char.isspace() for char in data)
        if not self._hidden:
            if self._open:
                self.inside += letters
            else:
                self.outside += letters
        if any(element.tag == "pre" for element in self._open):
            first, *rest = data.split("\n")
            self._inline(first, keep=True)
            for line in rest:
                self._break()
                self._inline(line, keep=True)
        else:
            self._inline(data)

    @property
    def _hidden(self) -> bool:
        return any(element.hidden for element in self._open)

    def _named(self, names: re.Pattern[str], given: dict[str, str]) -> bool:
        words = [*given.get("class", "").split(), given.get("id", ""), given.get("name", "")]
        if any(names.match(word) for word in words if word):
            return True
        # GMX and WEB.DE name the whole history so.
        return names is _QUOTE_NAMES and given.get("name", "") == "quote"

    def _close(self, tag: str, within: tuple[str, ...] = ()) -> None:
        """Close the innermost element of a name and what is open inside of it; not beyond one of `within`."""
        for at in range(len(self._open) - 1, -1, -1):
            if self._open[at].tag == tag:
                break
            if self._open[at].tag in within:
                return
        else:
            return
        while len(self._open) > at:
            self._end(self._open.pop())

    def _end(self, element: _Element) -> None:
        hidden = element.hidden or self._hidden
        if element.href and not hidden:
            self._link(element)
        if element.tag in BLOCKS or element.quote or element.signature:
            self._block(blank=element.tag in _PARAGRAPHS)

    def _link(self, element: _Element) -> None:
        """Write the address behind a link, unless it is what the link says already."""
        href = element.href.strip()
        said = self.lines[-1].text[element.begins :].strip()
        bare = re.sub(r"^(?:https?://|mailto:)", "", href).rstrip("/")
        if not said or not href.lower().startswith(("http://", "https://")):
            return
        if bare.lower() not in said.lower().rstrip("/"):
            self.lines[-1].text = f"{self.lines[-1].text.rstrip()} ({href})"

    def _state(self) -> tuple[int, bool, bool]:
        """Return what a line belongs to that is written now: depth of quotes, signature, history."""
        quotes = sum(element.quote for element in self._open)
        return quotes, any(e.signature for e in self._open), any(e.history for e in self._open)

    def _fresh(self) -> _Line:
        """Return an empty line that belongs to what is open now."""
        line = self.lines[-1]
        if line.text.strip():
            line = _Line()
            self.lines.append(line)
        line.quotes, line.signature, line.history = self._state()
        return line

    def _block(self, *, blank: bool) -> None:
        """End the line; `blank` leaves a blank one before the next text."""
        if self._hidden:
            return
        self._blank = self._blank or (blank and any(line.text.strip() for line in self.lines))
        if self.lines[-1].text.strip() and self.lines[-1].text != "- ":
            self.lines.append(_Line(*self._state()))

    def _break(self) -> None:
        if not self._hidden:
            self.lines.append(_Line(*self._state()))

    def _inline(self, data: str, *, keep: bool = False) -> None:
        if self._hidden:
            return
        if not keep:
            data = re.sub(r"[ \t\r\n\f]+", " ", data)
        line = self.lines[-1]
        if not data.strip() and not keep:
            if line.text and not line.text.endswith(" "):
                line.text += " "
            return
        if not line.text.strip() or line.text == "- ":
            line.quotes, line.signature, line.history = self._state()
        if self._blank and line.text.strip() in ("", "-"):
            # The blank line belongs to the outer of its neighbours.
            before = self.lines[-2] if len(self.lines) > 1 else _Line()
            blank = _Line(
                min(before.quotes, line.quotes), before.signature and line.signature, before.history and line.history
            )
            self.lines.insert(-1, blank)
        self._blank = False
        line.text += data.lstrip(" ") if not line.text and not keep else data

    def text(self) -> str:
        """Return all lines."""
        written: list[str] = []
        for line in self.lines:
            body = line.text.replace("\u00a0", " ").rstrip()
            body = re.sub(r"(?<=\S) {2,}", " ", body)
            body = re.sub(r"(?: \|)+$", "", body)
            body = ("> " * min(line.quotes, MOST_QUOTES) + body).rstrip() if line.quotes else body
            mark = HISTORY_MARK if line.history else SIGNATURE_MARK if line.signature else ""
            written.append(mark + body)
        return re.sub(r"\n{3,}", "\n\n", "\n".join(written)).strip("\n")
