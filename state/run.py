"""The state that every pipeline shares, and the context that is handed to a run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt
from typing_extensions import TypedDict

from state.channels import Appended, Checked, Merged, Sticky
from state.records import Attempt, DecisionMade, Failure, Provenance, Spend, Verdict
from state.redaction import Redacted
from state.review import DecisionRecord
from state.strict import Strict


class RunState(BaseModel):
    """What is persisted of a run, whatever the pipeline: extend it with the pipeline's own fields.

    Every field names its channel (`Checked`, `Sticky`, `Merged`, `Appended`), so that each update is validated and
    stored as JSON-able data.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    tenant: Annotated[str, Checked] = ""
    started_at: Annotated[float, Checked] = 0.0
    """Seconds since the epoch at which the turn began, with its input."""
    attempts: Annotated[list[Attempt], Appended] = Field(default_factory=list)
    visits: Annotated[dict[str, NonNegativeInt], Merged] = Field(default_factory=dict)
    """Current visit of each step: regenerations and second turns count their attempts anew."""
    failures: Annotated[dict[str, Failure], Merged] = Field(default_factory=dict)
    """Failures that the retry node has not settled yet, by step."""
    retry_decisions: Annotated[list[DecisionMade], Appended] = Field(default_factory=list)
    """What the retry node decided, in order; one for each failed attempt."""
    feedback: Annotated[dict[str, Redacted], Merged] = Field(default_factory=dict)
    """What was wrong with the last output of a step; the next attempt is told."""
    spend: Annotated[dict[str, Spend], Merged] = Field(default_factory=dict)
    """Cost so far by step, in integer micro-dollars and tokens."""
    verdicts: Annotated[list[Verdict], Appended] = Field(default_factory=list)
    provenance: Annotated[dict[str, Provenance], Merged] = Field(default_factory=dict)
    """Where each field came from."""
    degraded: Annotated[bool, Sticky] = False
    """True when the result is less than what was asked for; `reasons` says why."""
    reasons: Annotated[list[str], Appended] = Field(default_factory=list)
    escalations: Annotated[dict[str, str], Merged] = Field(default_factory=dict)
    """Open reasons for asking a person; a decision closes them."""
    review: Annotated[list[DecisionRecord], Appended] = Field(default_factory=list)
    """What people decided, in order."""
    outcome: Annotated[str | None, Checked] = None
    """How the run ended; written by terminal nodes only."""

    def attempts_of(self, step: str, visit: int | None = None, member: str = "") -> list[Attempt]:
        """Return the attempts of a step in its current visit, or in the one given."""
        wanted = self.visits.get(step, 0) if visit is None else visit
        return [a for a in self.attempts if a.step == step and a.visit == wanted and a.member == member]

    @property
    def spent_microusd(self) -> int:
        """Micro-dollars spent by all steps."""
        return sum(spend.cost_microusd for spend in self.spend.values())

    @property
    def decisions(self) -> list[DecisionRecord]:
        """What people decided in this turn, in order."""
        return [record for record in self.review if record.decided_at >= self.started_at]

    @property
    def last_decision(self) -> str | None:
        """Type of the last decision of this turn: accept, edit, response or reject."""
        return self.decisions[-1].decision.type if self.decisions else None

    def decided(self, reason: str) -> bool:
        """Tell whether a person has already decided about a reason in this turn."""
        return any(reason in record.reasons for record in self.decisions)


class RunFields(TypedDict, total=False):
    """The fields of `RunState` for a state that is a `TypedDict`: `class State(MessagesState, RunFields)`.

    A graph works without naming them: its steps add them. Named, they are part of what the graph returns, so that a
    caller sees whether a result is degraded and why. In nodes they hold the stored form: plain JSON-able data.
    """

    tenant: Annotated[str, Checked]
    started_at: Annotated[float, Checked]
    attempts: Annotated[list[Attempt], Appended]
    visits: Annotated[dict[str, NonNegativeInt], Merged]
    failures: Annotated[dict[str, Failure], Merged]
    retry_decisions: Annotated[list[DecisionMade], Appended]
    feedback: Annotated[dict[str, Redacted], Merged]
    spend: Annotated[dict[str, Spend], Merged]
    verdicts: Annotated[list[Verdict], Appended]
    provenance: Annotated[dict[str, Provenance], Merged]
    degraded: Annotated[bool, Sticky]
    reasons: Annotated[list[str], Appended]
    escalations: Annotated[dict[str, str], Merged]
    review: Annotated[list[DecisionRecord], Appended]
    outcome: Annotated[str | None, Checked]


class RunContext(Strict):
    """Names and numbers that a run is started with; pass it as `context=`, and again on resume.

    LangGraph does not persist it: the runner and Studio's server keep it with the thread.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True)

    provider: str | None = None
    """Provider of all tasks; None takes the one of the settings."""
    providers: dict[str, str] = Field(default_factory=dict)
    """Provider by task, stronger than `provider`; `openai:gpt-4.1` names a model too."""
    model: str | None = None
    """Model of the `openai` provider; None takes the one of the settings."""
    thresholds: dict[str, float] = Field(default_factory=dict)
    """Thresholds of the pipeline by name, such as `category_confidence`."""
    max_cost_microusd: NonNegativeInt | None = None
    """Cap of one run (one thread), in micro-dollars."""
    deadline_s: NonNegativeFloat | None = None
    """Seconds that a run may take from its start, and again from each decision of a person: people's time does not
    count. No attempt starts and no wait ends after it."""
    patience_s: NonNegativeFloat | None = None
    """Seconds that an item waits for endpoints that are down, limit its rate or fail, beyond the retries of its steps;
    None does not wait. The deadline bounds it."""
    max_inline_wait_s: NonNegativeFloat | None = None
    """Longest wait that the retry node sleeps through, in seconds; a longer one interrupts the thread until it is due.
    None always sleeps: a bare graph has nobody to wake it."""
    without_saver: Literal["default", "fail"] = "default"
    """What a review does in a graph without a saver: take its default action, or raise `NeedsCheckpointer`."""
    variant: str = ""
    """Name of the variant of a trial; it stands in each attempt."""
