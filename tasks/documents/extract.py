"""From bytes to text; runs in a worker process, because it is native code on what strangers send."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from tasks.documents.columns import Box, in_reading_order, paragraphs
from tasks.documents.kinds import Document, DocumentError, Limits, decoded, kind_of

if TYPE_CHECKING:
    import pypdfium2

_LEAST: Final = 20
"""Letters below which a PDF has no text."""
_ENCRYPTED: Final = "it is protected by a password; ask for it without one"
_INSTALL: Final = "reading PDF and DOCX needs: pip install 'surefoot[documents]'"


def extract(data: bytes, name: str, limits: Limits) -> Document:
    """Return the text of a document; raises `DocumentError`."""
    kind = kind_of(data, name, limits)
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    how = f"named .{suffix}, read as {kind}" if suffix in ("pdf", "docx") and suffix != kind else ""
    try:
        text, pages, also = {"pdf": _pdf, "docx": _docx, "text": _text}[kind](data, limits)
    except ImportError:
        raise DocumentError("unsupported", _INSTALL) from None
    clean = _clean(text)
    if len(clean) > limits.characters:
        told = f"its text has {len(clean):,} characters, {limits.characters:,} are the most: send a shorter one"
        raise DocumentError("too_large", told)
    if not clean:
        raise DocumentError("empty", "it holds no text: ask for the document again")
    return Document(clean, kind, pages, "; ".join(filter(None, (how, also))))


def _text(data: bytes, _limits: Limits) -> tuple[str, int, str]:
    return decoded(data), 1, ""


def _docx(data: bytes, _limits: Limits) -> tuple[str, int, str]:
    import docx

    try:
        return "\n".join(_docx_lines(docx.Document(io.BytesIO(data)))), 1, ""
    except (KeyError, ValueError, SyntaxError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DocumentError("corrupt", f"it is damaged ({type(error).__name__}): ask for it again") from None


def _docx_lines(document: Any) -> Iterator[str]:
    """Yield headers, then paragraphs and tables in their order."""
    for section in document.sections:
        yield from (paragraph.text for paragraph in section.header.paragraphs)
    yield from _blocks(document)


def _blocks(holder: Any) -> Iterator[str]:
    for block in holder.iter_inner_content():
        if not hasattr(block, "rows"):
            yield block.text
            continue
        for row in block.rows:
            # A merged cell comes once for each column that it spans.
            cells = dict.fromkeys(row.cells)
            several = [line for cell in cells for line in _blocks(cell)] if len(cells) <= 2 else None
            yield from several or [" | ".join(" ".join(_blocks(cell)) for cell in cells)]


def _pdf(data: bytes, limits: Limits) -> tuple[str, int, str]:
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise DocumentError("encrypted", _ENCRYPTED) from None
        return _pdf_otherwise(data, limits)
    count = len(pdf)
    _check_pages(count, limits)
    pages = [_page(pdf[number]) for number in range(count)]
    text = "\n\n".join(pages)
    if sum(char.isalpha() for char in text) < _LEAST:
        _no_text(pdf)
    return text, count, ""


def _no_text(pdf: pypdfium2.PdfDocument) -> None:
    """Say what a PDF without text is."""
    from pypdfium2.raw import FPDF_PAGEOBJ_IMAGE

    if any(page_object.type == FPDF_PAGEOBJ_IMAGE for page in pdf for page_object in page.get_objects()):
        raise DocumentError("image_only", "it is scanned and has no text: send the text, or run OCR on it first")
    raise DocumentError("empty", "its pages are empty: ask for the document again")


def _page(page: pypdfium2.PdfPage) -> str:
    text = page.get_textpage()
    boxes = []
    for number in range(text.count_rects()):
        left, bottom, right, top = text.get_rect(number)
        said = text.get_text_bounded(left, bottom, right, top).strip()
        if said:
            boxes.append(Box(left, bottom, right, top, " ".join(said.split(" "))))
    return paragraphs(in_reading_order(boxes))


def _pdf_otherwise(data: bytes, limits: Limits) -> tuple[str, int, str]:
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
    except DocumentError:
        raise
    except Exception:
        # A parser of damaged files fails in every way there is.
        raise damaged from None
    if sum(char.isalpha() for char in text) < _LEAST:
        raise damaged
    return text, count, "damaged, read by the second library"


def _check_open(reader: Any) -> None:
    """Let pass what opens without a password, or with an empty one."""
    if reader.is_encrypted and not reader.decrypt(""):
        raise DocumentError("encrypted", _ENCRYPTED)


def _check_pages(count: int, limits: Limits) -> None:
    if count > limits.pages:
        told = f"it has {count} pages, {limits.pages} are the most: send the part that matters"
        raise DocumentError("too_many_pages", told)


_LIGATURES: Final = {
    ord(char): unicodedata.normalize("NFKC", char) for char in "\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06"
}
_SPACES: Final = dict.fromkeys(map(ord, "\u00a0\u2007\u202f\u2009\u200a\t\f\v"), " ")
_DROPPED: Final = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\ufeff\ufffe\r"), None)


def _clean(text: str) -> str:
    """Take ligatures apart, make every space one, and drop what is not seen."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").translate(_LIGATURES | _SPACES | _DROPPED)
    text = "".join(char for char in text if char == "\n" or unicodedata.category(char) not in ("Cc", "Cs", "Co", "Cn"))
    lines = (" ".join(line.split(" ")).strip() for line in unicodedata.normalize("NFC", text).split("\n"))
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(" ".join(line.split()))
    return "\n".join(kept).strip()
