"""What a person is asked, and what the person decides.

The question has two shapes at once: that of Agent Inbox and Studio (`action_request`, `config`, `description`), and
that of LangChain's human in the loop, which Agent Chat UI reads (`action_requests`, `review_configs`). The answer may
come as either of them sends it, or in the flat form of `ReviewDecision`.
"""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from state.records import Record
from state.redaction import Redacted

DecisionType = Literal["accept", "edit", "response", "reject"]


class ActionRequest(Record):
    """What is proposed: an action and the values that would be used."""

    action: str = "review"
    args: dict[str, Any] = Field(default_factory=dict)


class ReviewConfig(Record):
    """Which answers are possible."""

    allow_accept: bool = True
    allow_edit: bool = True
    allow_respond: bool = True
    allow_ignore: bool = True


class ReviewRequest(Record):
    """A question to a person, with a due time and what happens when nobody answers."""

    action_request: ActionRequest = Field(default_factory=ActionRequest)
    config: ReviewConfig = Field(default_factory=ReviewConfig)
    description: str = ""
    """Markdown for the person: the item itself and why it is here."""
    reasons: dict[str, str] = Field(default_factory=dict)
    """Why a person is asked, by key (`critical`, `low_confidence`, a step's name)."""
    tier: Literal["routine", "urgent"] = "routine"
    asked_at: float = 0.0
    due_at: float | None = None
    """Absolute time in seconds since the epoch by which somebody should have answered."""
    default_action: Literal["accept", "reject", "wait"] = "wait"
    """What is done once `due_at` has passed: `wait` means that the thread goes on waiting."""

    def payload(self) -> dict[str, Any]:
        """Return the value of the interrupt.

        Agent Inbox, which reads the second shape first, looks for `arguments` in it, Agent Chat UI for `args`.
        """
        dumped: dict[str, Any] = self.model_dump(mode="json")
        name, args, config = self.action_request.action, dumped["action_request"]["args"], self.config
        allowed = {"approve": config.allow_accept, "edit": config.allow_edit, "reject": config.allow_ignore}
        action = {"name": name, "args": args, "arguments": args, "description": self.description}
        decisions = [kind for kind, possible in allowed.items() if possible]
        review = {"action_name": name, "allowed_decisions": decisions}
        return dumped | {"action_requests": [action], "review_configs": [review]}


class ReviewDecision(Record):
    """A person's answer."""

    type: DecisionType = "accept"
    args: str | dict[str, Any] | None = None
    """The text of a response, or the edited fields of an edit."""
    by: str = "person"
    """Who decided: a role or a user id, or `default` when the due time passed."""
    comment: Redacted = ""

    @model_validator(mode="before")
    @classmethod
    def _from_inbox(cls, value: Any) -> Any:
        """Accept the forms that inboxes send: one decision in a list, their words, and `args` inside an action."""
        if isinstance(value, dict) and "decisions" in value:
            value = value["decisions"]
        if isinstance(value, list):
            if len(value) != 1:
                raise ValueError("answer with exactly one decision")
            value = value[0]
        if not isinstance(value, dict):
            return value
        value = dict(value)
        if value.get("type") in ("ignore", "approve"):
            value["type"] = "reject" if value["type"] == "ignore" else "accept"
        if message := value.pop("message", None):
            value.setdefault("comment", message)
        args = value.pop("edited_action", value.get("args"))
        if isinstance(args, dict) and isinstance(args.get("args"), dict):
            value["args"] = args["args"]
        return value

    @field_validator("args")
    @classmethod
    def _no_blank_text(cls, value: str | dict[str, Any] | None) -> str | dict[str, Any] | None:
        if isinstance(value, str) and not value.strip():
            raise ValueError("the text is empty")
        return value

    @model_validator(mode="after")
    def _args_fit_type(self) -> Self:
        if self.type == "edit" and not (isinstance(self.args, dict) and self.args):
            raise ValueError('an edit needs args: an object of fields, such as {"category": "billing"}')
        if self.type == "response" and not isinstance(self.args, str):
            raise ValueError("a response needs args: the text to send")
        return self

    @property
    def edits(self) -> dict[str, Any]:
        """The edited fields, empty unless this is an edit."""
        return dict(self.args) if self.type == "edit" and isinstance(self.args, dict) else {}


class DecisionRecord(Record):
    """A decision as it is kept in the thread: who decided what, when, and about which reasons."""

    id: str = ""
    """Time of the decision, unique in the thread."""
    decision: ReviewDecision = Field(default_factory=ReviewDecision)
    reasons: dict[str, str] = Field(default_factory=dict)
    before: dict[str, Redacted | int | float | bool | None] = Field(default_factory=dict)
    """What the edited fields held; texts are redacted and shortened."""
    stale: list[str] = Field(default_factory=list)
    """Fields that the edit made stale; they are computed again."""
    decided_at: float = 0.0
