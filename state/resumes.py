"""State of the résumé pipeline: one application for one job."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from state.channels import Checked
from state.forms import form
from state.run import RunState
from state.strict import Strict

MAX_TEXT = 200_000
"""Most characters of a résumé; longer ones are refused at the door. Models see far less."""

ResumeText = Annotated[str, Field(max_length=MAX_TEXT)]
SkillName = Annotated[str, Field(min_length=1, max_length=80)]
Score = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Years = Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)]
Confidence = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Recommendation = Literal["auto_accept", "human_review", "reject"]


class Job(Strict):
    """What a candidate is measured against."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True, use_attribute_docstrings=True)

    title: Annotated[str, Field(min_length=1, max_length=200)]
    """Name of the position."""
    required: Annotated[tuple[SkillName, ...], Field(min_length=1, max_length=30)]
    """Technical skills that the work cannot be done without."""
    desired: Annotated[tuple[SkillName, ...], Field(max_length=30)] = ()
    """Technical skills that are welcome."""
    soft: Annotated[tuple[SkillName, ...], Field(max_length=10)] = ()
    """Soft skills that are asked for."""
    certifications: Annotated[tuple[SkillName, ...], Field(max_length=10)] = ()
    """Certificates that are asked for."""
    min_years: Years = 0.0
    """Years of work that are asked for."""


class Skill(BaseModel):
    """A technical skill of a candidate."""

    name: SkillName
    used: bool = False
    """Whether the résumé tells what was done with it, and does not only list it."""


class ResumeInput(BaseModel):
    """An application as it comes in: a document or its text, and the job."""

    model_config = form("job")

    path: Annotated[str | None, Checked] = None
    """A PDF, DOCX or text file on the machine that runs the graph; its raw text is never stored."""
    digest: Annotated[str, Checked] = ""
    """Hash of the file, so that a changed file is another application."""
    text: Annotated[ResumeText | None, Checked] = None
    """The text of a résumé, for those that come without a document; stronger than `path`."""
    job: Annotated[Job | None, Checked] = None
    """What the candidate is measured against. Required."""


class ResumeState(RunState, ResumeInput):
    """An application on its way."""

    resume: Annotated[str | None, Checked] = None
    """The text without names, addresses and marks of age, gender and origin: all that models and people see."""
    removed: Annotated[dict[str, int], Checked] = Field(default_factory=dict)
    """How many passages of each kind were removed."""
    kind: Annotated[str, Checked] = ""
    """What the document was: pdf, docx or text."""
    read_as: Annotated[str, Checked] = ""
    """What was unusual about how the document was read, with all that was not; empty for nothing."""
    unread: Annotated[list[str], Checked] = Field(default_factory=list)
    """What the document holds that was not read, or perhaps not rightly; a person is asked about it."""
    years: Annotated[Years | None, Checked] = None
    """Years of work by the dates of the résumé, or as it says where it has no dates; None where neither was found."""
    years_stated: Annotated[Years | None, Checked] = None
    """Years of work as the text says ("12 years of experience"); None where it does not."""
    technical: Annotated[list[Skill] | None, Checked] = None
    """None where they were not extracted; a list, perhaps empty, is what was found."""
    soft: Annotated[list[SkillName] | None, Checked] = None
    """None for not found: rules know few words. An empty list is a judgement of a model or a person."""
    certifications: Annotated[list[SkillName] | None, Checked] = None
    """None for not found. An empty list means that the résumé, or a person, says that there are none."""
    score: Annotated[Score | None, Checked] = None
    score_reasons: Annotated[list[str], Checked] = Field(default_factory=list)
    confidence: Annotated[Confidence | None, Checked] = None
    """Share of the facts that were there to be scored; it is no probability."""
    recommendation: Annotated[Recommendation | None, Checked] = None
    """What the machine makes of it; the outcome may be a person's."""
