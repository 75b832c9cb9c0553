"""Elements of Word documents: their names, properties and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tasks.documents.package import children

if TYPE_CHECKING:
    from lxml.etree import _Element

EMU_IN_INCH: Final = 914_400
SMALLEST: Final = 4
"""Half points; letters of that size or less are not seen."""
_BOXES: Final = {  # Boxes of the symbol fonts of Microsoft, by code point.
    "f0fe": "\u2612", "f078": "\u2612", "f0fd": "\u2612", "f052": "\u2612", "f054": "\u2612", "f0a8": "\u2610",
    "f06f": "\u2610", "f0a3": "\u2610", "f0a6": "\u2610", "f0fc": "\u2713",
}  # fmt: skip


def local(element: _Element) -> str:
    """Return the name of an element without its namespace."""
    return str(element.tag).rpartition("}")[2]


def attribute(element: _Element, name: str) -> str:
    """Return an attribute of any namespace; empty where there is none."""
    return next((str(value) for key, value in element.attrib.items() if str(key).rpartition("}")[2] == name), "")


def child(element: Any, *path: str) -> _Element | None:
    """Return the first element under a path of names."""
    for name in path:
        element = next((inner for inner in children(element) if local(inner) == name), None)
    return None if element is None else element


def is_on(properties: _Element | None, name: str) -> bool | None:
    """Return a property that is on or off; None where it is not given."""
    given = child(properties, name)
    return None if given is None else attribute(given, "val").lower() not in ("0", "false", "off", "none")


def symbol(code: str) -> str:
    """Return a character of a symbol font; one that only its font knows is a bullet or an ornament."""
    try:
        point = int(code, 16)
    except ValueError:
        return ""
    known = _BOXES.get(code.lower())
    return known or (chr(point) if 0x20 <= point < 0xD800 or 0xF8FF < point < 0xFFFE else "\u2022")


def form_field(mark: _Element) -> str:
    """Return what a check box or a list of the old forms says."""
    data = child(mark, "ffData")
    if (box := child(data, "checkBox")) is not None:
        ticked = is_on(box, "checked")
        return "\u2612" if (is_on(box, "default") if ticked is None else ticked) else "\u2610"
    if (choice := child(data, "ddList")) is not None:
        entries = [attribute(entry, "val") for entry in children(choice) if local(entry) == "listEntry"]
        chosen = child(choice, "result")
        number = attribute(chosen, "val") if chosen is not None else "0"
        return entries[int(number)] if number.isdigit() and int(number) < len(entries) else ""
    return ""


def filled(element: _Element | None) -> bool:
    """Tell whether something has a ground of its own, on which white letters can be read."""
    for part in () if element is None else element.iter():
        name = local(part) if isinstance(part.tag, str) else ""
        shade = attribute(part, "fill").upper() if name == "shd" else ""
        if shade not in ("", "AUTO", "FFFFFF") or attribute(part, "fillcolor"):
            return True
        if name in ("tblStyle", "highlight", "solidFill", "gradFill", "blipFill", "pattFill"):
            return True
    return False


def unseen(properties: _Element) -> bool:
    """Tell whether letters are white, or too small to be seen."""
    color, size = child(properties, "color"), child(properties, "sz")
    tone = attribute(color, "val") if color is not None else ""
    white = len(tone) == 6 and all(part.upper() >= "F8" for part in (tone[:2], tone[2:4], tone[4:]))
    points = attribute(size, "val") if size is not None else ""
    return white or (points.isdigit() and int(points) <= SMALLEST)


def area(picture: _Element) -> float:
    """Return the square inches of a picture; 0 where they are not known."""
    for element in (picture, *picture.iterancestors()):
        name = local(element)
        if name in ("inline", "anchor") and (extent := child(element, "extent")) is not None:
            return _number(attribute(extent, "cx")) * _number(attribute(extent, "cy")) / EMU_IN_INCH**2
        if name in ("shape", "rect") and "width:" in (style := attribute(element, "style")):
            sizes = dict(part.split(":", 1) for part in style.replace(" ", "").split(";") if ":" in part)
            return _inches(sizes.get("width", "")) * _inches(sizes.get("height", ""))
    return 0.0


def _inches(length: str) -> float:
    unit = {"in": 1.0, "pt": 1 / 72, "cm": 1 / 2.54, "mm": 1 / 25.4, "px": 1 / 96}.get(length[-2:], 0.0)
    return _number(length[:-2]) * unit


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
