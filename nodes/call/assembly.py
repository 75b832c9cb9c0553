"""The chunks of a guarded stream, put right one by one, so that adding them up gives what the endpoint really sent.

LangChain adds chunks up: numbers are summed, texts joined. So usage that is repeated, text that is sent again, finish
reasons that come twice and tool calls that share an index have to be told apart before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from nodes.call.cumulative import TextDeltas, UsageMeter
from nodes.call.endings import arguments_of
from nodes.call.message import REASONS, reason_of
from nodes.call.reasoning import ReasoningFilter
from nodes.call.toolcalls import id_for

_COUNTS: Final = {"input_tokens": "input", "output_tokens": "output", "total_tokens": "total"}
_DETAILS: Final = ("input_token_details", "output_token_details")
_ONCE: Final = ("model_name", "system_fingerprint", "service_tier", *REASONS)
"""What LangChain joins when it comes twice: `stopstop`."""


@dataclass
class _Call:
    """One tool call as far as it has come."""

    index: int
    begun: bool = False
    id: str = ""
    """As the server gave it."""
    name: str = ""
    args: str = ""


@dataclass
class Assembly:
    """What one stream has brought so far."""

    speaks_openai: bool
    text: TextDeltas = field(default_factory=TextDeltas)
    hiding: ReasoningFilter = field(default_factory=ReasoningFilter)
    reason: str = ""
    """The finish reason, once."""
    closed: bool = False
    """Whether the usage came after everything else, which an endpoint sends only when it is done."""
    _meter: UsageMeter = field(init=False)
    _told: dict[str, Any] = field(default_factory=dict)
    _calls: list[_Call] = field(default_factory=list)
    _by_index: dict[Any, _Call] = field(default_factory=dict)
    """The call that goes on under an index as the server gives it."""
    _hidden: int = 0

    def __post_init__(self) -> None:
        self._meter = UsageMeter(totals=self.speaks_openai)

    def take(self, chunk: ChatGenerationChunk) -> ChatGenerationChunk:
        """Return a chunk with what is new in it."""
        message = chunk.message
        if not isinstance(message, AIMessageChunk):
            return chunk
        update: dict[str, Any] = {}
        spoke = bool(chunk.text or message.tool_call_chunks or message.additional_kwargs)
        if isinstance(message.content, str) and message.content:
            update["content"] = self.hiding.add(self.text.add(message.content))
            update |= self._reasoning(message)
        if message.tool_call_chunks:
            update["tool_call_chunks"] = [self._call(dict(piece)) for piece in message.tool_call_chunks]
        if message.usage_metadata:
            self.closed = not spoke
            update["usage_metadata"] = self._usage(self._meter.add(_flat(message.usage_metadata), spoke=spoke))
        elif spoke:
            self.closed = False
        info, metadata = dict(chunk.generation_info or {}), dict(message.response_metadata)
        self.reason = reason_of(message, info) or self.reason
        self._once(info, metadata)
        update["response_metadata"] = metadata
        if "tool_call_chunks" in update:
            # The calls are read anew from their pieces when a chunk is made.
            update |= {"tool_calls": [], "invalid_tool_calls": []}
            fields = {name: getattr(message, name) for name in type(message).model_fields if name != "type"}
            return ChatGenerationChunk(message=AIMessageChunk(**fields | update), generation_info=info or None)
        return ChatGenerationChunk(message=message.model_copy(update=update), generation_info=info or None)

    @property
    def torn(self) -> bool:
        """Whether the arguments of a tool call end before their end: LangChain makes one up where they are cut."""
        return any(arguments_of(call.args) is None for call in self._calls)

    def rest(self) -> Iterator[ChatGenerationChunk]:
        """Yield what was held back until the end."""
        text = self.hiding.add(self.text.rest()) + self.hiding.rest()
        usage = self._meter.rest()
        if text or any(usage.values()) or len(self.hiding.hidden) > self._hidden:
            message = AIMessageChunk(content=text)
            update = self._reasoning(message)
            if any(usage.values()):
                update["usage_metadata"] = self._usage(usage)
            yield ChatGenerationChunk(message=message.model_copy(update=update))

    def _reasoning(self, message: AIMessageChunk) -> dict[str, Any]:
        """Keep reasoning where LangChain's integrations keep it."""
        new = self.hiding.hidden[self._hidden :]
        self._hidden += len(new)
        if not new:
            return {}
        before = message.additional_kwargs.get("reasoning_content") or ""
        return {"additional_kwargs": {**message.additional_kwargs, "reasoning_content": before + new}}

    def _call(self, piece: dict[str, Any]) -> dict[str, Any]:
        """Put a piece of a tool call to the call that it belongs to."""
        call = self._of(piece)
        args = piece.get("args") or ""
        if len(call.args) > 1 and call.args.startswith("{") and args.startswith(call.args):
            # No call goes on with its own beginning: the server sends it whole each time.
            args = args[len(call.args) :]
        name = None if call.name and piece.get("name") == call.name else piece.get("name")
        first = not call.begun
        identity = (piece.get("id") or id_for(call.index, piece.get("name"), None)) if first else None
        call.begun, call.name, call.args = True, call.name + (name or ""), call.args + args
        call.id = call.id or piece.get("id") or ""
        return {**piece, "name": name, "args": args, "id": identity, "index": call.index}

    def _of(self, piece: dict[str, Any]) -> _Call:
        """Return the call that a piece belongs to.

        A piece with another id than its index has begins another call: Gemini's compatible endpoint gives each of
        several calls the index 0 (hermes-agent#62940). So does one with a name after arguments that are whole.
        """
        index, identity, name = piece.get("index"), piece.get("id"), piece.get("name")
        known = next((call for call in self._calls if identity and call.id == identity), None)
        last = self._by_index.get(index) if index is not None else (self._calls[-1] if self._calls else None)
        other = last is not None and (
            (bool(identity) and bool(last.id) and identity != last.id)
            or (not identity and bool(name) and bool(last.args) and arguments_of(last.args) is not None)
            or (index is None and bool(identity or name))
        )
        if known is not None:
            found = known
        elif last is not None and not other:
            found = last
        else:
            taken = {call.index for call in self._calls}
            free = index if isinstance(index, int) and index not in taken else max(taken, default=-1) + 1
            found = _Call(free)
            self._calls.append(found)
        self._by_index[index] = found
        return found

    def _usage(self, added: dict[str, int]) -> dict[str, Any]:
        usage: dict[str, Any] = {name: added.get(short, 0) for name, short in _COUNTS.items()}
        for details in _DETAILS:
            inner = {n.partition(".")[2]: v for n, v in added.items() if n.startswith(f"{details}.")}
            if inner:
                usage[details] = inner
        return usage

    def _once(self, info: dict[str, Any], metadata: dict[str, Any]) -> None:
        """Drop what would be joined with itself."""
        for name in _ONCE:
            for holder in (info, metadata):
                if holder.get(name) and holder[name] == self._told.get(name):
                    del holder[name]
            self._told[name] = info.get(name) or metadata.get(name) or self._told.get(name)


def _flat(usage: Any) -> dict[str, Any]:
    """Return the counts of a usage by one name each."""
    flat: dict[str, Any] = {short: usage.get(name) for name, short in _COUNTS.items()}
    for details in _DETAILS:
        flat |= {f"{details}.{name}": value for name, value in (usage.get(details) or {}).items()}
    return flat
