"""Input of the `pattern` pipeline: any text."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_TEXT = 200_000
"""Most characters of a text; longer ones are refused at the door."""


class Document(BaseModel):
    """A text to make a brief of."""

    model_config = ConfigDict(hide_input_in_errors=True)

    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
    subject: str = ""
