"""What a document is: told by its content, because names lie; and what can be wrong with one."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from typing import Final, Literal

from nodes.errors import InputError

Kind = Literal["pdf", "docx", "text"]
Trouble = Literal[
    "missing", "unreadable", "empty", "too_large", "too_many_pages", "encrypted", "image_only", "corrupt",
    "mislabelled", "unsupported", "timeout",
]  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """How much of a document is read; what is beyond is refused, not cut."""

    size: int = 10_000_000
    """Bytes of the file."""
    unpacked: int = 100_000_000
    """Bytes of what a DOCX unpacks to."""
    ratio: int = 200
    """Most times that a DOCX may grow when it is unpacked; text and its markup shrink to a twentieth at best."""
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
    """What is unusual about how it was read; empty for nothing."""


class DocumentError(InputError):
    """A document that cannot be read; the message says what to do and holds nothing of the document."""

    def __init__(self, kind: Trouble, message: str) -> None:
        super().__init__(message)
        self.kind: Trouble = kind


_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_IMAGES: Final = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"BM")
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")


def kind_of(data: bytes, name: str, limits: Limits) -> Kind:
    """Tell what a document is; raises `DocumentError` for what cannot be read."""
    if not data.strip():
        raise DocumentError("empty", "it is empty: ask for the document again")
    if len(data) > limits.size:
        raise DocumentError(
            "too_large", f"it has {len(data):,} bytes, {limits.size:,} are the most: send a smaller one"
        )
    if b"%PDF-" in data[:1024]:
        return "pdf"
    if data[:4] == b"PK\x03\x04":
        return _zip(data, limits)
    if data.startswith(_OLE):
        if _ENCRYPTED in data:
            raise DocumentError("encrypted", "it is protected by a password; ask for it without one")
        raise DocumentError("unsupported", "it is in an old format of Word or Excel: save it as PDF or DOCX")
    if data.startswith(b"{\\rtf"):
        raise DocumentError("unsupported", "it is in RTF: save it as PDF or DOCX")
    if data.startswith(_IMAGES):
        raise DocumentError("image_only", "it is a picture, not a text: send the text, or run OCR on it first")
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html", b"<?xml")):
        raise DocumentError("mislabelled", f"it is a web page or XML{_named(name)}: send a PDF, DOCX or text")
    return "text"


def _named(name: str) -> str:
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    return f", named .{suffix}" if suffix in ("pdf", "docx", "doc", "txt") else ""


def _zip(data: bytes, limits: Limits) -> Kind:
    """Look into an archive without unpacking it; `zipfile` later reads no more of a part than is declared here."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise DocumentError("corrupt", "it is damaged and cannot be unpacked: ask for it again") from None
    whole = sum(part.file_size for part in parts)
    if whole > limits.unpacked or whole > limits.ratio * len(data):
        raise DocumentError(
            "too_large", f"it would unpack to {whole:,} bytes, which no document needs: it is not opened"
        )
    if any(part.flag_bits & 1 for part in parts):
        raise DocumentError("encrypted", "it is protected by a password; ask for it without one")
    if "word/document.xml" not in {part.filename for part in parts}:
        raise DocumentError("unsupported", "it is an archive and no Word document: send a PDF, DOCX or text")
    return "docx"


def decoded(data: bytes) -> str:
    """Decode a plain text: UTF-8, UTF-16 by its mark, else Windows-1252; raises `DocumentError` for binary data."""
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16")
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    odd = sum(char == "\ufffd" or (char < " " and char not in "\t\n\r\f") for char in text)
    if "\0" in text or odd > len(text) / 100:
        raise DocumentError("corrupt", "it is neither a PDF, a DOCX nor a text, or it is damaged: ask for it again")
    return text
