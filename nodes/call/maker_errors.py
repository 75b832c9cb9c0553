"""What makers of models and servers call what goes wrong: error codes, statuses, quotas, and their wordings.

Data only, each with the maker and the page or source that it was taken from; `nodes.call.reports` reads it. Names are
in lower case. A maker's new code is added here and nowhere else.
"""

from __future__ import annotations

import re
from typing import Final, Literal

STATUS_OF: Final[dict[str, int]] = {
    # Anthropic, docs.anthropic.com/en/api/errors; its streams carry errors after status 200 without a number
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    # OpenAI, platform.openai.com/docs/guides/error-codes
    "server_error": 500,
    "internal_error": 500,
    "engine_overloaded": 503,
    "rate_limit_exceeded": 429,
    "too_many_requests": 429,
    "slow_down": 503,
    # Google, cloud.google.com/apis/design/errors , google.rpc.Code
    "invalid_argument": 400,
    "failed_precondition": 400,
    "out_of_range": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "resource_exhausted": 429,
    "cancelled": 499,
    "internal": 500,
    "unknown": 500,
    "unavailable": 503,
    "deadline_exceeded": 504,
    # Bedrock, docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors
    "validationexception": 400,
    "accessdeniedexception": 403,
    "resourcenotfoundexception": 404,
    "modeltimeoutexception": 408,
    "modelerrorexception": 424,
    "modelstreamerrorexception": 424,
    "throttlingexception": 429,
    "modelnotreadyexception": 429,
    "servicequotaexceededexception": 429,
    "internalserverexception": 500,
    "serviceunavailableexception": 503,
    # vLLM and SGLang: vllm/entrypoints/openai/protocol.py, ErrorResponse.type
    "badrequesterror": 400,
    "notfounderror": 404,
    "internalservererror": 500,
    # TGI, huggingface/text-generation-inference, router/src/server.rs, `error_type`
    "validation": 422,
    "overloaded": 429,
    "generation": 424,
    "incomplete_generation": 500,
    # Azure, learn.microsoft.com/azure/ai-services/openai/how-to/quota, Mistral, and Groq, console.groq.com/docs/errors
    "ratelimitreached": 429,
    "service_tier_capacity_exceeded": 429,
    "capacity_exceeded": 498,
}
"""The HTTP status that a named error stands for, where it comes without one."""

Fault = Literal["key", "money", "region", "model", "filter", "context", "generation", "throttle", "parameter"]
"""What a named error is about, where its status alone says too little."""

FAULTS: Final[dict[str, Fault]] = {
    # OpenAI, platform.openai.com/docs/guides/error-codes
    "invalid_api_key": "key",
    "account_deactivated": "key",
    "invalid_authentication": "key",
    "missing_api_key": "key",
    "insufficient_quota": "money",
    "billing_not_active": "money",
    "billing_hard_limit_reached": "money",
    "billing_error": "money",
    "insufficient_balance": "money",
    "insufficient_credits": "money",
    "unsupported_country": "region",
    "unsupported_country_region_territory": "region",
    "ip_not_authorized": "region",
    "model_not_found": "model",
    "content_policy_violation": "filter",
    "moderation_blocked": "filter",
    "invalid_prompt": "filter",
    "context_length_exceeded": "context",
    "rate_limit_exceeded": "throttle",
    "unsupported_parameter": "parameter",
    "unknown_parameter": "parameter",
    "unsupported_value": "parameter",
    # Azure, learn.microsoft.com/azure/ai-services/openai/concepts/content-filter
    "content_filter": "filter",
    "responsibleaipolicyviolation": "filter",
    "ratelimitreached": "throttle",
    "deploymentnotfound": "model",
    # Google, cloud.google.com/docs/error-info, ErrorInfo.reason
    "api_key_invalid": "key",
    "api_key_expired": "key",
    "billing_disabled": "money",
    "resource_exhausted": "throttle",
    "prohibited_content": "filter",
    # Groq, console.groq.com/docs/errors, /docs/tool-use, /docs/structured-outputs
    "tool_use_failed": "generation",
    "json_validate_failed": "generation",
    "output_parse_failed": "generation",
    "model_decommissioned": "model",
    "model_terms_required": "model",
    # llama.cpp: tools/server/server.cpp, format_error_response
    "exceed_context_size_error": "context",
    # LiteLLM proxy, docs.litellm.ai/docs/exception_mapping
    "contextwindowexceedederror": "context",
    "contentpolicyviolationerror": "filter",
    "budget_exceeded": "money",
    # Anthropic and gateways
    "model_context_window_exceeded": "context",
    "context_window_exceeded": "context",
    "max_context_length_exceeded": "context",
    # Alibaba Model Studio, alibabacloud.com/help/en/model-studio/error-code
    "arrearage": "money",
    "data_inspection_failed": "filter",
    "datainspectionfailed": "filter",
    "throttling": "throttle",
    "throttling.ratequota": "throttle",
    "throttling.allocationquota": "throttle",
    "limit_requests": "throttle",
    # Zhipu GLM, docs.bigmodel.cn/cn/faq/api-code, numbers as texts
    "1113": "money",
    "1261": "context",
    "1301": "filter",
    "1302": "throttle",
    "1305": "throttle",
    # Bedrock
    "throttlingexception": "throttle",
}
"""Codes whose meaning does not depend on the status they came with."""

WORDS: Final[tuple[tuple[Fault, str, str], ...]] = (
    ("context", "OpenAI, vLLM, xAI, Mistral", r"maximum (?:context|prompt|input|model) (?:length|limit|window)"),
    (
        "context",
        "OpenAI, llama.cpp, SGLang, LM Studio, Ollama",
        (
            r"(?:exceed\w*|(?:larger|longer|greater) than) (?:the |this |its )?(?:[\w']+ ){0,2}?"
            r"(?:context|prompt)[ _-](?:length|size|window|limit)"
        ),
    ),
    ("context", "vLLM, MiniMax, Ollama", r"context[ _](?:length|window|size)(?: is only| has been|) (?:\d|exceed)"),
    ("context", "Anthropic, Zhipu, Bedrock", r"prompt (?:is )?too long|prompt exceeds max|input is too long for"),
    ("context", "Gemini, Databricks", r"exceeds? (?:the )?max\w* (?:number of |allowed )?(?:input )?tokens?\b"),
    ("context", "Groq, Cerebras", r"reduce the length of (?:the|your) (?:messages|prompt|input)"),
    ("context", "OpenAI, Groq: more than the limit of a whole minute", r"request too large for"),
    ("context", "TGI, Together", r"inputs?`? tokens \+ `?max_new_tokens|`inputs` must have less than"),
    ("context", "Cohere, Bedrock", r"too many tokens:|too many input tokens"),
    ("context", "Anthropic", r"input length and `?max_tokens`? exceed"),
    ("context", "Cerebras, OpenAI", r"current length is \d+ while limit is|input tokens exceed the configured limit"),
    ("context", "Moonshot, watsonx", r"exceeded model token limit|number of input tokens \d+ cannot exceed"),
    ("context", "Copilot, Alibaba", r"prompt token count of \d+ exceeds|range of input length should be"),
    ("context", "LiteLLM, gateways", r"contextwindowexceedederror|context_length_exceeded"),
    ("money", "OpenAI, Gemini", r"exceeded your current quota|credits? (?:are|is) depleted"),
    ("money", "Anthropic", r"credit balance is too low|reached your specified (?:api )?usage limits"),
    ("money", "DeepSeek, OpenRouter, xAI", r"insufficient (?:credit|balance|fund)|used all available credits"),
    ("money", "Gemini: what the free tier does not serve at all", r"\blimit: 0\b"),
    (
        "key",
        "Gemini, Anthropic, xAI",
        r"(?:incorrect|invalid|missing) (?:x-)?api[ -]key|api[ -]key (?:is )?(?:not valid|invalid|expired)",
    ),
    ("filter", "Azure", r"content management policy"),
    ("filter", "OpenAI", r"violat\w+ (?:our )?usage polic|rejected as a result of (?:our|the) safety system"),
    ("filter", "DeepSeek", r"content exists risk"),
    ("model", "OpenRouter", r"is not a valid model id|no endpoints found"),
    ("model", "Ollama, vLLM", r"model [^ ]{1,80} (?:does not exist|not found)"),
    ("generation", "llama.cpp", r"failed to parse (?:tool call|input at pos)"),
    ("generation", "Ollama, OpenAI", r"error parsing tool call|model produced invalid content"),
    ("throttle", "everybody", r"rate[ _-]?limit|too many requests|(?:tokens|requests) per (?:min|day|hour)"),
)
"""Fault, makers and wording in lower case, for what no code of the same error tells: the last evidence, of which the
first match counts. From docs.litellm.ai/docs/exception_mapping, the issue trackers of vLLM (#42474, #20409), llama.cpp,
Ollama and LM Studio, and the error pages named above."""

QUOTA_OF_TIME: Final = re.compile(
    r"per[ _-]?(?:second|minute|min|hour|day|request)\b|perminute|perday|persecond|\b[rt]p[mds]\b|(?:retry|again) in \d"
)
"""What makes an exhausted quota one that comes back: Gemini's `quotaId`, OpenAI's and Groq's `(TPM)`."""
