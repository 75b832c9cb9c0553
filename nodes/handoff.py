"""Handoff: each node says itself where the work goes next (`Command(goto=...)`); no edge in the middle does.

A `HandoffGraph` takes the same steps, gates, votes and reviews as any graph. What they say with `then` is not made a
conditional edge but is part of the node: it hands over with the update that it stores, also where a person updates the
state in its place (`update_state(..., as_node=...)`). So the page that wires a graph need not know the whole of it, and
a node can be read, tested and moved with its ways out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.pregel._read import ChannelRead
from langgraph.pregel._write import ChannelWrite, ChannelWriteEntry
from langgraph.types import Command, Send

from nodes.bridge import redacting
from nodes.errors import ConfigurationError
from nodes.step import Route, route_function

Choose: TypeAlias = Callable[[Any], str | Send | Sequence[str | Send]]


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
        """Let a node hand over to one of several; `path_map` names them all, because nothing else does.

        The start of a graph is no node: from there it stays an edge.
        """
        if not isinstance(path_map, list):
            raise TypeError(f"name all nodes that {source!r} may hand over to, as a list")
        if source == START:
            super().add_conditional_edges(source, path, path_map)
        else:
            self._ways.setdefault(source, []).append((path, path_map))
        return self

    def compile(self, *args: Any, **kwargs: Any) -> CompiledStateGraph[Any, Any, Any, Any]:
        """Compile as LangGraph does, and give each node its ways out."""
        for name, ways in self._ways.items():
            spec = self.nodes.get(name)
            if spec is None:
                raise ValueError(f"node {name!r} hands over, but is not there")
            targets = dict.fromkeys(target for _, those in ways for target in those)
            spec.ends = tuple(dict.fromkeys([*(spec.ends or ()), *targets]))
        compiled = super().compile(*args, **kwargs)
        for name, ways in self._ways.items():
            node = compiled.nodes[name]
            read = partial(ChannelRead.do_read, select=node.channels, fresh=True, mapper=node.mapper)
            node.writers.append(_HandsOver(name, ways, read))
        return compiled


class _HandsOver(Runnable[Any, Any]):
    """Writes where a node hands over to, after what the node wrote; a writer runs for an update in its place, too.

    Both without giving way: see `nodes.bridge.Route`.
    """

    def __init__(
        self, name: str, ways: Sequence[tuple[Choose, Sequence[str]]], read: Callable[[RunnableConfig], Any]
    ) -> None:
        self.name, self.ways, self.read = name, ways, read

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: ARG002
        """Hand over and pass on."""
        if config is not None and not _goes_by_itself(input):
            with redacting(f"the way out of {self.name}"):
                writes = self._writes(self.read(config))
            ChannelWrite.do_write(config, writes)
        return input

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Hand over and pass on."""
        return self.invoke(input, config, **kwargs)

    def _writes(self, state: Any) -> list[ChannelWriteEntry | Send]:
        """Return what hands over; raises `ConfigurationError` for a way out that was not named."""
        sends: list[ChannelWriteEntry | Send] = []
        names: dict[str, None] = {}
        for choose, targets in self.ways:
            chosen = choose(state)
            for to in chosen if isinstance(chosen, (list, tuple)) else (chosen,):
                if not isinstance(to, (str, Send)):
                    raise ConfigurationError(
                        f"node {self.name!r} hands over to a {type(to).__name__}: let `then` return the name of a "
                        "node, a Send, or a list of these"
                    )
                name = to.node if isinstance(to, Send) else to
                if name not in targets:
                    raise ConfigurationError(
                        f"node {self.name!r} hands over to {name!r}, which it does not name: add it to {list(targets)}"
                    )
                if isinstance(to, Send):
                    sends.append(to)
                elif to != END:
                    names[to] = None
        return [*(ChannelWriteEntry(f"branch:to:{name}", None) for name in names), *sends]


def _goes_by_itself(output: Any) -> bool:
    """Tell whether a node has said with a command of its own where the work goes."""
    parts = output if isinstance(output, (list, tuple)) else (output,)
    return any(isinstance(part, Command) and bool(part.goto) for part in parts)
