"""Compiling a graph so that no input can leave a thread that cannot be read.

A wrong value must be refused before LangGraph stores it, even as a pending write: once stored, `get_state`, the
history and the resume raise. So a `CheckedGraph` looks at everything that comes from outside (input, `Command`,
`update_state`), and at everything that a node returns, before it becomes a write.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.errors import InvalidUpdateError
from langgraph.graph import StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateUpdate
from pydantic import BaseModel

from nodes.bridge import redacting
from nodes.errors import InputError, RetiredNode
from nodes.held import held_run, holds_runs
from nodes.tracing import begin_tracing
from state import Checked, RunState

RECURSION_LIMIT = 200
"""Most supersteps of one invocation: far above any honest run of our pipelines, far below LangGraph's 10,007."""


class CheckedGraph(CompiledStateGraph[Any, Any, Any, Any]):
    """A compiled graph in which every update is validated and made plain before it is stored.

    Pending writes are stored too, before they are applied: so they hold plain data as well, and a process that is
    killed between the two is resumed by one that need not know our classes.
    """

    def stream(self, input: Any, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Validate the input, then stream as LangGraph does; raises `InputError` naming the field."""
        begin_tracing()
        return super().stream(self.checked_input(input), *args, **kwargs)

    def astream(self, input: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Validate the input, then stream as LangGraph does; raises `InputError` naming the field."""
        begin_tracing()
        given, holder = self.checked_input(input), self.checkpointer
        if not holds_runs(holder):
            return super().astream(given, *args, **kwargs)
        config: Any = (args[0] if args else kwargs.pop("config", None)) or {}
        context, stream = kwargs.pop("context", None), super().astream
        return held_run(
            holder, config, context, self.context_schema,
            lambda found: stream(given, config, *args[1:], context=found, **kwargs),
        )  # fmt: skip

    def bulk_update_state(self, config: Any, supersteps: Sequence[Sequence[StateUpdate]]) -> Any:
        """Validate the values, then update the state."""
        return super().bulk_update_state(config, self._checked_supersteps(supersteps))

    async def abulk_update_state(self, config: Any, supersteps: Sequence[Sequence[StateUpdate]]) -> Any:
        """Validate the values, then update the state."""
        return await super().abulk_update_state(config, self._checked_supersteps(supersteps))

    def checked_input(self, value: Any) -> Any:
        """Return an input in its stored form.

        Raises `InputError` for a wrong value, and for an input that shares no field with this graph: LangGraph would
        drop its keys and run on defaults.
        """
        if value is None:
            return None
        if not isinstance(value, Command):
            values = as_mapping(value)
            if values is None:
                raise InputError(f"the input must be an object of fields, got {type(value).__name__}")
            known = set(self.builder.schemas[self.builder.input_schema])
            if values and not known & set(values):
                raise InputError(
                    f"the input has none of this graph's fields: got {', '.join(map(str, list(values)[:5]))}; "
                    f"known: {', '.join(sorted(known))}"
                )
        try:
            return self.checked(value)
        except InvalidUpdateError as error:
            raise InputError(str(error)) from None

    def checked(self, value: Any) -> Any:
        """Return an update with the values of our channels in their stored form; raises `InvalidUpdateError`.

        An update is a mapping, a model, a list of pairs, a `Command`, or a list of these; anything else is passed on.
        """
        if isinstance(value, Command):
            return value if value.update is None else replace(value, update=self.checked(value.update))
        values = as_mapping(value)
        if values is not None:
            return {field: self._checked_value(field, entry) for field, entry in values.items()}
        if not isinstance(value, (list, tuple)):
            return value
        if all(isinstance(part, tuple) and len(part) == 2 for part in value):
            # Pairs stay pairs: a field may be named twice.
            return [(field, self._checked_value(field, entry)) for field, entry in value]
        return [self.checked(part) for part in value]

    def _checked_value(self, field: str, value: Any) -> Any:
        channel = self.channels.get(field)
        return channel.check(value) if isinstance(channel, Checked) else value

    def _checked_supersteps(self, supersteps: Sequence[Sequence[StateUpdate]]) -> list[list[StateUpdate]]:
        return [[update._replace(values=self.checked(update.values)) for update in step] for step in supersteps]

    def guard_nodes(self) -> None:
        """Check what every node returns, other people's nodes included, and redact what it raises.

        A graph used as a node stays as it is: LangGraph looks for it there, and its own nodes are looked after.
        """
        for name, node in self.nodes.items():
            node.writers.insert(0, _Guard(self.checked))
            if not node.subgraphs:
                node.bound = _Redacting(node.bound, name)


class _Guard(Runnable[Any, Any]):
    """Checks what a node returned and passes it on in its stored form.

    A bare `Runnable`, because every superstep pays for it. The unused parameters are those of every Runnable.
    """

    def __init__(self, check: Callable[[Any], Any]) -> None:
        self.check = check

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: ARG002
        """Check and pass on."""
        return self.check(input)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: ARG002
        """Check and pass on."""
        return self.check(input)


class _Redacting(Runnable[Any, Any]):
    """Runs a node or a route; LangGraph would store and trace the raw text of what it raises."""

    def __init__(self, inner: Runnable[Any, Any], name: str) -> None:
        self.inner, self.name = inner, name

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run with a redacted error."""
        with redacting(self.name or ""):
            return self.inner.invoke(input, config, **kwargs)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run with a redacted error."""
        with redacting(self.name or ""):
            return await self.inner.ainvoke(input, config, **kwargs)


class _RedactingRoute(_Redacting):
    """Runs a route where it is: see `nodes.bridge.Route`."""

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:
        """Run with a redacted error, on the loop itself unless it is a coroutine function."""
        with redacting(self.name or ""):
            if getattr(self.inner, "func", None) is not None and getattr(self.inner, "afunc", None) is None:
                return self.inner.invoke(input, config, **kwargs)
            return await self.inner.ainvoke(input, config, **kwargs)


def as_mapping(update: Any) -> Mapping[str, Any] | None:
    """Return a model or a mapping as a mapping of fields, or None for anything else."""
    if isinstance(update, BaseModel):
        return {name: getattr(update, name) for name in update.model_fields_set}
    return update if isinstance(update, Mapping) else None


def compile_graph(builder: StateGraph[Any, Any, Any, Any], *, name: str, version: str) -> CheckedGraph:
    """Compile a builder into a `CheckedGraph` without a checkpointer; the version reaches every checkpoint's metadata.

    Attach a saver with `graph.copy(update={"checkpointer": saver})`, so that name, version and limits stay.
    """
    for start, branches in builder.branches.items():
        for key, branch in branches.items():
            branches[key] = branch._replace(path=_RedactingRoute(branch.path, f"the route after {start}"))
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
