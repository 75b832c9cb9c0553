"""Numbers as spreadsheets write them: with commas for points, and with separators of thousands."""

from __future__ import annotations

import re
import typing
from typing import Any, Final

from pydantic import BaseModel

AMBIGUOUS: Final = "1.234 and 1,234 may be a thousand or a fraction: write it without a separator of thousands"

_GROUP: Final = "[ '\u2019\u00a0\u202f]"
_SPACED: Final = re.compile(rf"[+-]?\d{{1,3}}(?:{_GROUP}\d{{3}})+(?:[.,]\d+)?")
_COMMAS: Final = re.compile(r"[+-]?\d{1,3}(?:(?:,\d{3})+\.\d+|(?:,\d{3}){2,})")
_POINTS: Final = re.compile(r"[+-]?\d{1,3}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,})")
_FRACTION: Final = re.compile(r"[+-]?\d+,\d+")
_EITHER: Final = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}")


def number_fields(model: type[BaseModel]) -> frozenset[str]:
    """Return the fields of a model that hold a number and nothing else."""
    return frozenset(name for name, info in model.model_fields.items() if _is_number(info.annotation))


def _is_number(annotation: Any) -> bool:
    if typing.get_origin(annotation) is typing.Annotated:
        return _is_number(typing.get_args(annotation)[0])
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    return annotation in (int, float) or (bool(parts) and all(_is_number(part) for part in parts))


def plain_number(cell: str, *, points_are_fractions: bool) -> str:
    """Return a number with a point for its fraction and without separators; anything else as it is.

    `points_are_fractions` says that the table is of a place where "1.5" is one and a half: then "1.234" is one, too.
    Raises `ValueError` for a number that may be read in two ways.
    """
    text = cell.strip()
    if _SPACED.fullmatch(text):
        return re.sub(_GROUP, "", text).replace(",", ".")
    if _COMMAS.fullmatch(text):
        return text.replace(",", "")
    if _POINTS.fullmatch(text):
        return text.replace(".", "").replace(",", ".")
    if _EITHER.fullmatch(text) and ("," in text or not points_are_fractions):
        raise ValueError(AMBIGUOUS)
    return text.replace(",", ".") if _FRACTION.fullmatch(text) else cell
