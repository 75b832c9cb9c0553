"""From bytes to text; runs in a worker process, because it is native code on what strangers send."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Final

from tasks.documents.kinds import Document, DocumentError, Kind, Limits, Read, decoded, kind_of

INSTALL: Final = "reading PDF and DOCX needs: pip install 'surefoot[documents]'"
_PRIVATE: Final = 0.05
"""Share of letters without a meaning of their own from which the font of a text hides what they are."""


def extract(data: bytes, name: str, limits: Limits) -> Document:
    """Return the text of a document, and what of the document is not in it; raises `DocumentError`."""
    kind = kind_of(data, name, limits)
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    how = f"named .{suffix}, read as {kind}" if suffix in ("pdf", "docx") and suffix != kind else ""
    try:
        read = _READERS[kind](data, limits)
    except ImportError:
        raise DocumentError("not_installed", INSTALL) from None
    clean = _clean(read.text)
    if len(clean) > limits.characters:
        told = f"its text has {len(clean):,} characters, {limits.characters:,} are the most: send a shorter one"
        raise DocumentError("too_large", told)
    if not clean:
        what = "; ".join(read.unread)
        raise DocumentError("empty", f"it holds no text{f' ({what})' if what else ''}: ask for the document again")
    private = sum(unicodedata.category(char) in ("Co", "Cn") for char in read.text)
    unread = list(read.unread)
    if private > _PRIVATE * len(clean):
        unread.append(f"letters of it cannot be told, because their font does not say which they are ({private})")
    return Document(clean, kind, read.pages, "; ".join(filter(None, (how, read.how, *unread))), unread)


def _text(data: bytes, _limits: Limits) -> Read:
    return decoded(data)


def _word(data: bytes, limits: Limits) -> Read:
    from tasks.documents.word import read_word

    return read_word(data, limits)


def _pdf(data: bytes, limits: Limits) -> Read:
    from tasks.documents.pdf import read_pdf

    return read_pdf(data, limits)


_READERS: Final[dict[Kind, Callable[[bytes, Limits], Read]]] = {"text": _text, "docx": _word, "pdf": _pdf}


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
