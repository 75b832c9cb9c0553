"""Errors as makers of models and servers write them: what each is, how long it asks to wait, one request each."""
# ruff: noqa: E501 - bodies and headers as they come

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

from nodes import guard
from nodes.call import Call, EndpointRefusal, reset_contacts, set_guard
from nodes.call.maker_errors import FAULTS, STATUS_OF
from nodes.call.reports import read_report
from nodes.call.waits import exhausted_until, retry_after, wait_in_words
from nodes.errors import (
    CallError,
    ConfigurationError,
    ContextTooLong,
    InvalidOutput,
    Permanent,
    Refused,
    Throttled,
    Transient,
)
from surefoot.testing import KEY, MODEL, Fault, OpenAIEndpoint, body, chunk, stream_of


class Title(BaseModel):
    title: str


def model_of(endpoint: OpenAIEndpoint, **options: Any) -> ChatOpenAI:
    return guard(ChatOpenAI(model=MODEL, base_url=endpoint.url, api_key=SecretStr(KEY), **options), price="free")


async def failing(schema: type[BaseModel] | None = Title) -> CallError | ConfigurationError:
    with pytest.raises((CallError, ConfigurationError)) as caught:
        await Call(step="t", timeout_s=10.0).model("A title, please", schema)  # type: ignore[arg-type] # either
    return caught.value


def openai(message: str, code: Any = None, kind: str = "invalid_request_error", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


# a context that is too long


TOO_LONG: dict[str, tuple[int, Any]] = {
    "OpenAI": (400, openai("This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens. Please reduce the length of the messages.", "context_length_exceeded", param="messages")),
    "OpenAI, newer": (400, openai("Your input exceeds the context window of this model. Please adjust your input and try again.")),
    "OpenAI, configured": (400, openai("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens.")),
    "Azure": (400, {"error": {"code": "context_length_exceeded", "message": "too long for temperature and response_format", "status": 400}}),
    "vLLM, the answer": (400, openai("'max_tokens' or 'max_completion_tokens' is too large: 512. This model's maximum context length is 4096 tokens and your request has 3900 input tokens.", 400, "BadRequestError")),
    "vLLM, the messages": (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4488 in the messages, 512 in the completion).", "type": "BadRequestError", "param": None, "code": 400}),
    "vLLM, the prompt": (400, openai("The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that `max_model_len` is no smaller than the number of text tokens.", 400, "BadRequestError")),
    "vLLM, newest": (400, openai("You passed 5001 input tokens and requested 512 output tokens. However, the model's context length is only 4096 tokens", 400, "BadRequestError")),
    "llama.cpp": (400, {"error": {"code": 400, "message": "the request exceeds the available context size. try increasing the context size or enable context shift", "type": "exceed_context_size_error", "n_prompt_tokens": 5000, "n_ctx": 4096}}),
    "Ollama": (500, openai("the input length exceeds the context length", None, "api_error")),
    "LM Studio": (400, {"error": "The number of tokens to keep from the initial prompt is greater than the context length."}),
    "SGLang": (400, {"object": "error", "message": "The input (5000 tokens) is longer than the model's context length (4096 tokens).", "type": "BadRequestError", "code": 400}),
    "TGI": (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 4000 `inputs` tokens and 512 `max_new_tokens`", "error_type": "validation"}),
    "Anthropic": (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 213462 tokens > 200000 maximum"}}),
    "Anthropic, the answer": (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000, decrease input length or `max_tokens`"}}),
    "Gemini": (400, [{"error": {"code": 400, "message": "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).", "status": "INVALID_ARGUMENT"}}]),
    "Mistral": (400, {"object": "error", "message": "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length", "type": "invalid_request_error", "param": None, "code": "3051"}),
    "Groq": (400, openai("Please reduce the length of the messages or completion.", "context_length_exceeded", param="messages")),
    "Groq, a minute": (413, openai("Request too large for model `llama-3` in organization `org` on tokens per minute (TPM): Limit 6000, Requested 9000, please reduce your message size and try again.", "rate_limit_exceeded", "tokens")),
    "OpenAI, a minute": (429, openai("Request too large for gpt-4o in organization org on tokens per min (TPM): Limit 30000, Requested 40000. The input or output tokens must be reduced in order to run successfully.", "rate_limit_exceeded", "tokens")),
    "xAI": (400, {"code": "Client specified an invalid argument", "error": "This model's maximum prompt length is 131072 but the request contains 537812 tokens."}),
    "Cohere": (400, {"message": "too many tokens: size limit exceeded by 2000 tokens. Try using shorter or fewer inputs."}),
    "Cerebras": (400, {"message": "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}),
    "Bedrock": (400, {"__type": "com.amazon.coral.validate#ValidationException", "message": "Input is too long for requested model."}),
    "OpenRouter": (400, {"error": {"message": "This endpoint's maximum context length is 8192 tokens. However, you requested about 9000 tokens (8488 of text input, 512 in the output).", "code": 400}}),
    "OpenRouter, of its provider": (400, {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": json.dumps(openai("prompt is too long: 9 tokens > 8 maximum")), "provider_name": "P"}}}),
    "LiteLLM": (400, openai("litellm.ContextWindowExceededError: litellm.BadRequestError: ...", "400", "None")),
    "watsonx": (400, {"errors": [{"code": "invalid_input_argument", "message": "Invalid input argument for Model: the number of input tokens 5000 cannot exceed the total tokens limit 4096 for this model"}], "status_code": 400}),
    "Moonshot": (400, openai("Invalid request: Your request exceeded model token limit: 8192 (requested: 9000)")),
    "Zhipu": (400, {"error": {"code": "1261", "message": "Prompt exceeds max length"}}),
    "Alibaba": (400, openai("Range of input length should be [1, 30720]", "invalid_parameter_error")),
}  # fmt: skip


@pytest.mark.parametrize("maker", TOO_LONG)
async def test_a_context_that_is_too_long_is_one_error_after_one_request(
    openai_endpoint: OpenAIEndpoint, maker: str
) -> None:
    status, said = TOO_LONG[maker]
    openai_endpoint.always(body(said, status))
    for ask in (lambda: failing(Title), lambda: failing(None)):
        before = openai_endpoint.calls
        error = await ask()
        assert type(error) is ContextTooLong
        assert "too long for the model" in str(error)
        assert openai_endpoint.calls == before + 1
    with pytest.raises(ContextTooLong):
        model_of(openai_endpoint).invoke("hi")
    openai_endpoint.always(stream_of(chunk({"role": "assistant", "content": ""}), _in_stream(said)))
    with pytest.raises(ContextTooLong):
        list(model_of(openai_endpoint).stream("hi"))


def _in_stream(said: Any) -> Any:
    return said[0] if isinstance(said, list) else said


@pytest.mark.parametrize(
    ("message", "param", "schema_sent"),
    [
        ("max_tokens must be at most 4096, got 8000", "max_tokens", ""),
        ("max_completion_tokens is too large: 8000. It must be between 1 and 4096", "max_completion_tokens", ""),
        ("`max_new_tokens` must be strictly positive", None, ""),
    ],
)
async def test_a_limit_that_is_too_high_is_not_asked_for_under_another_name(
    openai_endpoint: OpenAIEndpoint, message: str, param: str | None, schema_sent: str
) -> None:
    openai_endpoint.always(body(openai(message, "invalid_value", param=param), 400))
    assert type(await failing(None)) is Permanent
    assert openai_endpoint.calls == 1


async def test_an_endpoint_that_knows_neither_name_of_the_limit_is_asked_twice(openai_endpoint: OpenAIEndpoint) -> None:
    both = "Unsupported parameter: 'max_tokens' and 'max_completion_tokens' are not supported"
    openai_endpoint.always(body(openai(both, "unsupported_parameter"), 400))
    assert type(await failing(None)) is Permanent
    assert openai_endpoint.calls == 2


# quotas


def gemini(metric: str, delay: str | None = "2s", text: str = "Please retry in 2.5s.") -> dict[str, Any]:
    said = "You exceeded your current quota, please check your plan and billing details. "
    details = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": metric}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay},
    ]
    return {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": said + text, "details": details}}


THROTTLED: list[tuple[int, Any, dict[str, str], float | None]] = [
    (429, gemini("GenerateRequestsPerMinutePerProjectPerModel-FreeTier"), {}, 2.5),
    (429, [gemini("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")], {}, 2.5),
    (429, gemini("GenerateRequestsPerDayPerProjectPerModel-FreeTier", None, ""), {}, None),
    (429, gemini("GenerateRequestsPerMinutePerProjectPerModel", "38s", ""), {}, 38.0),
    (429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Resource has been exhausted (e.g. check quota)."}}, {}, None),
    (429, openai("Rate limit reached for gpt-4o in organization org on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.", "rate_limit_exceeded", "requests"), {}, 20.0),
    (429, openai("Rate limit reached for model `l` on tokens per day (TPD): Limit 100000, Used 99000, Requested 2000. Please try again in 14m24.5s.", "rate_limit_exceeded", "tokens"), {}, 864.5),
    (429, {"type": "error", "error": {"type": "rate_limit_error", "message": "Number of request tokens has exceeded your per-minute rate limit"}}, {"retry_after": "7s"}, 7.0),
    (429, {"error": {"code": "429", "message": "Requests to the ChatCompletions_Create Operation have exceeded call rate limit. Please retry after 26 seconds."}}, {}, 26.0),
    (429, {"message": "Service tier capacity exceeded for this model.", "type": "service_tier_capacity_exceeded", "code": "3505"}, {}, None),
    (429, {"error": "Model is overloaded", "error_type": "overloaded"}, {}, None),
    (429, {"__type": "ThrottlingException", "message": "Too many tokens, please wait before trying again."}, {}, None),
    (429, openai("You exceeded your current requests list.", "limit_requests"), {}, None),
    (402, {"error": {"code": 402, "message": "in flight", "metadata": {"limit_source": "openrouter_in_flight_budget"}}}, {"retry_after": "3"}, 3.0),
    (400, {"error": {"message": "upstream", "code": 429}}, {}, None),
    (500, openai("litellm.RateLimitError: rate limit", "rate_limit_exceeded"), {}, None),
]  # fmt: skip


@pytest.mark.parametrize(("status", "said", "headers", "wait"), THROTTLED)
async def test_a_quota_of_a_time_is_throttling(
    openai_endpoint: OpenAIEndpoint, status: int, said: Any, headers: dict[str, str], wait: float | None
) -> None:
    openai_endpoint.always(body(said, status, **headers))
    error = await failing()
    assert type(error) is Throttled
    assert error.retry_after == wait
    assert openai_endpoint.calls == 1


EXHAUSTED: list[tuple[int, Any]] = [
    (429, openai("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota", "insufficient_quota")),
    (429, openai("You exceeded your current quota, please check your plan and billing details.")),
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."}}),
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "You have reached your specified API usage limits. You will regain access on 2026-12-01."}}),
    (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error", "param": None, "code": "invalid_request_error"}}),
    (402, {"error": {"message": "This request requires more credits, or fewer max_tokens. You requested up to 512 tokens, but can only afford 300.", "code": 402}}),
    (429, gemini("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "38s", "Quota exceeded for metric: free_tier_requests, limit: 0, model: gemini-pro. Please retry in 38s.")),
    (429, {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Your prepayment credits are depleted."}}),
    (200, {"error": {"message": "Insufficient credits", "code": 402}}),
    (400, {"code": "Arrearage", "message": "Access denied, please make sure your account is in good standing."}),
]  # fmt: skip


@pytest.mark.parametrize(("status", "said"), EXHAUSTED)
async def test_an_exhausted_account_stops(openai_endpoint: OpenAIEndpoint, status: int, said: Any) -> None:
    openai_endpoint.always(body(said, status))
    for _ in range(2):
        error = await failing()
        assert isinstance(error, ConfigurationError)
        assert "no quota left" in str(error)
    assert openai_endpoint.calls == 1


# waits


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7s"}, 7.0), ({"retry-after": "1m30s"}, 90.0), ({"retry-after": "250ms"}, 0.25),
        ({"retry-after": "7 seconds"}, 7.0), ({"retry-after": "2026-11-28T10:00:30Z", "date": formatdate(1795860000, usegmt=True)}, 30.0),
        ({"retry-after": "7 apples"}, None), ({"retry-after-ms": "1500", "retry-after": "9s"}, 1.5),
    ],
)  # fmt: skip
def test_a_retry_after_in_the_forms_of_gateways(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


NOW = 1_795_860_000
DATE = {"date": formatdate(NOW, usegmt=True)}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "20ms"}, 0.02),
        # The tokens are used up, the requests are not: they are reset in a day and do not matter.
        (
            {
                "x-ratelimit-remaining-requests": "99", "x-ratelimit-reset-requests": "24h0m0s",
                "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1.57s",
            },
            1.57,
        ),
        ({"x-ratelimit-remaining-requests": "99", "x-ratelimit-reset-requests": "1s"}, None),
        ({"x-ratelimit-reset-requests": "1s"}, None),
        ({"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": datetime.fromtimestamp(NOW + 12, UTC).isoformat(), **DATE}, 12.0),
        ({"anthropic-ratelimit-input-tokens-remaining": "0", "anthropic-ratelimit-input-tokens-reset": "2026-11-28T10:00:30Z", **DATE}, 30.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str((NOW + 45) * 1000), **DATE}, 45.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW + 45), **DATE}, 45.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "8"}, 8.0),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "8"}, 8.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW - 45), **DATE}, 0.0),
        ({"x-ratelimit-remaining": "none", "x-ratelimit-reset": "8"}, None),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "soon"}, None),
    ],
)  # fmt: skip
def test_only_a_limit_that_is_exhausted_says_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    assert exhausted_until(headers) == seconds


async def test_limits_are_read_off_the_headers_of_a_429(openai_endpoint: OpenAIEndpoint) -> None:
    limits = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "6m0s"}
    openai_endpoint.script(body(openai("slow down", "rate_limit_exceeded"), 429, **limits))
    error = await failing()
    assert isinstance(error, Throttled)
    assert error.retry_after == 360


async def test_limits_are_read_off_the_body_of_openrouter(openai_endpoint: OpenAIEndpoint) -> None:
    reset = str(int((time.time() + 3600) * 1000))
    metadata = {"headers": {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}}
    said = {
        "error": {
            "message": "Rate limit exceeded: free-models-per-day. Add 10 credits",
            "code": 429,
            "metadata": metadata,
        }
    }
    openai_endpoint.script(body(said, 429))
    error = await failing()
    assert isinstance(error, Throttled)
    assert error.retry_after == pytest.approx(3600, abs=60)


@given(st.text(max_size=60))
def test_no_words_break_the_reading_of_a_wait(text: str) -> None:
    for said in (text, f"try again in {text}", f"retry in 5{text}"):
        wait = wait_in_words(said)
        assert wait is None or 0 <= wait <= 86_400


# errors in answers with status 200, and in streams


INSIDE: list[tuple[Any, type[Exception]]] = [
    ({"error": {"message": "Provider disconnected", "code": 502}}, Transient),
    ({"error": {"message": "Rate limit exceeded", "code": 429}}, Throttled),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Transient),
    ({"type": "error", "error": {"type": "rate_limit_error", "message": "x"}}, Throttled),
    ({"error": {"message": "something broke"}}, Transient),
    ({"error": "something broke"}, Transient),
    ({"error": {"message": "x", "type": "server_error", "code": None}}, Transient),
    ({"error": {"message": "x", "type": "invalid_request_error"}}, Permanent),
    ({"error": {"message": "x", "code": 400}}, Permanent),
    ({"error": {"message": "x", "code": "invalid_api_key"}}, EndpointRefusal),
    ({"error": {"message": "x", "code": 401}}, EndpointRefusal),
    ({"error": {"message": "x", "code": "content_filter"}}, Refused),
    ({"error": {"message": "x", "status": "UNAVAILABLE"}}, Transient),
    ({"error": {"message": "x", "status": "RESOURCE_EXHAUSTED"}}, Throttled),
    ({"object": "error", "message": "x", "type": "BadRequestError", "code": 400}, Permanent),
    ({"object": "error", "message": "EngineCore died", "type": "InternalServerError", "code": 500}, Transient),
    ({"detail": "Not ready"}, Transient),
    ({"type": "error", "message": "x"}, Transient),
    ({"message": "Too many requests"}, Throttled),
    ({"error": {"message": "x", "code": "tool_use_failed", "failed_generation": "prompt is too long"}}, InvalidOutput),
]


@pytest.mark.parametrize(("said", "kind"), INSIDE)
async def test_an_error_inside_of_a_200_is_what_it_says(
    openai_endpoint: OpenAIEndpoint, said: dict[str, Any], kind: type[Exception]
) -> None:
    openai_endpoint.always(body(said))
    assert type(await failing()) is kind
    for ask in (
        lambda: model_of(openai_endpoint).ainvoke("hi"),
        lambda: model_of(openai_endpoint).with_structured_output(Title).ainvoke("hi"),
    ):
        set_guard(None)
        with pytest.raises(kind):
            await ask()
    for before in ([], [chunk({"role": "assistant", "content": "Hel"})]):
        openai_endpoint.always(stream_of(*before, said))
        set_guard(None)
        with pytest.raises(kind):
            list(model_of(openai_endpoint).stream("hi"))


async def test_an_error_of_a_choice_is_what_it_says(openai_endpoint: OpenAIEndpoint) -> None:
    broken = {"code": 502, "message": "Provider disconnected"}
    last = chunk({"content": ""}, "error")
    last["choices"][0]["error"] = broken
    openai_endpoint.always(stream_of(chunk({"content": "Hel"}), last))
    with pytest.raises(Transient, match="reported 502"):
        list(model_of(openai_endpoint).stream("hi"))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(raw="<html><body>Gateway</body></html>", content_type="text/html"),
        Fault(raw="<html><body>Gateway</body></html>"),
        Fault(raw="half a bo"),
        body({"choices": []}),
        body({"choices": None}),
        body({"choices": [{"index": 0, "finish_reason": "stop", "message": None}]}),
        body({}),
        body([]),
        body("null"),
    ],
)
async def test_what_is_no_completion_is_transient(openai_endpoint: OpenAIEndpoint, fault: Fault) -> None:
    openai_endpoint.always(fault)
    assert isinstance(await failing(), Transient)
    for ask in (
        lambda: model_of(openai_endpoint).ainvoke("hi"),
        lambda: model_of(openai_endpoint).with_structured_output(Title).ainvoke("hi"),
    ):
        with pytest.raises(Transient) as told:
            await ask()
        assert "Gateway" not in str(told.value)


def test_a_refusal_inside_of_a_200_costs_nothing_and_a_broken_stream_may(openai_endpoint: OpenAIEndpoint) -> None:
    from nodes.call import spending_cap

    model = guard(ChatOpenAI(model=MODEL, base_url=openai_endpoint.url, api_key=SecretStr(KEY)))
    with spending_cap(1_000_000) as budget:
        openai_endpoint.script(body({"error": {"message": "x", "code": 429}}))
        with pytest.raises(Throttled):
            model.invoke("hi")
        assert budget.spent_microusd == 0
        openai_endpoint.script(stream_of(chunk({"content": "Hel"}), {"error": {"message": "x", "code": 429}}))
        with pytest.raises(Throttled):
            list(model.stream("hi"))
        assert budget.spent_microusd > 3_000


# other errors of makers


MAKERS: list[tuple[int, Any, type[Exception]]] = [
    # A generation that the server itself found to be invalid.
    (400, openai("Failed to call a function. Please adjust your prompt. See 'failed_generation' for more details.", "tool_use_failed", failed_generation="<function=x>"), InvalidOutput),
    (400, openai("Failed to generate JSON. Please adjust your prompt.", "json_validate_failed", failed_generation="{"), InvalidOutput),
    (400, openai("tool call validation failed: parameters for tool f did not match schema", "tool_use_failed", param=""), InvalidOutput),
    (400, openai("Parsing failed. The model generated output that could not be parsed.", "output_parse_failed"), InvalidOutput),
    (500, openai("Failed to parse tool call arguments as JSON: [json.exception.parse_error.101]", 500, "server_error"), InvalidOutput),
    (500, openai("error parsing tool call: raw='{', err=unexpected end", None, "api_error"), InvalidOutput),
    (500, openai("The model produced invalid content. Consider modifying your prompt if you are seeing this error persistently.", None, "server_error"), InvalidOutput),
    # Filters.
    (400, {"error": {"code": "content_filter", "message": "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.", "innererror": {"code": "ResponsibleAIPolicyViolation", "content_filter_result": {"hate": {"filtered": True}}}}}, Refused),
    (400, {"error": {"message": "Content Exists Risk", "type": "invalid_request_error", "code": "invalid_request_error"}}, Refused),
    (403, {"error": {"code": 403, "message": "Your input was flagged", "metadata": {"reasons": ["violence"], "flagged_input": "x", "provider_name": "P"}}}, Refused),
    (400, {"error": {"code": "1301", "message": "unsafe"}}, Refused),
    # Keys and models.
    (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}], EndpointRefusal),
    (401, {"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}}, EndpointRefusal),
    (404, {"error": {"message": 'model "llama" not found, try pulling it first', "type": "api_error"}}, EndpointRefusal),
    (400, {"error": {"message": "llama is not a valid model ID", "code": 400}}, EndpointRefusal),
    (400, openai("The model `mixtral` has been decommissioned.", "model_decommissioned"), EndpointRefusal),
    # Faults that pass.
    (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, Transient),
    (424, {"__type": "ModelErrorException", "message": "x"}, Transient),
    (498, openai("Flex tier capacity exceeded", "capacity_exceeded"), Transient),
    (503, [{"error": {"code": 503, "message": "The model is overloaded. Please try again later.", "status": "UNAVAILABLE"}}], Transient),
    (500, "<html>Internal Server Error</html>", Transient),
    # Faults that do not.
    (400, openai("Invalid value for 'messages': expected an array", "invalid_type", param="messages"), Permanent),
    (413, "<html>Request Entity Too Large</html>", Permanent),
    (403, {"error": {"code": 403, "message": "Forbidden", "status": "PERMISSION_DENIED"}}, Permanent),
]  # fmt: skip


@pytest.mark.parametrize(("status", "said", "kind"), MAKERS)
async def test_each_makers_error_has_its_name(
    openai_endpoint: OpenAIEndpoint, status: int, said: Any, kind: type[Exception]
) -> None:
    openai_endpoint.always(body(said, status))
    error = await failing()
    assert type(error) is kind
    assert openai_endpoint.calls == 1
    for quoted in ("failed_generation", "raw=", "Overloaded", "flagged"):
        assert quoted not in str(error)
    set_guard(None)
    reset_contacts()
    with pytest.raises(kind):
        model_of(openai_endpoint).invoke("hi")


async def test_a_generation_that_was_rejected_may_have_been_billed(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.script(body(openai("Failed to generate JSON.", "json_validate_failed"), 400))
    call = Call(step="t", timeout_s=10.0)
    with pytest.raises(InvalidOutput):
        await call.model("A title, please", Title)
    assert call.usage.unmetered
    assert call.usage.cost_microusd > 500


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["error", "code", "type", "message", "detail", "details", "status", "retryDelay", "metadata", "headers", "loc", "violations"]), inner, max_size=4), max_leaves=12))  # fmt: skip
def test_no_body_breaks_the_reading(body_of_error: Any) -> None:
    report = read_report(body_of_error, None)
    assert report.status is None or 400 <= report.status <= 599
    assert report.wait is None or 0 <= report.wait <= 86_400
    assert report.fault is None or report.fault in set(FAULTS.values())


def test_the_tables_are_in_lower_case() -> None:
    for table in (FAULTS, STATUS_OF):
        assert all(name == name.lower() for name in table)
