"""The types of a graph's own state are allowed without being named.

LangGraph tells a saver the types in the schemas of a graph, but only when `LANGGRAPH_STRICT_MSGPACK` is set. A saver of
this package is always strict, so here LangGraph always does: in the method that it asks for the saver of each run
and of each look at a state. LangGraph offers no public hook for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast, get_type_hints

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.pregel import Pregel

from ._base import SaverBase

_by_langgraph = getattr(Pregel, "_apply_checkpointer_allowlist", None)


def types_of(graph: Any) -> Iterator[Any]:
    """Yield the annotations of what checkpoints of a graph may hold: its schemas and the types of its channels."""
    yield from getattr(getattr(graph, "builder", None), "schemas", ())
    for channel in graph.channels.values():
        for name in ("ValueType", "UpdateType"):
            yield getattr(channel, name, None)
    if not hasattr(graph, "builder"):
        # A function as a graph: its channels have its annotations as they are written, texts where they are postponed.
        for node in graph.nodes.values():
            function = getattr(node.bound, "func", None) or getattr(node.bound, "afunc", None)
            with suppress(Exception):  # an annotation is any expression
                yield from get_type_hints(function).values()


def _with_types_of_graph(
    self: Pregel[Any, Any, Any, Any], checkpointer: BaseCheckpointSaver[Any] | None
) -> BaseCheckpointSaver[Any] | None:
    # A graph is copied for each run, what it was built from is not.
    owner = getattr(self, "builder", None) or self
    if isinstance(checkpointer, SaverBase):
        return checkpointer.with_types(owner, lambda: types_of(self))
    if isinstance(wrapped := vars(checkpointer).get("_inner") if checkpointer else None, SaverBase):
        # LangGraph's API server has a saver of its own around that of `langgraph.json`.
        wrapped.add_types(owner, lambda: types_of(self))
    return cast("BaseCheckpointSaver[Any] | None", _by_langgraph(self, checkpointer)) if _by_langgraph else checkpointer


def install() -> None:
    """Let every graph tell its types to a saver of this package. A LangGraph without the method is left as it is."""
    if _by_langgraph is not None:
        Pregel._apply_checkpointer_allowlist = _with_types_of_graph  # type: ignore[method-assign]  # noqa: SLF001 - see the module
