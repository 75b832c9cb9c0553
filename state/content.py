"""State of the content pipeline: one article and its summary."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from state.channels import Checked
from state.forms import form
from state.run import RunState

MAX_TEXT = 200_000
"""Most characters of an article; longer ones are refused at the door."""

ArticleText = Annotated[str, Field(max_length=MAX_TEXT)]


class ArticleInput(BaseModel):
    """An article as it comes in."""

    model_config = form("text")

    text: Annotated[ArticleText | None, Checked] = None
    """The article. Required, and not blank: there is nothing to summarise in an empty one."""
    title: Annotated[str, Checked] = ""
    """Headline of the article."""


class ContentState(RunState, ArticleInput):
    """An article on its way: the version of its summary that is judged, and the one that passed."""

    summary: Annotated[str | None, Checked] = None
