"""The way of one guarded chat model: each of its requests is priced, admitted, bounded in time and settled."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.utils import message_chunk_to_message
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import BaseModel

from nodes.call import prompts, tokens
from nodes.call.assembly import Assembly
from nodes.call.call import Call, current_call
from nodes.call.charge import Charge
from nodes.call.classify import classify_error
from nodes.call.current import get_guard
from nodes.call.endings import fault_of_ending
from nodes.call.endpoint import Endpoint
from nodes.call.guard import Request
from nodes.call.hold import usd
from nodes.call.message import (
    Evidence,
    charge_of,
    complaint_about,
    keep,
    reason_kept,
    reason_of,
    recall,
    result_of,
    without_reasoning,
)
from nodes.call.openai_wire import no_completion, unread
from nodes.call.pace import Pace, paced
from nodes.call.passage import Passage, passage
from nodes.call.prices import Price, free_price, price
from nodes.call.reasoning import ReasoningFilter, begins_inside, closes_only, note_closing_only
from nodes.call.settings import prepare_settings
from nodes.errors import InvalidOutput, OverBudget, Permanent, Transient, Truncated
from nodes.loading import Clock


@dataclass(frozen=True)
class Lane:
    """How the requests of one model pass the guard."""

    step: str
    timeout_s: float
    max_tokens: int
    max_cost_microusd: int | None
    cost: Price | Literal["free"] | None
    endpoint: Endpoint
    speaks_openai: bool
    """Whether the model is LangChain's for OpenAI's protocol."""
    reports: bool
    """Whether the model is one that says why an answer ended."""

    async def complete(
        self, messages: Sequence[BaseMessage], sent: dict[str, Any], send: Callable[[float], Awaitable[ChatResult]]
    ) -> ChatResult:
        """Send one request and return its answer; `send` takes the time limit in seconds.

        Raises what the guard raises, and a `CallError` or `ConfigurationError` for whatever the model raises.
        """
        call, request, cost = await self._ask(messages, sent)
        async with passage(request, call.usage, call.clock) as way:
            if way.replay is not None:
                message, way.charge = recall(way.replay)
                self._judge(message, self._known(sent, request, **reason_kept(way.replay)))
                return result_of(message)
            with self._settling(way, request):
                async with Clock(way.timeout_s):
                    result = await send(way.timeout_s)
            if not result.generations:
                raise no_completion(self.endpoint.host)
            generation = result.generations[0]
            known = self._known(sent, request, reason_of(generation.message, generation.generation_info))
            message = self._settle(way, request, generation.message, cost, known)
            self._judge(message, known)
            read = [ChatGeneration(message=message, generation_info=generation.generation_info)]
            for other in result.generations[1:]:
                message = without_reasoning(other.message)
                self._judge(message, replace(known, reason=reason_of(other.message, other.generation_info)))
                read.append(ChatGeneration(message=message, generation_info=other.generation_info))
            return result.model_copy(update={"generations": read})

    async def stream(
        self, messages: Sequence[BaseMessage], sent: dict[str, Any], chunks: AsyncIterator[ChatGenerationChunk]
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Pass the chunks of one request on; a stream that ends early raises `Truncated`, it is no answer.

        Inside a step, whoever watches the run sees the text as provisional tokens.
        """
        call, request, cost = await self._ask(messages, sent, stream=True)
        async with passage(request, call.usage, call.clock) as way:
            if way.replay is not None:
                message, way.charge = recall(way.replay)
                self._judge(message, self._known(sent, request, **reason_kept(way.replay)))
                yield ChatGenerationChunk(message=AIMessageChunk(**message.model_dump(exclude={"type"})))
                return
            limits = get_guard().limits
            pace = Pace(limits.first_token_s or call.timeout_s, limits.token_gap_s, way.timeout_s)
            whole: ChatGenerationChunk | None = None
            watched = tokens.watched() and current_call() is not None
            if watched:
                call.shown.begin(field=False)
            where = (self.endpoint.key_id, self.endpoint.model)
            parts = Assembly(self.speaks_openai, hiding=ReasoningFilter(inside=begins_inside(*where)))
            with self._settling(way, request):
                async with aclosing(paced(chunks, pace, _speaks)) as timed:
                    async for raw in timed:
                        chunk = parts.take(raw)
                        whole = chunk if whole is None else whole + chunk
                        if watched:
                            call.shown.add(chunk.text)
                        yield chunk
            if whole is None:
                raise Transient(f"{self.endpoint.host} sent an empty stream")
            for chunk in parts.rest():
                whole += chunk
                if watched:
                    call.shown.add(chunk.text)
                yield chunk
            way.taken_s = pace.waited_s
            message, reason = message_chunk_to_message(whole.message), reason_of(whole.message, whole.generation_info)
            known = self._known(sent, request, parts.reason or reason, closed=parts.closed, torn=parts.torn)
            message = self._settle(way, request, message, cost, known)
            if self.reports and not known.reason and not parts.closed:
                way.kept = None
                raise Truncated("the stream ended before the answer did")
            if parts.hiding.unfinished:
                raise fault_of_ending(known.reason) or Truncated("the answer ends while the model is still reasoning")
            self._judge(message, known)
            if closes_only(whole.text):
                note_closing_only(*where)
                way.kept = None
                raise InvalidOutput("the stream began with the model's reasoning, and marked only its end: ask again")

    async def _ask(
        self, messages: Sequence[BaseMessage], sent: dict[str, Any], *, stream: bool = False
    ) -> tuple[Call, Request, Price]:
        """Return the call that a request belongs to, what the guard is asked, and the price."""
        await prepare_settings()
        cost = self._price()
        call = current_call() or Call(step=self.step, timeout_s=self.timeout_s)
        call.usage.model = self.endpoint.model
        limit = sent.get("max_completion_tokens") or sent.get("max_tokens") or self.max_tokens
        size = prompts.size(messages, {}) + len(json.dumps(sent, default=_plain).encode())
        worst = cost.worst_case(size, limit, len(messages))
        if self.max_cost_microusd is not None and worst > self.max_cost_microusd:
            raise OverBudget(f"the request may cost {usd(worst)}, and one may cost {usd(self.max_cost_microusd)}")
        parameters = {name: value for name, value in sent.items() if name != "timeout"}
        request = call.request(
            self.endpoint, messages, parameters, worst_microusd=worst, max_tokens=limit, index=call.next_index(),
            stream=stream,
        )  # fmt: skip
        return call, request, cost

    def _price(self) -> Price:
        if self.cost == "free":
            return free_price(self.endpoint.model)
        return self.cost or price(self.endpoint.model)

    @contextmanager
    def _settling(self, way: Passage, request: Request) -> Iterator[None]:
        """Charge a failure and raise it in our own words."""
        try:
            yield
        except Exception as caught:
            raw = unread(caught, self.endpoint.host) if self.speaks_openai else caught
            error = classify_error(raw, host=self.endpoint.host, model=self.endpoint.model)
            error = error or Permanent(f"the client failed ({type(raw).__name__})")
            way.charge = Charge.of_failure(raw, error, request.worst_microusd)
            raise error from None

    def _known(
        self, sent: dict[str, Any], request: Request, reason: str, *, closed: bool = True, torn: bool = False
    ) -> Evidence:
        """Return what is known of an answer beside itself."""
        tools, choice = sent.get("tools"), sent.get("tool_choice")
        return Evidence(reason, tools, choice, self.reports, request.max_tokens, closed, torn)

    def _judge(self, message: BaseMessage, known: Evidence) -> None:
        if wrong := complaint_about(message, known):
            raise wrong

    def _settle(
        self, way: Passage, request: Request, message: BaseMessage, cost: Price, known: Evidence
    ) -> BaseMessage:
        """Charge an answer, and return it with its reasoning apart; raises for reasoning whose end cannot be told."""
        way.charge = charge_of(message, cost, request.worst_microusd)
        if isinstance(broken := fault_of_ending(known.reason), Transient):
            way.charge = replace(way.charge, outcome=broken.outcome, error=str(broken))
        message = without_reasoning(message)
        way.kept = keep(message, way.charge, known) if request.call_id else None
        return message


def _speaks(chunk: ChatGenerationChunk) -> bool:
    message = chunk.message
    return bool(chunk.text or message.additional_kwargs or getattr(message, "tool_call_chunks", None))


def _plain(value: Any) -> Any:
    """Return what stands for a parameter that is no JSON: its schema for a model, which the client sends."""
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    return repr(value)
