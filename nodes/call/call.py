"""The guarded call: price, admit, send under a time limit, settle once, parse."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeVar, overload

from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from nodes.call import kept, prompts, tokens
from nodes.call.asking import Asking
from nodes.call.endpoint import (
    Endpoint,
    endpoint_for,
)
from nodes.call.guard import Cap, Request
from nodes.call.libraries import load_libraries
from nodes.call.prices import price
from nodes.call.queueing import Queueing
from nodes.call.reask import Unfit, both, wish_again, worth_asking
from nodes.call.reply import Reply, Usage
from nodes.call.settings import prepare_settings
from nodes.call.wish import Wish
from nodes.errors import CallError

M = TypeVar("M", bound=BaseModel)

HIGHEST_TEMPERATURE: Final = 2.0
"""The bound of the OpenAI protocol."""


class Call:
    """What a task's provider is given to ask a model: each request is priced, admitted, bounded in time and settled."""

    def __init__(
        self,
        *,
        step: str,
        thread: str = "",
        tenant: str = "",
        provider: str = "openai",
        model: str = "",
        n: int = 1,
        visit: int = 0,
        timeout_s: float = 60.0,
        feedback: str | None = None,
        temperature: float = 0.0,
        max_cost_microusd: int | None = None,
        step_spent_microusd: int = 0,
        run_spent_microusd: int = 0,
        run_cap_microusd: int | None = None,
        variant: str = "",
        usage: Usage | None = None,
        ceiling_s: float | None = None,
        resent: bool | None = None,
        remember: bool = False,
        hedge: bool = False,
        patience_s: float = 0.0,
        clock: Queueing | None = None,
    ) -> None:
        self.step = step
        self.thread = thread
        self.tenant = tenant
        self.provider = provider
        self.model_name = model
        """Model that was asked for; empty for the one of the settings."""
        self.n = n
        self.visit = visit
        self.timeout_s = timeout_s
        """Time limit of each request in seconds, until the guard has learned a better one."""
        self.ceiling_s = ceiling_s
        """Highest time limit that the guard may choose; None is the guard's own."""
        self.resent = n > 1 if resent is None else resent
        """Whether an earlier attempt has sent a request: then these ones draw on the retry budget."""
        self.remember = remember and bool(thread)
        """Whether answers are kept, so that a step that runs again after a crash does not pay for them again."""
        self.hedge = hedge
        """Whether a slow request may be sent a second time."""
        self.patient_until = time.monotonic() + patience_s
        """Until when a request waits for an endpoint that is down, by the monotonic clock."""
        self.clock = clock or Queueing()
        """The time limit of the attempt, which its requests stop while they wait and extend when they begin."""
        self.feedback = feedback
        """Why the previous attempt or version was not good enough; told to the model at the end of the prompt."""
        self.temperature = temperature
        """Added to the caller's."""
        self.max_cost_microusd = max_cost_microusd
        """Cap of the step over all its attempts."""
        self.step_spent_microusd = step_spent_microusd
        self.run_spent_microusd = run_spent_microusd
        self.run_cap_microusd = run_cap_microusd
        self.variant = variant
        self.usage = usage or Usage()
        self.shown = tokens.Shown(step, visit, n)
        """What whoever streams the run has been shown of the answers of this call."""
        self._calls = 0
        self._account = thread or f"call-{uuid.uuid4().hex}"

    def __repr__(self) -> str:
        return f"Call(step={self.step!r}, provider={self.provider!r}, model={self.model_name!r}, n={self.n})"

    @overload
    async def model(
        self,
        prompt: str | Sequence[BaseMessage],
        schema: type[M],
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        logprobs: bool = False,
        stream: bool = False,
    ) -> Reply[M]: ...
    @overload
    async def model(
        self,
        prompt: str | Sequence[BaseMessage],
        schema: None = None,
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        logprobs: bool = False,
        stream: bool = False,
    ) -> Reply[str]: ...
    async def model(
        self,
        prompt: str | Sequence[BaseMessage],
        schema: type[M] | None = None,
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        logprobs: bool = False,
        stream: bool = False,
    ) -> Reply[M] | Reply[str]:
        """Ask the model and return a validated answer.

        `max_tokens` bounds the answer and with it the cost. An answer that does not fit the schema is asked for once
        more, with what was wrong. What it used is added to `usage`, also when it fails. With `stream`, whoever streams
        the run sees the text, or the first field of an object, as it comes in (see `nodes.call.tokens`).
        Raises a `CallError` for what a retry may judge and a `StopRun` for what stops the run.
        """
        if max_tokens < 1:
            raise ValueError("max_tokens has to be at least 1")
        messages = prompts.messages(prompt, self.feedback)
        warmth = min(max(0.0, temperature + self.temperature), HIGHEST_TEMPERATURE)
        watched = stream and tokens.watched()
        if watched:
            self.shown.begin(field=schema is not None)
        wish = Wish(tuple(messages), schema, max_tokens, warmth, logprobs, stream=watched)
        await prepare_settings()
        await load_libraries()
        endpoint = endpoint_for(self.model_name)
        asking = Asking(self, endpoint, price(endpoint.model))
        self.usage.model = endpoint.model
        began = time.monotonic()
        try:
            return await asking.answer(wish)
        except Unfit as unfit:
            if schema is None or not worth_asking(unfit, began, self.timeout_s):
                raise
            first = unfit
        self.usage.reasked += 1
        self.shown.discard(str(first))
        try:
            return await asking.answer(wish_again(wish, first))
        except CallError as second:
            raise both(first, second) from None

    def next_index(self) -> int:
        """Return the number of the next request that this attempt makes, from 0."""
        self._calls += 1
        return self._calls - 1

    def request(
        self,
        endpoint: Endpoint,
        messages: Sequence[BaseMessage],
        parameters: dict[str, Any],
        *,
        worst_microusd: int,
        max_tokens: int,
        index: int,
        again: bool = False,
        stream: bool = False,
    ) -> Request:
        """Return what the guard is asked for one request of this call."""
        caps = []
        if self.max_cost_microusd is not None:
            key = f"step:{self._account}:{self.step}"
            caps.append(Cap("step", key, self.max_cost_microusd, self.step_spent_microusd))
        if self.run_cap_microusd is not None:
            caps.append(Cap("run", f"run:{self._account}", self.run_cap_microusd, self.run_spent_microusd))
        prompt = kept.prompt_hash(endpoint.model, messages)
        named = kept.call_id(self.step, self.visit, self.n, index, prompt, parameters, self.variant)
        return Request(
            endpoint=endpoint.host,
            model=endpoint.model,
            key_id=endpoint.key_id,
            step=self.step,
            thread=self.thread,
            tenant=self.tenant,
            worst_microusd=worst_microusd,
            # A stream shows that it lives, so it may take as long as any request may.
            timeout_s=(self.ceiling_s or self.timeout_s) if stream else self.timeout_s,
            caps=tuple(caps),
            ceiling_s=self.ceiling_s,
            max_tokens=max_tokens,
            call_id=named if self.remember else "",
            prompt_hash=prompt,
            retry=self.resent or again,
            patience_s=max(0.0, self.patient_until - time.monotonic()),
        )


_around: ContextVar[Call | None] = ContextVar("surefoot_call", default=None)


def current_call() -> Call | None:
    """Return the call of the attempt that runs, None outside of one."""
    return _around.get()


@contextmanager
def using_call(call: Call) -> Iterator[None]:
    """Let guarded models inside the block ask under the limits of this call."""
    token = _around.set(call)
    try:
        yield
    finally:
        _around.reset(token)
