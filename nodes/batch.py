"""Batches: several items to a prompt, told apart by ids; what came back well is kept, the rest is asked for again.

Runs side by side hand in their items; a batch is sent when it is full or when its first item has waited long enough.
Items that are missing in the answer, or do not fit, are asked for in halves, in the end alone: one item that spoils an
answer costs its neighbours nothing but a second request. Quality falls with size ("BatchPrompt", Lin et al., 2023), so
batches stay at about ten.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError, create_model

from nodes.call import Call, Usage, get_guard, prepare_settings, price
from nodes.call.budget import command_budget
from nodes.call.endpoint import endpoint_for
from nodes.call.kept import call_id
from nodes.call.queueing import Queueing
from nodes.errors import InvalidOutput, OverBudget, Refused, RetriesSpent, Truncated
from nodes.task import hash_of
from state import describe

In = TypeVar("In", bound=BaseModel)
Answer = TypeVar("Answer", bound=BaseModel)
Out = TypeVar("Out")

BRACKETS = 24
"""Tokens of a batch's answer beside those about its items."""


@dataclass
class _Item(Generic[In]):
    """What one run has handed in."""

    given: In
    call: Call
    kept_as: str
    """What its answer is kept under; empty where none is kept."""
    answer: asyncio.Future[Any]
    usage: Usage = field(default_factory=Usage)
    wrong: str = ""
    """What was wrong with the last answer about it."""
    worst_microusd: int = 0
    """Its part of what a request under way may cost."""


@dataclass
class _Pile(Generic[In]):
    """Items that wait for their batch to be full."""

    context: contextvars.Context
    items: list[_Item[In]] = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None


@dataclass(frozen=True, eq=False)
class Batched(Generic[In, Answer, Out]):
    """A provider of a task that asks a model about several items at once.

    Items share a prompt only with those of the same tenant, model, variant and command. What a batch costs is split
    evenly. Its requests are admitted like any others; an answer about an item is kept like any other, so that it is not
    paid for again after a crash. An item that a gate or a reask sends back with a reason is asked for alone.
    """

    answer: type[Answer]
    """What the model is asked for about one item; an `id` is added to it."""
    prompt: Callable[[Sequence[tuple[str, In]]], str]
    """Makes the prompt from ids and items."""
    read: Callable[[In, Answer], Out]
    """Makes the output of the task from an item and its answer; raises `InvalidOutput` for one that does not fit it."""
    size: int = 10
    """Items of a full batch."""
    wait_s: float = 0.5
    """Seconds that an item waits for others."""
    max_tokens: int = 120
    """Longest answer about one item, in tokens."""
    _piles: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, _Pile[In]]] = field(
        default_factory=weakref.WeakKeyDictionary, init=False, repr=False
    )
    _running: set[asyncio.Task[None]] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.size < 1 or self.wait_s < 0 or self.max_tokens < 1:
            raise ValueError("batched: size and max_tokens must be at least 1, wait_s must not be negative")

    async def __call__(self, given: In, call: Call) -> Out:
        """Hand in one item and return what the model says about it."""
        named = {"batch": hash_of(given.model_dump(mode="json")), "model": call.model_name}
        kept_as = call_id(call.step, call.visit, call.n, call.next_index(), "", named, call.variant)
        if call.remember and (known := await get_guard().recall(call.thread, kept_as)) is not None:
            tokens_in, tokens_out = known["tokens"]
            used = Usage(replayed=1, cost_microusd=known["cost"], tokens_in=tokens_in, tokens_out=tokens_out)
            call.usage.take(used)
            return self.read(given, self.answer.model_validate(known["answer"]))
        item = _Item(given, call, kept_as if call.remember else "", asyncio.get_running_loop().create_future())
        self._hand_in(item)
        try:
            return self.read(given, await item.answer)
        except asyncio.CancelledError:
            # What is under way may be billed in full, and this item's part of it is nobody else's.
            item.usage.cost_microusd += item.worst_microusd
            item.usage.unmetered |= item.worst_microusd > 0
            raise
        finally:
            call.usage.take(item.usage)

    def _hand_in(self, item: _Item[In]) -> None:
        """Put an item on its pile, and send the pile when it is full or has waited."""
        loop, call = asyncio.get_running_loop(), item.call
        piles = self._piles.setdefault(loop, {})
        key = (
            call.tenant, call.provider, call.model_name, call.variant, call.temperature, call.feedback,
            id(command_budget()), id(get_guard()),
        )  # fmt: skip
        pile = piles.setdefault(key, _Pile(contextvars.copy_context()))
        pile.items.append(item)

        def send() -> None:
            if piles.get(key) is pile:
                del piles[key]
            if pile.timer is not None:
                pile.timer.cancel()
            waiting = [item for item in pile.items if not item.answer.done()]
            if waiting:
                task = loop.create_task(self._serve(waiting), context=pile.context)
                self._running.add(task)
                task.add_done_callback(self._running.discard)

        if len(pile.items) >= self.size or call.feedback:
            send()
        elif pile.timer is None:
            pile.timer = loop.call_later(self.wait_s, send)

    async def _serve(self, items: Sequence[_Item[In]], *, again: bool = False) -> None:
        """Ask about some items; hand out what came back well, and ask again for the rest in halves."""
        try:
            found = await self._ask(items, again=again)
        except (InvalidOutput, Truncated, Refused, OverBudget) as error:
            if len(items) == 1:
                return _fail(items, error)
            found = {}
        except RetriesSpent as error:
            # Why they were to be asked for again tells more than that they cannot be.
            for item in items:
                _fail([item], InvalidOutput(item.wrong) if item.wrong else error)
            return None
        except Exception as error:
            return _fail(items, error)
        answers = ((item, found.get(place)) for place, item in enumerate(items))
        good = [(item, answer) for item, answer in answers if isinstance(answer, self.answer)]
        await asyncio.gather(*(self._hand_out(item, answer) for item, answer in good))
        for place, item in enumerate(items):
            item.wrong = str(found.get(place) or "the answer says nothing about the item")
        rest = [item for item in items if not item.answer.done()]
        if len(items) == 1 and rest:
            return _fail(rest, InvalidOutput(rest[0].wrong))
        middle = (len(rest) + 1) // 2
        await asyncio.gather(*(self._serve(half, again=True) for half in (rest[:middle], rest[middle:]) if half))
        return None

    async def _hand_out(self, item: _Item[In], answer: Answer) -> None:
        if item.kept_as:
            said = {
                "answer": answer.model_dump(mode="json"),
                "cost": item.usage.cost_microusd,
                "tokens": [item.usage.tokens_in, item.usage.tokens_out],
            }
            try:
                await get_guard().keep(item.call.thread, item.kept_as, said)
            except Exception as error:
                return _fail([item], error)
        if not item.answer.done():
            item.answer.set_result(answer)
        return None

    async def _ask(self, items: Sequence[_Item[In]], *, again: bool) -> dict[int, Answer | str]:
        """Send one request about these items; return the answers by place, or what is wrong with them."""
        call = _shared_call([item.call for item in items], again=again)
        longest = self.max_tokens * len(items) + BRACKETS
        prompt = self.prompt([(str(place), item.given) for place, item in enumerate(items, 1)])
        await prepare_settings()
        worst = price(endpoint_for(call.model_name).model).worst_case(len(prompt.encode()), longest)
        for item in items:
            item.worst_microusd = worst // len(items)
        try:
            reply = await call.model(prompt, _batch_of(self.answer), max_tokens=longest)
        finally:
            for place, item in enumerate(items):
                item.worst_microusd = 0
                item.usage.take(call.usage.part(place, len(items)))
        return self._sort(reply.value.results, len(items))

    def _sort(self, results: Iterable[Any], count: int) -> dict[int, Answer | str]:
        """Read the answers; an id that comes twice, or that nobody asked about, tells nothing."""
        listed = [(str(result.get("id")), result) for result in results if isinstance(result, dict)]
        times = Counter(name for name, _ in listed)
        found: dict[int, Answer | str] = {}
        for name, result in listed:
            if times[name] > 1 or not name.isdecimal() or not 1 <= int(name) <= count:
                continue
            try:
                found[int(name) - 1] = self.answer.model_validate({k: v for k, v in result.items() if k != "id"})
            except ValidationError as error:
                found[int(name) - 1] = describe(error)
        return found


def _shared_call(calls: Sequence[Call], *, again: bool) -> Call:
    """Return the call that a batch is asked with: its time and its caps are those of its items."""
    first, rooms = calls[0], [room for call in calls if (room := _room(call)) is not None]
    return Call(
        step=first.step,
        tenant=first.tenant,
        provider=first.provider,
        model=first.model_name,
        n=first.n,
        timeout_s=min(call.timeout_s for call in calls),
        ceiling_s=first.ceiling_s,
        feedback=first.feedback,
        temperature=first.temperature,
        variant=first.variant,
        # The item with the least room must be able to pay its part.
        max_cost_microusd=min(rooms) * len(calls) if rooms else None,
        resent=again or any(call.resent for call in calls),
        patience_s=min(call.patient_until for call in calls) - time.monotonic(),
        clock=Queueing(*[call.clock for call in calls]),
    )


def _room(call: Call) -> int | None:
    """Return the micro-dollars that the caps of an item leave to it, None without caps."""
    used = call.usage.cost_microusd
    caps = [(call.max_cost_microusd, call.step_spent_microusd), (call.run_cap_microusd, call.run_spent_microusd)]
    return min((max(0, cap - spent - used) for cap, spent in caps if cap is not None), default=None)


def _fail(items: Sequence[_Item[Any]], error: Exception) -> None:
    for item in items:
        if not item.answer.done():
            item.answer.set_exception(error)


class _Results(BaseModel):
    """The answer to a batch, its items not validated yet: one that does not fit must not spoil the others."""

    results: list[Any]


@cache
def _batch_of(answer: type[BaseModel]) -> type[_Results]:
    """Return the schema of a batch: the model is told what every item has to look like."""
    item: Any = create_model(answer.__name__, __base__=answer, id=(str, ...))
    strict = create_model(f"{answer.__name__}Batch", results=(list[item], ...))

    class Batch(_Results):
        @classmethod
        def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return strict.model_json_schema(*args, **kwargs)

    Batch.__name__ = strict.__name__
    return Batch
