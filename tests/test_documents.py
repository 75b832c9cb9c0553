"""Documents that strangers send: what is read of them, in which order, and what is told of the others."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import docx
import pypdf
import pytest
from fpdf import FPDF
from PIL import Image

from tasks.documents import DocumentError, Limits, read_document
from tasks.documents.columns import Box, in_reading_order
from tasks.documents.workers import WORKERS

EXAMPLES = Path(__file__).parent.parent / "examples" / "resumes"
HELLO = "Hello from a document with enough letters in it"


def pdf(*pages: str, password: str | None = None, encrypted: bool = False) -> bytes:
    made = FPDF()
    for text in pages or (HELLO,):
        made.add_page()
        made.set_font("Helvetica", size=11)
        made.multi_cell(0, 6, text)
    if encrypted:
        made.set_encryption(owner_password="owner", user_password=password or "")
    return bytes(made.output())


def word(*paragraphs: str) -> bytes:
    made = docx.Document()
    for text in paragraphs or (HELLO,):
        made.add_paragraph(text)
    raw = io.BytesIO()
    made.save(raw)
    return raw.getvalue()


def bomb(size: int) -> bytes:
    """A DOCX whose body unpacks to many bytes."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("word/document.xml", "w") as part:
        for _ in range(size // 1_000_000):
            part.write(b" " * 1_000_000)
    return raw.getvalue()


def lying(data: bytes) -> bytes:
    """The same archive with a directory that tells of ten bytes."""
    at, changed = 0, bytearray(data)
    while (at := changed.find(b"PK\x01\x02", at)) >= 0:
        changed[at + 24 : at + 28] = struct.pack("<I", 10)
        at += 4
    return bytes(changed)


def picture() -> bytes:
    made = FPDF()
    made.add_page()
    made.image(Image.new("1", (300, 200), 1), w=150)
    return bytes(made.output())


async def trouble(data: bytes | Path, name: str = "cv.pdf", limits: Limits | None = None) -> str:
    with pytest.raises(DocumentError) as caught:
        await read_document(data, name=name, limits=limits)
    assert HELLO not in str(caught.value)
    return caught.value.kind


@pytest.mark.parametrize(
    "data", [pdf(), word(), HELLO.encode(), HELLO.encode("utf-16")], ids=["pdf", "docx", "text", "utf-16"]
)
async def test_each_kind_is_read_whatever_its_name_says(data: bytes) -> None:
    for name in ("cv.pdf", "cv.docx", "cv.txt", "cv", ""):
        assert (await read_document(data, name=name)).text == HELLO


async def test_a_name_that_lies_is_told() -> None:
    assert (await read_document(pdf(), name="cv.docx")).how == "named .docx, read as pdf"
    assert (await read_document(word(), name="cv.pdf")).how == "named .pdf, read as docx"
    assert (await read_document(pdf(), name="cv.pdf")).how == ""


async def test_old_encodings_are_read() -> None:
    assert (await read_document("Übersetzerin für Französisch".encode("cp1252"))).text == "Übersetzerin für Französisch"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
async def test_texts_are_decoded_by_their_mark_or_by_their_zeros(encoding: str) -> None:
    text = "Übersetzerin für Französisch und Englisch, seit zehn Jahren"
    document = await read_document(text.encode(encoding), name="cv.txt")
    assert (document.text, document.how, document.unread) == (text, "", [])


async def test_an_encoding_that_was_guessed_is_told_and_an_unlikely_one_is_doubted() -> None:
    guessed = await read_document("Übersetzerin für Französisch, Anwältin, geprüfte Buchhälterin".encode("cp1252"))
    assert (guessed.how, guessed.unread) == ("its encoding is not named, read as Windows-1252", [])
    doubt = "its encoding is not known, so that some of its letters may be wrong: ask for it in UTF-8"
    for text, encoding in (
        ("Разработчик, опыт работы десять лет: Python, PostgreSQL", "cp1251"),
        ("Übersetzerin für Französisch, Anwältin, geprüfte Buchhälterin", "mac_roman"),
        ("Übersetzerin für Französisch, Anwältin, geprüfte Buchhälterin", "cp850"),
        ("Żółta łódź, doświadczenie w sprzedaży i obsłudze klienta", "cp1250"),
        ("経験十年のエンジニア Python", "shift_jis"),
    ):
        assert (await read_document(text.encode(encoding))).unread == [doubt], encoding
    lost = await read_document(
        "Ingenieur f\ufffdr Stra\ufffdenbau in M\ufffdnchen mit zehn Jahren Erfahrung im Tiefbau ".encode() * 9
    )
    assert lost.unread == ["letters of it were lost before it came here: ask for it again"]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"{\\rtf1 hello}", "RTF"),
        (b"%!PS-Adobe-3.0\n/Times findfont", "PostScript"),
        (b"MIME-Version: 1.0\nContent-Type: multipart/related; boundary=x\n", "web archive"),
        (b'<?xml version="1.0"?><w:wordDocument xmlns:w="http://schemas.microsoft.com/office/word/2003">', "XML"),
        (b"<p>Work</p>" * 20, "web page"),
    ],
)  # fmt: skip
async def test_another_format_is_named(data: bytes, what: str) -> None:
    with pytest.raises(DocumentError, match=what):
        await read_document(data, name="cv.doc")


async def test_a_text_with_a_few_tags_in_it_is_a_text() -> None:
    text = "I wrote <b>HTML</b> and <a href='x'>links</a> for ten years"
    assert (await read_document(text.encode())).kind == "text"


async def test_a_pdf_that_opens_without_a_password_is_read_though_it_is_encrypted() -> None:
    assert (await read_document(pdf(encrypted=True))).text == HELLO


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "empty"),
        (b" \n\t ", "empty"),
        (pdf(" "), "empty"),
        (word(" "), "empty"),
        (pdf(password="user", encrypted=True), "encrypted"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600) + "EncryptedPackage".encode("utf-16-le"), "encrypted"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "unsupported"),
        (b"{\\rtf1 hello}", "unsupported"),
        (picture(), "image_only"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "image_only"),
        (b"<!DOCTYPE html><html><body>Sign in</body></html>", "mislabelled"),
        (b"\xef\xbb\xbf <?xml version='1.0'?><a/>", "mislabelled"),
        (pdf()[:300], "corrupt"),
        (word()[:900], "corrupt"),
        (b"%PDF-1.7 and nothing else", "corrupt"),
        (bytes(range(256)) * 20, "corrupt"),
        (bomb(1_000_000_000), "too_large"),
        (b"x" * 10_000_001, "too_large"),
        (b"word " * 50_000, "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",
)
async def test_what_cannot_be_read_is_named_and_the_next_one_is_read(data: bytes, kind: str) -> None:
    assert await trouble(data) == kind
    assert (await read_document(pdf())).text == HELLO


async def test_an_archive_that_lies_about_its_size_is_not_unpacked_further_than_it_says() -> None:
    assert await trouble(lying(bomb(300_000_000)), limits=Limits()) in ("corrupt", "too_large")
    assert (await read_document(word())).text == HELLO


async def test_an_archive_without_a_document_is_told() -> None:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("readme.txt", HELLO)
    assert await trouble(raw.getvalue(), "cv.docx") == "unsupported"


async def test_500_pages_are_too_many_and_50_are_not() -> None:
    assert await trouble(pdf(*["page"] * 500)) == "too_many_pages"
    assert (await read_document(pdf(*[HELLO] * 50))).pages == 50


async def test_a_damaged_pdf_that_the_second_library_can_read_is_read() -> None:
    class Refused:
        def __init__(self, *_: Any) -> None:
            raise pypdfium2.PdfiumError("Failed to load document (PDFium: Data format error).")

    import pypdfium2

    from tasks.documents import extract

    kept, pypdfium2.PdfDocument = pypdfium2.PdfDocument, Refused
    try:
        document = extract.extract(pdf(), "cv.pdf", Limits())
    finally:
        pypdfium2.PdfDocument = kept
    assert document.text == HELLO
    assert "second library" in document.how


@pytest.mark.parametrize("name", ["missing.pdf", "folder"])
async def test_a_file_that_is_not_there_is_named_by_its_trouble(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    assert await trouble(tmp_path / name) in ("missing", "unreadable")


def workers() -> list[int]:
    """The processes that read for this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                told = (entry / "cmdline").read_bytes().decode(errors="replace")
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if "tasks.documents.worker" in told and parent == os.getpid():
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes in /proc")
async def test_a_worker_that_is_killed_in_the_middle_fails_its_document_alone() -> None:
    await read_document(pdf())
    slow = pdf(*["word " * 700] * 50)

    async def kill() -> None:
        await asyncio.sleep(0.02)
        for worker in workers():
            os.kill(worker, signal.SIGKILL)

    results = await asyncio.gather(*(read_document(slow) for _ in range(WORKERS)), kill(), return_exceptions=True)
    assert any(isinstance(result, DocumentError) and result.kind == "crashed" for result in results)
    assert (await read_document(pdf())).text == HELLO
    assert len(workers()) <= WORKERS


async def test_a_document_that_takes_too_long_is_given_up() -> None:
    started = time.monotonic()
    assert await trouble(pdf(*["word " * 900] * 50), limits=Limits(seconds=0.001)) == "timeout"
    assert time.monotonic() - started < 30
    assert (await read_document(pdf())).text == HELLO


async def test_20_at_once_do_not_hold_up_the_loop() -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    texts = await asyncio.gather(*(read_document(pdf(f"{HELLO} {number}")) for number in range(20)))
    ticking.cancel()
    assert [text.text for text in texts] == [f"{HELLO} {number}" for number in range(20)]
    assert ticks >= 5


async def test_a_caller_that_gives_up_leaves_the_others_alone() -> None:
    waiting = [asyncio.create_task(read_document(pdf(*["word " * 500] * 20))) for _ in range(4)]
    await asyncio.sleep(0.01)
    for task in waiting[:3]:
        task.cancel()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(result, asyncio.CancelledError) for result in done] == [True, True, True, False]
    assert (await read_document(pdf())).text == HELLO


def test_two_loops_share_the_workers() -> None:
    assert [asyncio.run(read_document(pdf())).text for _ in range(2)] == [HELLO] * 2


def column(left: float, texts: list[str], top: float = 700.0, width: float = 150.0) -> list[Box]:
    return [
        Box(left, top - 14 * n, left + min(width, 5.0 * len(text)), top - 14 * n + 10, text)
        for n, text in enumerate(texts)
    ]


def test_columns_are_read_one_after_the_other() -> None:
    left, right = ["Python", "Go", "Rust", "SQL", "Docker", "Kafka"], [f"- right {n}" for n in range(9)]
    head = [Box(50, 760, 300, 780, "Name over both")]
    foot = [Box(50, 500, 420, 510, "A line over the whole width below both columns of the page")]
    assert in_reading_order([*column(250, right), *foot, *column(50, left), *head]) == [
        "Name over both", *left, *right, foot[0].text,
    ]  # fmt: skip


def test_years_beside_jobs_are_labels_and_no_column() -> None:
    years, jobs = (
        [f"{year} - {year + 1}" for year in range(2015, 2021)],
        [f"Job number {n} at a company" for n in range(6)],
    )
    found = in_reading_order([*column(50, years), *column(150, jobs)])
    assert found == [f"{year} {job}" for year, job in zip(years, jobs, strict=True)]


def test_a_line_without_room_for_the_next_word_goes_on_and_a_heading_or_bullet_does_not() -> None:
    full = "a line that fills its column to the"
    boxes = column(50, [full, "edge and ends", "short", "Heading", full, "- a bullet of its own"], width=175)
    assert in_reading_order(boxes) == [f"{full} edge and ends", "short", "Heading", full, "- a bullet of its own"]


def test_a_page_of_40_000_boxes_is_ordered_in_time() -> None:
    boxes = [Box(10 * x, 10 * y, 10 * x + 8, 10 * y + 8, "x") for x in range(100) for y in range(400)]
    assert len(in_reading_order(boxes)) >= 400


@pytest.mark.parametrize("layout", ["one-column", "sidebar-left", "sidebar-right", "word", "word-table", "plain"])
async def test_examples_keep_their_sections_together(layout: str) -> None:
    path = next(EXAMPLES.glob(f"backend-*-{layout}.*"))
    text = (await read_document(path)).text
    experience, skills = text.upper().index("EXPERIENCE"), text.upper().index("\nSKILLS")
    work = text[experience:] if layout == "sidebar-left" else text[experience:skills]
    assert "present" in work
    assert "Languages: English" not in work


async def test_every_bad_example_is_told_apart() -> None:
    kinds = {path.name: await trouble(path) for path in sorted(EXAMPLES.glob("bad-*"))}
    assert kinds == {
        "bad-60-pages.pdf": "too_many_pages", "bad-corrupt.pdf": "corrupt", "bad-empty.pdf": "empty",
        "bad-encrypted.pdf": "encrypted", "bad-html.pdf": "mislabelled", "bad-scanned.pdf": "image_only",
    }  # fmt: skip


async def test_nothing_that_pdf_tools_write_is_lost() -> None:
    # A file that was changed and saved again by another tool: streams of objects, another producer.
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(HELLO, f"{HELLO} too")))
    writer.compress_identical_objects()
    raw = io.BytesIO()
    writer.write(raw)
    assert (await read_document(raw.getvalue())).text == f"{HELLO}\n\n{HELLO} too"
