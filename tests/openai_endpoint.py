"""A real server on the loopback interface that speaks the OpenAI chat protocol, and misbehaves on demand.

In tests: the fixture `openai_endpoint`. For other processes: `python tests/openai_endpoint.py --port 0` prints its URL.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Responder = Callable[[dict[str, Any]], str]

KEY = "sk-loopback-0123456789abcdef"
MODEL = "loopback-small"
PRICES = {MODEL: {"input": 0.4, "output": 1.6, "cached": 0.1}}


@dataclass(frozen=True)
class Fault:
    """One way to misbehave; the default is to behave."""

    status: int = 200
    code: str = ""
    message: str = "scripted"
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    drip_s: float = 0.0
    """Pause between single bytes of the body."""
    raw: str | None = None
    content_type: str = "application/json"
    shape: Callable[[str], str] | None = None
    """Changes the answer's text."""
    finish_reason: str = "stop"
    refusal: str | None = None
    usage: dict[str, Any] | str | None = "exact"
    """`exact`, None for no usage at all, or the object to report."""


def status(code: int, error: str = "", message: str = "scripted", **headers: str) -> Fault:
    """Answer with an HTTP error; `retry_after="3"` becomes a header."""
    return Fault(
        status=code, code=error, message=message, headers={name.replace("_", "-"): v for name, v in headers.items()}
    )


def throttle(seconds: float) -> Fault:
    return status(429, "rate_limit_exceeded", retry_after=f"{seconds:g}")


def throttle_ms(milliseconds: int) -> Fault:
    return status(429, "rate_limit_exceeded", retry_after_ms=str(milliseconds), retry_after="60")


def throttle_until(seconds_from_now: float) -> Fault:
    """Ask to wait until an HTTP date, as told by the server's own clock."""
    now = int(time.time())
    return status(429, date=formatdate(now, usegmt=True), retry_after=formatdate(now + seconds_from_now, usegmt=True))


def hang(seconds: float = 30.0) -> Fault:
    return Fault(delay_s=seconds)


def drip(seconds: float = 0.05) -> Fault:
    return Fault(drip_s=seconds)


def says(text: str, finish_reason: str = "stop") -> Fault:
    return Fault(shape=lambda _answer: text, finish_reason=finish_reason)


def fenced() -> Fault:
    return Fault(shape=lambda answer: f"```json\n{answer}\n```")


def prose() -> Fault:
    return Fault(shape=lambda answer: f"Sure! Here is what you asked for:\n\n{answer}\n\nLet me know if it helps.")


def truncated(finish_reason: str = "length") -> Fault:
    return Fault(shape=lambda answer: answer[: max(1, len(answer) * 2 // 3)], finish_reason=finish_reason)


def html() -> Fault:
    return Fault(raw="<!DOCTYPE html><html><body>Gateway login</body></html>", content_type="text/html")


def empty() -> Fault:
    return Fault(shape=lambda _answer: "")


def refusal() -> Fault:
    return Fault(refusal="I cannot help with that.")


def content_filter() -> Fault:
    return Fault(shape=lambda _answer: "", finish_reason="content_filter")


@dataclass
class Recorded:
    """One request as it came in."""

    at: float
    path: str
    body: dict[str, Any]
    schema_kind: str
    """Type of the `response_format`, or an empty string."""
    status: int = 0

    @property
    def text(self) -> str:
        return "\n".join(str(message.get("content")) for message in self.body.get("messages", ()))


def schema_in(body: dict[str, Any]) -> dict[str, Any] | None:
    """Find the JSON schema of a request: in its response_format, else in its prompt."""
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        schema: dict[str, Any] = wanted["json_schema"]["schema"]
        return schema
    text = "\n".join(str(message.get("content")) for message in body.get("messages", ()))
    _, marker, after = text.rpartition("JSON schema:")
    if not marker or "{" not in after:
        return None
    found, _ = json.JSONDecoder().raw_decode(after[after.index("{") :])
    return found if isinstance(found, dict) else None


def instance_of(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """Build the plainest value that fits a schema."""
    root = root or schema
    if "$ref" in schema:
        return instance_of(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("anyOf"):
        return instance_of(schema["anyOf"][0], root)
    kind = schema.get("type")
    if kind == "object":
        return {name: instance_of(inner, root) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        return [instance_of(schema.get("items", {"type": "string"}), root)]
    return {"integer": 1, "number": 0.5, "boolean": True, "null": None}.get(str(kind), "plain text")


def default_responder(body: dict[str, Any]) -> str:
    """Answer with an instance of the schema that was asked for, or with a sentence."""
    schema = schema_in(body)
    return "All is well." if schema is None else json.dumps(instance_of(schema))


CATEGORY_WORDS = (
    ("billing", r"invoice|refund|charge|payment|subscription|billing"),
    ("bug", r"crash|error|\bdown\b|broken|fails?\b|outage|exception"),
    ("feature_request", r"would be|please add|feature|wish|support for"),
)
URGENCY_WORDS = (
    ("critical", r"outage|\bdown\b|breach|data loss|everybody|all users|production"),
    ("high", r"blocked|deadline|urgent|asap|cannot log in|refund"),
    ("low", r"would be nice|typo|thank|no rush|cosmetic"),
)
DRAFT = "Thank you for writing to us. We have passed your message to the right team and they will look into it."


def _first(words: tuple[tuple[str, str], ...], text: str, default: str) -> str:
    return next((name for name, pattern in words if re.search(pattern, text, re.IGNORECASE)), default)


def support_responder(body: dict[str, Any]) -> str:
    """Answer the questions of a support desk by keywords of the ticket."""
    schema = schema_in(body)
    if schema is None:
        return DRAFT
    spoken = [str(m.get("content")) for m in body.get("messages", ()) if m.get("role") == "user"]
    text = "\n".join(spoken)
    if ticket := re.search(r"<ticket>(.*)</ticket>", text, re.DOTALL):
        text = ticket[1]
    answer = instance_of(schema)
    known = {
        "category": _first(CATEGORY_WORDS, text, "general"),
        "urgency": _first(URGENCY_WORDS, text, "medium"),
        "draft": DRAFT,
    }
    return json.dumps(answer | {name: value for name, value in known.items() if name in answer})


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
        self.max_completion_tokens = True
        self.ignore_schema = False
        """Take any response_format and pay no attention to it."""
        self.latency_s = 0.0
        self.token_probability = 0.9
        self.in_flight = self.most_in_flight = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def calls(self) -> int:
        """Chat requests so far."""
        return sum(request.path.endswith("/chat/completions") for request in self.requests)

    def script(self, *faults: Fault | None) -> None:
        """Misbehave in this order, one request each; None behaves."""
        self.faults.extend(faults)

    def always(self, fault: Fault) -> None:
        self.chaos = lambda _body: fault

    def start(self) -> OpenAIEndpoint:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.002)
        return self

    def stop(self) -> None:
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
        record = Recorded(time.monotonic(), request.url.path, body, kind)
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
        if fault.status != 200:
            kind = "server_error" if fault.status >= 500 else "invalid_request_error"
            error = {"message": fault.message, "code": fault.code or None, "type": kind, "param": fault.param}
            return JSONResponse({"error": error}, fault.status, headers=fault.headers)
        if fault.raw is not None:
            return Response(fault.raw, media_type=fault.content_type)
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
        for name in ("temperature", "logprobs", "max_completion_tokens"):
            if name in body and not getattr(self, name):
                return _unsupported(name, f"Unsupported parameter: '{name}' is not supported with this model.")
        return None

    def _text(self, body: dict[str, Any], fault: Fault) -> str:
        seen = {k: v for k, v in body.items() if k != "response_format"} if self.ignore_schema else body
        text = self.responder(seen)
        return fault.shape(text) if fault.shape else text

    def _usage(self, body: dict[str, Any], text: str, fault: Fault) -> dict[str, Any] | None:
        if fault.usage != "exact":
            return fault.usage if isinstance(fault.usage, dict) else None
        tokens_in = sum(len(str(message.get("content"))) for message in body["messages"]) // 4 + 3
        tokens_out = max(1, len(text) // 4)
        return {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}

    def _completion(self, body: dict[str, Any], fault: Fault) -> dict[str, Any]:
        text = self._text(body, fault)
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": None if fault.refusal else text, "refusal": fault.refusal},
            "finish_reason": fault.finish_reason,
        }
        if body.get("logprobs"):
            import math

            content = [
                {"token": token, "logprob": math.log(self.token_probability) if token.isalnum() else 0.0, "bytes": None}
                for token in re.findall(r"\w+|\W", text)
            ]
            choice["logprobs"] = {"content": content, "refusal": None}
        completion = {
            "id": "chatcmpl-loopback",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body["model"],
            "choices": [choice],
        }
        usage = self._usage(body, text, fault)
        return completion if usage is None else completion | {"usage": usage}

    async def _stream(self, body: dict[str, Any], fault: Fault) -> AsyncIterator[str]:
        text = self._text(body, fault)
        common = {
            "id": "chatcmpl-loopback",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": body["model"],
        }
        for piece in re.findall(r".{1,12}", text, re.DOTALL):
            choice = {"index": 0, "delta": {"role": "assistant", "content": piece}, "finish_reason": None}
            yield f"data: {json.dumps(common | {'choices': [choice]})}\n\n"
            await asyncio.sleep(fault.drip_s)
        last = {"index": 0, "delta": {}, "finish_reason": fault.finish_reason}
        yield f"data: {json.dumps(common | {'choices': [last]})}\n\n"
        if (body.get("stream_options") or {}).get("include_usage"):
            yield f"data: {json.dumps(common | {'choices': [], 'usage': self._usage(body, text, fault)})}\n\n"
        yield "data: [DONE]\n\n"


def _unsupported(param: str, message: str) -> Fault:
    return replace(status(400, "unsupported_parameter", message), param=param)


async def _dripping(payload: str, pause: float) -> AsyncIterator[bytes]:
    for byte in payload.encode():
        yield bytes([byte])
        await asyncio.sleep(pause)


def random_faults(rate: float, seed: int) -> Callable[[dict[str, Any]], Fault | None]:
    """Return a source of mixed faults at a rate, the same ones for the same seed."""
    dice = random.Random(seed)
    broken = [status(500), status(503), throttle(0.05), truncated(), truncated("stop"), html(), empty()]
    menu = [*broken, fenced(), prose()]
    return lambda _body: dice.choice(menu) if dice.random() < rate else None


@pytest.fixture(scope="session")
def _running_endpoint() -> Iterator[OpenAIEndpoint]:
    server = OpenAIEndpoint().start()
    yield server
    server.stop()


@pytest.fixture
def openai_endpoint(_running_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIEndpoint]:
    """Yield the endpoint, with the environment pointing at it and everything learned of endpoints forgotten."""
    from nodes.call import reset_call_settings, reset_contacts, set_guard

    _running_endpoint.reset()
    monkeypatch.setenv("OPENAI_BASE_URL", _running_endpoint.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("SUREFOOT_MODEL", MODEL)
    monkeypatch.setenv("SUREFOOT_PRICES", json.dumps(PRICES))
    for name in ("SUREFOOT_PROVIDER", "SUREFOOT_MAX_COST_USD"):
        monkeypatch.delenv(name, raising=False)
    reset_call_settings()
    reset_contacts()
    set_guard(None)
    yield _running_endpoint
    _running_endpoint.reset()
    set_guard(None)
    reset_contacts()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--fault-rate", type=float, default=0.0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--no-json-schema", action="store_true")
    parser.add_argument("--responder", choices=("support", "default"), default="support")
    options = parser.parse_args()
    server = OpenAIEndpoint(options.port)
    server.latency_s = options.latency
    server.json_schema = not options.no_json_schema
    server.responder = support_responder if options.responder == "support" else default_responder
    if options.fault_rate:
        server.chaos = random_faults(options.fault_rate, options.seed)
    server.start()
    print(server.url, flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.stop()


if __name__ == "__main__":
    main()
