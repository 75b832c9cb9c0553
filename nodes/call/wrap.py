"""`guard(model)`: any chat model of LangChain, with each of its requests under the guard.

A guarded model is still an instance of its own class, with four methods put before its own. So everything that it
could do before (`bind_tools`, `with_structured_output`, `stream`, `batch`, its name in traces) it can do now.
"""
# ruff: noqa: SLF001 - LangChain's models are extended by overriding methods with an underscore

from __future__ import annotations

import types
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr, SecretStr

from nodes import bridge
from nodes.call.chat import http_of_loop
from nodes.call.endpoint import Endpoint, host_of
from nodes.call.lane import Lane
from nodes.call.maker_answers import INTEGRATIONS
from nodes.call.openai_wire import OpenAIWire
from nodes.call.prices import Price
from nodes.errors import ConfigurationError

M = TypeVar("M", bound=BaseChatModel)

MAX_TOKENS = 2_048
"""Longest answer in tokens of a model that sets no limit of its own: without one its cost has no bound."""


def guard(
    model: M,
    *,
    step: str = "model",
    timeout: float = 60.0,
    max_cost: float | None = None,
    max_tokens: int = MAX_TOKENS,
    price: Price | Literal["free"] | None = None,
) -> M:
    """Return the model with each request priced, admitted, bounded in time and settled; its own retries are off.

    Inside a step of a graph its requests count as part of the attempt: they keep to the time and the caps of the
    policy, are recorded, and after a crash are not paid again. Elsewhere `timeout` (seconds) bounds each request, and
    `step` names it in events and metrics. `max_cost` (US dollars) bounds what one request may cost. `max_tokens` is
    the longest answer of a model that sets no limit. `price` is only needed for a model that neither the settings nor
    genai-prices know; "free" for one that costs nothing.
    Requests raise `CallError`s (`Throttled`, `CallTimeout`, `Truncated`, ...) and `StopRun`s instead of the client's
    exceptions. Only an answer that is known to be whole and good passes: one that was cut off, also by a stream that
    just ends, or ended for a reason that nobody knows, is `Truncated`; an empty one, and tool calls that cannot be
    carried out, are `InvalidOutput`. Reasoning in tags is moved to `additional_kwargs["reasoning_content"]`. Tell the
    model to report the usage of streams (`stream_usage=True`): one that does not is charged its worst case.
    Raises `ConfigurationError` for anything but a chat model.
    """
    if not isinstance(model, BaseChatModel):
        raise ConfigurationError(
            f"guard() takes a chat model such as ChatOpenAI(...), got {type(model).__name__}: "
            "guard the model first, then bind tools or a schema to it"
        )
    if timeout <= 0 or max_tokens < 1 or (max_cost is not None and max_cost < 0):
        raise ValueError("guard: timeout and max_tokens must be above 0, max_cost must not be negative")
    if isinstance(model, Guarding):
        return model
    own_limit = getattr(model, "max_tokens", None)
    limited = {"max_tokens": max_tokens} if own_limit is None and "max_tokens" in type(model).model_fields else {}
    copied = _without_retries(model, limited)
    lane = Lane(
        step=step,
        timeout_s=timeout,
        max_tokens=own_limit if isinstance(own_limit, int) else max_tokens,
        max_cost_microusd=None if max_cost is None else round(max_cost * 1_000_000),
        cost=price,
        endpoint=_endpoint_of(copied),
        speaks_openai=_speaks_openai(copied),
        reports=_reports_endings(model),
    )
    # Not a new instance: its validators would build the clients anew, and lose those that were passed in.
    object.__setattr__(copied, "__class__", _guarding(type(model)))
    object.__setattr__(copied, "__pydantic_private__", {**(copied.__pydantic_private__ or {}), "_lane": lane})
    return copied


_under_way: ContextVar[bool] = ContextVar("surefoot_guarded", default=False)
"""Whether a request has passed the guard: models fall back on their own other methods."""


@contextmanager
def _passing() -> Iterator[None]:
    token = _under_way.set(True)
    try:
        yield
    finally:
        _under_way.reset(token)


if TYPE_CHECKING:
    _Before = BaseChatModel
else:
    _Before = object


class Guarding(_Before):
    """The methods that a guarded model has before its own."""

    _lane: Lane

    def _generate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        send = partial(super()._generate, messages, stop, run_manager)  # type: ignore[safe-super] # of a real model
        if _under_way.get():
            return send(**kwargs)

        async def in_thread(limit: float) -> ChatResult:
            # A thread cannot be stopped: where the client takes a time limit, it ends with the request.
            timed = {"timeout": limit} if self._lane.speaks_openai else {}
            with _passing():
                return await bridge.in_thread(partial(send, **timed | kwargs))

        return bridge.run_sync(self._lane.complete(messages, _sent(stop, kwargs), in_thread))

    async def _agenerate(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        send = partial(super()._agenerate, messages, stop, run_manager, **kwargs)
        if _under_way.get():
            return await send()

        async def on_loop(_limit: float) -> ChatResult:
            with _passing():
                return await send()

        return await self._lane.complete(messages, _sent(stop, kwargs), on_loop)


class GuardingStream(Guarding):
    """The same for a model that streams."""

    def _stream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        own = super()._stream(messages, stop, run_manager, **kwargs)
        if _under_way.get():
            yield from own
            return
        chunks = self._lane.stream(messages, _sent(stop, kwargs), _stepping(own))
        try:
            while (chunk := bridge.run_sync(_next(chunks))) is not None:
                yield chunk
        finally:
            bridge.run_sync(chunks.aclose())

    async def _astream(
        self, messages: list[BaseMessage], stop: list[str] | None = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        own = _inside(super()._astream(messages, stop, run_manager, **kwargs))
        if _under_way.get():
            async for chunk in own:
                yield chunk
            return
        async with aclosing(self._lane.stream(messages, _sent(stop, kwargs), own)) as chunks:
            async for chunk in chunks:
                yield chunk


@cache
def _guarding(kind: type[BaseChatModel]) -> type[BaseChatModel]:
    """Return a subclass of a model's class with our methods first, under the same name."""
    streams = kind._stream is not BaseChatModel._stream or kind._astream is not BaseChatModel._astream
    ours = (GuardingStream if streams else Guarding,)
    wire = (OpenAIWire,) if hasattr(kind, "_convert_chunk_to_generation_chunk") else ()
    bases = (*ours, *wire, kind)
    inside = {"__module__": kind.__module__, "__doc__": kind.__doc__, "_lane": PrivateAttr()}
    return types.new_class(kind.__name__, bases, exec_body=lambda namespace: namespace.update(inside))


def _without_retries(model: M, update: dict[str, Any]) -> M:
    """Return a copy that sends each request once: the retry node is the one owner of retries."""
    if getattr(model, "max_retries", 0) != 0:
        update = {**update, "max_retries": 0}
    copied = model.model_copy(update=update)
    for name in [name for name in vars(copied) if name not in type(model).model_fields]:
        # Clients that are built at first use, with the number of retries of that time.
        del vars(copied)[name]
    default = not getattr(copied, "http_async_client", None) and not getattr(copied, "openai_proxy", None)
    for root, chat in (("root_client", "client"), ("root_async_client", "async_client")):
        if (client := getattr(copied, root, None)) is not None:
            ours = {"http_client": _client_of_loop()} if default and root == "root_async_client" else {}
            once = client.with_options(max_retries=0, **ours)
            vars(copied)[root], vars(copied)[chat] = once, once.chat.completions
    return copied


def _client_of_loop() -> Any:
    """Return an HTTP client that sends with the connections of the running loop.

    LangChain shares one client among all loops of a process, and connections belong to a loop: the second
    `asyncio.run`, or `invoke` beside `ainvoke`, would meet those of a loop that is closed.
    """
    import openai

    class OfLoop(openai.DefaultAsyncHttpxClient):
        async def send(self, request: Any, **options: Any) -> Any:
            return await (await http_of_loop()).send(request, **options)

    return OfLoop()


def _speaks_openai(model: BaseChatModel) -> bool:
    return getattr(model, "root_async_client", None) is not None


def _reports_endings(model: BaseChatModel) -> bool:
    return any(kind.__module__.partition(".")[0] in INTEGRATIONS for kind in type(model).__mro__)


def _endpoint_of(model: BaseChatModel) -> Endpoint:
    """Tell where a model sends its requests, so that it shares breaker and budgets with all others that go there."""
    told = model._get_ls_params()
    name = str(told.get("ls_model_name") or getattr(model, "model_id", "") or model._llm_type)
    if _speaks_openai(model):
        client = model.root_async_client  # type: ignore[attr-defined] # asked for above
        url = str(client.base_url).rstrip("/")
        return Endpoint(url, host_of(url), name, _key(client.api_key))
    address = next((str(found) for field in _ADDRESSES if (found := getattr(model, field, None))), "")
    provider = str(told.get("ls_provider") or model._llm_type)
    return Endpoint(address or provider, host_of(address) if address else provider, name, "")


_ADDRESSES = ("base_url", "anthropic_api_url", "endpoint_url", "endpoint", "api_base")
"""Where integrations keep the address of their endpoint."""


def _key(key: Any) -> str:
    return key.get_secret_value() if isinstance(key, SecretStr) else key if isinstance(key, str) else ""


def _sent(stop: list[str] | None, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of a request beside its messages."""
    return {name: value for name, value in {"stop": stop, **kwargs}.items() if value is not None}


async def _inside(chunks: AsyncIterator[ChatGenerationChunk]) -> AsyncIterator[ChatGenerationChunk]:
    """Step through a stream, marked as one that has passed the guard."""
    while True:
        with _passing():
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        yield chunk


async def _stepping(chunks: Iterator[ChatGenerationChunk]) -> AsyncIterator[ChatGenerationChunk]:
    """Step through a blocking stream, each step in a thread."""
    while True:
        with _passing():
            chunk = await bridge.in_thread(next, chunks, None)
        if chunk is None:
            return
        yield chunk


async def _next(chunks: AsyncIterator[ChatGenerationChunk]) -> ChatGenerationChunk | None:
    return await anext(chunks, None)
