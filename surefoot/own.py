"""Pipelines of one's own at the front door: a spec names the graph, `package.module:graph`, as in `langgraph.json`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from nodes.graph import CheckedGraph
from nodes.task import Task
from state import RunContext, RunState
from state.handoff import HandoffState
from surefoot.errors import UsageError
from surefoot.pipelines import Pipeline

BOOKKEEPING = RunState.model_fields.keys() | HandoffState.model_fields.keys()
"""Fields that every run has, which are no result of this pipeline."""


@dataclass(frozen=True)
class OwnPipeline(Pipeline):
    """A graph that is not shipped; what the table says of the others is read from its schemas."""

    own: CheckedGraph | None = None

    @property
    def graph(self) -> CheckedGraph:
        """The compiled graph."""
        assert self.own is not None  # noqa: S101 - `load` is the only one who makes these
        return self.own

    @property
    def version(self) -> str:
        """Version of the graph, as it stands in every checkpoint's metadata."""
        return str((self.graph.config or {}).get("metadata", {}).get("graph_version", ""))

    @property
    def tasks(self) -> Mapping[str, Task[Any, Any]]:
        """None: a graph does not tell its tasks, so an unknown provider is found when the first of them runs."""
        return {}

    def providers(self, context: RunContext) -> dict[str, str]:  # noqa: ARG002 - the others need it
        """Return nothing: see `tasks`."""
        return {}

    def estimate_microusd(self, items: Any, context: RunContext) -> int:  # noqa: ARG002 - the others need them
        """Return 0: what an item costs is known once it has run."""
        return 0


def load(spec: str) -> OwnPipeline:
    """Return the pipeline of a spec; raises `UsageError` naming the spec when it leads to no graph of ours."""
    module, _, attribute = spec.partition(":")
    if not all(part.isidentifier() for part in [*module.split("."), attribute]):
        raise UsageError(f"{spec!r} names no graph: write package.module:graph, such as notes:graph for notes.py")
    graph = _imported(spec, module, attribute)
    if not isinstance(graph, CheckedGraph) or not issubclass(graph.builder.state_schema, RunState):
        raise UsageError(
            f"{spec!r} is no pipeline (it is {type(graph).__name__}): give a graph that build_pattern, "
            "build_handoff or compile_graph has made, with a state that extends RunState"
        )
    return _pipeline_of(spec, graph)


@lru_cache(maxsize=64)
def _pipeline_of(spec: str, graph: CheckedGraph) -> OwnPipeline:
    """Make the pipeline of a graph, once: a module that is imported anew has another one."""
    builder, name = graph.builder, graph.name
    if not name.replace("_", "").replace("-", "").isalnum():
        raise UsageError(f"the graph of {spec!r} is named {name!r}: choose letters, digits, - and _, as it begins keys")
    asked, shown = _input_of(graph), builder.schemas[builder.output_schema]
    kept = BOOKKEEPING | (set() if builder.input_schema is builder.state_schema else asked.model_fields.keys())
    return OwnPipeline(
        name=name,
        module="",
        input=asked,
        required=(),
        row_fields=tuple(field for field in shown if not field.startswith("_") and field not in kept),
        estimate_item=lambda _item, _providers: 0,
        spec=spec,
        own=graph,
    )


def _input_of(graph: CheckedGraph) -> type[BaseModel]:
    """Return a model of what an item may hold; what every run keeps for itself is not given."""
    builder = graph.builder
    schema = builder.input_schema if issubclass(builder.input_schema, BaseModel) else builder.state_schema
    names = [name for name in builder.schemas[builder.input_schema] if name not in BOOKKEEPING]
    fields: dict[str, Any] = {name: (schema.model_fields[name].annotation, schema.model_fields[name]) for name in names}
    return create_model(f"{schema.__name__}Item", __config__=ConfigDict(hide_input_in_errors=True), **fields)


def _imported(spec: str, module: str, attribute: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        # An installed command does not look for modules where it is typed. Last, so that nothing is shadowed.
        sys.path.append(here)
    try:
        return getattr(importlib.import_module(module), attribute)
    except AttributeError:
        raise UsageError(f"{spec!r} cannot be used: module {module!r} has no {attribute!r}") from None
    except Exception as error:
        raise UsageError(f"{spec!r} cannot be imported: {type(error).__name__}: {error}") from error
