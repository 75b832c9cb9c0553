"""A request whose answer comes in pieces."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage, convert_to_openai_messages

from nodes.call.chat import Answer, TokenLogprob, chat_model, completions_only, logprobs_of, no_completion, usage_of
from nodes.call.endpoint import Endpoint
from nodes.call.pace import Pace, paced
from nodes.call.prices import TokenUsage
from nodes.tracing import traced_stream


@dataclass
class _Pieces:
    """An answer as far as it has come."""

    text: str = ""
    refusal: str = ""
    finish_reason: str = ""
    usage: TokenUsage | None = None
    logprobs: list[TokenLogprob] = field(default_factory=list)
    model: str = ""

    def take(self, chunk: Any) -> str:
        """Add a chunk and return its text."""
        self.model = chunk.model or self.model
        if chunk.usage is not None:
            self.usage = usage_of(chunk.usage.model_dump())
        if not chunk.choices:
            return ""
        choice = chunk.choices[0]
        self.finish_reason = choice.finish_reason or self.finish_reason
        self.refusal += choice.delta.refusal or ""
        if choice.logprobs is not None:
            self.logprobs += logprobs_of(choice.logprobs.model_dump())
        piece: str = choice.delta.content or ""
        self.text += piece
        return piece

    def whole(self) -> Answer:
        """Return the answer; one that did not say why it ended was cut off."""
        return Answer(
            text=self.text or self.refusal,
            finish_reason=self.finish_reason or "length",
            refused=bool(self.refusal),
            usage=self.usage,
            logprobs=tuple(self.logprobs),
            model=self.model,
        )


async def stream(
    endpoint: Endpoint, messages: Sequence[BaseMessage], parameters: dict[str, Any], pace: Pace
) -> AsyncGenerator[str | Answer, None]:
    """Send one request and yield the pieces of the answer's text, then the whole answer.

    Raises what the client raises, `NoCompletion`, and `CallTimeout` for a stream that breaks its pace.
    """
    model = await chat_model(endpoint)
    pieces = _Pieces()
    sent = convert_to_openai_messages(list(messages))
    chunks = _chunks(model.root_async_client, endpoint, sent, parameters)
    with traced_stream(endpoint.model, sent) as told:
        async with aclosing(chunks), aclosing(paced(chunks, pace, _speaks)) as timed:
            async for chunk in timed:
                with completions_only(endpoint):
                    piece = pieces.take(chunk)
                if piece:
                    yield piece
        if not pieces.model and not pieces.text and not pieces.finish_reason:
            raise no_completion(endpoint)
        whole = pieces.whole()
        told.update(whole.as_output())
    yield whole


async def _chunks(
    client: Any, endpoint: Endpoint, messages: Any, parameters: dict[str, Any]
) -> AsyncGenerator[Any, None]:
    # The client itself, and not LangChain's: that would tell the pieces to whoever streams messages, with no mark that
    # they are provisional.
    with completions_only(endpoint):
        response = await client.chat.completions.create(model=endpoint.model, messages=messages, **parameters)
        async with response:
            async for chunk in response:
                yield chunk


def _speaks(chunk: Any) -> bool:
    return bool(chunk.choices and (chunk.choices[0].delta.content or chunk.choices[0].delta.refusal))
