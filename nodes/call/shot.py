"""One request to an endpoint, ready to be sent, and how it failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langchain_core.messages import BaseMessage

from nodes.call import prompts
from nodes.call.endpoint import Endpoint
from nodes.call.prices import Price
from nodes.call.wish import Wish
from nodes.errors import CallError, ConfigurationError


@dataclass(frozen=True)
class Shot:
    """One request, ready to be sent."""

    endpoint: Endpoint
    messages: list[BaseMessage]
    parameters: dict[str, Any]
    cost: Price
    wish: Wish

    @property
    def worst(self) -> int:
        """Upper bound of its cost in micro-dollars."""
        size = prompts.size(self.messages, self.parameters)
        return self.cost.worst_case(size, self.wish.max_tokens, len(self.messages))


@dataclass(frozen=True)
class Failed:
    """A request without an answer: what it means, and what the client raised."""

    error: CallError | ConfigurationError
    raw: Exception
