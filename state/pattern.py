"""Input of the `pattern` pipeline: any text."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from state.forms import form

MAX_TEXT = 200_000
"""Most characters of a text; longer ones are refused at the door."""


class Document(BaseModel):
    """A text to make a brief of."""

    model_config = form("text")

    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    """The text itself."""
    subject: str = ""
    """What it is about."""
