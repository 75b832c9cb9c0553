"""Handoff: each node says itself where the work goes next (`Command(goto=...)`); no edge in the middle does.

A `HandoffGraph` takes the same steps, gates, votes and reviews as any graph. What they say with `then` is not made a
conditional edge but is part of the node: it hands over with the update that it stores, in one command. So the page that
wires a graph need not know the whole of it, and a node can be read, tested and moved with its ways out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.channels.base import BaseChannel
from langgraph.errors import EmptyChannelError
from langgraph.graph import START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command
from pydantic import BaseModel

from nodes.graph import as_mapping
from nodes.step import Route, route_function
from state import Checked

Choose: TypeAlias = Callable[[Any], str]


class HandoffGraph(StateGraph[Any, Any, Any, Any]):
    """A `StateGraph` whose nodes hand over by themselves.

    `add_edge` and `add_conditional_edges` are taken as ways out of the node that they begin at. A node that returns a
    `Command` with `goto` of its own has the last word. Compile it with `nodes.compile_graph`, as any other.
    """

    def __init__(self, state_schema: Any, **more: Any) -> None:
        super().__init__(state_schema, **more)
        self._ways: dict[str, list[tuple[Choose, Sequence[str]]]] = {}

    def add_agent(self, name: str, function: Callable[..., Any], *, then: Route) -> None:
        """Add a plain function of the state as a node that hands over to `then`."""
        self.add_node(name, function)
        choose, targets = route_function(then)
        self._ways.setdefault(name, []).append((choose, list(targets)))

    def add_edge(self, start_key: str | list[str], end_key: str) -> HandoffGraph:
        """Let a node hand over to another; raises `ValueError` for several starts: nobody could hand over for them."""
        if start_key == START:
            super().add_edge(start_key, end_key)
        elif isinstance(start_key, str):
            self._ways.setdefault(start_key, []).append((lambda _state: end_key, [end_key]))
        else:
            raise ValueError("a node cannot wait for several in the handoff style: use add_group")
        return self

    def add_conditional_edges(self, source: str, path: Any, path_map: Any = None) -> HandoffGraph:
        """Let a node hand over to one of several; `path_map` names them all, because nothing else does."""
        if not isinstance(path_map, list):
            raise TypeError(f"name all nodes that {source!r} may hand over to, as a list")
        self._ways.setdefault(source, []).append((path, path_map))
        return self

    def compile(self, *args: Any, **kwargs: Any) -> CompiledStateGraph[Any, Any, Any, Any]:
        """Give each node its ways out, then compile as LangGraph does."""
        for name, ways in self._ways.items():
            spec = self.nodes.get(name)
            if spec is None:
                raise ValueError(f"node {name!r} hands over, but is not there")
            targets = dict.fromkeys(target for _, those in ways for target in those)
            spec.runnable = _HandsOver(spec.runnable, [choose for choose, _ in ways], self.channels)
            spec.ends = tuple(dict.fromkeys([*(spec.ends or ()), *targets]))
        self._ways = {}
        return super().compile(*args, **kwargs)


class _HandsOver(Runnable[Any, Any]):
    """Runs a node and returns its update together with where it goes next."""

    def __init__(self, inner: Any, ways: Sequence[Choose], channels: Mapping[str, Any]) -> None:
        self.inner, self.ways, self.channels = inner, ways, channels

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the node, and hand over."""
        return self._hand_over(input, self.inner.invoke(input, config, **kwargs))

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run the node, and hand over."""
        return self._hand_over(input, await self.inner.ainvoke(input, config, **kwargs))

    def _hand_over(self, state: Any, result: Any) -> Any:
        if isinstance(result, Command) and result.goto:
            return result
        update = result.update if isinstance(result, Command) else result
        after = state_after(state, as_mapping(update) or {}, self.channels)
        return Command(update=update, goto=list(dict.fromkeys(choose(after) for choose in self.ways)))


def state_after(state: Any, update: Mapping[str, Any], channels: Mapping[str, BaseChannel[Any, Any, Any]]) -> Any:
    """Return what a state will be once an update of one node has been applied, by the channels of its fields."""
    changed = {name: _after(state, name, value, channels[name]) for name, value in update.items() if name in channels}
    return state.model_copy(update=changed) if isinstance(state, BaseModel) else {**state, **changed}


def _after(state: Any, name: str, value: Any, channel: BaseChannel[Any, Any, Any]) -> Any:
    now = state.get(name) if isinstance(state, Mapping) else getattr(state, name, None)
    if isinstance(channel, Checked):
        value = channel.check(value)
        now = channel.adapter.dump_python(now, mode="json") if isinstance(state, BaseModel) else now
    twin = channel.copy() if now is None else channel.from_checkpoint(now)
    twin.update([value])
    try:
        found = twin.get()
    except EmptyChannelError:
        return None
    return (
        channel.adapter.validate_python(found)
        if isinstance(channel, Checked) and isinstance(state, BaseModel)
        else found
    )
