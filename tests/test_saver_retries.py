"""What LangGraph's retry policy makes of a saver's errors: a node runs again after an outage, after nothing else."""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from langgraph.graph import START, StateGraph
from langgraph.types import RetryPolicy, default_retry_on
from pydantic import BaseModel
from servers import PASSWORD, config_of, free_port, put_values, tcp_server
from typing_extensions import TypedDict

from checkpointers import (
    EmbeddedUnavailable,
    RedisSaver,
    SaverDenied,
    SaverError,
    SaverFull,
    SaverUnavailable,
    SaverUnreachable,
    TypeNotAllowed,
    ValueNotStorable,
    errors,
)
from checkpointers._failures import server_errors
from checkpointers._place import binary
from nodes.call.classify import classify_error
from nodes.errors import CallError, Permanent, SurefootError

ALL = [kind for _name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, SaverError)]


class Parcel(BaseModel):
    street: str


class State(TypedDict):
    x: Any


def test_only_an_outage_is_tried_again() -> None:
    assert len(ALL) >= 15
    assert [kind for kind in ALL if default_retry_on(kind("what happened"))] == [SaverUnreachable]
    assert all(issubclass(kind, RuntimeError) for kind in ALL)
    assert issubclass(SaverUnreachable, ConnectionError)
    # Whoever looks for everything that a server cannot do finds it under one name, as before.
    assert all(issubclass(kind, SaverUnavailable) for kind in (SaverUnreachable, SaverDenied, SaverFull))
    assert issubclass(EmbeddedUnavailable, SaverUnavailable)
    assert str(SaverUnreachable("what happened")) == "what happened"


def paid(saver: RedisSaver, value: Callable[[], Any]) -> tuple[int, BaseException | None]:
    """Run a subgraph that pays and stores a value, in a node with a retry policy; return how often it paid."""
    calls: list[int] = []

    def pay(_state: State) -> dict[str, Any]:
        calls.append(1)
        return {"x": value()}

    sub = StateGraph(State).add_node("paid", pay).add_edge(START, "paid").compile()
    policy = RetryPolicy(max_attempts=3, initial_interval=0.01, max_interval=0.01)
    graph = (
        StateGraph(State).add_node("sub", sub, retry_policy=policy).add_edge(START, "sub").compile(checkpointer=saver)
    )
    try:
        graph.invoke({"x": 1}, config_of(str(uuid4())), durability="sync")
    except Exception as error:
        return len(calls), error
    return len(calls), None


def test_a_value_that_cannot_be_stored_is_paid_once(any_url: str) -> None:
    with RedisSaver.from_url(any_url) as saver:
        calls, error = paid(saver, lambda: iter([]))
    assert (calls, type(error)) == (1, ValueNotStorable)


def test_a_type_that_cannot_be_read_is_read_once(any_url: str) -> None:
    thread = str(uuid4())
    with RedisSaver.from_url(any_url, allow=[Parcel]) as saver:
        config = put_values(saver, config_of(thread), parcel=Parcel(street="Main Road"))
    with RedisSaver.from_url(any_url) as saver:
        calls, error = paid(saver, lambda: saver.get_tuple(config))
    assert (calls, type(error)) == (1, TypeNotAllowed)


def test_a_server_that_refuses_is_asked_once() -> None:
    with (
        tcp_server(binary(), password=PASSWORD) as url,
        RedisSaver.from_url(url) as saver,
        RedisSaver.from_url(url.replace(PASSWORD, "other")) as other,
    ):
        calls, error = paid(saver, lambda: other.get_tuple(config_of("t")))
        assert (calls, type(error)) == (1, SaverDenied)
        saver.client.config_set("maxmemory", "1")
        calls, error = paid(saver, lambda: 1)
        assert (calls, type(error)) == (0, SaverFull)


def test_an_outage_is_waited_out_by_the_policy() -> None:
    dead_url = f"redis://127.0.0.1:{free_port()}/0"
    with tcp_server(binary()) as url, RedisSaver.from_url(url) as saver, RedisSaver.from_url(dead_url) as dead:
        reads = iter((dead, saver))
        calls, error = paid(saver, lambda: next(reads).get_tuple(config_of("t")))
    assert (calls, error) == (2, None)


def test_a_command_of_ones_own_on_a_dead_server_says_so_once() -> None:
    with tcp_server(binary()) as url, RedisSaver.from_url(url) as saver:
        pid = int(saver.client.info("server")["process_id"])
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(SaverUnreachable, match="cannot be reached") as caught, server_errors(saver.client):
            saver.get_tuple(config_of("t"))
        # The saver's own error goes through as it is.
        assert str(caught.value).count("cannot be reached") == 1


def test_an_outage_of_a_saver_is_no_failure_of_the_endpoint() -> None:
    assert classify_error(ConnectionError("reset")) is not None
    for kind in ALL:
        assert classify_error(kind("the server is away")) is None


def kinds_of(base: type[SurefootError]) -> set[type[SurefootError]]:
    return {base, *(kind for below in base.__subclasses__() for kind in kinds_of(below))}


def test_what_no_attempt_can_change_is_not_tried_again_in_graphs_of_others() -> None:
    """A guarded model in a node with LangGraph's default policy: a refused key is asked once."""
    found = {kind for kind in kinds_of(SurefootError) if kind.__module__ in ("nodes.errors", "nodes.call.classify")}
    assert Permanent in found
    again = {kind for kind in found if default_retry_on(kind.__new__(kind))}
    assert again == {SurefootError, CallError} | {kind for kind in found if getattr(kind, "retryable", False)}
