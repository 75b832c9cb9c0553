"""One page of a PDF: the text that a reader of the page sees, in its order, and what of the page is not text."""

from __future__ import annotations

import ctypes
import math
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from tasks.documents.columns import Box, in_reading_order, paragraphs

if TYPE_CHECKING:
    import pypdfium2

PIXELS: Final = 1_500_000
"""Most pixels of a page that is painted to see which of its words are visible; A4 has 500,000 at a pixel a point."""
CONTRAST: Final = 8
"""Shades of 256 that a visible word differs from what is behind it at its darkest; pale grey print has 40."""
PICTURE_PIXELS: Final = 60_000_000
"""Pixels of the pictures of a page from which it is not painted: A3 at 600 dpi has 70 million, three bytes each."""
SMALLEST: Final = 2.0
"""Points; lower lines are not seen."""
SLACK: Final = 3.0
"""Points by which the frame of a field may reach over its label."""
REACH: Final = 250.0
"""Points between a field and its label."""
TICKS: Final = ("\u2612", "\u2610")
"""Boxes that are ticked and that are not."""
OBJECTS: Final = 20_000
"""Most objects of a page that are looked at for pictures and drawn letters."""
DEPTH: Final = 8
"""Forms inside of forms that are looked into."""
MOST_PICTURES: Final = 200
"""Largest pictures of a page that its words are compared with; a scan may come in strips."""
PICTURE: Final = 0.15
"""Share of a page that pictures cover from which they may hold text; a portrait photograph covers 0.03."""
LETTERS: Final = 200
"""Letters over a picture of a whole page from which the picture is a background, or was read by OCR before."""
FEW_LETTERS: Final = 100
"""Letters of a page below which drawn shapes are taken for its letters."""
STROKES: Final = (400, 2_500)
"""Segments of curved or many-cornered paths that may be drawn letters, on a page with few letters and with more; a
letter has about 25, a small icon 80."""
UNMAPPED: Final = 0.05
"""Share of characters that their font does not name from which the text is no text; icons are fewer."""
VOWELS: Final = 0.25
"""Share of vowels among Latin letters below which a text is in no language, but the numbers of glyphs; English has
0.38, German 0.39, French 0.45, a list of abbreviations 0.3."""

Matrix: TypeAlias = tuple[float, float, float, float, float, float]


@dataclass
class Page:
    """What was read of a page, and what was not."""

    text: str
    letters: int
    hidden: int = 0
    """Words that nobody sees."""
    unread: list[str] = field(default_factory=list)
    """Which of the reasons of `pdf.UNREAD` hold for it."""


@dataclass
class _Drawn:
    """What is painted on a page beside its text."""

    pictures: list[Box] = field(default_factory=list)
    pixels: int = 0
    strokes: int = 0
    whole: bool = True


def read_page(page: pypdfium2.PdfPage, extra: Sequence[Box] = ()) -> Page:
    """Read a page with the boxes of its forms and notes."""
    drawn = _drawn(page)
    words = _Words(page, page.get_textpage())
    boxes = list(words.boxes())
    if drawn.pixels > PICTURE_PIXELS and boxes:
        drawn.whole, shown = False, boxes
    else:
        shown = [(box, turn) for box, turn in boxes if words.visible(box)]
    hidden = sum(len(box.text.split()) for box, _ in boxes) - sum(len(box.text.split()) for box, _ in shown)
    upright: dict[int, list[Box]] = {0: []}
    for box, turn in shown:
        upright.setdefault(turn, []).append(_turned(box, turn))
    upright[0] = _filled_in(upright[0], extra)
    order = sorted(upright, key=lambda turn: -len(upright[turn]))
    read = "\n".join(filter(None, (paragraphs(in_reading_order(upright[turn])) for turn in order)))
    found = Page(read, sum(char.isalpha() for char in read), hidden)
    if hidden:
        found.unread.append("hidden")
    if _covered(page, drawn.pictures, [box for box, _ in shown]):
        found.unread.append("picture")
    if drawn.strokes >= STROKES[found.letters >= FEW_LETTERS]:
        found.unread.append("outlines")
    if not drawn.whole or not words.painted:
        found.unread.append("complex")
    if words.unmapped() or _in_no_language(read):
        found.unread.append("unmapped")
    return found


class _Words:
    """The lines of text of a page, with what a reader sees of them."""

    def __init__(self, page: Any, text: Any) -> None:
        import pypdfium2
        import pypdfium2.raw as raw

        self._raw, self._error, self._page, self._text = raw, pypdfium2.PdfiumError, page, text
        self.painted = True
        self._count = text.count_chars()
        self._turned = any(self._turn(index) for index in range(self._count))
        self._picture: tuple[bytes, int, int, int] | None = None

    def boxes(self) -> Iterator[tuple[Box, int]]:
        """Yield each line with the quarters of a turn that its letters have."""
        for number in range(self._text.count_rects()):
            left, bottom, right, top = self._text.get_rect(number)
            said = " ".join(self._text.get_text_bounded(left, bottom, right, top).split())
            if said:
                box = Box(left, bottom, right, top, said)
                yield box, self._turn(self._index(box)) if self._turned else 0

    def unmapped(self) -> bool:
        """Tell whether many characters are not named by their fonts."""
        wrong = sum(
            self._raw.FPDFText_HasUnicodeMapError(self._text, index) == 1
            or self._raw.FPDFText_GetUnicode(self._text, index) in (0, 0xFFFD)
            for index in range(self._count)
        )
        return bool(wrong >= 10 and wrong > UNMAPPED * self._count)

    def visible(self, box: Box) -> bool:
        """Tell whether a line differs from what is behind it, on the page as it is painted."""
        turned = box.right - box.left < box.top - box.bottom
        if (box.right - box.left if turned and len(box.text) > 1 else box.top - box.bottom) < SMALLEST:
            return not any(char.isalnum() for char in box.text)
        lowest, highest = self._shades(box)
        if highest - lowest >= CONTRAST:
            return True
        # Without its font a script that Windows-1252 does not have is not painted, and yet it is there.
        return self._foreign(box)

    def _shades(self, box: Box) -> tuple[int, int]:
        data, stride, wide, high = self._painted()
        if not self.painted:
            return 0, 255
        corners = [self._device(x, y, wide, high) for x in (box.left, box.right) for y in (box.bottom, box.top)]
        x0, x1 = max(0, min(x for x, _ in corners)), min(wide - 1, max(x for x, _ in corners))
        y0, y1 = max(0, min(y for _, y in corners)), min(high - 1, max(y for _, y in corners))
        rows = [row for y in range(y0, y1 + 1) if (row := data[y * stride + x0 : y * stride + x1 + 1])]
        return (min(map(min, rows)), max(map(max, rows))) if rows else (255, 255)

    def _painted(self) -> tuple[bytes, int, int, int]:
        """Paint the page once: grey, a pixel a point, less for a page that is larger than a poster."""
        if self._picture is None:
            wide, high = self._page.get_size()
            scale = min(1.0, math.sqrt(PIXELS / max(wide * high, 1.0)))
            try:
                bitmap = self._page.render(scale=scale, grayscale=True, may_draw_forms=False)
            except self._error:
                # What cannot be painted is taken for visible: its words are there.
                self.painted, self._picture = False, (b"", 0, 1, 1)
                return self._picture
            self._picture = (bytes(bitmap.buffer), bitmap.stride, bitmap.width, bitmap.height)
            bitmap.close()
        return self._picture

    def _device(self, x: float, y: float, wide: int, high: int) -> tuple[int, int]:
        across, down = ctypes.c_int(), ctypes.c_int()
        self._raw.FPDF_PageToDevice(self._page, 0, 0, wide, high, 0, x, y, across, down)
        return across.value, down.value

    def _turn(self, index: int) -> int:
        return round(self._raw.FPDFText_GetCharAngle(self._text, index) / (math.pi / 2)) % 4 if index >= 0 else 0

    def _index(self, box: Box) -> int:
        reach = max(box.right - box.left, box.top - box.bottom, 1.0) / 2
        across, up = (box.left + box.right) / 2, (box.bottom + box.top) / 2
        return int(self._raw.FPDFText_GetCharIndexAtPos(self._text, across, up, reach, reach))

    def _foreign(self, box: Box) -> bool:
        if not any(ord(char) > 0x24F and char.isalpha() for char in box.text):
            return False
        piece = self._raw.FPDFText_GetTextObject(self._text, max(self._index(box), 0))
        font = self._raw.FPDFTextObj_GetFont(piece) if piece else None
        seen = bool(piece) and self._raw.FPDFTextObj_GetTextRenderMode(piece) != 3
        return bool(seen and font and self._raw.FPDFFont_GetIsEmbedded(font) != 1)


def _filled_in(labels: Sequence[Box], values: Sequence[Box]) -> list[Box]:
    """Put each value of a form behind the label on its left, or a tick before the one on its right."""
    boxes, alone = list(labels), []
    for value in values:
        middle = (value.bottom + value.top) / 2
        row = [n for n, box in enumerate(boxes) if box.bottom - SLACK <= middle <= box.top + SLACK]
        left = max((n for n in row if boxes[n].right <= value.left + SLACK), key=lambda n: boxes[n].right, default=-1)
        right = min((n for n in row if boxes[n].left >= value.right - SLACK), key=lambda n: boxes[n].left, default=-1)
        before = value.left - boxes[left].right if left >= 0 else math.inf
        after = boxes[right].left - value.right if right >= 0 and value.text in TICKS else math.inf
        if min(before, after) > REACH:
            alone.append(value)
        elif before <= after:
            label = boxes[left]
            boxes[left] = Box(label.left, label.bottom, value.right, label.top, f"{label.text} {value.text}")
        else:
            label = boxes[right]
            boxes[right] = Box(value.left, label.bottom, label.right, label.top, f"{value.text} {label.text}")
    return boxes + alone


def _turned(box: Box, turn: int) -> Box:
    """Return a box as it lies when its letters stand upright; `turn` counts clockwise quarters on the page."""
    left, bottom, right, top = box.left, box.bottom, box.right, box.top
    if turn == 1:
        left, bottom, right, top = -top, left, -bottom, right
    elif turn == 2:
        left, bottom, right, top = -right, -top, -left, -bottom
    elif turn == 3:
        left, bottom, right, top = bottom, -right, top, -left
    return Box(left, bottom, right, top, box.text)


def _drawn(page: Any) -> _Drawn:
    """Look at the objects of a page, also inside of forms, as far as there are not too many."""
    import pypdfium2.raw as raw

    found, left = _Drawn(), OBJECTS
    pending: list[tuple[Any, int, Matrix]] = [(page, 0, (1, 0, 0, 1, 0, 0))]
    while pending:
        holder, depth, outer = pending.pop()
        count = raw.FPDFFormObj_CountObjects(holder) if depth else raw.FPDFPage_CountObjects(holder)
        for index in range(count):
            left -= 1
            if left < 0:
                found.whole = False
                return found
            item = raw.FPDFFormObj_GetObject(holder, index) if depth else raw.FPDFPage_GetObject(holder, index)
            kind = raw.FPDFPageObj_GetType(item)
            if kind == raw.FPDF_PAGEOBJ_IMAGE:
                found.pictures.append(_square(_times(_matrix(raw, item), outer)))
                found.pixels += _pixels(raw, item)
            elif kind == raw.FPDF_PAGEOBJ_PATH:
                segments = raw.FPDFPath_CountSegments(item)
                found.strokes += segments if segments > 8 else 0
            elif kind == raw.FPDF_PAGEOBJ_FORM:
                found.whole = found.whole and depth < DEPTH
                if depth < DEPTH:
                    pending.append((item, depth + 1, _times(_matrix(raw, item), outer)))
    return found


def _pixels(raw: Any, item: Any) -> int:
    wide, high = ctypes.c_uint(), ctypes.c_uint()
    return wide.value * high.value if raw.FPDFImageObj_GetImagePixelSize(item, wide, high) else 0


def _matrix(raw: Any, item: Any) -> Matrix:
    given = raw.FS_MATRIX()
    raw.FPDFPageObj_GetMatrix(item, given)
    return (given.a, given.b, given.c, given.d, given.e, given.f)


def _times(one: Matrix, two: Matrix) -> Matrix:
    a, b, c, d, e, f = one
    g, h, i, j, k, m = two
    return (a * g + b * i, a * h + b * j, c * g + d * i, c * h + d * j, e * g + f * i + k, e * h + f * j + m)


def _square(matrix: Matrix) -> Box:
    """Return where the unit square of a picture lies."""
    a, b, c, d, e, f = matrix
    xs, ys = (e, e + a, e + c, e + a + c), (f, f + b, f + d, f + b + d)
    return Box(min(xs), min(ys), max(xs), max(ys), "")


def _covered(page: Any, pictures: Sequence[Box], words: Sequence[Box]) -> bool:
    """Tell whether pictures cover much of a page with little text over them."""
    left, bottom, right, top = page.get_bbox()
    area, whole = 0.0, max((right - left) * (top - bottom), 1.0)
    for box in pictures:
        wide = min(box.right, right) - max(box.left, left)
        high = min(box.top, top) - max(box.bottom, bottom)
        area += max(wide, 0.0) * max(high, 0.0)
    share: float = min(area / whole, 1.0)
    if share < PICTURE:
        return False
    largest = sorted(pictures, key=lambda box: (box.left - box.right) * (box.top - box.bottom))[:MOST_PICTURES]
    over = (word for word in words if any(_holds(box, word) for box in largest))
    return sum(char.isalpha() for word in over for char in word.text) < LETTERS * share


def _holds(box: Box, word: Box) -> bool:
    across, up = (word.left + word.right) / 2, (word.bottom + word.top) / 2
    return box.left <= across <= box.right and box.bottom <= up <= box.top


def _in_no_language(text: str) -> bool:
    """Tell whether Latin letters stand in an order that no language has, as the numbers of glyphs do."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    latin = [char for char in plain if "a" <= char <= "z"]
    return len(latin) >= 150 and sum(char in "aeiouy" for char in latin) < VOWELS * len(latin)
