"""No input can leave a thread that cannot be read: every way into a thread is tried with values that do not fit."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import InvalidUpdateError
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Overwrite, interrupt

from nodes.errors import InputError
from nodes.graph import CheckedGraph, compile_graph
from state import Attempt, Spend, SupportInput, SupportState, Verdict

junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=8,
)
fields = st.sampled_from(list(SupportState.model_fields))


def make_graph(returned: Any = None, *, saver: bool = True) -> CheckedGraph:
    builder = StateGraph(SupportState, input_schema=SupportInput)
    builder.add_node("work", lambda _state: returned or {"category": "bug"})
    builder.add_node("ask", lambda _state: {"draft": str(interrupt("what?"))})
    builder.add_edge(START, "work")
    builder.add_edge("work", "ask")
    builder.add_edge("ask", END)
    graph = compile_graph(builder, name="probe", version="1")
    return graph.copy(update={"checkpointer": InMemorySaver()}) if saver else graph


def config(thread: str = "t") -> Any:
    return {"configurable": {"thread_id": thread}}


def assert_readable(graph: CheckedGraph, thread: str = "t") -> Any:
    state = graph.get_state(config(thread))
    SupportState.model_validate(state.values)
    list(graph.get_state_history(config(thread)))
    return state


@pytest.mark.parametrize(
    "update",
    [
        {"urgency": "very"},
        {"confidence": 7},
        {"attempts": "none"},
        {"attempts": [{"n": "x"}]},
        {"failures": {"classify": 3}},
        {"attempts": Overwrite("junk")},
        {"attempts": {"__overwrite__": "junk"}},
        {"attempts": {"type": "__overwrite__", "value": 1}},
        {"text": 5},
        {"text": "x" * 200_001},
        {"spend": {"draft": {"cost_microusd": -1}}},
    ],
)
def test_a_wrong_value_is_refused_everywhere_and_the_thread_stays_as_it_was(update: dict[str, Any]) -> None:
    graph = make_graph()
    graph.invoke({"text": "hello"}, config())
    before = assert_readable(graph)
    with pytest.raises((InputError, InvalidUpdateError), match=next(iter(update))):
        graph.update_state(config(), update)
    with pytest.raises(InputError, match=next(iter(update))):
        graph.invoke(Command(update=update), config())
    with pytest.raises(InputError, match=next(iter(update))):
        graph.invoke(Command(resume="yes", update=update), config())
    assert assert_readable(graph) == before
    assert graph.invoke(Command(resume="yes"), config())["draft"] == "yes"


def test_a_wrong_input_begins_no_thread() -> None:
    graph = make_graph()
    for wrong in ({"text": 5}, {"subject": None}, {"txt": "hello"}, "hello", ["hello"], 3):
        with pytest.raises(InputError):
            graph.invoke(wrong, config())
    assert assert_readable(graph).values == {}
    assert list(graph.get_state_history(config())) == []


async def test_the_async_ways_are_guarded_too() -> None:
    graph = make_graph()
    with pytest.raises(InputError):
        await graph.ainvoke({"text": 5}, config())
    await graph.ainvoke({"text": "hello"}, config())
    with pytest.raises((InputError, InvalidUpdateError)):
        await graph.aupdate_state(config(), {"urgency": "very"})
    with pytest.raises(InputError):
        await graph.ainvoke(Command(update={"urgency": "very"}), config())
    assert (await graph.aget_state(config())).values["category"] == "bug"


@pytest.mark.parametrize(
    "returned",
    [
        {"urgency": "very"},
        Command(update={"urgency": "very"}),
        [Command(update={"urgency": "very"})],
        Command(update=[("urgency", "very")]),
        {"attempts": [Attempt().model_dump() | {"latency_ms": -1}]},
    ],
)
def test_a_node_that_returns_a_wrong_value_fails_before_anything_is_stored(returned: Any) -> None:
    graph = make_graph(returned)
    with pytest.raises(InvalidUpdateError):
        graph.invoke({"text": "hello"}, config())
    state = assert_readable(graph)
    assert state.values["text"] == "hello"
    assert state.next == ("work",)


def test_values_are_stored_as_plain_data_and_coerced_for_nodes() -> None:
    graph = make_graph({"attempts": [Attempt(step="work")], "visits": {"work": 1}})
    values = graph.invoke({"text": "hello"}, config())
    assert isinstance(values["attempts"][0], dict)
    assert SupportState.model_validate(values).attempts == [Attempt(step="work")]


class PlainOnly(InMemorySaver):
    """Refuses to store anything of our fields that is not plain JSON-able data."""

    def put_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
        for channel, value in writes:
            if channel in SupportState.model_fields:
                json.dumps(value)
        super().put_writes(config, writes, task_id, task_path)

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        json.dumps({k: v for k, v in checkpoint["channel_values"].items() if not k.startswith("branch:")})
        return super().put(config, checkpoint, metadata, new_versions)


@pytest.mark.parametrize(
    "returned",
    [
        {"attempts": [Attempt(step="work")], "visits": {"work": 1}},
        Command(update={"attempts": [Attempt(step="work")]}),
        Command(update=[("attempts", [Attempt(step="work")]), ("attempts", [Attempt(step="work", n=2)])]),
        SupportState(attempts=[Attempt(step="work")]),
        {"attempts": Overwrite([Attempt(step="work").model_dump()])},
    ],
)
def test_pending_writes_are_plain_data_too(returned: Any) -> None:
    """A process killed between its writes and the checkpoint is resumed from the writes."""
    graph = make_graph(returned, saver=False).copy(update={"checkpointer": PlainOnly()})
    graph.invoke({"text": "hello", "subject": "s"}, config())
    graph.update_state(config(), {"verdicts": [Verdict(gate="g", check="c")]})
    graph.invoke(Command(resume="yes", update={"spend": {"work": Spend(calls=1)}}), config())
    state = SupportState.model_validate(assert_readable(graph).values)
    assert state.attempts[0] == Attempt(step="work")
    assert state.spend["work"].calls == 1
    assert state.verdicts


def test_sending_the_whole_state_back_changes_nothing() -> None:
    graph = make_graph({"attempts": [Attempt(step="work")], "degraded": True, "reasons": ["why"]})
    graph.invoke({"text": "hello"}, config())
    before = graph.get_state(config()).values
    graph.update_state(config(), before)
    assert graph.get_state(config()).values == before


def test_overwrite_replaces_a_list_with_a_valid_one() -> None:
    graph = make_graph({"reasons": ["a", "b"]})
    graph.invoke({"text": "hello"}, config())
    graph.update_state(config(), {"reasons": Overwrite(["c"])})
    assert graph.get_state(config()).values["reasons"] == ["c"]


@given(fields, junk)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_any_value_for_any_field_is_taken_or_refused_and_never_poisons(field: str, value: Any) -> None:
    graph = make_graph()
    graph.invoke({"text": "hello"}, config())
    for send in (
        lambda: graph.update_state(config(), {field: value}),
        lambda: graph.invoke(Command(update={field: value}), config()),
    ):
        try:
            send()
        except (InputError, InvalidUpdateError):
            continue
        finally:
            assert_readable(graph)
