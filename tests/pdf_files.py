"""PDF files of all kinds, written object by object."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import pypdf
from fpdf import FPDF
from PIL import Image
from pypdf.generic import (
    ArrayObject,
    DictionaryObject,
    FloatObject,
    NameObject,
    NumberObject,
    StreamObject,
    TextStringObject,
)


def stream(content: bytes, entries: bytes = b"") -> bytes:
    return b"<<" + entries + b"/Length %d>>stream\n" % len(content) + content + b"\nendstream"


def raw_pdf(*objects: bytes) -> bytes:
    """A file of these objects, numbered from 1; the first is the catalog."""
    out, places = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + content + b"\nendobj\n"
    at = len(out)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n" % count + table
    return out + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (count, at)


FONT = b"/Font<</F<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>>>"


def one_page(content: bytes, *more: bytes, resources: bytes = b"") -> bytes:
    """A file of one page, with more objects from number 5 on."""
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<<" + FONT + resources + b">>>>",
        stream(content),
        *more,
    )  # fmt: skip


def forms(*contents: bytes) -> list[bytes]:
    """Form XObjects from number 5 on; each knows all of them as X5, X6, ..."""
    known = b"".join(b"/X%d %d 0 R" % (number, number) for number in range(5, 5 + len(contents)))
    head = b"/Type/XObject/Subtype/Form/BBox[0 0 612 792]/Resources<<" + FONT + b"/XObject<<" + known + b">>>>"
    return [stream(content, head) for content in contents]


def with_forms(*contents: bytes, text: bytes = b"A text with letters enough to be read") -> bytes:
    page = b"BT /F 12 Tf 50 700 Td (" + text + b") Tj ET /X5 Do"
    known = b"/XObject<<" + b"".join(b"/X%d %d 0 R" % (n, n) for n in range(5, 5 + len(contents))) + b">>"
    return one_page(page, *forms(*contents), resources=known)


def written(*pages: Callable[[FPDF], None]) -> bytes:
    """A file whose pages are written by functions."""
    made = FPDF()
    made.set_font("Helvetica", size=12)
    for page in pages:
        made.add_page()
        page(made)
    return bytes(made.output())


def lines(*texts: str) -> Callable[[FPDF], None]:
    def write(made: FPDF) -> None:
        for text in texts:
            made.cell(0, 10, text, new_x="LMARGIN", new_y="NEXT")

    return write


def image(made: FPDF, x: float = 0, y: float = 0, w: float = 210, h: float = 297) -> None:
    raw = io.BytesIO()
    Image.effect_noise((60, 80), 90).save(raw, "PNG")
    made.image(raw, x=x, y=y, w=w, h=h)


def scan(made: FPDF) -> None:
    """A page that is a picture."""
    image(made)


def annotated(data: bytes, *notes: Mapping[str, Any], form: Mapping[str, Any] | None = None) -> bytes:
    """The same file with annotations on its first page; widgets are fields of its form."""
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    page, references, fields = writer.pages[0], ArrayObject(), ArrayObject()
    for number, entries in enumerate(notes):
        note = DictionaryObject({NameObject("/Type"): NameObject("/Annot")})
        place = entries.get("Rect", (200, 780 - 30 * number, 500, 794 - 30 * number))
        for key, value in {**entries, "Rect": list(place)}.items():
            note[NameObject(f"/{key}")] = _object(value, writer)
        reference = writer._add_object(note)
        references.append(reference)
        if entries.get("Subtype") == "/Widget":
            fields.append(reference)
    page[NameObject("/Annots")] = references
    if fields or form:
        entries = DictionaryObject({NameObject("/Fields"): fields})
        for key, value in (form or {}).items():
            entries[NameObject(f"/{key}")] = _object(value, writer)
        writer._root_object[NameObject("/AcroForm")] = writer._add_object(entries)
    raw = io.BytesIO()
    writer.write(raw)
    return raw.getvalue()


def _object(value: Any, writer: pypdf.PdfWriter) -> Any:
    if isinstance(value, str):
        return NameObject(value) if value.startswith("/") else TextStringObject(value)
    if isinstance(value, bool | int):
        return NumberObject(value)
    if isinstance(value, float):
        return FloatObject(value)
    if isinstance(value, list | tuple):
        return ArrayObject(_object(one, writer) for one in value)
    if isinstance(value, dict):
        return DictionaryObject({NameObject(f"/{key}"): _object(one, writer) for key, one in value.items()})
    made = StreamObject()
    made.set_data(value)
    return writer._add_object(made)
