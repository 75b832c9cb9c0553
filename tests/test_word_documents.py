"""Word documents: what a reader of the document sees is read, each thing once, and what is not read is told."""

from __future__ import annotations

import io
import zipfile
from typing import Any

import docx
import pytest
from docx.oxml import parse_xml
from docx.shared import Inches, Pt, RGBColor
from PIL import Image

from tasks.documents import DocumentError, Limits
from tasks.documents.extract import extract
from tasks.documents.kinds import Document

NS = " ".join(
    f'xmlns:{prefix}="{uri}"'
    for prefix, uri in {
        "w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
        "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
        "v": "urn:schemas-microsoft-com:vml",
        "o": "urn:schemas-microsoft-com:office:office",
        "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
        "wp": "http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing",
        "wps": "http://schemas.microsoft.com/office/word/2010/wordprocessingShape",
        "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
        "m": "http://schemas.openxmlformats.org/officeDocument/2006/math",
        "w14": "http://schemas.microsoft.com/office/word/2010/wordml",
    }.items()
)
SKILLS = "Skills: Python, PostgreSQL"
RUN = f"<w:r><w:t>{SKILLS}</w:t></w:r>"
P = f"<w:p>{RUN}</w:p>"
TEXT = "A paragraph before it with enough letters to be a document of its own"
TRANSITIONAL = "http://schemas.openxmlformats.org/"


def saved(document: Any) -> bytes:
    raw = io.BytesIO()
    document.save(raw)
    return raw.getvalue()


def with_body(*parts: str) -> bytes:
    """A document of one paragraph, and after it these elements."""
    made = docx.Document()
    made.add_paragraph(TEXT)
    for part in parts:
        name = part[1:].partition(" ")[0].partition(">")[0].partition("/")[0]
        made.element.body.insert(len(made.element.body) - 1, parse_xml(part.replace(f"<{name}", f"<{name} {NS}", 1)))
    return saved(made)


def read(data: bytes, name: str = "cv.docx") -> Document:
    return extract(data, name, Limits())


def lines(data: bytes) -> list[str]:
    """The lines that say something."""
    return [line for line in read(data).text.split("\n") if line]


def changed(data: bytes, parts: dict[str, bytes | None], *, rename: dict[str, str] | None = None) -> bytes:
    """The same package with other parts; None removes one."""
    raw = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.namelist():
            if item not in parts:
                new.writestr((rename or {}).get(item, item), old.read(item))
        for item, content in parts.items():
            if content is not None:
                new.writestr(item, content)
    return raw.getvalue()


def part(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(name)


def related(data: bytes, kind: str, target: str, content: bytes | None, ident: str = "rX") -> bytes:
    """The same package with another part that its text refers to."""
    name = "word/_rels/document.xml.rels"
    kind = f"{TRANSITIONAL}officeDocument/2006/relationships/{kind}"
    more = f'<Relationship Id="{ident}" Type="{kind}" Target="{target}"/></Relationships>'
    relations = part(data, name).replace(b"</Relationships>", more.encode())
    return changed(data, {name: relations} | ({} if content is None else {f"word/{target}": content}))


def sdt(content: str, properties: str = "") -> str:
    return f"<w:sdt><w:sdtPr>{properties}</w:sdtPr><w:sdtContent>{content}</w:sdtContent></w:sdt>"


def tbl(*rows: str) -> str:
    return f"<w:tbl>{''.join(rows)}</w:tbl>"


def tr(*cells: str, properties: str = "") -> str:
    return f"<w:tr>{f'<w:trPr>{properties}</w:trPr>' if properties else ''}{''.join(cells)}</w:tr>"


def tc(content: str = P, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{content}</w:tc>"


def p(*runs: str) -> str:
    return f"<w:p>{''.join(runs)}</w:p>"


def r(content: str) -> str:
    return f"<w:r>{content}</w:r>"


def field(kind: str, inner: str = "") -> str:
    return r(f'<w:fldChar w:fldCharType="{kind}">{inner}</w:fldChar>')


def drawn(content: str) -> str:
    return (
        f"<w:drawing><wp:inline><a:graphic><a:graphicData uri='x'>{content}</a:graphicData></a:graphic></wp:inline>"
        "</w:drawing>"
    )


def box(content: str = P) -> str:
    return drawn(f"<wps:wsp><wps:txbx><w:txbxContent>{content}</w:txbxContent></wps:txbx></wps:wsp>")


def alternatives(choice: str, fallback: str) -> str:
    return (
        f'<mc:AlternateContent><mc:Choice Requires="wps">{choice}</mc:Choice>'
        f"<mc:Fallback>{fallback}</mc:Fallback></mc:AlternateContent>"
    )


VML = f"<w:pict><v:shape><v:textbox><w:txbxContent>{P}</w:txbxContent></v:textbox></v:shape></w:pict>"
WHO = 'w:id="1" w:author="x" w:date="2026-01-01T00:00:00Z"'
HOLDERS = {
    "control around a paragraph": sdt(P),
    "control in a line": p(sdt(RUN)),
    "control in a control": sdt(sdt(P)),
    "control around a picture and text": sdt(p(r("<w:drawing/>")) + P),
    "control around a row": tbl(sdt(tr(tc()))),
    "control around a cell": tbl(tr(sdt(tc()))),
    "control in a cell": tbl(tr(tc(sdt(P)))),
    "table in a table": tbl(tr(tc(tbl(tr(tc())) + p()))),
    "insertion": p(f"<w:ins {WHO}>{RUN}</w:ins>"),
    "inserted row": tbl(tr(tc(), properties=f"<w:ins {WHO}/>")),
    "moved here": p(f"<w:moveTo {WHO}>{RUN}</w:moveTo>"),
    "old text box": p(r(VML)),
    "new text box": p(r(box())),
    "text box in both forms": p(r(alternatives(box(), VML))),
    "text box in both forms around a run": p(alternatives(r(box()), r(VML))),
    "paragraph in both forms": alternatives(P, P),
    "text box in the old form alone": p(r(alternatives(drawn(""), VML))),
    "text box with a control": p(r(box(sdt(P)))),
    "text box with a table": p(r(box(tbl(tr(tc())) + p()))),
    "link": p(f'<w:hyperlink w:anchor="x">{RUN}</w:hyperlink>'),
    "smart tag": p(f"<w:smartTag>{RUN}</w:smartTag>"),
    "custom XML around a paragraph": f"<w:customXml>{P}</w:customXml>",
    "a wrapper of the future": f'<x:later xmlns:x="urn:later"><x:deep>{P}</x:deep></x:later>',
    "simple field": p(f'<w:fldSimple w:instr=" DOCPROPERTY x ">{RUN}</w:fldSimple>'),
    "field": p(field("begin"), r("<w:instrText> REF x </w:instrText>"), field("separate"), RUN, field("end")),
    "field that never ends": p(field("begin"), RUN),
    "direction": p(f'<w:bdo w:val="ltr">{RUN}</w:bdo>'),
    "formula": p(f"<m:oMath><m:r><m:t>{SKILLS}</m:t></m:r></m:oMath>"),
    "merged cells": tbl(tr(tc(P, '<w:gridSpan w:val="3"/><w:vMerge w:val="restart"/>')), tr(tc(p(), "<w:vMerge/>"))),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_text_is_read_once_whatever_holds_it(holder: str) -> None:
    found = read(with_body(HOLDERS[holder]))
    assert lines(with_body(HOLDERS[holder])) == [TEXT, SKILLS]
    assert found.unread == []


GONE = {
    "deletion": p(f"<w:del {WHO}><w:r><w:delText>{SKILLS}</w:delText></w:r></w:del>"),
    "moved away": p(f"<w:moveFrom {WHO}>{RUN}</w:moveFrom>"),
    "deleted row": tbl(tr(tc(), properties=f"<w:del {WHO}/>")),
    "deleted cell": tbl(tr(tc(P, f"<w:cellDel {WHO}/>"))),
    "code of a field": p(field("begin"), r(f"<w:instrText>{SKILLS}</w:instrText>"), field("end")),
    "placeholder": sdt(p(r("<w:t>Click or tap here to enter text.</w:t>")), "<w:showingPlcHdr/>"),
}


@pytest.mark.parametrize("what", GONE)
def test_what_was_deleted_moved_away_or_never_filled_in_is_no_text(what: str) -> None:
    found = read(with_body(GONE[what]))
    assert found.text == TEXT
    assert found.unread == []
    assert bool(found.how) == (what == "placeholder")


def test_paragraphs_whose_break_was_deleted_are_one() -> None:
    first = f"<w:p><w:pPr><w:rPr><w:del {WHO}/></w:rPr></w:pPr><w:r><w:t>Postgre</w:t></w:r></w:p>"
    assert lines(with_body(first, "<w:p><w:r><w:t>SQL</w:t></w:r></w:p>")) == [TEXT, "PostgreSQL"]


def test_lines_that_a_text_box_repeats_are_all_read() -> None:
    repeated = [p(r(f"<w:t>{word}</w:t>")) for word in ("abcd", "abc", "abcd", "abcd")]
    assert lines(with_body(p(r(alternatives(box("".join(repeated)), VML))))) == [TEXT, "abcd", "abc", "abcd", "abcd"]


def test_pieces_of_a_line_come_together_in_order() -> None:
    line = (
        '<w:p><w:r><w:t>One</w:t><w:tab/><w:t>two</w:t><w:br/><w:t>C</w:t><w:noBreakHyphen/><w:t>level</w:t></w:r>'
        '<w:r><w:t xml:space="preserve"> </w:t><w:ruby><w:rubyPr/><w:rt><w:r><w:t>kana</w:t></w:r></w:rt><w:rubyBase>'
        '<w:r><w:t>base</w:t></w:r></w:rubyBase></w:ruby><w:sym w:font="Symbol" w:char="03BB"/></w:r></w:p>'
    )  # fmt: skip
    assert lines(with_body(line)) == [TEXT, "One two", "C-level base (kana)\u03bb"]


def test_fields_of_the_old_forms_say_what_is_ticked_and_chosen() -> None:
    def begin(data: str) -> str:
        return field("begin", f"<w:ffData>{data}</w:ffData>") + field("end")

    ticked = begin("<w:checkBox><w:checked/></w:checkBox>")
    empty = begin('<w:checkBox><w:default w:val="0"/></w:checkBox>')
    chosen = begin('<w:ddList><w:result w:val="1"/><w:listEntry w:val="Java"/><w:listEntry w:val="Go"/></w:ddList>')
    words = [f"<w:r><w:t>{word}</w:t></w:r>" for word in ("Python", "Rust")]
    found = lines(with_body(f"<w:p>{ticked}{words[0]}{empty}{words[1]}{chosen}</w:p>"))
    assert found == [TEXT, "\u2612Python\u2610RustGo"]


def test_headers_footers_and_notes_are_read_once_each() -> None:
    made = docx.Document()
    made.add_paragraph(TEXT)
    section = made.sections[0]
    section.different_first_page_header_footer = True
    made.settings.odd_and_even_pages_header_footer = True
    for name in ("header", "first_page_header", "even_page_header", "footer", "first_page_footer", "even_page_footer"):
        getattr(section, name).paragraphs[0].text = f"The {name}"
    second = made.add_section()
    second.header.is_linked_to_previous = False
    second.header.paragraphs[0].text = "The header"
    table = section.footer.add_table(1, 1, Inches(3))
    table.cell(0, 0).text = "In a table of the footer"
    found = lines(saved(made))
    assert sorted(found) == sorted(
        ["The header", "The first_page_header", "The even_page_header", TEXT, "The footer", "In a table of the footer",
         "The first_page_footer", "The even_page_footer"]
    )  # fmt: skip
    assert found[-1].startswith(("The", "In"))


@pytest.mark.parametrize("kind", ["footnote", "endnote"])
def test_notes_that_are_referred_to_are_read(kind: str) -> None:
    data = with_body(p(r("<w:t>Work</w:t>"), r(f'<w:{kind}Reference w:id="2"/>')))
    notes = [
        f'<w:{kind} w:id="0" w:type="separator">{p(r("<w:separator/>"))}</w:{kind}>',
        f'<w:{kind} w:id="2">{P}</w:{kind}>',
        f'<w:{kind} w:id="3">{p(r("<w:t>of a deleted reference</w:t>"))}</w:{kind}>',
    ]
    content = f"<w:{kind}s {NS}>{''.join(notes)}</w:{kind}s>".encode()
    assert lines(related(data, f"{kind}s", f"{kind}s.xml", content)) == [TEXT, "Work", SKILLS]


def strict(data: bytes) -> bytes:
    """The same document in the Strict namespaces."""
    new = {
        "wordprocessingml/2006/main": "wordprocessingml/main",
        "officeDocument/2006/relationships": "officeDocument/relationships",
        "drawingml/2006": "drawingml",
    }
    parts: dict[str, bytes | None] = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith((".xml", ".rels")):
                for old, other in new.items():
                    content = content.replace(
                        f"{TRANSITIONAL}{old}".encode(), f"http://purl.oclc.org/ooxml/{other}".encode()
                    )
            parts[name] = content
    return changed(data, parts)


def test_a_strict_document_is_read() -> None:
    made = docx.Document()
    made.add_paragraph(TEXT)
    made.sections[0].header.paragraphs[0].text = "The header"
    data = strict(saved(made))
    with pytest.raises(KeyError):
        docx.Document(io.BytesIO(data))
    assert lines(data) == ["The header", TEXT]


TYPES = {
    "dotx": "vnd.openxmlformats-officedocument.wordprocessingml.template.main+xml",
    "docm": "vnd.ms-word.document.macroEnabled.main+xml",
    "dotm": "vnd.ms-word.template.macroEnabledTemplate.main+xml",
}


@pytest.mark.parametrize("ending", TYPES)
def test_templates_and_documents_with_macros_are_read(ending: str) -> None:
    data = with_body(P)
    types = part(data, "[Content_Types].xml")
    main = b"vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    assert main in types
    data = changed(data, {"[Content_Types].xml": types.replace(main, TYPES[ending].encode())})
    assert read(data, f"cv.{ending}").text == f"{TEXT}\n{SKILLS}"


@pytest.mark.parametrize("name", ["word/document2.xml", "Word\\Document.xml", "main.xml"])
def test_the_main_part_is_the_one_that_the_relationships_name(name: str) -> None:
    data = with_body(P)
    path = name.replace("\\", "/")
    types = part(data, "[Content_Types].xml").replace(b"/word/document.xml", f"/{path}".encode())
    whole = part(data, "_rels/.rels").replace(b"word/document.xml", path.encode())
    moved = {
        "word/document.xml": name,
        "word/_rels/document.xml.rels": f"{path.rpartition('/')[0]}/_rels/{path.rpartition('/')[2]}.rels".lstrip("/"),
    }
    data = changed(data, {"[Content_Types].xml": types, "_rels/.rels": whole}, rename=moved)
    assert lines(data) == [TEXT, SKILLS]


def test_relationships_that_lead_nowhere_are_nothing() -> None:
    data = with_body(P)
    for kind, target in (("image", "media/gone.png"), ("header", "NULL"), ("footnotes", "../../away.xml")):
        data = related(data, kind, target, None, f"r{kind}")
    body = part(data, "word/document.xml")
    reference = f'<w:headerReference {NS} w:type="default" r:id="rheader"/>'.encode()
    assert body.count(b"</w:sectPr>") == 1
    data = changed(data, {"word/document.xml": body.replace(b"</w:sectPr>", reference + b"</w:sectPr>")})
    with pytest.raises(KeyError):
        docx.Document(io.BytesIO(data))
    assert lines(data) == [TEXT, SKILLS]


def inserted(content: bytes, name: str, declared: str) -> bytes:
    data = related(with_body('<w:altChunk r:id="rX"/>', p(r("<w:t>After it</w:t>"))), "aFChunk", name, content)
    more = f'<Override PartName="/word/{name}" ContentType="{declared}"/></Types>'.encode()
    return changed(data, {"[Content_Types].xml": part(data, "[Content_Types].xml").replace(b"</Types>", more)})


def test_a_document_that_is_inserted_in_another_is_read_and_one_of_another_kind_is_told() -> None:
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    assert set(lines(inserted(with_body(P), "in.docx", main))) == {TEXT, SKILLS, "After it"}
    assert SKILLS in lines(inserted(SKILLS.encode(), "in.txt", "text/plain"))
    found = read(inserted(f"<html><p>{SKILLS}</p></html>".encode(), "in.html", "text/html"))
    assert "After it" in found.text
    assert found.unread == ["parts that were inserted as HTML or RTF were not read (1)"]


def picture(size: tuple[int, int] = (300, 300)) -> io.BytesIO:
    raw = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(raw, "PNG")
    return raw


def test_a_portrait_is_no_loss_and_a_large_picture_is_told() -> None:
    made = docx.Document()
    for _ in range(8):
        made.add_paragraph(TEXT)
    made.add_picture(picture(), width=Inches(1.5))
    assert read(saved(made)).unread == []
    made.add_picture(picture(), width=Inches(5))
    assert read(saved(made)).unread == ["large pictures in it were not read (1)"]


def test_a_document_with_little_text_beside_pictures_is_told_and_one_of_pictures_alone_is_not_read() -> None:
    made = docx.Document()
    made.add_picture(picture(), width=Inches(1.5))
    with pytest.raises(DocumentError) as caught:
        read(saved(made))
    assert caught.value.kind == "image_only"
    made.add_paragraph("Curriculum vitae, see the picture above")
    assert read(saved(made)).unread == ["large pictures in it were not read (1)"]


def test_hidden_text_is_left_out_and_white_text_is_read_and_both_are_told() -> None:
    made = docx.Document()
    made.add_paragraph(TEXT)
    run = made.add_paragraph().add_run("Kubernetes Terraform Kafka")
    run.font.hidden = True
    made.add_paragraph().add_run("Haskell").font.color.rgb = RGBColor(255, 255, 255)
    made.add_paragraph().add_run("Erlang").font.size = Pt(1)
    found = read(saved(made))
    assert found.text.split("\n") == [TEXT, "", "Haskell", "Erlang"]
    assert found.unread == [
        "words are hidden in it: they were left out (3)",
        "words are white or too small to be seen: check them in the document (2)",
    ]


def test_white_text_is_told_where_nothing_dark_is_behind_it() -> None:
    white = r('<w:rPr><w:color w:val="FFFFFF"/></w:rPr><w:t>Haskell</w:t>')
    dark = '<w:shd w:val="clear" w:fill="1F3864"/>'
    box_of = (
        "<wps:wsp><wps:spPr>{}</wps:spPr><wps:txbx><w:txbxContent>" + p(white) + "</w:txbxContent></wps:txbx></wps:wsp>"
    )
    seen = [
        tbl(tr(tc(p(white), dark))),
        p(f"<w:pPr>{dark}</w:pPr>", white),
        p(r(drawn(box_of.format("<a:solidFill/>")))),
        p(white.replace("<w:color", '<w:highlight w:val="blue"/><w:color')),
    ]
    for holder in seen:
        assert read(with_body(holder)).unread == []
    for holder in (p(white), tbl(tr(tc(p(white)))), p(r(drawn(box_of.format("<a:noFill/>"))))):
        assert "words are white" in read(with_body(holder)).unread[0]


def test_text_of_a_hidden_style_is_hidden() -> None:
    made = docx.Document()
    made.add_paragraph(TEXT)
    base = made.styles.add_style("Unseen", 2)
    base.font.hidden = True
    derived = made.styles.add_style("Derived", 2)
    derived.base_style = base
    made.add_paragraph().add_run("Kubernetes", style="Derived")
    assert read(saved(made)).unread == ["words are hidden in it: they were left out (1)"]


def test_remarks_of_others_are_no_text_and_are_told() -> None:
    made = docx.Document()
    run = made.add_paragraph().add_run(TEXT)
    made.add_comment(run, text="Weak in Java", author="A recruiter", initials="r")
    found = read(saved(made))
    assert found.text == TEXT
    assert found.unread == ["comments beside the text were not read (1)"]


def test_embedded_files_and_drawings_by_hand_are_told() -> None:
    found = read(with_body(p(r('<w:object><o:OLEObject Type="Embed"/></w:object>'), r("<w14:contentPart/>"))))
    assert found.unread == ["embedded files were not read (1)", "drawings by hand were not read (1)"]


def test_diagrams_are_read() -> None:
    data = with_body(p(r(drawn('<dgm:relIds xmlns:dgm="urn:dgm" r:dm="rX"/>'))))
    point = f"<d:pt><d:t><a:p><a:r><a:t>{SKILLS}</a:t></a:r></a:p></d:t></d:pt>"
    tree = f"<d:dataModel xmlns:d='urn:dgm' {NS}>{point}</d:dataModel>".encode()
    assert lines(related(data, "diagramData", "diagrams/data1.xml", tree)) == [TEXT, SKILLS]


BODY = b"<w:document xmlns:w='x'><w:body>"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<!DOCTYPE d [<!ENTITY a 'x'><!ENTITY b '&a;&a;'>]>" + BODY + b"&b;</w:body></w:document>", "corrupt"),
        (b"<!DOCTYPE d SYSTEM 'file:///etc/passwd'>" + BODY + b"</w:body></w:document>", "corrupt"),
        (BODY + b"<w:p>", "corrupt"),
        (b"<a/>", "corrupt"),
        (BODY + b"<w:p>" * 600 + b"</w:p>" * 600 + b"</w:body></w:document>", "too_complex"),
    ],
    ids=["entities", "outside", "cut off", "no document", "deep"],
)  # fmt: skip
def test_a_main_part_that_is_no_good_is_named(body: bytes, kind: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read(changed(with_body(P), {"word/document.xml": body}))
    assert caught.value.kind == kind


def test_a_damaged_footer_does_not_cost_the_rest() -> None:
    made = docx.Document()
    made.add_paragraph(TEXT)
    made.sections[0].footer.paragraphs[0].text = "The footer"
    data = saved(made)
    name = next(n for n in zipfile.ZipFile(io.BytesIO(data)).namelist() if "footer" in n)
    found = read(changed(data, {name: b"<w:ftr"}))
    assert found.text == TEXT
    assert found.unread == ["parts of it are damaged and were not read (1)"]


def test_large_pictures_are_not_unpacked_and_large_texts_are_bounded_as_they_are_read() -> None:
    data = changed(with_body(P), {"word/media/image1.bmp": bytes(80_000_000)})
    assert lines(data) == [TEXT, SKILLS]
    with pytest.raises(DocumentError) as caught:
        extract(with_body(*[P] * 200), "cv.docx", Limits(unpacked=5_000))
    assert caught.value.kind == "too_large"


@pytest.mark.parametrize(
    ("parts", "what"),
    [
        ({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": b"<a/>"}, "OpenDocument text"),
        ({"mimetype": b"application/epub+zip"}, "EPUB"),
        ({"Index/Document.iwa": b"x"}, "Apple Pages"),
        ({"readme.txt": b"x"}, "archive and no Word document"),
    ],
)
def test_other_archives_are_named(parts: dict[str, bytes], what: str) -> None:
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(DocumentError, match=what) as caught:
        read(raw.getvalue())
    assert caught.value.kind == "unsupported"
