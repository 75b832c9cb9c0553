"""What LangChain's OpenAI model makes of bodies that are no proper completion, put right before it reads them.

It overrides two private methods of `BaseChatOpenAI`, through which every answer and every chunk goes: there is no
public one, and it raises bare `ValueError`s for errors inside of a 200, drops tool calls without an index, refusals of
streams and errors in chunks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from nodes.call.endpoint import host_of
from nodes.call.reports import ReportedError, is_error_body
from nodes.errors import Transient

if TYPE_CHECKING:
    from langchain_openai import ChatOpenAI


class NoCompletion(Transient):
    """Status 200, but the body is no chat completion, such as the HTML page of a proxy."""


def no_completion(host: str) -> NoCompletion:
    """Return the error that says so."""
    return NoCompletion(f"{host} answered with something that is no chat completion")


def unread(error: Exception, host: str) -> Exception:
    """Return what the endpoint sent where the client stumbled over it, else the exception itself.

    The client's parser of structured answers meets a body before anybody else does, and LangChain then leaves the
    response on the exception; OpenAI's Responses raise a `ValueError` that holds the error as an object.
    """
    if not isinstance(error, ValueError | TypeError | KeyError | IndexError | AttributeError):
        return error
    if isinstance(error, json.JSONDecodeError):
        return no_completion(host)
    held = error.args[0] if error.args else None
    dump = getattr(held, "model_dump", None)
    if isinstance(error, ValueError) and (isinstance(held, Mapping) or dump):
        return ReportedError(held if dump is None else dump())
    response = getattr(error, "response", None)
    if response is None or isinstance(error, ValidationError):
        return error
    try:
        body = response.json()
    except ValueError:
        return no_completion(host)
    return ReportedError(body) if is_error_body(body) else no_completion(host)


class OpenAIWire:
    """The two methods, to be put before a model's own."""

    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> Any:
        """Read an answer in one piece; raises `ReportedError` and `NoCompletion`."""
        if not isinstance(response, dict):
            dump = getattr(response, "model_dump", None)
            if dump is None:
                raise no_completion(self._host())
            # What was parsed by the client is an object of the caller's, and stays in the typed response.
            plain = dump(exclude={"choices": {"__all__": {"message": {"parsed"}}}}, warnings=False)
        else:
            plain = response
        if is_error_body(plain):
            raise ReportedError(plain)
        choices = plain.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise no_completion(self._host())
        if choices[0].get("error"):
            raise ReportedError(choices[0], begun=True)
        if not isinstance(choices[0].get("message"), dict):
            raise no_completion(self._host())
        for choice in response["choices"] if isinstance(response, dict) else response.choices:
            message = _field(choice, "message")
            _mend_calls(_field(message, "tool_calls"))
            if not _field(message, "role"):
                # LangChain would take it for a message of somebody else's, and fail.
                _set(message, "role", "assistant")
        return super()._create_chat_result(response, generation_info)  # type: ignore[misc] # of the model it is put before

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], default_chunk_class: type, base_generation_info: dict[str, Any] | None
    ) -> Any:
        """Read one chunk of a stream; raises `ReportedError`."""
        if "chunk" not in chunk and chunk.get("type") != "content.delta" and is_error_body(chunk):
            raise ReportedError(chunk, begun=True)
        inner = chunk.get("chunk") if isinstance(chunk.get("chunk"), dict) else chunk
        choices = (inner or {}).get("choices") or []
        choice = choices[0] if choices and isinstance(choices[0], dict) else {}
        if choice.get("error"):
            raise ReportedError(choice, begun=True)
        delta = choice.get("delta") if isinstance(choice.get("delta"), dict) else {}
        if isinstance(delta, dict):
            for position, call in enumerate(delta.get("tool_calls") or ()):
                if call.get("index") is None:
                    # LangChain would drop it without a word.
                    call["index"] = position
                if call.get("function") is None:
                    call["function"] = {}
            _mend_calls(delta.get("tool_calls"), piece=True)
        read = super()._convert_chunk_to_generation_chunk(  # type: ignore[misc] # of the model it is put before
            chunk, default_chunk_class, base_generation_info
        )
        refusal = delta.get("refusal") if isinstance(delta, dict) else None
        if read is not None and refusal:
            read.message.additional_kwargs["refusal"] = refusal
        return read

    def _host(self) -> str:
        client = getattr(self, "root_async_client", None)
        return host_of(str(getattr(client, "base_url", "")))


def _mend_calls(calls: Any, *, piece: bool = False) -> None:
    """Write the arguments of tool calls as JSON text where a server sends them as an object: what they say is clear."""
    for call in calls or ():
        function = _field(call, "function")
        arguments = _field(function, "arguments")
        if isinstance(arguments, dict | list):
            _set(function, "arguments", json.dumps(arguments))
        elif arguments is None and function is not None and not piece:
            _set(function, "arguments", "")


def _field(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _set(holder: Any, name: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[name] = value
    else:
        setattr(holder, name, value)


@cache
def careful_model() -> type[ChatOpenAI]:
    """Return ChatOpenAI with these methods before its own; importing it takes a second."""
    from langchain_openai import ChatOpenAI

    return type("ChatOpenAI", (OpenAIWire, ChatOpenAI), {"__module__": ChatOpenAI.__module__})
