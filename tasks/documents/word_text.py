"""The text of one part of a Word document, in reading order.

Whatever is not known to be no text is gone into: a wrapper that this module has never heard of loses nothing. Element
names are compared without their namespaces, so that Transitional and Strict files read the same (ISO/IEC 29500-1).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tasks.documents.package import children
from tasks.documents.word_xml import area, attribute, child, filled, form_field, is_on, local, symbol, unseen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml.etree import _Element

LARGE: Final = 9.0
"""Square inches from which a picture may hold text; a portrait photograph has about three."""
_NO_TEXT: Final = frozenset({
    "pPr", "rPr", "tblPr", "tblPrEx", "tblGrid", "trPr", "tcPr", "sectPr", "sdtPr", "sdtEndPr", "rubyPr", "customXmlPr",
    "smartTagPr",
    # Text that was deleted or moved away, and what a field is computed from.
    "del", "moveFrom", "delText", "instrText", "delInstrText", "fldData",
})  # fmt: skip
_SPACES: Final = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


@dataclass
class Found:
    """What a document holds beside its text."""

    links: list[tuple[str, str]] = field(default_factory=list)
    """Kinds and relationship ids of parts to read: `footnote`, `endnote` (ids of notes), `altChunk`, `relIds`, ..."""
    counts: Counter[str] = field(default_factory=Counter)
    """How often each kind of thing was met that is not read."""


class TextOf:
    """A reader of the elements of one part."""

    def __init__(self, part: _Element, found: Found, hidden_styles: frozenset[str]) -> None:
        self._found, self._hidden_styles = found, hidden_styles
        ends = [attribute(mark, "fldCharType") for mark in part.iter() if _is(mark, "fldChar")]
        self._fields_close = ends.count("begin") == ends.count("end")
        self._fields: list[bool] = []
        self._floats: list[list[str]] = []
        self._shaded = 0
        self._carried = ""

    def blocks(self, holder: _Element) -> list[str]:
        """Return the lines of the paragraphs, tables and wrappers inside of an element."""
        lines: list[str] = []
        for element in children(holder):
            name = local(element)
            if name == "p":
                lines += self._paragraph(element)
            elif name == "tbl":
                lines += [*self._rest(), *self._table(element)]
            elif _is_inline(element):
                lines += self._paragraph(element)
            elif (inner := self._inside(element)) is not None:
                lines += self.blocks(inner)
        return lines + self._rest()

    def _rest(self) -> list[str]:
        rest, self._carried = self._carried, ""
        return [rest] if rest else []

    def _inside(self, element: _Element) -> _Element | None:
        """Return what to read of a wrapper, None for nothing."""
        name = local(element)
        if name in _NO_TEXT:
            return None
        if name == "AlternateContent":
            # Two forms of the same: the newer one, as far as it holds anything.
            forms = [form for form in children(element) if local(form) in ("Choice", "Fallback")]
            return next((form for form in forms if any(_is(part, "t") for part in form.iter())), (*forms, None)[0])
        if name == "sdt":
            properties = child(element, "sdtPr")
            if is_on(properties, "showingPlcHdr"):
                self._found.counts["placeholder"] += 1
                return None
            return child(element, "sdtContent")
        return element

    def _paragraph(self, element: _Element) -> list[str]:
        """Return the lines of a paragraph, or of a piece that stands alone, and of the boxes anchored in it."""
        properties = child(element, "pPr")
        style = child(properties, "pStyle")
        hidden = style is not None and attribute(style, "val") in self._hidden_styles
        shaded = filled(properties)
        outer, self._floats = self._floats, []
        self._shaded += shaded
        text = self._inline(element, hidden=hidden) if local(element) == "p" else self._piece(element, hidden=False)
        self._shaded -= shaded
        floats, self._floats = self._floats, outer
        text = "".join(self._rest()) + text
        if child(properties, "rPr", "del") is not None and not floats:
            # The mark of its end was deleted: it is one paragraph with the next.
            self._carried = text
            return []
        boxes = [line for lines in floats for line in lines]
        return [*text.split("\n"), *boxes] if text.strip() or not boxes else boxes

    def _inline(self, holder: _Element, *, hidden: bool) -> str:
        return "".join(self._piece(element, hidden=hidden) for element in children(holder))

    def _piece(self, element: _Element, *, hidden: bool) -> str:
        name = local(element)
        if name == "t":
            return self._shown(element.text or "", hidden=hidden)
        if name in _SPACES and name not in _NO_TEXT:
            return _SPACES[name]
        if name == "sym":
            return self._shown(symbol(attribute(element, "char")), hidden=hidden)
        if name in ("p", "tbl"):
            lines = self._paragraph(element) if name == "p" else self._table(element)
            return "".join(f"{line}\n" for line in lines)
        if name == "txbxContent":
            self._box(element)
            return ""
        if name == "fldChar":
            return self._field(element)
        if name in _SPECIAL:
            return self._special(name, element, hidden=hidden)
        inner = self._inside(element)
        if inner is None:
            return ""
        return self._run(inner, hidden=hidden) if name == "r" else self._inline(inner, hidden=hidden)

    def _run(self, run: _Element, *, hidden: bool) -> str:
        properties = child(run, "rPr")
        if properties is None:
            return self._inline(run, hidden=hidden)
        given = is_on(properties, "vanish")
        style = child(properties, "rStyle")
        styled = style is not None and attribute(style, "val") in self._hidden_styles
        hidden = given if given is not None else hidden or styled
        text = self._inline(run, hidden=hidden)
        if text.strip() and unseen(properties) and not self._shaded and not filled(properties):
            self._found.counts["unseen"] += len(text.split())
        return text

    def _shown(self, text: str, *, hidden: bool) -> str:
        if self._fields_close and not all(self._fields):
            return ""
        if hidden:
            self._found.counts["hidden"] += len(text.split())
            return ""
        return text

    def _field(self, mark: _Element) -> str:
        """Follow a field: what stands between its begin and its separator is its code, what follows is shown."""
        kind = attribute(mark, "fldCharType")
        if kind == "begin":
            self._fields.append(False)
            return form_field(mark)
        if kind == "separate" and self._fields:
            self._fields[-1] = True
        elif kind == "end" and self._fields:
            self._fields.pop()
        return ""

    def _box(self, content: _Element) -> None:
        """Read a text box; it comes after the paragraph that it is anchored in."""
        fields, self._fields = self._fields, []
        shape = next((outer for outer in content.iterancestors() if _is(outer, "wsp", "shape", "rect")), None)
        shaded = filled(shape)
        self._shaded += shaded
        self._floats.append(self.blocks(content))
        self._shaded -= shaded
        self._fields = fields

    def _special(self, name: str, element: _Element, *, hidden: bool) -> str:
        found = self._found
        if name in ("footnoteReference", "endnoteReference"):
            found.links.append((name, attribute(element, "id")))
        elif name in ("relIds", "chart", "altChunk", "subDoc"):
            found.links.append((name, attribute(element, "dm") or attribute(element, "id")))
        elif name == "textpath":
            self._floats.append([attribute(element, "string")])
        elif name in ("OLEObject", "contentPart", "control"):
            found.counts[name] += 1
        elif name == "ruby":
            base, reading = child(element, "rubyBase"), child(element, "rt")
            parts = ["" if part is None else self._inline(part, hidden=hidden) for part in (base, reading)]
            return f"{parts[0]} ({parts[1]})" if parts[1].strip() else parts[0]
        else:
            found.counts["picture"] += 1
            found.counts["large picture"] += area(element) >= LARGE
        return ""

    def _table(self, table: _Element) -> list[str]:
        """Return the rows of a table: short ones cell after cell, others as a line of cells."""
        lines: list[str] = []
        shaded = filled(table)
        self._shaded += shaded
        for row in self._parts(table, "tr"):
            if (properties := child(row, "trPr")) is not None and child(properties, "del") is not None:
                continue
            cells = [cell for cell in self._parts(row, "tc") if child(cell, "tcPr", "cellDel") is None]
            texts = [[line for line in self.blocks(cell) if line.strip()] for cell in cells]
            texts = [text for text in texts if text]
            lines += [line for text in texts for line in text] if len(texts) <= 2 else [_row(texts)]
        self._shaded -= shaded
        return lines

    def _parts(self, holder: _Element, wanted: str) -> Iterator[_Element]:
        """Yield the rows of a table or the cells of a row, out of all their wrappers."""
        for element in children(holder):
            if local(element) == wanted:
                yield element
            elif (inner := self._inside(element)) is not None:
                yield from self._parts(inner, wanted)


_SPECIAL: Final = frozenset({
    "footnoteReference", "endnoteReference", "relIds", "chart", "altChunk", "subDoc", "textpath", "OLEObject",
    "contentPart", "control", "ruby", "blip", "imagedata",
})  # fmt: skip
_INLINE: Final = frozenset({"r", "t", "drawing", "pict", "object", "fldChar"})


def _row(cells: list[list[str]]) -> str:
    return " | ".join(" ".join(cell) for cell in cells)


def _is(element: Any, *names: str) -> bool:
    return isinstance(element.tag, str) and local(element) in names


def _is_inline(element: _Element) -> bool:
    """Tell whether a wrapper holds pieces of a line and no lines."""
    if local(element) in _INLINE or local(element) in _SPECIAL:
        return True
    return next((local(part) in ("r", "t") for part in element.iter() if _is(part, "p", "tbl", "r", "t")), False)
