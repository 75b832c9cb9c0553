"""What a serializer returns, as one byte string: its tag in a byte, and deflated where that pays.

The first byte is the tag's code; a capital one says that the rest is deflated (RFC 1951, a window of 4 KiB) with the
dictionary below. A small window makes setting up the compressor cheaper than the compression itself.
"""

from __future__ import annotations

import zlib
from typing import Final

from .encryption import SEALED, NoKey

CODES: Final = {"msgpack": b"m", "null": b"n", "bytes": b"b", "bytearray": b"a"}
_TAGS: Final = {code[0]: tag for tag, code in CODES.items()}
_OTHER: Final = b"o"
LEAST: Final = 96
"""Bytes below which nothing is gained."""

_WORDS: Final = """
source loop input update fork step parents thread_id checkpoint_ns run_id graph_version pipeline key
counters_since_delta __input__ __end__ __interrupt__ __pregel_tasks branch:to: langgraph channel_values v id ts
versions_seen updated_channels pending_sends langchain_core.messages.ai langchain_core.messages.human
langchain_core.messages.tool langchain_core.messages.system AIMessage HumanMessage ToolMessage SystemMessage
model_validate_json content additional_kwargs response_metadata tool_calls invalid_tool_calls usage_metadata
input_tokens output_tokens total_tokens tool_call_id status success artifact name type args function arguments
finish_reason stop model_name token_usage completion_tokens prompt_tokens text role user assistant title subject
created_at tenant started_at attempts visits failures retry_decisions feedback spend verdicts provenance degraded
reasons escalations review outcome member visit n provider model variant ok latency_ms timeout_ms tokens_in tokens_out
cost_microusd wait_ms error replayed hedged calls reasked repaired resent gate check passed action detail pass at
confidence confidence_source category urgency team draft score summary input_hash embedded openai true false null none
the and of to in is that it for you with as on this be are have not or by from at was we can will your an which one
all their has there if more when about would what so no out up
"""
_DICTIONARY: Final = b"".join(bytes((0xA0 + min(len(word), 31),)) + word.encode() for word in reversed(_WORDS.split()))
"""Words of checkpoints and of texts, each as msgpack writes it, the most frequent last. Part of the stored format."""

_FRESH: Final = zlib.compressobj(1, zlib.DEFLATED, -12, 5, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
_READER: Final = zlib.decompressobj(-12, _DICTIONARY)


def pack(typed: tuple[str, bytes]) -> bytes:
    """Pack what a serializer's `dumps_typed` returns."""
    tag, data = typed
    code = CODES.get(tag)
    if code is None:
        code, data = _OTHER, tag.encode() + b"\0" + data
    if len(data) >= LEAST:
        # A copy of a compressor that has taken in the dictionary is five times cheaper than a new one.
        press = _FRESH.copy()
        small = press.compress(data) + press.flush()
        if len(small) < len(data):
            return code.upper() + small
    return code + data


def unpack(packed: bytes) -> tuple[str, bytes]:
    """Undo `pack`; raises `ValueError` for bytes that it never makes."""
    first, data = packed[:1], packed[1:]
    code = first.lower()
    if first != code:
        reader = _READER.copy()
        try:
            data = reader.decompress(data) + reader.flush()
        except zlib.error as error:
            raise ValueError(f"compressed bytes are damaged ({error})") from None
        if not reader.eof or reader.unused_data:
            raise ValueError("compressed bytes are cut off or too long")
    if code == _OTHER:
        tag, _, data = data.partition(b"\0")
        return tag.decode(), data
    if not code or code[0] not in _TAGS:
        if first == SEALED:
            raise NoKey("it is encrypted, and the saver has no keys")
        raise ValueError("the kind of its bytes is unknown")
    return _TAGS[code[0]], data
