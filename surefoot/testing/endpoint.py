"""A real server on the loopback interface that speaks the OpenAI chat protocol, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from surefoot.testing.answers import Responder, default_responder
from surefoot.testing.faults import Fault, status
from surefoot.testing.profiles import Injector, Profile, profile_of

KEY: Final = "sk-loopback-0123456789abcdef"
MODEL: Final = "loopback-small"
PRICES: Final = {MODEL: {"input": 0.4, "output": 1.6, "cached": 0.1}}
"""US dollars for a million tokens, for `SUREFOOT_PRICES`."""


@dataclass
class Recorded:
    """One request as it came in."""

    at: float
    path: str
    body: dict[str, Any]
    schema_kind: str
    """Type of the `response_format`, or an empty string."""
    status: int = 0
    authorization: str = field(default="", repr=False)
    """What the header said; the key of a test is one like any other."""

    @property
    def text(self) -> str:
        """All that the messages said."""
        return "\n".join(str(message.get("content")) for message in self.body.get("messages", ()))


class OpenAIEndpoint:
    """The server and its script."""

    def __init__(self, port: int = 0) -> None:
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.reset()
        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/models", self._models, methods=["GET"]),
        ]
        config = uvicorn.Config(
            Starlette(routes=routes), log_level="critical", lifespan="off", access_log=False, date_header=False
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    def reset(self) -> None:
        """Behave well again and forget the requests."""
        self.requests: list[Recorded] = []
        self.faults: deque[Fault | None] = deque()
        self.chaos: Callable[[dict[str, Any]], Fault | None] = lambda _body: None
        """Asked for a fault whenever the queue is empty."""
        self.responder: Responder = default_responder
        self.key: str | None = None
        """The only key that is accepted; None accepts all."""
        self.models: set[str] | None = None
        self.json_schema = self.json_object = self.temperature = self.logprobs = True
        self.max_completion_tokens = self.stream_options = True
        self.ignore_schema = False
        """Take any response_format and pay no attention to it."""
        self.latency_s = 0.0
        self.token_probability = 0.9
        self.in_flight = self.most_in_flight = 0

    @property
    def url(self) -> str:
        """Where clients send their requests: `OPENAI_BASE_URL`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    @property
    def calls(self) -> int:
        """Chat requests so far."""
        return sum(request.path.endswith("/chat/completions") for request in self.requests)

    def script(self, *faults: Fault | None) -> None:
        """Misbehave in this order, one request each; None behaves."""
        self.faults.extend(faults)

    def always(self, fault: Fault) -> None:
        """Misbehave like this from now on."""
        self.chaos = lambda _body: fault

    def start(self) -> OpenAIEndpoint:
        """Start to serve, in a thread; returns once it listens."""
        self._thread.start()
        while not self._server.started:
            time.sleep(0.002)
        return self

    def stop(self) -> None:
        """Stop serving and cut what is under way."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(timeout=5)
        self._socket.close()

    async def _models(self, request: Request) -> Response:
        self.requests.append(Recorded(time.monotonic(), request.url.path, {}, ""))
        names = sorted(self.models or {MODEL})
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in names]})

    async def _chat(self, request: Request) -> Response:
        body = await request.json()
        kind = (body.get("response_format") or {}).get("type", "")
        given = request.headers.get("authorization", "")
        record = Recorded(time.monotonic(), request.url.path, body, kind, authorization=given)
        self.requests.append(record)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            response = await self._answer(request, body)
        finally:
            self.in_flight -= 1
        record.status = response.status_code
        return response

    async def _answer(self, request: Request, body: dict[str, Any]) -> Response:
        fault = (self.faults.popleft() if self.faults else self.chaos(body)) or Fault()
        if delay := fault.delay_s or self.latency_s:
            await self._sleep(request, delay)
        if fault.status == 200:
            fault = self._rejection(request, body) or fault
        if fault.events is not None:
            return StreamingResponse(_events(fault), media_type="text/event-stream")
        if fault.raw is not None:
            return Response(fault.raw, fault.status, headers=fault.headers, media_type=fault.content_type)
        if fault.status != 200:
            kind = "server_error" if fault.status >= 500 else "invalid_request_error"
            error = {"message": fault.message, "code": fault.code or None, "type": kind, "param": fault.param}
            return JSONResponse({"error": error}, fault.status, headers=fault.headers)
        if body.get("stream"):
            return StreamingResponse(self._stream(body, fault), media_type="text/event-stream")
        payload = json.dumps(self._completion(body, fault))
        if fault.drip_s:
            return StreamingResponse(_dripping(payload, fault.drip_s), media_type="application/json")
        return Response(payload, media_type="application/json")

    async def _sleep(self, request: Request, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            await asyncio.sleep(min(left, 0.05))
            if left > 0.1 and await request.is_disconnected():
                return

    def _rejection(self, request: Request, body: dict[str, Any]) -> Fault | None:
        """Refuse what this endpoint is set up not to know."""
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return status(401, "invalid_api_key", "Incorrect API key provided: sk-loop****cdef.")
        model = body.get("model", "")
        if self.models is not None and model not in self.models:
            return status(404, "model_not_found", f"The model `{model}` does not exist.")
        kind = (body.get("response_format") or {}).get("type", "")
        if kind and not getattr(self, kind):
            return _unsupported("response_format", f"Invalid parameter: 'response_format' of type '{kind}'")
        for name in ("temperature", "logprobs", "max_completion_tokens", "stream_options"):
            if name in body and not getattr(self, name):
                return _unsupported(name, f"Unsupported parameter: '{name}' is not supported with this model.")
        return None

    def _message(self, body: dict[str, Any], fault: Fault) -> dict[str, Any]:
        """Return what the assistant says."""
        seen = {k: v for k, v in body.items() if k != "response_format"} if self.ignore_schema else body
        said = self.responder(seen)
        message = {"role": "assistant", "content": said} if isinstance(said, str) else {"role": "assistant", **said}
        if fault.shape and isinstance(message["content"], str):
            message["content"] = fault.shape(message["content"])
        return message | ({"content": None, "refusal": fault.refusal} if fault.refusal else {})

    def _usage(self, body: dict[str, Any], message: dict[str, Any], fault: Fault) -> dict[str, Any] | None:
        if fault.usage != "exact":
            return fault.usage if isinstance(fault.usage, dict) else None
        said = str(message.get("content") or json.dumps(message.get("tool_calls") or ""))
        tokens_in = sum(len(str(message.get("content"))) for message in body["messages"]) // 4 + 3
        tokens_out = max(1, len(said) // 4)
        return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}

    def _completion(self, body: dict[str, Any], fault: Fault) -> dict[str, Any]:
        message = self._message(body, fault)
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"refusal": None} | message,
            "finish_reason": _finish_reason(message, fault),
        }
        if body.get("logprobs"):
            content = [
                {"token": token, "logprob": math.log(self.token_probability) if token.isalnum() else 0.0, "bytes": None}
                for token in re.findall(r"\w+|\W", message["content"] or "")
            ]
            choice["logprobs"] = {"content": content, "refusal": None}
        completion = _common(body, "chat.completion") | {"choices": [choice]}
        usage = self._usage(body, message, fault)
        return completion if usage is None else completion | {"usage": usage}

    async def _stream(self, body: dict[str, Any], fault: Fault) -> AsyncIterator[str]:
        message, common = self._message(body, fault), _common(body, "chat.completion.chunk")
        for number, delta in enumerate(_deltas(message)):
            if number == fault.cut_after:
                return
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            yield f"data: {json.dumps(common | {'choices': [choice]})}\n\n"
            await asyncio.sleep(fault.drip_s)
        last = {"index": 0, "delta": {}, "finish_reason": _finish_reason(message, fault)}
        yield f"data: {json.dumps(common | {'choices': [last]})}\n\n"
        if (body.get("stream_options") or {}).get("include_usage"):
            yield f"data: {json.dumps(common | {'choices': [], 'usage': self._usage(body, message, fault)})}\n\n"
        yield "data: [DONE]\n\n"


def _common(body: dict[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-loopback", "object": kind, "created": int(time.time()), "model": body["model"]}


def _finish_reason(message: dict[str, Any], fault: Fault) -> str:
    return "tool_calls" if message.get("tool_calls") and fault.finish_reason == "stop" else fault.finish_reason


def _deltas(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Cut a message into the pieces of a stream; the first one opens it and says nothing."""
    yield {"role": "assistant", "content": ""}
    for piece in re.findall(r".{1,12}", message.get("content") or "", re.DOTALL):
        yield {"content": piece}
    for index, call in enumerate(message.get("tool_calls") or ()):
        yield {"tool_calls": [{"index": index, **call}]}
    if message.get("refusal"):
        yield {"refusal": message["refusal"]}


@contextmanager
def misbehaving_endpoint(
    profile: Profile | str | None = None, *, seed: int = 7, port: int = 0
) -> Iterator[OpenAIEndpoint]:
    """Serve an endpoint while the block runs, in a thread of its own: usable from sync and async code.

    `profile` is a `Profile`, the name of one, or None for an endpoint that behaves until it is scripted.
    """
    chosen = profile_of(profile) if isinstance(profile, str) else profile
    server = OpenAIEndpoint(port)
    if chosen is not None:
        server.chaos = Injector(chosen, seed)
        server.latency_s = chosen.latency_s
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _unsupported(param: str, message: str) -> Fault:
    return replace(status(400, "unsupported_parameter", message), param=param)


async def _events(fault: Fault) -> AsyncIterator[str]:
    for event in fault.events or ():
        yield f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n"
        await asyncio.sleep(fault.drip_s)


async def _dripping(payload: str, pause: float) -> AsyncIterator[bytes]:
    for byte in payload.encode():
        yield bytes([byte])
        await asyncio.sleep(pause)
