"""The pipelines that the front door knows, by name: ours, and those that `register` adds."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from nodes.context import ladder_start
from nodes.graph import CheckedGraph
from nodes.task import Task
from state import RunContext, RunState, SupportInput
from state.content import ArticleInput
from state.fraud import TransactionInput
from state.pattern import Document
from state.resumes import ResumeInput
from surefoot.errors import UsageError

if TYPE_CHECKING:
    from surefoot.inputs import Item


@dataclass(frozen=True)
class Pipeline:
    """One pipeline: its graph, what an item must have, and what a row of the output holds."""

    name: str
    module: str
    """Of yours: `notes:graph`, a module and the graph in it, with `TASKS` by name. Of ours: a module of `graphs`."""
    input: type[BaseModel]
    required: tuple[str, ...]
    row_fields: tuple[str, ...]
    estimate_item: Callable[[Mapping[str, Any], Mapping[str, str]], int]
    """Micro-dollars that one item will probably cost, given the provider of each task."""
    per_day: int = 1_000
    """Items a day that the cost of a month is projected for."""
    folder_field: str = ""
    """Field that all items of a folder share, written in a file of that name; empty for a pipeline of lines only."""
    watched: bool = False
    """Whether its results are watched for slow decay over many runs."""

    @property
    def graph(self) -> CheckedGraph:
        """The compiled graph, imported at first use."""
        module, _, name = self.module.partition(":")
        return cast(CheckedGraph, getattr(_module(module if name else f"graphs.{module}"), name or "graph"))

    @property
    def state(self) -> type[RunState]:
        """The state of the graph."""
        return cast(type[RunState], self.graph.builder.state_schema)

    @property
    def version(self) -> str:
        """Version of the graph, as it stands in every checkpoint's metadata."""
        return str(((self.graph.config or {}).get("metadata") or {}).get("graph_version", ""))

    @property
    def tasks(self) -> Mapping[str, Task[Any, Any]]:
        """The tasks by name."""
        module, _, graph = self.module.partition(":")
        found = _module(module if graph else f"tasks.{module}")
        return cast(Mapping[str, Task[Any, Any]], getattr(found, "TASKS", {}) if graph else found.TASKS)

    def providers(self, context: RunContext) -> dict[str, str]:
        """Return the ladder entry that each task starts with; raises `ConfigurationError` for an unknown provider."""
        entries = {name: ladder_start(task, context) for name, task in self.tasks.items()}
        for name, entry in entries.items():
            self.tasks[name].provider(entry.partition(":")[0])
        return entries

    def estimate_microusd(self, items: Sequence[Item], context: RunContext) -> int:
        """Estimate the micro-dollars of the items; raises `ConfigurationError` for a model without a price."""
        providers = self.providers(context)
        return sum(self.estimate_item(item.input, providers) for item in items)

    def scores(self, values: Mapping[str, Any]) -> Mapping[str, float]:
        """Return what is watched of one finished item."""
        found = importlib.import_module(f"tasks.{self.module}").scores_of(values)
        return cast(Mapping[str, float], found)

    def row(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the pipeline's own fields of an output row."""
        return {name: values.get(name) for name in self.row_fields}


def _estimate_support(item: Mapping[str, Any], providers: Mapping[str, str]) -> int:
    from nodes.call import call_settings, estimate_microusd
    from tasks.support import CLASSIFY_PROMPT, DRAFT_PROMPT, URGENCY_PROMPT, shorten

    text = len(shorten(str(item.get("text", "")))) + len(str(item.get("subject", "")))
    total = 0
    for task, prompt, answer_tokens in (
        ("classify", CLASSIFY_PROMPT, 15),
        ("urgency", URGENCY_PROMPT, 15),
        ("draft", DRAFT_PROMPT, 110),
    ):
        provider, _, model = providers[task].partition(":")
        if provider == "openai":
            total += estimate_microusd(model or call_settings().model, len(prompt) + text, answer_tokens)
    return total


def _estimate_pattern(item: Mapping[str, Any], providers: Mapping[str, str]) -> int:
    from nodes.call import call_settings, estimate_microusd
    from tasks.pattern import PROMPT, PROMPT_CHARS

    provider, _, model = providers["summary"].partition(":")
    size = len(PROMPT) + min(len(str(item.get("text", ""))), PROMPT_CHARS)
    return estimate_microusd(model or call_settings().model, size, 60) if provider == "openai" else 0


def _estimate_content(item: Mapping[str, Any], providers: Mapping[str, str]) -> int:
    from nodes.call import call_settings, estimate_microusd
    from tasks.content import PROMPT, PROMPT_CHARS

    provider, _, model = providers["summarise"].partition(":")
    size = len(PROMPT) + min(len(str(item.get("text", ""))), PROMPT_CHARS)
    return estimate_microusd(model or call_settings().model, size, 90) if provider == "openai" else 0


def _estimate_fraud(_item: Mapping[str, Any], providers: Mapping[str, str]) -> int:
    from nodes.call import call_settings, estimate_microusd
    from tasks.fraud import PROMPT

    entries = [entry.partition(":") for entry in providers.values()]
    models = [model or call_settings().model for provider, _, model in entries if provider == "openai"]
    return sum(estimate_microusd(model, len(PROMPT) + 300, 10) for model in models)


def _estimate_resumes(item: Mapping[str, Any], providers: Mapping[str, str]) -> int:
    from nodes.call import call_settings, estimate_microusd
    from tasks.resumes import PROMPT_CHARS, SCORE_PROMPT, SOFT_PROMPT, TECHNICAL_PROMPT

    # Two pages, where only the path is known.
    text = min(len(str(item.get("text") or "")) or 5_000, PROMPT_CHARS)
    sizes = {
        "technical": (len(TECHNICAL_PROMPT) + text, 300),
        "soft": (len(SOFT_PROMPT) + 500 + text, 50),
        "score": (len(SCORE_PROMPT) // 10 + 400, 50),
    }
    entries = {name: providers[name].partition(":") for name in sizes}
    return sum(
        estimate_microusd(model or call_settings().model, *sizes[name])
        for name, (provider, _, model) in entries.items()
        if provider == "openai"
    )


_PIPELINES = {
    "support": Pipeline(
        name="support",
        module="support",
        input=SupportInput,
        required=("text",),
        row_fields=("category", "urgency", "team", "draft", "confidence"),
        estimate_item=_estimate_support,
        per_day=50_000,
    ),
    "pattern": Pipeline(
        name="pattern",
        module="pattern",
        input=Document,
        required=("text",),
        row_fields=("brief", "summary", "keywords", "figures"),
        estimate_item=_estimate_pattern,
    ),
    "content": Pipeline(
        name="content",
        module="content",
        input=ArticleInput,
        required=("text",),
        row_fields=("summary",),
        estimate_item=_estimate_content,
        per_day=200,
        watched=True,
    ),
    "fraud": Pipeline(
        name="fraud",
        module="fraud",
        input=TransactionInput,
        required=tuple(TransactionInput.model_fields),
        row_fields=("verdict", "score", "margin", "evidence"),
        estimate_item=_estimate_fraud,
        per_day=100_000,
    ),
    "resumes": Pipeline(
        name="resumes",
        module="resumes",
        input=ResumeInput,
        required=("job",),
        row_fields=("recommendation", "score", "score_reasons", "confidence", "technical", "certifications", "years"),
        estimate_item=_estimate_resumes,
        per_day=10_000,
        folder_field="job",
    ),
}


_REGISTERED: dict[str, Pipeline] = {}


def register(pipeline: Pipeline) -> None:
    """Make a pipeline of yours known to the front door of this process; raises `UsageError` for a name that is taken.

    The command line imports the modules that `SUREFOOT_PIPELINES` names, which call this.
    """
    if pipeline.name in _PIPELINES or _REGISTERED.get(pipeline.name, pipeline) != pipeline:
        raise UsageError(f"there is a pipeline {pipeline.name!r} already: choose another name")
    _REGISTERED[pipeline.name] = pipeline


def names() -> list[str]:
    """Return the names of all pipelines."""
    _load_named()
    return [*_PIPELINES, *_REGISTERED]


def pipeline(name: str) -> Pipeline:
    """Return a pipeline by name; raises `UsageError` naming those that exist."""
    if name in _PIPELINES:
        return _PIPELINES[name]
    known = names()
    if name not in known:
        raise UsageError(f"there is no pipeline {name!r}; known: {', '.join(known)}")
    return _REGISTERED[name]


def stored_types() -> list[type[Any]]:
    """Return the types of yours that checkpoints may hold: the schemas of the registered graphs and their subgraphs.

    Ours store plain data alone, so their graphs need not be loaded for that.
    """
    _load_named()
    graphs = [found.graph for found in _REGISTERED.values()]
    inner = [graph for outer in graphs for _, graph in outer.get_subgraphs(recurse=True)]
    builders = [getattr(graph, "builder", None) for graph in (*graphs, *inner)]
    return list(dict.fromkeys(schema for builder in builders if builder is not None for schema in builder.schemas))


def _load_named() -> None:
    """Import the modules that the settings name, which register pipelines."""
    from surefoot.settings import settings

    for name in settings().pipelines.split(","):
        if name.strip():
            _module(name.strip())


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0] and error.name != name:
            raise
        raise UsageError(f"there is no module {name!r}: is its folder on PYTHONPATH?") from None
