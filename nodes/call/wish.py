"""What a call asks for, and the request that it becomes at an endpoint with these abilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from nodes.call import prompts
from nodes.call.endpoint import Abilities


@dataclass(frozen=True)
class Wish:
    """What is asked for, before it is known what the endpoint can do."""

    messages: tuple[BaseMessage, ...]
    schema: type[BaseModel] | None
    max_tokens: int
    temperature: float
    logprobs: bool
    index: int = 0
    """Number of the call within its attempt."""
    stream: bool = False
    """Whether somebody watches the answer come in."""
    again: bool = False
    """Whether it was asked before in this attempt: then it draws on the retry budget."""

    @property
    def features(self) -> tuple[str, ...]:
        """The parameters that an endpoint may not know."""
        named = {
            "response_format": self.schema is not None,
            "logprobs": self.logprobs,
            "stream_options": self.stream,
            "temperature": True,
        }
        return tuple(name for name, used in named.items() if used)

    def parameters(self, abilities: Abilities) -> dict[str, Any]:
        """Return the parameters of the request beside its messages."""
        sent: dict[str, Any] = {}
        if abilities.limit == "max_completion_tokens":
            sent["max_completion_tokens"] = self.max_tokens
        else:
            # The client would rename it back.
            sent["extra_body"] = {"max_tokens": self.max_tokens}
        if abilities.temperature:
            sent["temperature"] = self.temperature
        if self.logprobs and abilities.logprobs:
            sent["logprobs"] = True
        if self.schema is not None and abilities.schema == "json_schema":
            sent["response_format"] = prompts.response_format(self.schema)
        elif self.schema is not None and abilities.schema == "json_object":
            sent["response_format"] = {"type": "json_object"}
        if self.stream and abilities.stream_usage:
            sent |= {"stream": True, "stream_options": {"include_usage": True}}
        return sent

    def prompt(self, abilities: Abilities) -> list[BaseMessage]:
        """Return the messages, with the schema in them where the endpoint does not enforce it."""
        if self.schema is None or not abilities.prompted:
            return list(self.messages)
        return prompts.append(self.messages, prompts.schema_text(self.schema))
