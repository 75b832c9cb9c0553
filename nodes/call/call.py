"""The guarded call: price, admit, send under a time limit, settle once, parse."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar, overload

from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from nodes import events
from nodes.call import chat, kept, prompts
from nodes.call.charge import Charge
from nodes.call.classify import classify_error
from nodes.call.current import get_guard
from nodes.call.endpoint import (
    CONTACT_WAIT_S,
    Abilities,
    Contacts,
    Endpoint,
    complaint_of,
    endpoint_for,
    weaker,
)
from nodes.call.guard import Cap, Request
from nodes.call.hedge import Race, Try
from nodes.call.libraries import load_libraries
from nodes.call.prices import Price, price
from nodes.call.reask import Unfit, both, wish_again, worth_asking
from nodes.call.reply import Reply, Usage, reply_of
from nodes.call.settings import prepare_settings
from nodes.call.shot import Failed, Shot
from nodes.call.wish import Wish
from nodes.errors import CallError, InvalidOutput, Permanent, Throttled, Transient

M = TypeVar("M", bound=BaseModel)

MOST_ADAPTATIONS: Final = 6
"""Requests that one call may spend on finding out what an endpoint can do: schema twice, temperature, log-probabilities
and the name of the token limit, once more for an endpoint that names two of them in turn."""

HIGHEST_TEMPERATURE: Final = 2.0
"""The bound of the OpenAI protocol."""

_contacts = Contacts()


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
        allow: Callable[[float], None] | None = None,
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
        self.allow = allow or (lambda _seconds: None)
        """Told the time limit of each request as it begins, so that the attempt's own does not cut it short."""
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
    ) -> Reply[str]: ...
    async def model(
        self,
        prompt: str | Sequence[BaseMessage],
        schema: type[M] | None = None,
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        logprobs: bool = False,
    ) -> Reply[M] | Reply[str]:
        """Ask the model and return a validated answer.

        `max_tokens` bounds the answer and with it the cost. An answer that does not fit the schema is asked for once
        more, with what was wrong. What it used is added to `usage`, also when it fails.
        Raises a `CallError` for what a retry may judge and a `StopRun` for what stops the run.
        """
        if max_tokens < 1:
            raise ValueError("max_tokens has to be at least 1")
        messages = prompts.messages(prompt, self.feedback)
        warmth = min(max(0.0, temperature + self.temperature), HIGHEST_TEMPERATURE)
        wish = Wish(tuple(messages), schema, max_tokens, warmth, logprobs)
        await prepare_settings()
        await load_libraries()
        endpoint = endpoint_for(self.model_name)
        cost = price(endpoint.model)
        self.usage.model = endpoint.model
        began = time.monotonic()
        try:
            return await self._answer(wish, endpoint, cost)
        except Unfit as unfit:
            if schema is None or not worth_asking(unfit, began, self.timeout_s):
                raise
            first = unfit
        self.usage.reasked += 1
        try:
            return await self._answer(wish_again(wish, first), endpoint, cost)
        except CallError as second:
            raise both(first, second) from None

    async def _answer(self, wish: Wish, endpoint: Endpoint, cost: Price) -> Reply[Any]:
        """Ask once and read the answer; raises `Unfit` for one that came and did not fit."""
        wish, self._calls = replace(wish, index=self._calls), self._calls + 1
        # Half of the time is left for the call itself.
        async with _contacts.first(endpoint, wish.features, min(CONTACT_WAIT_S, self.timeout_s / 2)):
            answer, abilities = await self._adapt(wish, endpoint, cost)
            try:
                return self._counted(reply_of(answer, wish.schema))
            except InvalidOutput as error:
                if wish.schema is not None and abilities.schema == "json_schema" and answer.text.strip():
                    # An endpoint that enforces schemas cannot answer like this: from now on the prompt tells it, too.
                    _contacts.learn(endpoint, replace(abilities, prompted=True))
                raise Unfit(str(error), answer.text) from None
            finally:
                _contacts.known(endpoint, wish.features)

    def _counted(self, reply: Reply[Any]) -> Reply[Any]:
        self.usage.repaired += reply.how in ("stripped", "repaired")
        return reply

    async def _adapt(self, wish: Wish, endpoint: Endpoint, cost: Price) -> tuple[chat.Answer, Abilities]:
        """Send a request, with fewer parameters as long as the endpoint complains about one of them."""
        abilities = _contacts.abilities(endpoint)
        for last in (*[False] * MOST_ADAPTATIONS, True):
            parameters = wish.parameters(abilities)
            shot = Shot(endpoint, wish.prompt(abilities), parameters, cost, wish)
            result = await self._request(shot)
            if isinstance(result, chat.Answer):
                if result.usage and result.usage.output > wish.max_tokens:
                    # It took no notice of the limit under its new name.
                    abilities = replace(abilities, limit="max_tokens")
                _contacts.learn(endpoint, abilities)
                return result, abilities
            complaint = complaint_of(result.raw)
            fewer = weaker(abilities, parameters, complaint) if complaint and not last else None
            if fewer is None:
                if not isinstance(result.error, Throttled | Transient):
                    _contacts.known(endpoint, wish.features)
                raise result.error from None
            abilities = fewer
        raise AssertionError("the last round returns or raises")

    async def _request(self, shot: Shot) -> chat.Answer | Failed:
        """Send one request, or two when it is slow and may be hedged."""
        request = self._ask(shot)
        if not self.hedge:
            return await self._send(shot, request, None)

        def send(one: Try) -> Coroutine[Any, Any, chat.Answer | Failed]:
            asked = replace(request, hedge=True, retry=True) if one.hedge else request
            return self._send(shot, asked, one)

        race: Race[chat.Answer | Failed] = Race(send, lambda result: isinstance(result, chat.Answer))
        return await race.run()

    async def _send(self, shot: Shot, request: Request, one: Try | None) -> chat.Answer | Failed:
        """Send one request between admission and settlement."""
        guard, endpoint = get_guard(), shot.endpoint
        admission = await guard.admit(request)
        if admission.replay is not None:
            answer, charge = kept.recall(admission.replay)
            self.usage.replayed += 1
            self._charge(charge)
            return answer
        began = time.monotonic()
        self.usage.calls += 1
        self.usage.timeout_s = admission.timeout_s
        self.allow(admission.timeout_s)
        if one is not None:
            one.admitted(admission)
            if one.hedge:
                events.emit(events.CallHedged(*events.place_of(request)))
        # Whatever ends this without an answer or a refusal may have been billed, so it starts as the worst case.
        worst = request.worst_microusd
        charge, keep = Charge("cancelled", worst, unmetered=True), None
        try:
            async with asyncio.timeout(admission.timeout_s):
                answer = await chat.send(endpoint, shot.messages, shot.parameters, admission.timeout_s)
        except Exception as raw:
            error = classify_error(raw, host=endpoint.host, model=endpoint.model)
            error = error or Permanent(f"the client failed ({type(raw).__name__})")
            charge = Charge.of_failure(raw, error, worst)
            return Failed(error, raw)
        else:
            charge = Charge.of_answer(answer, shot.cost, worst)
            keep = kept.keep(answer, charge) if request.call_id else None
            return answer
        finally:
            self._charge(charge)
            taken, lost = time.monotonic() - began, one is not None and one.lost
            await guard.settle(admission, charge.settlement(taken, admission.timeout_s, answer=keep, lost=lost))

    def _ask(self, shot: Shot) -> Request:
        endpoint, caps = shot.endpoint, []
        if self.max_cost_microusd is not None:
            key = f"step:{self._account}:{self.step}"
            caps.append(Cap("step", key, self.max_cost_microusd, self.step_spent_microusd))
        if self.run_cap_microusd is not None:
            caps.append(Cap("run", f"run:{self._account}", self.run_cap_microusd, self.run_spent_microusd))
        prompt = kept.prompt_hash(endpoint.model, shot.messages) if self.thread else ""
        named = kept.call_id(self.step, self.visit, self.n, shot.wish.index, prompt, shot.parameters, self.variant)
        return Request(
            endpoint=endpoint.host,
            model=endpoint.model,
            key_id=endpoint.key_id,
            step=self.step,
            thread=self.thread,
            tenant=self.tenant,
            worst_microusd=shot.worst,
            timeout_s=self.timeout_s,
            caps=tuple(caps),
            ceiling_s=self.ceiling_s,
            max_tokens=shot.wish.max_tokens,
            call_id=named if self.remember else "",
            prompt_hash=prompt,
            retry=self.resent or shot.wish.again,
        )

    def _charge(self, charge: Charge) -> None:
        self.usage.tokens_in += charge.tokens_in
        self.usage.tokens_out += charge.tokens_out
        self.usage.cost_microusd += charge.cost
        self.usage.unmetered |= charge.unmetered


def reset_contacts() -> None:
    """Forget what was learned about endpoints; for tests."""
    global _contacts  # noqa: PLW0603 - what the process knows of its endpoints
    _contacts = Contacts()
