"""What a document is: told by its content, because names lie; and what can be wrong with one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal

from nodes.errors import InputError

Kind = Literal["pdf", "docx", "text"]
Trouble = Literal[
    "missing", "unreadable", "empty", "too_large", "too_many_pages", "encrypted", "image_only", "corrupt",
    "mislabelled", "unsupported", "too_complex", "timeout", "crashed", "not_installed", "not_started",
]  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """How much of a document is read; what is beyond is refused, not cut."""

    size: int = 10_000_000
    """Bytes of the file."""
    unpacked: int = 50_000_000
    """Bytes that the text parts of a DOCX unpack to, counted while they are read; pictures are not unpacked."""
    pages: int = 50
    seconds: float = 10.0
    characters: int = 200_000
    """Characters of the text."""


@dataclass(frozen=True)
class Document:
    """A document that was read."""

    text: str
    kind: Kind
    pages: int = 1
    how: str = ""
    """What is unusual about how it was read, with all that was not; empty for nothing."""
    unread: list[str] = field(default_factory=list)
    """What the document holds that is not, or perhaps not rightly, in the text; empty when all of it was read. Holds
    counts and numbers of pages, nothing of the document."""


@dataclass(frozen=True)
class Read:
    """What the reader of one kind of document returns."""

    text: str
    pages: int = 1
    how: str = ""
    unread: list[str] = field(default_factory=list)


class DocumentError(InputError):
    """A document that cannot be read; the message says what to do and holds nothing of the document."""

    def __init__(self, kind: Trouble, message: str) -> None:
        super().__init__(message)
        self.kind: Trouble = kind


_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_IMAGES: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"BM")
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
_TAG: Final = re.compile(
    rb"</?(?:html|head|body|div|p|br|span|table|tr|td|li|ul|ol|h[1-6]|a|b|font)\b[^<>]{0,300}>", re.IGNORECASE
)
_TAGS: Final = 12
"""Tags of HTML from which a text is a web page, whatever it begins with."""


def kind_of(data: bytes, name: str, limits: Limits) -> Kind:
    """Tell what a document is by what it holds; raises `DocumentError` for what cannot be read."""
    if not data.strip(b" \t\r\n\f\v\0"):
        raise DocumentError("empty", "it is empty: ask for the document again")
    if len(data) > limits.size:
        raise DocumentError(
            "too_large", f"it has {len(data):,} bytes, {limits.size:,} are the most: send a smaller one"
        )
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    # Readers look for the mark in the first 1,024 bytes; a text that only speaks of it has no objects.
    if head.startswith(b"%pdf-") or (b"%PDF-" in data[:1024] and b" obj" in data):
        return "pdf"
    if data[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "docx"
    if data.startswith(_OLE):
        if _ENCRYPTED in data:
            raise DocumentError("encrypted", "it is protected by a password. Ask for it without one")
        raise DocumentError("unsupported", "it is in an old format of Word or Excel: save it as PDF or DOCX")
    if data.startswith(_IMAGES):
        raise DocumentError("image_only", "it is a picture, not a text: send the text, or run OCR on it first")
    _refuse_other_texts(data, head, name)
    return "text"


def _refuse_other_texts(data: bytes, head: bytes, name: str) -> None:
    """Raise `DocumentError` for a text that is the source of something else."""
    if head.startswith(b"{\\rtf"):
        raise DocumentError("unsupported", "it is in RTF: save it as PDF or DOCX")
    if head.startswith(b"%!ps"):
        raise DocumentError("unsupported", "it is in PostScript: save it as PDF or DOCX")
    if head.startswith(b"<?xml") and (b"schemas.microsoft.com/office" in head or b"urn:oasis" in head):
        raise DocumentError("unsupported", "it is in an XML format of Word or LibreOffice: save it as PDF or DOCX")
    if head.startswith(b"mime-version:") and b"multipart/" in head:
        raise DocumentError("unsupported", "it is a web archive (MHT): save it as PDF or DOCX")
    if head.startswith((b"<!doctype html", b"<html", b"<?xml")) or len(_TAG.findall(data[:50_000])) >= _TAGS:
        raise DocumentError("mislabelled", f"it is a web page or XML{_named(name)}: send a PDF, DOCX or text")


def _named(name: str) -> str:
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    return f", named .{suffix}" if suffix in ("pdf", "docx", "doc", "txt") else ""


_MARKS: Final = (
    (b"\xff\xfe\0\0", "utf-32"),
    (b"\0\0\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_FOREIGN: Final = 0.3
"""Share of letters with marks from which a text read as Windows-1252 is one in another encoding; French has 0.05."""


def decoded(data: bytes) -> Read:
    """Decode a plain text, and say how where its encoding had to be guessed; raises `DocumentError` for binary data.

    UTF-8, or UTF-16 and UTF-32 by their marks; UTF-16 without its mark by where its zeros stand; else Windows-1252,
    which is a guess.
    """
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "") or _by_zeros(data) or "utf-8-sig"
    how, unread = "", []
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        if encoding != "utf-8-sig":
            raise DocumentError("corrupt", f"its text ({encoding.upper()}) is damaged: ask for it again") from None
        text, how = data.decode("cp1252", errors="replace"), "its encoding is not named, read as Windows-1252"
        letters = [char for char in text if char.isalpha()]
        odd = sum(char > "~" for char in letters)
        if "\ufffd" in text or odd > _FOREIGN * max(len(letters), 1) or _mixed(text):
            unread = ["its encoding is not known, so that some of its letters may be wrong: ask for it in UTF-8"]
    bad = sum(char < " " and char not in "\t\n\r\f\v\x1b" for char in text)
    if "\0" in text or bad > len(text) / 100 or text.count("\ufffd") > len(text) / 4:
        raise DocumentError("corrupt", "it is neither a PDF, a DOCX nor a text, or it is damaged: ask for it again")
    if "\ufffd" in text and not unread:
        unread = ["letters of it were lost before it came here: ask for it again"]
    return Read(text, how=how, unread=unread)


def _by_zeros(data: bytes) -> str:
    """Return UTF-16 with its order of bytes where every other byte is zero more often than not, else nothing."""
    sample = data[: 1 << 16]
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    most = len(sample) // 2
    if odd > 0.4 * most and even < 0.02 * most:
        return "utf-16-le"
    return "utf-16-be" if even > 0.4 * most and odd < 0.02 * most else ""


def _mixed(text: str) -> bool:
    """Tell whether letters stand where Windows-1252 text has none: a capital with a mark inside of a small word."""
    words = re.findall(r"[^\W\d_]*[a-z\u00df-\u00ff][\u00c0-\u00de\u0152\u0160\u0178\u017d][^\W\d_]*", text)
    signs = re.findall(r"[a-z][\u2020-\u203a\u0192\u02c6\u00a1-\u00b6\u00b8-\u00bf][a-z]", text)
    return len(words) + len(signs) >= 2
