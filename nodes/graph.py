"""Compiling a graph so that no input can leave a thread that cannot be read.

A wrong value must be refused before LangGraph stores it, even as a pending write: once stored, `get_state`, the
history and the resume raise. So a `CheckedGraph` looks at everything that comes from outside (input, `Command`,
`update_state`), and at everything that a node returns, before it becomes a write.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import InvalidUpdateError
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateUpdate
from pydantic import BaseModel

from nodes.errors import InputError, RetiredNode
from state import Checked, RunState

RECURSION_LIMIT = 200
"""Most supersteps of one invocation: far above any honest run of our pipelines, far below LangGraph's 10,007."""


class CheckedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph that validates every update by field before it is stored."""

    def stream(self, input: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Validate the input, then stream as LangGraph does; raises `InputError` naming the field."""
        self.check_input(input)
        return super().stream(input, *args, **kwargs)

    def astream(self, input: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Validate the input, then stream as LangGraph does; raises `InputError` naming the field."""
        self.check_input(input)
        return super().astream(input, *args, **kwargs)

    def bulk_update_state(self, config: Any, supersteps: Sequence[Sequence[StateUpdate]]) -> Any:
        """Validate the values, then update the state."""
        self._check_supersteps(supersteps)
        return super().bulk_update_state(config, supersteps)

    async def abulk_update_state(self, config: Any, supersteps: Sequence[Sequence[StateUpdate]]) -> Any:
        """Validate the values, then update the state."""
        self._check_supersteps(supersteps)
        return await super().abulk_update_state(config, supersteps)

    def check_input(self, value: Any) -> None:
        """Raise `InputError` for an input that has a wrong value or that shares no field with this graph."""
        if value is None:
            return
        update = value.update if isinstance(value, Command) else value
        if update is None:
            return
        values = as_mapping(update)
        if values is None:
            raise InputError(f"the input must be an object of fields, got {type(update).__name__}")
        known = set(self.builder.schemas[self.builder.input_schema])
        if values and not isinstance(value, Command) and not known & set(values):
            raise InputError(
                f"the input has none of this graph's fields: got {', '.join(map(str, list(values)[:5]))}; "
                f"known: {', '.join(sorted(known))}"
            )
        try:
            self.check_values(values)
        except InvalidUpdateError as error:
            raise InputError(str(error)) from None

    def check_values(self, values: Mapping[str, Any]) -> None:
        """Raise `InvalidUpdateError` for the first value that its channel would not take."""
        for field, value in values.items():
            channel = self.channels.get(field)
            if isinstance(channel, Checked):
                channel.check(value)

    def _check_supersteps(self, supersteps: Sequence[Sequence[StateUpdate]]) -> None:
        for update in (update for updates in supersteps for update in updates):
            self._check_returned(update.values)

    def _check_returned(self, value: Any) -> Any:
        """Validate what a node returned: a dict, a model, a `Command`, or a list of these."""
        for part in value if isinstance(value, (list, tuple)) else [value]:
            update = part.update if isinstance(part, Command) else part
            values = as_mapping(update)
            if values is not None:
                self.check_values(values)
        return value

    def guard_nodes(self) -> None:
        """Put a validator in front of the writers of every node, other people's nodes included."""
        for node in self.nodes.values():
            node.writers.insert(0, _Guard(self._check_returned))


class _Guard(Runnable[Any, Any]):
    """Passes on what a node returned, once it is checked; a bare `Runnable`, because every superstep pays for it."""

    def __init__(self, check: Callable[[Any], Any]) -> None:
        self.check = check

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: ARG002 - Runnable's
        """Check and pass on."""
        return self.check(input)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: ARG002 - same
        """Check and pass on."""
        return self.check(input)


def as_mapping(update: Any) -> Mapping[str, Any] | None:
    """Return an update as a mapping of fields, or None where it has another form."""
    if isinstance(update, BaseModel):
        return {name: getattr(update, name) for name in update.model_fields_set}
    if isinstance(update, Mapping):
        return update
    if isinstance(update, (list, tuple)) and all(isinstance(i, tuple) and len(i) == 2 for i in update):
        return dict(update)
    return None


def compile_graph(builder: StateGraph[Any, Any, Any, Any], *, name: str, version: str) -> CheckedGraph:
    """Compile a builder into a `CheckedGraph` without a checkpointer; the version reaches every checkpoint's metadata.

    Attach a saver with `graph.copy(update={"checkpointer": saver})`, so that name, version and limits stay.
    """
    compiled = builder.compile(name=name)
    attributes = {key: value for key, value in vars(compiled).items() if key != "__orig_class__"}
    graph = CheckedGraph(**attributes)
    graph.guard_nodes()
    metadata = {"pipeline": name, "graph_version": version}
    return graph.with_config({"metadata": metadata, "recursion_limit": RECURSION_LIMIT})


def add_retired(builder: StateGraph[Any, Any, Any, Any], name: str, *, since: str, goto: str | None = None) -> None:
    """Keep the name of a removed node, for threads that still stand at it.

    LangGraph ends a run whose next node is gone as if it had succeeded. A retired node redirects to `goto`, or raises
    `RetiredNode` with the version that removed it.
    """

    def retired(state: RunState) -> Command[str]:  # noqa: ARG001 - LangGraph wants the name
        if goto is None:
            raise RetiredNode(f"node {name!r} was removed in version {since}: run the item again with --rerun")
        return Command(goto=goto)

    targets: tuple[str, ...] = (goto,) if goto else ()
    builder.add_node(name, retired, destinations=targets)
