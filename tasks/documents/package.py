"""The parts of an Office file: an archive whose relationships say which part is what (ISO/IEC 29500-2).

Parts are found by their relationships and content types, never by their usual names. Only what is asked for is
unpacked, and what it unpacks to is counted while it is read: the sizes that an archive declares are not believed.
"""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from tasks.documents.kinds import DocumentError, Limits

if TYPE_CHECKING:
    from lxml.etree import _Element

_PIECE: Final = 1 << 16
_ODF: Final = {"text": "text", "spreadsheet": "spreadsheet", "presentation": "presentation"}
_FAMILIES: Final = {
    "spreadsheetml": "an Excel workbook",
    "ms-excel": "an Excel workbook",
    "presentationml": "a PowerPoint presentation",
    "ms-powerpoint": "a PowerPoint presentation",
}


@dataclass(frozen=True)
class Relation:
    """A part that another part points to."""

    kind: str
    """Last word of the relationship's type, such as `header`: the same in Transitional and in Strict files."""
    part: str
    outside: bool = False
    """Whether it is elsewhere: such a target is never opened."""


class Package:
    """An Office file that is read part by part."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        """Look into the archive; raises `DocumentError` for one that is damaged or protected."""
        self._limits = limits
        self._left = limits.unpacked
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            members = self._archive.infolist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError):
            raise DocumentError("corrupt", "it is damaged and cannot be unpacked: ask for it again") from None
        if any(member.flag_bits & 1 for member in members):
            raise DocumentError("encrypted", "it is protected by a password. Ask for it without one")
        # Names of parts do not depend on case, and some programs write them as paths of Windows.
        self._members = {_part_name(member.filename): member for member in members}

    def __contains__(self, part: str) -> bool:
        return part in self._members

    def read(self, part: str) -> bytes | None:
        """Unpack a part, None for one that is not there; raises `DocumentError` for a damaged or too large one."""
        member = self._members.get(part)
        if member is None:
            return None
        pieces = []
        try:
            with self._archive.open(member) as file:
                while self._left >= 0 and (piece := file.read(_PIECE)):
                    self._left -= len(piece)
                    pieces.append(piece)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError):
            raise DocumentError("corrupt", "it is damaged and cannot be unpacked: ask for it again") from None
        if self._left < 0:
            most = f"more than {self._limits.unpacked:,} bytes"
            raise DocumentError("too_large", f"its text unpacks to {most}, which no document needs: it is not read")
        return b"".join(pieces)

    def tree(self, part: str) -> _Element | None:
        """Parse a part as XML, None for one that is not there; raises `DocumentError`."""
        data = self.read(part)
        return None if data is None else parsed(data)

    def relations(self, part: str) -> dict[str, Relation]:
        """Return what a part points to, by id; an empty text stands for the file as a whole."""
        folder, name = posixpath.split(part)
        tree = self.tree(posixpath.join(folder, "_rels", f"{name}.rels"))
        found = {}
        for element in children(tree):
            kind, target = (element.get("Type") or "").rpartition("/")[2], element.get("Target") or ""
            outside = element.get("TargetMode") == "External"
            path = target if outside else _part_name(posixpath.normpath(posixpath.join("/", folder, unquote(target))))
            found[element.get("Id") or ""] = Relation(kind, path, outside)
        return found

    def content_type(self, part: str) -> str:
        """Return the declared type of a part, in small letters."""
        types = self.tree("[content_types].xml")
        by_ending = ""
        for element in children(types):
            declared = (element.get("ContentType") or "").lower()
            if _part_name(element.get("PartName") or "") == part:
                return declared
            if (element.get("Extension") or "").lower() == part.rpartition(".")[2]:
                by_ending = declared
        return by_ending

    def word_part(self) -> str:
        """Return the name of the part with the text; raises `DocumentError` that names what else the file is."""
        main = next((r.part for r in self.relations("").values() if r.kind == "officeDocument" and not r.outside), "")
        if main not in self._members:
            main = "word/document.xml"
        if main in self._members:
            declared = self.content_type(main)
            other = next((what for family, what in _FAMILIES.items() if family in declared), "")
            if not other:
                return main
            raise DocumentError("unsupported", f"it is {other}: save it as PDF or DOCX")
        raise DocumentError("unsupported", f"it is {self._other_archive()}: save it as PDF or DOCX, or send the text")

    def _other_archive(self) -> str:
        declared = (self.read("mimetype") or b"")[:200].decode("ascii", "replace")
        if "opendocument" in declared:
            kind = declared.rpartition(".")[2].partition("-")[0].strip()
            return f"an OpenDocument {_ODF.get(kind, 'file')}"
        if "epub" in declared:
            return "an e-book (EPUB)"
        if any(name.endswith(".iwa") for name in self._members):
            return "a document of Apple Pages, Numbers or Keynote"
        return "an archive and no Word document"


def parsed(data: bytes) -> _Element:
    """Parse XML without entities, DTDs and network; raises `DocumentError`."""
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        if "XML_PARSE_HUGE" in str(error) or "xcessive depth" in str(error):
            raise DocumentError("too_complex", "its text is nested too deeply: save it as PDF and read that") from None
        raise DocumentError("corrupt", "its text is damaged: ask for it again") from None
    if root.getroottree().docinfo.internalDTD is not None:
        # Office never writes one: it would only serve to blow up entities.
        raise DocumentError("corrupt", "it holds a DTD, which no Word document may: ask for it again")
    return root


def children(element: Any) -> Iterator[_Element]:
    """Yield the elements inside of one, none for None; what is no element, such as an entity, is left out."""
    for child in () if element is None else element:
        if isinstance(child.tag, str):
            yield child


def _part_name(path: str) -> str:
    return path.replace("\\", "/").lstrip("/").lower()
