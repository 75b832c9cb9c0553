"""PDF documents: pages, forms and notes, and what is not read of them."""

from __future__ import annotations

import ctypes
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from tasks.documents.columns import Box
from tasks.documents.kinds import DocumentError, Limits, Read
from tasks.documents.pdf_page import TICKS, read_page

if TYPE_CHECKING:
    import pypdfium2

_LEAST: Final = 20
"""Letters below which a PDF has no text."""
_ENCRYPTED: Final = "it is protected by a password. Ask for it without one"
_END: Final = 2_048
"""Bytes at the end of a PDF in which its last mark stands, whatever was appended to it."""
UNREAD: Final = {
    "picture": "{} mostly a picture, whose text was not read",
    "outlines": "{} drawn shapes that may be letters, which were not read",
    "hidden": "{} words that a reader of the page does not see: they were left out",
    "unmapped": "{} text whose letters cannot be told: its font does not say which they are",
    "complex": "{} more drawings than are looked at, so that hidden or drawn words may be among them",
    "notes": "{} remarks beside the text, which were not read",
    "drawings": "{} stamps or drawings by hand, which were not read",
    "damaged": "{} damaged and was not read",
}
"""Reasons by page."""
_IS: Final = {"picture", "damaged"}
_HIDDEN: Final = 2 | 32
"""Flags of a note or field that is not shown: Hidden and NoView (ISO 32000-1, 12.5.3)."""


def read_pdf(data: bytes, limits: Limits) -> Read:
    """Return the text of a PDF with the values of its form; raises `DocumentError`."""
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(data)
        plain = pypdfium2.PdfDocument(data) if pdf.init_forms() else pdf
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise DocumentError("encrypted", _ENCRYPTED) from None
        return _read_otherwise(data, limits)
    count = len(pdf)
    _check_pages(count, limits)
    texts, by_reason = [], dict[str, list[int]]()
    for number in range(1, count + 1):
        text, reasons = _page(pdf, plain, number - 1)
        texts.append(text)
        for reason in reasons:
            by_reason.setdefault(reason, []).append(number)
    text = "\n\n".join(texts)
    if sum(char.isalpha() for char in text) < _LEAST:
        _no_text(by_reason)
    unread = [told.format(_named(by_reason[name], name)) for name, told in UNREAD.items() if name in by_reason]
    return Read(text, pages=count, unread=unread + _whole(pdf, data))


def _page(pdf: pypdfium2.PdfDocument, plain: pypdfium2.PdfDocument, index: int) -> tuple[str, list[str]]:
    import pypdfium2

    try:
        page = pdf[index]
        beside, counts = _Beside(pdf, page, plain[index]), Counter[str]()
        boxes = list(beside.boxes(counts))
        found = read_page(page, boxes)
    except pypdfium2.PdfiumError:
        return "", ["damaged"]
    return found.text, [*found.unread, *(name for name in counts if counts[name])]


def _whole(pdf: pypdfium2.PdfDocument, data: bytes) -> list[str]:
    """Return what of the document as a whole was not read."""
    import pypdfium2.raw as raw

    unread = []
    if files := raw.FPDFDoc_GetAttachmentCount(pdf):
        unread.append(f"files inside of it were not read ({files})")
    if pdf.get_formtype() in (raw.FORMTYPE_XFA_FULL, raw.FORMTYPE_XFA_FOREGROUND):
        unread.append("its form is one of Adobe's (XFA), which is not read: ask for it printed to PDF")
    if b"%%EOF" not in data.rstrip(b"\0 \t\r\n")[-_END:]:
        unread.append("its end is missing, so that parts of it may be: ask for it again")
    return unread


def _named(pages: Sequence[int], reason: str) -> str:
    """Return numbers of pages with the verb that fits the reason."""
    spans: list[list[int]] = []
    for page in pages:
        if spans and spans[-1][1] == page - 1:
            spans[-1][1] = page
        else:
            spans.append([page, page])
    listed = ", ".join(str(one) if one == two else f"{one}-{two}" for one, two in spans)
    if len(pages) == 1:
        return f"page {listed} {'is' if reason in _IS else 'holds'}"
    return f"pages {listed} {'are' if reason in _IS else 'hold'}"


def _no_text(by_reason: dict[str, list[int]]) -> None:
    """Say what a PDF without text is; raises `DocumentError`."""
    if "picture" in by_reason:
        raise DocumentError("image_only", "it is scanned and has no text: send the text, or run OCR on it first")
    if "outlines" in by_reason:
        raise DocumentError("image_only", "its letters are drawn as shapes: send the text, or run OCR on it first")
    if "hidden" in by_reason:
        raise DocumentError("empty", "all of its text is invisible: look at it and ask for the document again")
    raise DocumentError("empty", "its pages are empty: ask for the document again")


class _Beside:
    """The fields and notes of a page."""

    def __init__(self, pdf: Any, page: Any, plain: Any) -> None:
        """Take a page, and the same page of the file without its forms prepared."""
        import pypdfium2.raw as raw

        self._raw, self._form, self._page, self._plain = raw, pdf.formenv, page, plain

    def boxes(self, counts: Counter[str]) -> Iterator[Box]:
        """Yield what is filled in or written over the page; count what is not read."""
        raw = self._raw
        for index in range(raw.FPDFPage_GetAnnotCount(self._page)):
            note = raw.FPDFPage_GetAnnot(self._page, index)
            kind, flags = raw.FPDFAnnot_GetSubtype(note), raw.FPDFAnnot_GetFlags(note)
            text = ""
            if kind == raw.FPDF_ANNOT_WIDGET:
                text = self._value(index, note)
            elif kind == raw.FPDF_ANNOT_FREETEXT:
                text = self._string(note, b"Contents")
                counts["drawings"] += not text and not flags & _HIDDEN
            elif kind in (raw.FPDF_ANNOT_STAMP, raw.FPDF_ANNOT_INK):
                counts["drawings"] += not flags & _HIDDEN
            elif kind not in (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP) and self._string(note, b"Contents"):
                counts["notes"] += 1
            if text.strip() and flags & _HIDDEN:
                counts["hidden"] += 1
            elif text.strip():
                yield from self._lines(note, text)
            raw.FPDFPage_CloseAnnot(note)

    def _lines(self, note: Any, text: str) -> Iterator[Box]:
        """Yield the lines of a field, one below the other in its frame."""
        frame = self._raw.FS_RECTF()
        self._raw.FPDFAnnot_GetRect(note, frame)
        left, right = sorted((frame.left, frame.right))
        bottom, top = sorted((frame.bottom, frame.top))
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        high = (top - bottom) / len(lines)
        for number, line in enumerate(lines):
            foot = top - (number + 1) * high
            # Its words stand a little above the lower edge of their frame, like those beside it.
            yield Box(left, foot + min(high, 14.0) * 0.2, right, foot + high, line)

    def _value(self, index: int, note: Any) -> str:
        """Return what a field is filled in with; a mark for one that is ticked or not."""
        raw, form = self._raw, self._form
        kind = raw.FPDFAnnot_GetFormFieldType(form, note) if form else -1
        if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
            return TICKS[0] if self._ticked(index, note) else TICKS[1]
        if kind in (raw.FPDF_FORMFIELD_PUSHBUTTON, raw.FPDF_FORMFIELD_SIGNATURE):
            return ""
        if kind in (raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX):
            count = raw.FPDFAnnot_GetOptionCount(form, note)
            chosen = [number for number in range(count) if raw.FPDFAnnot_IsOptionSelected(form, note, number)]
            if chosen:
                return ", ".join(_utf16(raw.FPDFAnnot_GetOptionLabel, form, note, number) for number in chosen)
        return (_utf16(raw.FPDFAnnot_GetFormFieldValue, form, note) if form else "") or self._string(note, b"V")

    def _ticked(self, index: int, note: Any) -> bool:
        """Tell whether a box is ticked, by the file as it is: filling in forms clears a box without looks."""
        plain = self._raw.FPDFPage_GetAnnot(self._plain, index)
        state = self._string(plain, b"AS") or self._string(plain, b"V")
        self._raw.FPDFPage_CloseAnnot(plain)
        return state != "Off" if state else bool(self._raw.FPDFAnnot_IsChecked(self._form, note))

    def _string(self, note: Any, key: bytes) -> str:
        return _utf16(self._raw.FPDFAnnot_GetStringValue, note, key).strip()


def _utf16(function: Any, *given: Any) -> str:
    """Call a function of PDFium that writes a text: first for its length in bytes, then for the text."""
    size = function(*given, None, 0)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    cast = ctypes.cast(buffer, ctypes.POINTER(ctypes.c_ushort))
    function(*given, cast, size)
    return buffer.raw[: size - 2].decode("utf-16-le", errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def _read_otherwise(data: bytes, limits: Limits) -> Read:
    """Read with the second library what the first one refuses."""
    import logging

    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    damaged = DocumentError("corrupt", "it is damaged: ask for the document again")
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        _check_open(reader)
        count = len(reader.pages)
        _check_pages(count, limits)
        text = "\n\n".join(page.extract_text() for page in reader.pages)
    except (DocumentError, MemoryError, ImportError):
        raise
    except Exception:
        # A parser of damaged files fails in every way there is.
        raise damaged from None
    if sum(char.isalpha() for char in text) < _LEAST:
        raise damaged
    unread = ["it is damaged, so that parts of it may be missing: ask for it again"]
    return Read(text, pages=count, how="damaged, read by the second library", unread=unread)


def _check_open(reader: Any) -> None:
    """Let pass what opens without a password, or with an empty one."""
    if reader.is_encrypted and not reader.decrypt(""):
        raise DocumentError("encrypted", _ENCRYPTED)


def _check_pages(count: int, limits: Limits) -> None:
    if count > limits.pages:
        told = f"it has {count} pages, {limits.pages} are the most: send the part that matters"
        raise DocumentError("too_many_pages", told)
