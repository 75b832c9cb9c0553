"""What a person is asked, and what the person decides.

The question has two shapes at once: that of Agent Inbox and Studio (`action_request`, `config`, `description`), and
that of LangChain's human in the loop, which Agent Chat UI reads (`action_requests`, `review_configs`). The answer may
come as either of them sends it, or in the flat form of `ReviewDecision`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from state.records import Record
from state.redaction import Redacted, redact

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
        """Accept the forms that clients send: see `flat_answer`."""
        return flat_answer(value)

    @field_validator("args", mode="before")
    @classmethod
    def _text_or_fields(cls, value: Any) -> Any:
        if not isinstance(value, (str, dict, type(None))):
            raise ValueError("a text or an object of fields is needed")  # noqa: TRY004 - pydantic wants a ValueError
        if isinstance(value, str) and not value.strip():
            raise ValueError("the text is empty")
        return value

    @model_validator(mode="after")
    def _args_fit_type(self) -> Self:
        if self.type == "edit" and not isinstance(self.args, dict):
            raise ValueError('an edit needs args: an object of fields, such as {"category": "billing"}')
        if self.type == "response" and not isinstance(self.args, str):
            raise ValueError("a response needs args: the text to send")
        if self.type in ("accept", "reject") and isinstance(self.args, str):
            # A text beside a yes or a no is why.
            self.comment, self.args = self.comment or redact(self.args), None
        return self

    @property
    def edits(self) -> dict[str, Any]:
        """The edited fields, empty unless this is an edit."""
        return dict(self.args) if self.type == "edit" and isinstance(self.args, dict) else {}


WORDS_OF_CLIENTS: Final[Mapping[str, DecisionType]] = {"approve": "accept", "respond": "response", "ignore": "reject"}
"""Decisions in the words of Agent Inbox (`ignore`) and of LangChain's human in the loop (`approve`, `respond`)."""


_OF_AN_ACTION: Final = frozenset({"action", "name", "args", "arguments", "description", "id", "type"})
"""Keys of an action, which tell one from the fields of an edit."""


def flat_answer(value: Any) -> Any:
    """Return an answer in the flat form of `ReviewDecision`, whichever client sent it.

    Agent Inbox sends a list of one decision whose `args` are an action with args; LangChain's human in the loop an
    object of `decisions`, with `edited_action` and `message`. Anything else is returned as it is. Raises `ValueError`
    for several decisions.
    """
    if isinstance(value, dict) and "decisions" in value:
        value = value["decisions"]
    if isinstance(value, list):
        if len(value) != 1:
            raise ValueError("answer with exactly one decision")
        value = value[0]
    if not isinstance(value, dict):
        return value
    value = dict(value)
    if isinstance(kind := value.get("type"), str):
        value["type"] = WORDS_OF_CLIENTS.get(kind, kind)
    if message := value.pop("message", None):
        name = "args" if value.get("type") == "response" and value.get("args") is None else "comment"
        value[name] = value.get(name) or message
    args = value.pop("edited_action", value.get("args"))
    if isinstance(args, dict) and isinstance(args.get("args"), dict) and args.keys() <= _OF_AN_ACTION:
        value["args"] = args["args"]
        value["action"] = args.get("action") or args.get("name") or ""
    return value


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
