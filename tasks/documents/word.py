"""Word documents: all parts that a reader of the document sees, and what is not read of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from tasks.documents.kinds import DocumentError, Limits, Read, decoded
from tasks.documents.package import Package, Relation, children
from tasks.documents.word_text import Found, TextOf
from tasks.documents.word_xml import attribute, child, is_on, local

if TYPE_CHECKING:
    from lxml.etree import _Element

_NOTES: Final = {"footnoteReference": "footnotes", "endnoteReference": "endnotes"}
_LITTLE: Final = 300
"""Letters below which a document that holds pictures is taken for one whose text is in them."""
_DEPTH: Final = 3
"""Documents that are inserted into one another."""
_UNREAD: Final = {
    "comment": "comments beside the text were not read ({})",
    "hidden": "words are hidden in it: they were left out ({})",
    "unseen": "words are white or too small to be seen: check them in the document ({})",
    "large picture": "large pictures in it were not read ({})",
    "OLEObject": "embedded files were not read ({})",
    "control": "controls (ActiveX) were not read ({})",
    "contentPart": "drawings by hand were not read ({})",
    "elsewhere": "parts that it takes from other files were not read ({})",
    "inserted": "parts that were inserted as HTML or RTF were not read ({})",
    "damaged": "parts of it are damaged and were not read ({})",
}


def read_word(data: bytes, limits: Limits, depth: int = 0) -> Read:
    """Return the text of a Word document; raises `DocumentError`.

    Read are headers, the text with its tables, boxes and controls as it would be with all tracked changes accepted,
    foot- and endnotes and footers, each once. Comments are what others say about the document: they are counted.
    """
    document = _Document(Package(data, limits), limits, depth)
    lines = document.lines()
    letters = sum(char.isalpha() for line in lines for char in line)
    counts = document.found.counts
    if counts["picture"] and letters < _LITTLE:
        if not letters:
            raise DocumentError("image_only", "it holds pictures and no text: send the text, or run OCR on it first")
        counts["large picture"] = counts["picture"]
    unread = [told.format(counts[name]) for name, told in _UNREAD.items() if counts[name]]
    empty = counts["placeholder"]
    return Read("\n".join(lines), unread=unread, how=f"fields of its form are not filled in ({empty})" if empty else "")


class _Document:
    """A Word document that is being read."""

    def __init__(self, package: Package, limits: Limits, depth: int) -> None:
        self._package, self._limits, self._depth = package, limits, depth
        self.found = Found()
        self._main = package.word_part()
        self._relations = package.relations(self._main)
        self._hidden = _hidden_styles(self._related_tree("styles"))

    def lines(self) -> list[str]:
        root = self._package.tree(self._main)
        body = child(root, "body")
        if root is None or body is None:
            raise DocumentError("corrupt", "it is no Word document inside: ask for it again")
        heads, feet = ([line for part in self._margins(root, kind) for line in part] for kind in ("header", "footer"))
        text = [*self._text(body, self._main)]
        notes = [line for reference, kind in _NOTES.items() for line in self._notes(reference, kind)]
        self.found.counts["comment"] = sum(local(e) == "comment" for e in children(self._related_tree("comments")))
        return [*heads, *text, *notes, *feet]

    def _text(self, holder: _Element, part: str) -> Iterator[str]:
        """Yield the lines of an element of a part, then those of the parts that stand in it."""
        before = len(self.found.links)
        yield from TextOf(holder, self.found, self._hidden).blocks(holder)
        linked, kept = self.found.links[before:], self.found.links[:before]
        self.found.links = kept + [link for link in linked if link[0] in _NOTES]
        relations = self._relations if part == self._main else self._package.relations(part)
        for kind, name in linked:
            if kind not in _NOTES:
                yield from self._inserted(kind, relations.get(name))

    def _margins(self, root: _Element, kind: str) -> Iterator[list[str]]:
        """Yield the lines of each header or footer that the sections name: a part once, and equal ones once."""
        seen: set[str] = set()
        for reference in root.iter():
            if isinstance(reference.tag, str) and local(reference) == f"{kind}Reference":
                relation = self._relations.get(attribute(reference, "id"))
                if relation is None or relation.part in seen:
                    continue
                seen.add(relation.part)
                tree = self._tree(relation)
                lines = [] if tree is None else list(self._text(tree, relation.part))
                if (text := "\n".join(lines).strip()) and text not in seen:
                    seen.add(text)
                    yield lines

    def _notes(self, reference: str, kind: str) -> Iterator[str]:
        wanted = dict.fromkeys(name for link, name in self.found.links if link == reference)
        relation = next((r for r in self._relations.values() if r.kind == kind), None)
        tree = self._tree(relation) if wanted and relation is not None else None
        notes = {attribute(note, "id"): note for note in children(tree)}
        for name in wanted:
            if name in notes and relation is not None:
                yield from (line for line in self._text(notes[name], relation.part) if line.strip())

    def _inserted(self, kind: str, relation: Relation | None) -> Iterator[str]:
        """Yield the text of a part that stands inside of the text: a diagram, a chart or another document."""
        if relation is None or relation.outside or kind == "subDoc":
            self.found.counts["elsewhere"] += relation is not None
        elif kind in ("relIds", "chart"):
            yield from _drawn(self._tree(relation))
        else:
            yield from self._chunk(relation)

    def _chunk(self, relation: Relation) -> Iterator[str]:
        data = self._package.read(relation.part)
        if data is None:
            return
        declared = self._package.content_type(relation.part)
        try:
            if data[:4] == b"PK\x03\x04" and self._depth < _DEPTH:
                inner = _Document(Package(data, self._limits), self._limits, self._depth + 1)
                yield from inner.lines()
                self.found.counts.update(inner.found.counts)
                return
            if declared.startswith("text/plain") or relation.part.endswith(".txt"):
                yield from decoded(data).text.split("\n")
                return
        except DocumentError:
            self.found.counts["damaged"] += 1
            return
        self.found.counts["inserted"] += 1

    def _tree(self, relation: Relation) -> Any:
        """Parse a part beside the main one; a damaged one is counted, and one that is not there is nothing."""
        if relation.outside:
            return None
        try:
            return self._package.tree(relation.part)
        except DocumentError as error:
            if error.kind != "corrupt":
                raise
            self.found.counts["damaged"] += 1
            return None

    def _related_tree(self, kind: str) -> Any:
        relation = next((r for r in self._relations.values() if r.kind == kind), None)
        return None if relation is None else self._tree(relation)


def _drawn(tree: Any) -> Iterator[str]:
    """Yield the paragraphs of a diagram, and the words of a chart."""
    for element in () if tree is None else tree.iter():
        if not isinstance(element.tag, str):
            continue
        if local(element) == "p" and "drawingml" in element.tag:
            yield "".join(part.text or "" for part in element.iter() if local(part) == "t")
        elif local(element) == "strCache":
            yield ", ".join(part.text or "" for part in element.iter() if local(part) == "v")


def _hidden_styles(tree: Any) -> frozenset[str]:
    """Return the ids of the styles whose text is hidden, by themselves or by what they are based on."""
    given: dict[str, bool | None] = {}
    based: dict[str, str] = {}
    for style in children(tree):
        if local(style) == "style":
            name, base = attribute(style, "styleId"), child(style, "basedOn")
            given[name] = is_on(child(style, "rPr"), "vanish")
            based[name] = attribute(base, "val") if base is not None else ""
    return frozenset(name for name in given if _inherits(name, given, based))


def _inherits(name: str, given: dict[str, bool | None], based: dict[str, str]) -> bool:
    for _ in range(len(given)):
        if (hidden := given.get(name)) is not None:
            return hidden
        name = based.get(name, "")
    return False
