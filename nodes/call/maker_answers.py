"""What makers of models and servers put into answers: finish reasons, marks of reasoning, tool calls as text.

Data only, each with the maker and the page or source that it was taken from; `nodes.call.endings` and
`nodes.call.reasoning` read it. Finish reasons are in lower case. A maker's new word is added here and nowhere else.
"""

from __future__ import annotations

import re
from typing import Final, Literal

Ending = Literal["whole", "calls", "cut", "withheld", "broken", "invalid"]
"""What a finish reason says: the answer is whole, whole and made of tool calls, cut off, withheld by a filter, ended by
a fault of the endpoint, or no valid generation."""

ENDINGS: Final[dict[str, Ending]] = {
    # OpenAI and everyone who speaks its protocol, platform.openai.com/docs/api-reference/chat/object
    "stop": "whole",
    "tool_calls": "calls",
    "function_call": "calls",
    "length": "cut",
    "content_filter": "withheld",
    # OpenAI Responses, platform.openai.com/docs/api-reference/responses/object, `status` and `incomplete_details`
    "completed": "whole",
    "incomplete": "cut",
    "max_output_tokens": "cut",
    "failed": "broken",
    "in_progress": "cut",
    "queued": "cut",
    # Anthropic, docs.anthropic.com/en/api/handling-stop-reasons
    "end_turn": "whole",
    "stop_sequence": "whole",
    "tool_use": "calls",
    "max_tokens": "cut",
    "pause_turn": "cut",
    "refusal": "withheld",
    "model_context_window_exceeded": "cut",
    # Bedrock Converse, docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html; Titan: FINISH, LENGTH
    "guardrail_intervened": "withheld",
    "content_filtered": "withheld",
    "malformed_model_output": "invalid",
    "malformed_tool_use": "invalid",
    "finish": "whole",
    # Gemini and Vertex, ai.google.dev/api/generate-content#FinishReason
    "safety": "withheld",
    "recitation": "withheld",
    "language": "withheld",
    "blocklist": "withheld",
    "prohibited_content": "withheld",
    "spii": "withheld",
    "image_safety": "withheld",
    "image_prohibited_content": "withheld",
    "image_recitation": "withheld",
    "model_armor": "withheld",
    "malformed_function_call": "invalid",
    "unexpected_tool_call": "invalid",
    "too_many_tool_calls": "invalid",
    "missing_thought_signature": "invalid",
    "malformed_response": "invalid",
    "no_image": "invalid",
    # Cohere, docs.cohere.com/v2/reference/chat
    "complete": "whole",
    "tool_call": "calls",
    "error_toxic": "withheld",
    "error_limit": "cut",
    "error": "broken",
    "timeout": "cut",
    "user_cancel": "broken",
    # Mistral, docs.mistral.ai/api, ChatCompletionChoice
    "model_length": "cut",
    # Hugging Face TGI, huggingface.github.io/text-generation-inference, FinishReason; Together: docs.together.ai
    "eos_token": "whole",
    "eos": "whole",
    # vLLM and SGLang: vllm/v1/engine/__init__.py FinishReason; sglang/srt/managers/schedule_batch.py
    "abort": "broken",
    "repetition": "invalid",
    # Ollama, github.com/ollama/ollama/blob/main/docs/api.md, `done_reason`
    "load": "broken",
    "unload": "broken",
    # IBM watsonx.ai, cloud.ibm.com/apidocs/watsonx-ai, `stop_reason`
    "not_finished": "cut",
    "time_limit": "cut",
    "token_limit": "cut",
    "cancelled": "broken",
    # DeepSeek, api-docs.deepseek.com/api/create-chat-completion
    "insufficient_system_resource": "broken",
    # Zhipu GLM, docs.bigmodel.cn, chat completion
    "sensitive": "withheld",
    "network_error": "broken",
    # AI21, docs.ai21.com; Baidu Qianfan: `normal`; llama.cpp's own endpoint: `stop_type`
    "endoftext": "whole",
    "normal": "whole",
    "word": "whole",
    "limit": "cut",
    # OpenRouter and Azure pass the above on; openrouter.ai/docs/api-reference/overview
}

BAD_WORDS: Final[tuple[tuple[re.Pattern[str], Ending], ...]] = (
    (re.compile(r"filter|safety|block|refus|guardrail|prohibit|policy|moderat|sensitiv"), "withheld"),
    (re.compile(r"malformed|invalid|unexpected_tool"), "invalid"),
    (re.compile(r"length|max|limit|trunc|incomplete|exceed|timeout|timed_out"), "cut"),
    (re.compile(r"error|fail|abort|cancel|interrupt|disconnect|preempt|kill|resource"), "broken"),
)
"""Words in a reason that nobody has listed. They only ever make it worse: no word makes an unknown reason good."""

REASONING_TAGS: Final[tuple[tuple[str, str], ...]] = (
    (r"<think>", r"</think>"),  # DeepSeek R1, Qwen3, MiniMax, GLM
    (r"<thinking>", r"</thinking>"),  # prompts after Anthropic's advice
    (r"<thought>", r"</thought>"),  # Gemini's OpenAI-compatible endpoint, Gemma
    (r"<reasoning>", r"</reasoning>"),
    (r"<seed:think>", r"</seed:think>"),  # ByteDance Seed-OSS
    (r"<longcat_think>", r"</longcat_think>"),  # LongCat
    (r"\[THINK\]", r"\[/THINK\]"),  # Mistral Magistral
    (r"◁think▷", r"◁/think▷"),  # Moonshot Kimi-VL
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),  # Sky-T1, OpenThinker
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),  # Cohere Command A Reasoning
    (r"<unused94>", r"<unused95>"),  # Google MedGemma
)
"""How models mark their reasoning when the server in front of them does not take it out, as patterns."""

CALLS_AS_TEXT: Final = re.compile(
    r"\s*(?:<tool_call>|<\|tool_call|<\|python_tag\|>|\[TOOL_CALLS\]|<function[=_]|<｜tool▁calls?▁begin｜>"
    r"|<\|tool_calls_section_begin|<\|channel\|>commentary[^<]*to=)"
)
"""How models write tool calls, when the server does not read them: Qwen and Hermes, Llama, Mistral, DeepSeek, Kimi,
gpt-oss (github.com/vllm-project/vllm/blob/main/docs/features/tool_calling.md lists them by parser)."""

INTEGRATIONS: Final = (
    "langchain_openai", "langchain_anthropic", "langchain_aws", "langchain_cohere", "langchain_deepseek",
    "langchain_fireworks", "langchain_google_genai", "langchain_google_vertexai", "langchain_groq",
    "langchain_huggingface", "langchain_ibm", "langchain_mistralai", "langchain_ollama", "langchain_openrouter",
    "langchain_together", "langchain_xai",
)  # fmt: skip
"""LangChain's packages whose models say why an answer ended; a stream of theirs that does not say so was cut off."""
