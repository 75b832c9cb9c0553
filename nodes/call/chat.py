"""Chat clients and the one place where a request goes out.

Clients pool connections and belong to one event loop. They are kept by loop and closed with it.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from langchain_core.messages import BaseMessage
from pydantic import SecretStr

from nodes.call.endpoint import Endpoint
from nodes.call.openai_wire import careful_model, no_completion, unread
from nodes.call.prices import TokenUsage, output_of

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI


CONNECT_S: Final = 5.0
"""Longest wait for a connection, in seconds, as in the client of OpenAI: a host that drops packets is known as gone
long before an answer would be due."""


@dataclass(frozen=True)
class TokenLogprob:
    """One token of an answer and the logarithm of its probability."""

    token: str
    logprob: float


@dataclass(frozen=True)
class Answer:
    """What an endpoint answered, not parsed."""

    text: str
    finish_reason: str = ""
    refused: bool = False
    usage: TokenUsage | None = None
    """None when the endpoint did not tell."""
    logprobs: tuple[TokenLogprob, ...] = ()
    model: str = ""
    closed: bool = True
    """Whether the endpoint told in another way than by its reason that it was done: an answer in one piece, or usage
    at the very end of a stream."""

    def as_output(self) -> dict[str, Any]:
        """Return the answer in the form in which traces show one."""
        told: dict[str, Any] = {"messages": [{"role": "assistant", "content": self.text}]}
        if self.usage is not None:
            counts = {"input_tokens": self.usage.input, "output_tokens": self.usage.output}
            told["usage_metadata"] = counts | {"total_tokens": sum(counts.values())}
        return told


async def send(
    endpoint: Endpoint, messages: Sequence[BaseMessage], parameters: dict[str, Any], timeout_s: float
) -> Answer:
    """Send one request and return the answer; raises what the client raises, `ReportedError` and `NoCompletion`.

    `timeout_s` bounds each wait for bytes; the caller bounds the whole.
    """
    model = await chat_model(endpoint)
    import openai

    with completions_only(endpoint):
        try:
            bounds = openai.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S))
            message = await model.ainvoke(list(messages), timeout=bounds, **parameters)
        except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError) as error:
            if error.completion is None:
                raise
            # The client makes an exception of an answer that was paid for: take text and usage out of it again.
            return _from_completion(error.completion)
    return _from_message(message)


@contextmanager
def completions_only(endpoint: Endpoint) -> Iterator[None]:
    """Raise `ReportedError` or `NoCompletion` where the client stumbles over a body: its own message quotes it."""
    import openai

    try:
        yield
    except openai.APIResponseValidationError:
        raise no_completion(endpoint.host) from None
    except (openai.OpenAIError, OSError):
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        read = unread(error, endpoint.host)
        raise (no_completion(endpoint.host) if read is error else read) from None


def _from_message(message: Any) -> Answer:
    metadata = message.response_metadata or {}
    reported = metadata.get("token_usage") or {}
    refusal = message.additional_kwargs.get("refusal")
    content = message.content if isinstance(message.content, str) else message.text
    return Answer(
        text=content or (refusal if isinstance(refusal, str) else ""),
        finish_reason=metadata.get("finish_reason") or "",
        refused=bool(refusal),
        usage=usage_of(reported, content),
        logprobs=logprobs_of(metadata.get("logprobs")),
        model=metadata.get("model_name") or "",
    )


def _from_completion(completion: Any) -> Answer:
    data = completion.model_dump(warnings=False)
    choice = (data.get("choices") or [{}])[0]
    message = choice.get("message") or {}
    return Answer(
        text=message.get("content") or "",
        finish_reason=choice.get("finish_reason") or "",
        refused=bool(message.get("refusal")),
        usage=usage_of(data.get("usage") or {}, message.get("content")),
        logprobs=logprobs_of(choice.get("logprobs")),
        model=data.get("model") or "",
    )


def usage_of(reported: dict[str, Any], text: object) -> TokenUsage | None:
    """Read the usage; None when one of the two counts is missing or cannot be, as half a usage prices nothing."""
    tokens_in, tokens_out = reported.get("prompt_tokens"), reported.get("completion_tokens")
    if not isinstance(tokens_in, int) or not isinstance(tokens_out, int) or tokens_in < 0 or tokens_out < 0:
        return None
    tokens_out = output_of(tokens_in, tokens_out, reported.get("total_tokens"))
    if tokens_in == 0 or (tokens_out == 0 and text):
        return None
    details = reported.get("prompt_tokens_details") or {}
    return TokenUsage(tokens_in, tokens_out, details.get("cached_tokens") or 0, details.get("cache_write_tokens") or 0)


def logprobs_of(reported: Any) -> tuple[TokenLogprob, ...]:
    """Read the log-probabilities; none at all when one of them is malformed."""
    content = reported.get("content") if isinstance(reported, dict) else None
    tokens = []
    for item in content or ():
        token, logprob = item.get("token"), item.get("logprob")
        if not isinstance(token, str) or not isinstance(logprob, int | float):
            return ()
        tokens.append(TokenLogprob(token, float(logprob)))
    return tuple(tokens)


_WHOSE: Final = "x-surefoot-endpoint"
"""Header that names an endpoint inside of this process; it is never sent."""


@dataclass
class _Pool:
    """The connections of one event loop and the chat models that use them."""

    http: Any
    models: dict[tuple[str, str], ChatOpenAI] = field(default_factory=dict)
    authorizations: dict[str, str] = field(default_factory=dict, repr=False)
    """Headers of the endpoints whose address holds user and password, by the id of their key."""
    keeper: AsyncGenerator[None, None] | None = None

    def model(self, endpoint: Endpoint) -> ChatOpenAI:
        """Return the chat model for an endpoint, made at first use."""
        key = (endpoint.key_id, endpoint.model)
        if key not in self.models:
            self.models[key] = self._build(endpoint)
        return self.models[key]

    def _build(self, endpoint: Endpoint) -> ChatOpenAI:
        # Advice about `with_structured_output`, given whenever an endpoint turns out not to know json_schema.
        for advice in ("This model does not support OpenAI's structured output", "Invalid schema for response_format"):
            warnings.filterwarnings("ignore", message=advice)
        headers = None
        if endpoint.credentials:
            self.authorizations[endpoint.key_id] = endpoint.authorization
            headers = {_WHOSE: endpoint.key_id}
        return careful_model()(
            model=endpoint.model,
            base_url=endpoint.url,
            default_headers=headers,
            api_key=SecretStr(endpoint.key),
            # One owner of retries: the retry node.
            max_retries=0,
            http_async_client=self.http,
            # The connections go through it already; the client refuses to be given both.
            openai_proxy=None,
            # Under stream_mode="messages" LangChain would stream on its own, and a broken stream is no error to it.
            disable_streaming=True,
            use_responses_api=False,
            # A global cache would answer without a call and report the old usage again.
            cache=False,
        )

    async def authorize(self, request: Any) -> None:
        """Put user and password of an address into a request that names its endpoint, at the last moment.

        The model itself is told neither: its parameters are traced and printed.
        """
        if (whose := request.headers.pop(_WHOSE, None)) in self.authorizations:
            request.headers["Authorization"] = self.authorizations[whose]

    async def close_with_loop(self) -> AsyncGenerator[None, None]:
        """Wait, suspended, for the end of the loop: loops close their asynchronous generators before they end."""
        loop = asyncio.get_running_loop()
        try:
            yield
        finally:
            with _lock:
                _pools.pop(loop, None)
            with suppress(Exception):
                await self.http.aclose()


_lock = threading.Lock()
_pools: dict[asyncio.AbstractEventLoop, _Pool] = {}


async def chat_model(endpoint: Endpoint) -> ChatOpenAI:
    """Return the running loop's chat model for an endpoint.

    The first one is made in a thread: importing the client takes a second and reads files, which would block the loop.
    """
    pool = await _pool_of_loop()
    if (endpoint.key_id, endpoint.model) not in pool.models:
        return await asyncio.to_thread(pool.model, endpoint)
    return pool.model(endpoint)


async def http_of_loop() -> Any:
    """Return the HTTP client of the running loop, which is closed with it."""
    return (await _pool_of_loop()).http


async def _pool_of_loop() -> _Pool:
    loop = asyncio.get_running_loop()
    if (pool := _pools.get(loop)) is None:
        http = await asyncio.to_thread(_http_client)
        pool = _pool(loop, http)
        if pool.http is not http:
            await http.aclose()
    return pool


def _http_client() -> Any:
    import openai

    return openai.DefaultAsyncHttpxClient(proxy=os.environ.get("OPENAI_PROXY") or None)


def _pool(loop: asyncio.AbstractEventLoop, http: Any) -> _Pool:
    """Return the connections of a loop, new ones if it has none; those of loops that ended otherwise are dropped."""
    with _lock:
        if (pool := _pools.get(loop)) is not None:
            return pool
        for ended in [other for other in _pools if other.is_closed()]:
            del _pools[ended]
    pool = _Pool(http)
    http.event_hooks = {"request": [pool.authorize]}
    pool.keeper = pool.close_with_loop()
    # The first step registers the generator with the loop; it never really waits, so it can be driven by hand.
    with suppress(StopIteration):
        pool.keeper.__anext__().send(None)
    with _lock:
        return _pools.setdefault(loop, pool)
