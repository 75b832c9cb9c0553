"""PDF documents: what a reader of a page sees is read, and what is not read is told with its page."""

from __future__ import annotations

import contextlib
import io
import re
import threading
from pathlib import Path
from typing import Any, Self

import pypdf
import pytest
from fpdf import FPDF
from pdf_files import annotated, image, lines, one_page, raw_pdf, scan, stream, with_forms, written
from test_documents import workers

from tasks.documents import DocumentError, Limits, read_document
from tasks.documents.extract import extract
from tasks.documents.kinds import Document
from tasks.documents.worker import ELSE, MEMORY

TEXT = "Application of a backend engineer"
FULL = tuple(f"Line {number} of a page that is full of text, as most pages of a curriculum are" for number in range(20))


def read(data: bytes) -> Document:
    return extract(data, "cv.pdf", Limits())


def told(data: bytes) -> list[str]:
    return read(data).unread


def widget(kind: str = "/Tx", value: Any = "", **more: Any) -> dict[str, Any]:
    return {"Subtype": "/Widget", "FT": kind, "T": "field", "V": value, "F": 4, **more}


def test_values_of_a_form_stand_beside_their_labels() -> None:
    data = annotated(
        written(lines("Skills and languages:", "Years of experience:")),
        widget(value="Python, Go", Rect=(200, 795, 500, 809)),
        widget(value="8", T="years", Rect=(200, 767, 500, 781)),
    )
    found = read(data)
    assert found.text.split("\n") == ["Skills and languages: Python, Go", "Years of experience: 8"]
    assert found.unread == []


def test_a_value_of_several_lines_stays_in_its_order() -> None:
    data = annotated(written(lines(TEXT)), widget(value="Python\nGo\r\nRust", Ff=4096, Rect=(60, 600, 400, 700)))
    assert read(data).text.split("\n") == [TEXT, "Python", "Go", "Rust"]


def test_boxes_that_are_ticked_and_choices_are_read() -> None:
    looks = {"N": {"Yes": b"", "Off": b""}}
    data = annotated(
        written(lines("Python", "Go", "Rust", "Level and what I want")),
        widget("/Btn", "/Yes", AS="/Yes", AP=looks, T="a", Rect=(100, 795, 110, 805)),
        widget("/Btn", "/Off", AS="/Off", AP=looks, T="b", Rect=(15, 767, 25, 777)),
        widget("/Ch", "x2", Ff=131072, Opt=[["x1", "Junior"], ["x2", "Senior"]], T="c", Rect=(200, 710, 300, 724)),
        widget("/Btn", "/Yes", T="without looks", Rect=(100, 740, 110, 750)),
    )
    assert read(data).text.split("\n") == ["Python \u2612", "\u2610 Go", "Rust \u2612", "Level and what I want Senior"]


def test_a_field_whose_value_is_that_of_its_parent_is_read() -> None:
    data = annotated(written(lines(TEXT)), widget(value="Kotlin"))
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(data))
    field = writer.pages[0]["/Annots"][0].get_object()
    from pypdf.generic import ArrayObject, DictionaryObject, NameObject

    parent = writer._add_object(DictionaryObject({NameObject(key): field.pop(key) for key in ("/FT", "/V", "/T")}))
    field[NameObject("/Parent")] = parent
    parent.get_object()[NameObject("/Kids")] = ArrayObject([field.indirect_reference])
    writer._root_object["/AcroForm"][NameObject("/Fields")] = ArrayObject([parent])
    raw = io.BytesIO()
    writer.write(raw)
    assert "Kotlin" in read(raw.getvalue()).text


def test_text_that_is_typed_over_a_page_is_read_and_remarks_are_told() -> None:
    data = annotated(
        written(lines(TEXT)),
        {"Subtype": "/FreeText", "Contents": "Available from May", "F": 4},
        {"Subtype": "/Text", "Contents": "weak in Java"},
        {"Subtype": "/Highlight", "Contents": "", "QuadPoints": [0, 0, 1, 0, 0, 1, 1, 1]},
        {"Subtype": "/Link", "Contents": "a link"},
    )
    found = read(data)
    assert found.text.split("\n") == [TEXT, "Available from May"] or set(found.text.split("\n")) == {
        TEXT,
        "Available from May",
    }
    assert found.unread == ["page 1 holds remarks beside the text, which were not read"]


def test_drawings_by_hand_are_told() -> None:
    data = annotated(written(lines(TEXT)), {"Subtype": "/Ink", "InkList": [[1, 1, 2, 2]], "F": 4})
    assert told(data) == ["page 1 holds stamps or drawings by hand, which were not read"]


def test_pages_that_are_pictures_beside_pages_with_text_are_told_by_their_numbers() -> None:
    data = written(lines(TEXT), scan, lines(*FULL), scan, scan)
    assert told(data) == ["pages 2, 4-5 are mostly a picture, whose text was not read"]


def test_a_scan_with_a_line_over_it_is_told_and_a_portrait_or_a_background_is_not() -> None:
    def header_over_scan(made: FPDF) -> None:
        scan(made)
        made.text(20, 20, "Curriculum vitae, page 2 of 2")

    def portrait(made: FPDF) -> None:
        image(made, x=160, y=10, w=35, h=45)
        lines(*FULL)(made)

    def background(made: FPDF) -> None:
        image(made)
        lines(*FULL)(made)

    assert told(written(lines(TEXT), header_over_scan)) == ["page 2 is mostly a picture, whose text was not read"]
    assert told(written(portrait, background)) == []


def test_a_scan_in_strips_inside_of_a_form_is_told() -> None:
    picture = stream(
        bytes(100), b"/Type/XObject/Subtype/Image/Width 10/Height 10/ColorSpace/DeviceGray/BitsPerComponent 8"
    )
    strips = b"".join(b"q 612 0 0 50 0 %d cm /I Do Q " % (50 * number) for number in range(12))
    form = stream(strips, b"/Type/XObject/Subtype/Form/BBox[0 0 612 792]/Resources<</XObject<</I 6 0 R>>>>")
    page = b"BT /F 12 Tf 50 700 Td (A letter with some words in it) Tj ET /X Do"
    assert told(one_page(page, form, picture, resources=b"/XObject<</X 5 0 R>>")) == [
        "page 1 is mostly a picture, whose text was not read"
    ]


def outlines(letters: int) -> bytes:
    """Shapes with as many corners as letters have."""
    return b"".join(
        b"%d 300 m " % (40 + 5 * n) + b"".join(b"%d %d l " % (40 + 5 * n + k % 3, 300 + k) for k in range(24)) + b"f "
        for n in range(letters)
    )


def test_letters_that_are_drawn_are_told() -> None:
    page = b"BT /F 12 Tf 50 700 Td (Skills and languages of mine) Tj ET "
    assert told(one_page(page + outlines(40))) == ["page 1 holds drawn shapes that may be letters, which were not read"]
    with pytest.raises(DocumentError) as caught:
        read(one_page(outlines(60)))
    assert caught.value.kind == "image_only"
    assert told(one_page(page + b"50 50 100 10 re f " * 200)) == []


def test_text_that_nobody_sees_is_left_out_and_told() -> None:
    def page(made: FPDF) -> None:
        made.text(20, 30, TEXT)
        made.set_text_color(255, 255, 255)
        made.text(20, 50, "white Kubernetes")
        made.set_text_color(0, 0, 0)
        made.text(20, 70, "covered Terraform")
        made.set_fill_color(200, 30, 30)
        made.rect(15, 62, 100, 12, "F")
        made.text_mode = "INVISIBLE"  # type: ignore[assignment] # a name of its enumeration
        made.text(20, 90, "invisible Haskell")
        made.text_mode = "FILL"  # type: ignore[assignment] # likewise
        made.text(400, 90, "outside Erlang")
        made.set_font("Helvetica", size=1)
        made.text(20, 100, "tiny Cobol")

    found = read(written(page))
    assert found.text == TEXT
    assert found.unread == ["page 1 holds words that a reader of the page does not see: they were left out"]


def test_white_text_on_a_dark_ground_is_read() -> None:
    def page(made: FPDF) -> None:
        made.set_fill_color(20, 30, 80)
        made.rect(0, 0, 70, 297, "F")
        made.set_text_color(255, 255, 255)
        made.text(10, 50, "Python and Kubernetes")
        made.set_text_color(200, 200, 200)
        made.text(90, 50, "Pale grey words on white paper")

    found = read(written(page))
    assert set(found.text.split("\n")) == {"Python and Kubernetes", "Pale grey words on white paper"} or found.text == (
        "Python and Kubernetes Pale grey words on white paper"
    )
    assert found.unread == []


def test_the_words_that_ocr_put_behind_a_scan_are_read() -> None:
    def page(made: FPDF) -> None:
        scan(made)
        made.text_mode = "INVISIBLE"  # type: ignore[assignment] # a name of its enumeration
        lines(*FULL)(made)

    found = read(written(page))
    assert FULL[3] in found.text
    assert found.unread == []


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_turned_text_is_read_in_its_order(turn: int) -> None:
    def page(made: FPDF) -> None:
        with made.rotation(turn, 100, 150):
            made.text(60, 150, "First line of turned text")
            made.text(60, 160, "Second line of it")
            made.text(60, 170, "Third line of it")

    found = read(written(page))
    assert found.text.split("\n") == ["First line of turned text", "Second line of it", "Third line of it"]
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(written(page)))
    writer.pages[0].rotate(turn)
    raw = io.BytesIO()
    writer.write(raw)
    assert read(raw.getvalue()).text == found.text


def unnamed_glyphs(text: str) -> bytes:
    """A page in a font that says of no glyph which letter it is; numbers are those of letters, moved by three."""
    codes = "".join(f"{ord(char) - 29:04x}" if char != " " else "0003" for char in text)
    font = b"/Font<</F<</Type/Font/Subtype/Type0/BaseFont/AAAAAA+Some/Encoding/Identity-H/DescendantFonts[5 0 R]>>>>"
    page = b"BT /F 12 Tf 50 700 Td <" + codes.encode() + b"> Tj ET"
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 4000 792]/Contents 4 0 R/Resources<<" + font + b">>>>",
        stream(page),
        b"<</Type/Font/Subtype/CIDFontType2/BaseFont/AAAAAA+Some/CIDToGIDMap/Identity/DW 500"
        b"/CIDSystemInfo<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>/FontDescriptor 6 0 R>>",
        b"<</Type/FontDescriptor/FontName/AAAAAA+Some/Flags 4/FontBBox[0 0 1000 1000]/ItalicAngle 0/Ascent 800"
        b"/Descent -200/CapHeight 700/StemV 80>>",
    )


def test_a_font_that_does_not_name_its_letters_is_told() -> None:
    words = "Experience of ten years with payments and services for large customers in three countries " * 3
    assert told(unnamed_glyphs(words)) == [
        "page 1 holds text whose letters cannot be told: its font does not say which they are"
    ]


def test_numbers_of_glyphs_in_the_place_of_letters_are_told() -> None:
    words = "experience of ten years with payments and services for large customers in three countries " * 3
    moved = "".join(chr((ord(char) - 97 + 3) % 26 + 97) if char.isalpha() else char for char in words)

    def page(made: FPDF) -> None:
        made.multi_cell(0, 8, moved)

    assert told(written(page)) == [
        "page 1 holds text whose letters cannot be told: its font does not say which they are"
    ]


def test_lists_of_abbreviations_and_other_languages_are_no_garbage() -> None:
    listed = (
        "SQL, HTML, CSS, AWS, GCP, Docker, Kubernetes, PostgreSQL, Redis, Kafka, Spark, Scala, Rust, PHP, MVC, " * 3
    )
    polish = (
        "Projektowanie i testowanie us\u00b3ug dla du\u00bfych klient\u00f3w w trzech krajach, wdra\u00bfanie. " * 3
    )

    def page(made: FPDF) -> None:
        made.multi_cell(0, 8, listed + polish)

    assert told(written(page)) == []


def test_files_inside_of_it_are_told() -> None:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(written(lines(TEXT))))
    writer.add_attachment("cv.docx", b"PK")
    raw = io.BytesIO()
    writer.write(raw)
    assert told(raw.getvalue()) == ["files inside of it were not read (1)"]


def test_a_form_of_adobe_is_told() -> None:
    data = annotated(
        written(lines("Please wait. If this message is not replaced, update your viewer.")), form={"XFA": "<xdp/>"}
    )
    assert any("XFA" in reason for reason in told(data))


def test_a_file_without_its_end_is_told() -> None:
    data = written(lines(TEXT))
    cut = data[: data.rindex(b"startxref")]
    found = read(cut)
    assert found.text == TEXT
    assert found.unread[-1] == "its end is missing, so that parts of it may be: ask for it again"
    assert told(data + b"\0" * 5_000) == []


def test_a_text_that_speaks_of_pdf_is_a_text() -> None:
    assert read(b"I wrote a parser that looks for %PDF-1.7 in the files of strangers.").kind == "text"


WIDE = [b"".join(b"/X%d Do " % (number + 6) for _ in range(10)) for number in range(9)]
RECURSIVE = {
    "one form that paints itself": with_forms(b"/X5 Do"),
    "two forms that paint each other": with_forms(b"/X6 Do /X6 Do", b"/X5 Do /X5 Do"),
    "forms that paint the next one ten times": with_forms(*WIDE, b"BT /F 12 Tf 9 9 Td (x) Tj ET " * 20),
    "pages that hold each other": raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R 2 0 R]/Count 3>>",
        b"<</Type/Pages/Parent 2 0 R/Kids[2 0 R 3 0 R]/Count 2>>",
    ),
    "a stream of 400 MB": one_page(b"BT /F 12 Tf 50 700 Td (A text with letters enough to be read) Tj ET"),
}


def inflated(size: int) -> bytes:
    """A page whose content unpacks to many bytes."""
    import zlib

    packed = zlib.compressobj(9)
    text = packed.compress(b"BT /F 12 Tf 50 700 Td (A text with letters enough to be read) Tj ET\n")
    text += b"".join(packed.compress(b"q Q " * 250_000) for _ in range(size // 1_000_000)) + packed.flush()
    return raw_pdf(
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<<>>>>",
        stream(text, b"/Filter/FlateDecode"),
    )


class Peak:
    """The most memory that a process had that reads for this one, while a block runs."""

    def __enter__(self) -> Self:
        self.most, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self._look()

    def _look(self) -> None:
        for pid in workers():
            with contextlib.suppress(OSError):
                found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
                self.most = max(self.most, int(found[1]) * 1024 if found else 0)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="measures memory in /proc")
@pytest.mark.parametrize("name", RECURSIVE)
async def test_a_pdf_that_is_made_to_fill_the_memory_is_given_up_and_the_next_one_is_read(name: str) -> None:
    data = inflated(400_000_000) if "400 MB" in name else RECURSIVE[name]
    kind, message = "read", ""
    with Peak() as peak:
        try:
            await read_document(data, limits=Limits(seconds=30))
        except DocumentError as error:
            kind, message = error.kind, str(error)
        assert (await read_document(written(lines(TEXT)))).text == TEXT
    assert 0 < peak.most < MEMORY * 1.3
    assert kind in ("read", "too_complex", "timeout", "corrupt", "empty"), message
    if "ten times" in name:
        assert kind == "too_complex"
        assert message == f"reading it takes more than 600 MB of memory: {ELSE}"


async def test_a_fault_of_ours_does_not_blame_the_sender() -> None:
    with pytest.raises(DocumentError) as caught:
        await read_document(written(*[lines(*FULL)] * 30), limits=Limits(seconds=0.001))
    assert caught.value.kind == "timeout"
    assert "damaged" not in str(caught.value)
    assert "ask for it again" not in str(caught.value)
