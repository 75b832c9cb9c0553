"""Asking an endpoint: with what it can do, under the guard, in one piece or in many."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from nodes.call import chat, kept
from nodes.call.charge import Charge
from nodes.call.classify import classify_error
from nodes.call.current import get_guard
from nodes.call.endings import fault_of_ending
from nodes.call.endpoint import CONTACT_WAIT_S, Abilities, Contacts, Endpoint, complaint_of, weaker
from nodes.call.guard import Request
from nodes.call.hedge import Race, Try
from nodes.call.pace import Pace
from nodes.call.passage import Passage, passage
from nodes.call.prices import Price
from nodes.call.reask import Unfit
from nodes.call.reasoning import closes_only, forget_closing_only, note_closing_only
from nodes.call.reply import Reply, reply_of
from nodes.call.shot import Failed, Shot
from nodes.call.stream import stream
from nodes.call.wish import Wish
from nodes.errors import InvalidOutput, Permanent, Throttled, Transient
from nodes.loading import Clock

if TYPE_CHECKING:
    from nodes.call.call import Call

MOST_ADAPTATIONS: Final = 7
"""Requests that one call may spend on finding out what an endpoint can do: schema twice, temperature,
log-probabilities, usage of streams and the name of the token limit, once more for an endpoint that names two of them
in turn."""

_contacts = Contacts()


@dataclass(frozen=True)
class Asking:
    """One call on its way to one endpoint."""

    call: Call
    endpoint: Endpoint
    cost: Price

    async def answer(self, wish: Wish) -> Reply[Any]:
        """Ask once and read the answer; raises `Unfit` for one that came and did not fit."""
        wish = replace(wish, index=self.call.next_index())
        # Half of the time is left for the call itself.
        async with _contacts.first(self.endpoint, wish.features, min(CONTACT_WAIT_S, self.call.timeout_s / 2)):
            answer, abilities = await self._adapt(wish)
            if closes_only(answer.text):
                note_closing_only(self.endpoint.key_id, self.endpoint.model)
            try:
                reply = self._counted(reply_of(answer, wish.schema, wish.max_tokens))
                if wish.stream:
                    self.call.shown.finish(_shown_text(reply))
                return reply
            except InvalidOutput as error:
                if wish.schema is not None and abilities.schema == "json_schema" and answer.text.strip():
                    # An endpoint that enforces schemas cannot answer like this: from now on the prompt tells it, too.
                    _contacts.learn(self.endpoint, replace(abilities, prompted=True))
                raise Unfit(str(error), answer.text) from None
            finally:
                _contacts.known(self.endpoint, wish.features)

    def _counted(self, reply: Reply[Any]) -> Reply[Any]:
        self.call.usage.repaired += reply.how in ("stripped", "repaired")
        return reply

    async def _adapt(self, wish: Wish) -> tuple[chat.Answer, Abilities]:
        """Send a request, with fewer parameters as long as the endpoint complains about one of them."""
        abilities = _contacts.abilities(self.endpoint)
        tried = {abilities}
        for last in (*[False] * MOST_ADAPTATIONS, True):
            parameters = wish.parameters(abilities)
            shot = Shot(self.endpoint, wish.prompt(abilities), parameters, self.cost, wish)
            result = await self._request(shot)
            if isinstance(result, chat.Answer):
                if result.usage and result.usage.output > wish.max_tokens:
                    # It took no notice of the limit under its new name.
                    abilities = replace(abilities, limit="max_tokens")
                _contacts.learn(self.endpoint, abilities)
                return result, abilities
            complaint = complaint_of(result.raw)
            fewer = weaker(abilities, parameters, complaint) if complaint and not last else None
            if fewer is None or fewer in tried:
                if not isinstance(result.error, Throttled | Transient):
                    _contacts.known(self.endpoint, wish.features)
                raise result.error from None
            abilities = fewer
            tried.add(fewer)
        raise AssertionError("the last round returns or raises")

    async def _request(self, shot: Shot) -> chat.Answer | Failed:
        """Send one request, or two when it is slow and may be hedged."""
        wish, streams = shot.wish, "stream" in shot.parameters
        request = self.call.request(
            shot.endpoint, shot.messages, shot.parameters, worst_microusd=shot.worst, max_tokens=wish.max_tokens,
            index=wish.index, again=wish.again, stream=streams,
        )  # fmt: skip
        if not self.call.hedge or streams:
            return await self._send(shot, request, None)

        def send(one: Try) -> Coroutine[Any, Any, chat.Answer | Failed]:
            asked = replace(request, hedge=True, retry=True) if one.hedge else request
            return self._send(shot, asked, one)

        race: Race[chat.Answer | Failed] = Race(send, lambda result: isinstance(result, chat.Answer))
        return await race.run()

    async def _send(self, shot: Shot, request: Request, one: Try | None) -> chat.Answer | Failed:
        """Send one request between admission and settlement."""
        async with passage(request, self.call.usage, self.call.clock, one) as way:
            if way.replay is not None:
                answer, way.charge = kept.recall(way.replay)
                return answer
            try:
                answer = await self._converse(shot, way)
            except Exception as raw:
                error = classify_error(raw, host=self.endpoint.host, model=self.endpoint.model)
                error = error or Permanent(f"the client failed ({type(raw).__name__})")
                way.charge = Charge.of_failure(raw, error, request.worst_microusd)
                return Failed(error, raw)
            way.charge = Charge.of_answer(answer, shot.cost, request.worst_microusd)
            if isinstance(broken := fault_of_ending(answer.finish_reason), Transient):
                way.charge = replace(way.charge, outcome=broken.outcome, error=str(broken))
            way.kept = kept.keep(answer, way.charge) if request.call_id else None
            return answer

    async def _converse(self, shot: Shot, way: Passage) -> chat.Answer:
        """Send one request and take its answer in, in one piece or in many."""
        if "stream" not in shot.parameters:
            async with Clock(way.timeout_s):
                return await chat.send(shot.endpoint, shot.messages, shot.parameters, way.timeout_s)
        limits = get_guard().limits
        pace = Pace(limits.first_token_s or self.call.timeout_s, limits.token_gap_s, way.timeout_s)
        async with aclosing(stream(shot.endpoint, shot.messages, shot.parameters, pace)) as pieces:
            async for piece in pieces:
                if isinstance(piece, chat.Answer):
                    return piece
                self.call.shown.add(piece)
        raise AssertionError("a stream ends with its answer")


def _shown_text(reply: Reply[Any]) -> str:
    """Return what of a reply is shown: the text, or the first field of an object if that is one."""
    value = reply.value
    if isinstance(value, BaseModel):
        value = getattr(value, next(iter(type(value).model_fields), ""), "")
    return value if isinstance(value, str) else ""


def reset_contacts() -> None:
    """Forget what was learned about endpoints; for tests."""
    global _contacts  # noqa: PLW0603 - what the process knows of its endpoints
    _contacts = Contacts()
    forget_closing_only()
