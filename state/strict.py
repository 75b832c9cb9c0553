"""Names that nobody knows: refused with the nearest one that is known, since a misspelt name would be left out."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any, Final

from pydantic import BaseModel, model_validator

NEAR: Final = 0.6
"""Least similarity (`difflib`, 0 to 1) of a name to one that is suggested in its place."""


class Strict(BaseModel):
    """A model that takes only its own fields, and names the nearest one for any other."""

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_names(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            refuse_unknown(value, list(cls.model_fields))
        return value


def refuse_unknown(given: Collection[Any], known: Collection[str]) -> None:
    """Raise `ValueError` for the first name that is not known."""
    for name in given:
        if name not in known:
            raise ValueError(f"there is no {str(name)[:60]!r}{nearest(str(name), known)}; known: {', '.join(known)}")


def nearest(name: str, known: Collection[str], least: float = NEAR) -> str:
    """Return a suggestion for a misspelt name, such as `, did you mean 'min_years'?`; empty where none is near."""
    lower = {one.casefold(): one for one in known}
    parts = [one for one in lower if name.casefold() in one.replace("-", "_").split("_")]
    found = difflib.get_close_matches(name.casefold(), lower, 1, least) or parts
    return f", did you mean {lower[found[0]]!r}?" if found else ""
