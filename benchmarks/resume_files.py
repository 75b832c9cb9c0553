"""How the example résumés are laid out as files, and files that are none."""

from __future__ import annotations

import datetime
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import docx
from fpdf import FPDF
from PIL import Image, ImageDraw

MADE = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.UTC)


class Layout(NamedTuple):
    """How a résumé becomes a file."""

    suffix: str
    render: Callable[[Any], bytes]


def _pdf() -> FPDF:
    pdf = FPDF()
    pdf.set_creation_date(MADE)
    pdf.set_auto_page_break(auto=True, margin=15)
    pdf.add_page()
    return pdf


def _write(pdf: FPDF, width: float, text: str, size: float = 10, style: str = "") -> None:
    pdf.set_font("Helvetica", style, size)
    pdf.multi_cell(width, size / 2, text, new_x="LEFT", new_y="NEXT")


def one_column(resume: Any) -> bytes:
    """A PDF as a word processor makes it."""
    pdf = _pdf()
    _write(pdf, 0, resume.name, 20, "B")
    _write(pdf, 0, resume.title, 13)
    for line in (*resume.contact, *resume.personal):
        _write(pdf, 0, line, 9)
    for heading, lines in resume.sections():
        pdf.ln(3)
        _write(pdf, 0, heading.upper(), 12, "B")
        for line in lines:
            _write(pdf, 0, line)
    for line in resume.closing:
        _write(pdf, 0, line, 9)
    return bytes(pdf.output())


def _two_columns(resume: Any, *, sidebar_left: bool) -> bytes:
    """A PDF with contact and skills in a narrow column beside the history."""
    pdf = _pdf()
    narrow, wide = (10.0, 75.0) if sidebar_left else (145.0, 10.0)
    beside = {resume.sections()[2][0], *(heading for heading, _ in resume.sections()[3:])}
    pdf.set_xy(narrow, 12)
    columns = [
        (narrow, 55, [("", [*resume.contact, *resume.personal])] + [s for s in resume.sections() if s[0] in beside]),
        (wide, 125, [s for s in resume.sections() if s[0] not in beside] + [("", resume.closing)]),
    ]
    for left, width, sections in columns:
        pdf.set_xy(left, 12)
        pdf.set_left_margin(left)
        if left == wide:
            _write(pdf, width, resume.name, 20, "B")
            _write(pdf, width, resume.title, 13)
        for heading, lines in sections:
            pdf.ln(3)
            if heading:
                _write(pdf, width, heading, 12, "B")
            for line in lines:
                _write(pdf, width, line)
    return bytes(pdf.output())


def left_sidebar(resume: Any) -> bytes:
    return _two_columns(resume, sidebar_left=True)


def right_sidebar(resume: Any) -> bytes:
    return _two_columns(resume, sidebar_left=False)


def _document(fill: Callable[[Any], None]) -> bytes:
    """Make a DOCX whose bytes do not depend on the clock."""
    document = docx.Document()
    document.core_properties.created = document.core_properties.modified = MADE.replace(tzinfo=None)
    fill(document)
    raw, fixed = io.BytesIO(), io.BytesIO()
    document.save(raw)
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(fixed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            # A thumbnail of the template is half of the file.
            content = source.read(name)
            if name == "_rels/.rels":
                content = _without_thumbnail(content)
            if "thumbnail" not in name:
                target.writestr(zipfile.ZipInfo(name, (2026, 11, 1, 12, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return fixed.getvalue()


def _without_thumbnail(content: bytes) -> bytes:
    text = content.decode()
    begin = text.find("<Relationship ", max(0, text.find("thumbnail") - 300))
    while begin >= 0:
        end = text.find("/>", begin) + 2
        if "thumbnail" in text[begin:end]:
            return (text[:begin] + text[end:]).encode()
        begin = text.find("<Relationship ", end)
    return content


def word(resume: Any) -> bytes:
    """A DOCX of headings, paragraphs and lists."""

    def fill(document: Any) -> None:
        document.add_heading(resume.name, 0)
        for line in (resume.title, *resume.contact, *resume.personal):
            document.add_paragraph(line)
        for heading, lines in resume.sections():
            document.add_heading(heading, 1)
            for line in lines:
                document.add_paragraph(line.removeprefix("- "), style="List Bullet" if line.startswith("- ") else None)
        for line in resume.closing:
            document.add_paragraph(line)

    return _document(fill)


def word_table(resume: Any) -> bytes:
    """A DOCX that is one table, with the headings in its first column."""

    def fill(document: Any) -> None:
        table = document.add_table(rows=0, cols=2)
        rows = [("", [resume.name, resume.title]), ("Contact", [*resume.contact, *resume.personal])]
        for heading, lines in [*rows, *resume.sections(), ("", resume.closing)]:
            cells = table.add_row().cells
            cells[0].text, cells[1].text = heading, "\n".join(lines)

    return _document(fill)


def plain(resume: Any) -> bytes:
    """A text in UTF-8."""
    text: str = resume.text()
    return text.encode()


LAYOUTS = {
    "one-column": Layout(".pdf", one_column),
    "sidebar-left": Layout(".pdf", left_sidebar),
    "sidebar-right": Layout(".pdf", right_sidebar),
    "plain": Layout(".txt", plain),
    "word": Layout(".docx", word),
    "word-table": Layout(".docx", word_table),
}


def scanned(text: str) -> bytes:
    """A PDF that holds a picture of a text and no text."""
    image = Image.new("1", (620, 400), 1)
    ImageDraw.Draw(image).multiline_text((30, 30), text, fill=0)
    pdf = _pdf()
    pdf.image(image, x=10, y=10, w=180)
    return bytes(pdf.output())


def encrypted(text: str) -> bytes:
    """A PDF that opens with a password only."""
    pdf = _pdf()
    pdf.set_encryption(owner_password="owner", user_password="user")
    _write(pdf, 0, text)
    return bytes(pdf.output())


def long(pages: int) -> bytes:
    """A PDF of many pages."""
    pdf = _pdf()
    for page in range(pages):
        _write(pdf, 0, f"Appendix {page + 1}: list of publications")
        pdf.add_page()
    return bytes(pdf.output())


def bad_files(folder: Path) -> dict[str, bytes]:
    """Return documents that cannot be screened, by name."""
    whole = next(folder.glob("*.pdf")).read_bytes()
    page = "<!DOCTYPE html><html><body><h1>Session expired</h1><p>Sign in again to download.</p></body></html>"
    return {
        "bad-corrupt.pdf": whole[:400] + bytes(200) + whole[900:1400],
        "bad-empty.pdf": b"",
        "bad-encrypted.pdf": encrypted("Nobody can read this without the password."),
        "bad-html.pdf": page.encode(),
        "bad-60-pages.pdf": long(60),
        "bad-scanned.pdf": scanned("Perpetua Holloway\nBackend engineer\nPython, PostgreSQL, Docker since 2016"),
        "mislabelled-pdf.docx": whole,
    }
