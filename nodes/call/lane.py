"""The way of one guarded chat model: each of its requests is priced, admitted, bounded in time and settled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.utils import message_chunk_to_message
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import BaseModel

from nodes.call import prompts, tokens
from nodes.call.call import Call, current_call
from nodes.call.charge import Charge
from nodes.call.classify import classify_error
from nodes.call.current import get_guard
from nodes.call.endpoint import Endpoint
from nodes.call.guard import Request
from nodes.call.hold import usd
from nodes.call.message import charge_of, complaint_about, keep, reason_of, recall, result_of
from nodes.call.pace import Pace, paced
from nodes.call.passage import Passage, passage
from nodes.call.prices import Price, free_price, price
from nodes.call.settings import prepare_settings
from nodes.errors import OverBudget, Permanent, Truncated


@dataclass(frozen=True)
class Lane:
    """How the requests of one model pass the guard."""

    step: str
    timeout_s: float
    max_tokens: int
    max_cost_microusd: int | None
    cost: Price | Literal["free"] | None
    endpoint: Endpoint
    tells: bool
    """Whether the model always says why an answer ended."""

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
                self._judge(message, reason_of(message))
                return result_of(message)
            with self._settling(way, request):
                async with asyncio.timeout(way.timeout_s):
                    result = await send(way.timeout_s)
            generation = result.generations[0]
            self._settle(way, request, generation.message, cost)
            self._judge(generation.message, reason_of(generation.message, generation.generation_info))
            return result

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
                self._judge(message, reason_of(message))
                yield ChatGenerationChunk(message=AIMessageChunk(**message.model_dump(exclude={"type"})))
                return
            limits = get_guard().limits
            pace = Pace(limits.first_token_s or call.timeout_s, limits.token_gap_s, way.timeout_s)
            whole: ChatGenerationChunk | None = None
            watched = tokens.watched() and current_call() is not None
            if watched:
                call.shown.begin(field=False)
            with self._settling(way, request):
                async with aclosing(paced(chunks, pace, _speaks)) as timed:
                    async for chunk in timed:
                        whole = chunk if whole is None else whole + chunk
                        if watched:
                            call.shown.add(chunk.text)
                        yield chunk
            if whole is None:
                raise Permanent(f"{self.endpoint.host} sent an empty stream")
            way.taken_s = pace.waited_s
            message, reason = message_chunk_to_message(whole.message), reason_of(whole.message, whole.generation_info)
            self._settle(way, request, message, cost)
            if self.tells and not reason:
                way.kept = None
                raise Truncated("the stream ended before the answer did")
            self._judge(message, reason)

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
        except Exception as raw:
            error = classify_error(raw, host=self.endpoint.host, model=self.endpoint.model)
            error = error or Permanent(f"the client failed ({type(raw).__name__})")
            way.charge = Charge.of_failure(raw, error, request.worst_microusd)
            raise error from None

    def _judge(self, message: BaseMessage, reason: str) -> None:
        if wrong := complaint_about(message, reason):
            raise wrong

    def _settle(self, way: Passage, request: Request, message: BaseMessage, cost: Price) -> None:
        way.charge = charge_of(message, cost, request.worst_microusd)
        way.kept = keep(message, way.charge) if request.call_id else None


def _speaks(chunk: ChatGenerationChunk) -> bool:
    message = chunk.message
    return bool(chunk.text or message.additional_kwargs or getattr(message, "tool_call_chunks", None))


def _plain(value: Any) -> Any:
    """Return what stands for a parameter that is no JSON: its schema for a model, which the client sends."""
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    return repr(value)
