"""What a serializer returns, as one byte string: its tag in a byte, and compressed where that pays.

The first byte is the tag's code; a capital one says that the rest is a Zstandard frame (RFC 8878, without the magic
number, with content size and checksum) that needs the dictionary below.
"""

from __future__ import annotations

import threading
from typing import Final

import zstandard

from ._bounds import check_objects, check_size
from .encryption import SEALED, NoKey

CODES: Final = {"msgpack": b"m", "null": b"n", "bytes": b"b", "bytearray": b"a", "typed": b"t"}
_TAGS: Final = {code[0]: tag for tag, code in CODES.items()}
_OTHER: Final = b"o"
_FLAT: Final = frozenset({"null", "bytes", "bytearray"})
"""Tags whose bytes stand for themselves; those of any other in `CODES` are MessagePack."""
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

LEVEL: Final = 1
"""As small as higher ones on what checkpoints hold, and faster; negative ones make messages half again as long."""


class _Presses(threading.local):
    """A thread's own compressor and decompressor, because they keep state while they work."""

    def __init__(self) -> None:
        own = {"format": zstandard.FORMAT_ZSTD1_MAGICLESS}
        params = zstandard.ZstdCompressionParameters.from_level(LEVEL, write_checksum=True, write_dict_id=False, **own)
        self.press = zstandard.ZstdCompressor(dict_data=_PREPARED, compression_params=params).compress
        self.reader = zstandard.ZstdDecompressor(dict_data=_PREPARED, **own)


_PREPARED: Final = zstandard.ZstdCompressionDict(_DICTIONARY, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
_PRESSES: Final = _Presses()


def pack(typed: tuple[str, bytes]) -> bytes:
    """Pack what a serializer's `dumps_typed` returns; raises `TooLarge` for what `unpack` would refuse."""
    tag, data = typed
    code = CODES.get(tag)
    check(tag, data)
    if code is None:
        code, data = _OTHER, tag.encode() + b"\0" + data
    if len(data) >= LEAST:
        small = _PRESSES.press(data)
        if len(small) < len(data):
            return code.upper() + small
    return code + data


def unpack(packed: bytes) -> tuple[str, bytes]:
    """Undo `pack`; raises `ValueError` for bytes that it never makes, and `TooLarge` before they take up memory."""
    first, data = packed[:1], packed[1:]
    code = first.lower()
    if first != code:
        try:
            check_size(_declared(data), len(packed))
            data = _PRESSES.reader.decompress(data, allow_extra_data=False)
        except (zstandard.ZstdError, MemoryError) as error:
            raise ValueError(f"compressed bytes are damaged ({error})") from None
    if code == _OTHER:
        name, _, data = data.partition(b"\0")
        check_size(len(data))
        return name.decode(), data
    if not code or code[0] not in _TAGS:
        if first == SEALED:
            key = data[1 : 1 + data[0]].decode(errors="replace") if data else ""
            raise NoKey("it is encrypted, and the saver has no keys", key)
        raise ValueError("the kind of its bytes is unknown")
    tag = _TAGS[code[0]]
    check(tag, data)
    return tag, data


def check(tag: str, data: bytes) -> None:
    """Raise `TooLarge` for a serialized value that has more bytes or objects than one may have."""
    check_size(len(data))
    if tag in CODES and tag not in _FLAT:
        check_objects(data)


def _declared(data: bytes) -> int:
    """Return the size that a frame says it has unpacked, which the decompressor makes room for and holds it to.

    Every frame of ours says so; one that does not is damaged.
    """
    size: int = zstandard.get_frame_parameters(data, format=zstandard.FORMAT_ZSTD1_MAGICLESS).content_size
    if size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
        raise ValueError("compressed bytes are damaged (they do not declare their size)")
    return size
