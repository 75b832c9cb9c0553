"""A request whose answer comes in pieces."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage, convert_to_openai_messages

from nodes.call.chat import Answer, TokenLogprob, chat_model, completions_only, logprobs_of, usage_of
from nodes.call.cumulative import TextDeltas, UsageMeter
from nodes.call.endpoint import Endpoint
from nodes.call.openai_wire import no_completion
from nodes.call.pace import Pace, paced
from nodes.call.reasoning import ReasoningFilter, begins_inside
from nodes.call.reports import ReportedError, is_error_body
from nodes.tracing import traced_stream


@dataclass
class _Pieces:
    """An answer as far as it has come."""

    text: TextDeltas = field(default_factory=TextDeltas)
    hiding: ReasoningFilter = field(default_factory=ReasoningFilter)
    """Keeps the reasoning from those who watch."""
    meter: UsageMeter = field(default_factory=lambda: UsageMeter(totals=True))
    refusal: str = ""
    finish_reason: str = ""
    closed: bool = False
    logprobs: list[TokenLogprob] = field(default_factory=list)
    model: str = ""

    def take(self, chunk: Any) -> str:
        """Add a chunk and return what of its text is new and part of the answer."""
        body = chunk.model_dump(warnings=False)
        if is_error_body(body):
            raise ReportedError(body, begun=True)
        self.model = chunk.model or self.model
        choices = body.get("choices") or []
        delta = (choices[0].get("delta") if choices else None) or {}
        content = _text_of(delta.get("content"))
        if isinstance(usage := body.get("usage"), dict):
            self.closed = not content
            self.meter.add(_counts(usage), spoke=bool(content))
        elif content:
            self.closed = False
        if not choices:
            return ""
        if choices[0].get("error"):
            raise ReportedError(choices[0], begun=True)
        self.finish_reason = choices[0].get("finish_reason") or self.finish_reason
        self.refusal += delta.get("refusal") or ""
        self._note(logprobs_of(choices[0].get("logprobs")))
        return self.hiding.add(self.text.add(content))

    def _note(self, told: tuple[TokenLogprob, ...]) -> None:
        """Add log-probabilities; a list that begins with all so far is told from the beginning each time."""
        known = len(self.logprobs)
        self.logprobs += told[known:] if known > 1 and list(told[:known]) == self.logprobs else told

    def rest(self) -> str:
        """Return what was held back until the end."""
        return self.hiding.add(self.text.rest()) + self.hiding.rest()

    def whole(self) -> Answer:
        """Return the answer."""
        text = self.text.text or self.refusal
        counts = self.meter.whole()
        reported = {
            "prompt_tokens": counts.get("input"),
            "completion_tokens": counts.get("output"),
            "total_tokens": counts.get("total"),
            "prompt_tokens_details": {
                "cached_tokens": counts.get("cached"),
                "cache_write_tokens": counts.get("written"),
            },
        }
        return Answer(
            text=text,
            finish_reason=self.finish_reason,
            refused=bool(self.refusal),
            usage=usage_of(reported, text),
            logprobs=tuple(self.logprobs),
            model=self.model,
            closed=self.closed,
        )


def _counts(usage: dict[str, Any]) -> dict[str, object]:
    details = usage.get("prompt_tokens_details") or {}
    return {
        "input": usage.get("prompt_tokens"),
        "output": usage.get("completion_tokens"),
        "total": usage.get("total_tokens"),
        "cached": details.get("cached_tokens"),
        "written": details.get("cache_write_tokens"),
    }


def _text_of(content: Any) -> str:
    """Return the text of a piece: Mistral's reasoning models send lists of blocks, of which some are the answer."""
    if isinstance(content, list):
        return "".join(str(b.get("text") or "") for b in content if isinstance(b, dict) and b.get("type") == "text")
    return content if isinstance(content, str) else ""


async def stream(
    endpoint: Endpoint, messages: Sequence[BaseMessage], parameters: dict[str, Any], pace: Pace
) -> AsyncGenerator[str | Answer, None]:
    """Send one request and yield the pieces of the answer's text, then the whole answer.

    Raises what the client raises, `ReportedError`, `NoCompletion`, and `CallTimeout` for a stream that breaks its pace.
    """
    model = await chat_model(endpoint)
    pieces = _Pieces(hiding=ReasoningFilter(inside=begins_inside(endpoint.key_id, endpoint.model)))
    sent = convert_to_openai_messages(list(messages))
    chunks = _chunks(model.root_async_client, endpoint, sent, parameters)
    with traced_stream(endpoint.model, sent) as told:
        async with aclosing(chunks), aclosing(paced(chunks, pace, _speaks)) as timed:
            async for chunk in timed:
                with completions_only(endpoint):
                    piece = pieces.take(chunk)
                if piece:
                    yield piece
        if piece := pieces.rest():
            yield piece
        if not pieces.model and not pieces.text.text and not pieces.finish_reason:
            raise no_completion(endpoint.host)
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
    choices = getattr(chunk, "choices", None)
    delta = choices[0].delta if choices else None
    return bool(delta and (delta.content or delta.refusal))
