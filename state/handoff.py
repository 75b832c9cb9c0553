"""The state of a graph whose agents hand work over to each other."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from state.channels import Appended, Checked
from state.records import Record
from state.redaction import Redacted
from state.run import RunState


class HandedOver(Record):
    """One handover."""

    id: str = ""
    """Place in the thread, unique."""
    agent: str
    """Who handed over."""
    to: str
    why: Redacted = ""
    print: str = ""
    """Hash of what the next one was given: the same agent with the same work again is a loop."""
    at: float = 0.0
    """Seconds since the epoch."""


class HandoffState(RunState):
    """What every graph of agents has beside the fields of its input and of its result."""

    holder: Annotated[str, Checked] = ""
    """The agent that is to work next; empty when the work is done or with a person."""
    begun_with: Annotated[str, Checked] = ""
    """Hash of what the first agent of the turn was given."""
    handovers: Annotated[list[HandedOver], Appended] = Field(default_factory=list)
