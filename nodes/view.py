"""How our nodes see the state of a graph, whoever designed it.

A state that extends `RunState` is taken as it is. To any other (`MessagesState`, a `TypedDict`, a dataclass, a
pydantic model) the fields of a run are added as channels of our nodes, without a word in the state itself.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict, is_typeddict

from nodes import bridge
from state import Checked, RunFields, RunState

FIELDS: Final = frozenset(RunState.model_fields)
"""The fields of a run."""


@dataclass(frozen=True)
class View:
    """A state as one node sees it."""

    run: RunState
    """The fields of the run."""
    state: Any
    """The state as its owner declared it: what functions of theirs are called with."""

    def get(self, field: str) -> Any:
        """Return a field of the state, None where it was never written."""
        if field in FIELDS:
            return getattr(self.run, field)
        return self.state.get(field) if isinstance(self.state, Mapping) else getattr(self.state, field, None)


NodeOfView: TypeAlias = Callable[[View, RunnableConfig], Awaitable[Any]]


class Viewer:
    """Adds nodes that see views to one graph; raises `TypeError` for a state without fields."""

    def __init__(self, builder: StateGraph[Any, Any, Any, Any]) -> None:
        self._builder = builder
        self._owner: Any = builder.state_schema
        self.foreign = not issubclass(builder.state_schema, RunState)
        self._schema = _with_run_fields(self._owner) if self.foreign else None  # type: ignore[arg-type] # classes hash

    def view(self, state: Any) -> View:
        """Look at a state as LangGraph hands it to a node or a route of ours."""
        if not self.foreign:
            return View(state, state)
        return View(run_fields(state), self._theirs(state))

    def add_node(
        self,
        name: str,
        function: NodeOfView,
        destinations: tuple[str, ...] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Add a node made of a coroutine function `(view, config)`; what it returns is stored as plain data.

        `metadata` is shown where the graph is drawn.
        """

        async def node(state: Any, config: RunnableConfig) -> Any:
            return plain(self._builder.channels, await function(self.view(state), config))

        runnable = bridge.node(node, name)
        self._builder.add_node(name, runnable, input_schema=self._schema, destinations=destinations, metadata=metadata)

    def add_routes(self, name: str, choose: Callable[[View], str], targets: list[str]) -> None:
        """Add the edges that leave a node."""
        self._builder.add_conditional_edges(name, bridge.Route(lambda state: choose(self.view(state))), targets)

    def _theirs(self, state: Mapping[str, Any]) -> Any:
        own = {name: value for name, value in state.items() if name in self._builder.schemas[self._owner]}
        return own if is_typeddict(self._owner) or self._owner is dict else self._owner(**own)


def run_fields(state: Mapping[str, Any]) -> RunState:
    """Return the fields of a run that a state holds."""
    return RunState.model_validate({name: state[name] for name in FIELDS if name in state})


def plain(channels: Mapping[str, Any], update: Any) -> Any:
    """Return an update of one of our nodes with the values of checked channels in their stored form.

    A graph that is compiled without `compile_graph` stores what nodes return as it is, as pending writes.
    """
    if isinstance(update, Command):
        return Command(update=plain(channels, update.update), goto=update.goto)
    if not isinstance(update, Mapping):
        return update
    return {
        field: channel.check(value) if isinstance(channel := channels.get(field), Checked) else value
        for field, value in update.items()
    }


@functools.cache
def _with_run_fields(owner: Any) -> Any:
    """Return the schema that our nodes read: the fields of a state, and those of a run."""
    fields = typing.get_type_hints(owner, include_extras=True)
    if not fields:
        raise TypeError(
            f"the state {getattr(owner, '__name__', owner)!r} declares no fields: use a TypedDict or a model"
        )
    run = typing.get_type_hints(RunFields, include_extras=True)
    if taken := sorted(name for name in run.keys() & fields.keys() if run[name] != fields[name]):
        raise ValueError(
            f"the state {owner.__name__!r} has a field {taken[0]!r} of its own, which every run has: give it another "
            "name, or take that of `state.RunFields`"
        )
    return TypedDict(f"{owner.__name__}WithRun", run | fields, total=False)  # type: ignore[operator] # functional form
