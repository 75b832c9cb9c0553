"""State of the support pipeline: one ticket."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, Field

from state.channels import Checked
from state.forms import form
from state.run import RunState

Category = Literal["bug", "feature_request", "billing", "general"]
Urgency = Literal["low", "medium", "high", "critical"]
Team = Literal["escalations", "engineering", "product", "finance", "support_tier_1"]

CATEGORIES: tuple[Category, ...] = get_args(Category)
URGENCIES: tuple[Urgency, ...] = get_args(Urgency)
"""From least to most urgent."""

MAX_TEXT = 200_000
"""Most characters of a ticket; longer ones are refused at the door. Models see far less (see `tasks.support`)."""

ConfidenceSource = Literal["model_probability", "token_logprobs", "agreement", "person", "unknown"]

TicketText = Annotated[str, Field(max_length=MAX_TEXT)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class SupportInput(BaseModel):
    """A ticket as it comes in."""

    model_config = form("text")

    text: Annotated[TicketText | None, Checked] = None
    """What the customer wrote: plain text, or the body of a mail with its history, also as HTML. Required; it may be
    blank, then a person reads the ticket."""
    subject: Annotated[TicketText, Checked] = ""
    """What the customer wrote above it."""
    customer: Annotated[str, Checked] = ""
    """Name of the customer, for the salutation of the draft."""
    created_at: Annotated[str, Checked] = ""
    """When the ticket was opened, as the help desk tells it (ISO 8601)."""
    tenant: Annotated[str, Checked] = ""
    """Whose budget the run draws on; empty where there is one for all."""


class SupportState(RunState, SupportInput):
    """A ticket on its way: what is known of it and what happened."""

    message: Annotated[str | None, Checked] = None
    """What is new in the text: without quoted history, signature and HTML. This is what is judged and answered."""
    quoted: Annotated[str, Checked] = ""
    """Older mails below the message or between its parts, as they came; a person sees them, no model does."""
    signature: Annotated[str, Checked] = ""
    """Signature, disclaimer and what phones add, as they came; a person sees them, no model does."""
    category: Annotated[Category | None, Checked] = None
    confidence: Annotated[Probability | None, Checked] = None
    """Calibrated probability that the category is right."""
    confidence_source: Annotated[ConfidenceSource, Checked] = "unknown"
    urgency: Annotated[Urgency | None, Checked] = None
    team: Annotated[Team | None, Checked] = None
    draft: Annotated[str | None, Checked] = None
    """First response, ready to send; None when people answer or when no draft passed its gate."""
