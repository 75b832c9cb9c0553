"""The pipelines that the front door knows, by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from nodes.context import ladder_start
from nodes.errors import CallError, StopRun
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
    of: str = ""
    """The pipeline whose tasks it runs, where it is another style of one."""
    spec: str = ""
    """Where the graph is, for one that is not shipped: `package.module:graph`."""

    @property
    def graph(self) -> CheckedGraph:
        """The compiled graph, imported at first use."""
        return cast(CheckedGraph, importlib.import_module(f"graphs.{self.module}").graph)

    @property
    def state(self) -> type[RunState]:
        """The state of the graph."""
        return cast(type[RunState], self.graph.builder.state_schema)

    @property
    def version(self) -> str:
        """Version of the graph, as it stands in every checkpoint's metadata."""
        return str(importlib.import_module(f"graphs.{self.module}").VERSION)

    @property
    def tasks(self) -> Mapping[str, Task[Any, Any]]:
        """The tasks by name."""
        return cast(Mapping[str, Task[Any, Any]], importlib.import_module(f"tasks.{self.of or self.module}").TASKS)

    def providers(self, context: RunContext) -> dict[str, str]:
        """Return the ladder entry that each task starts with; raises `ConfigurationError` for an unknown provider."""
        entries = {name: ladder_start(task, context) for name, task in self.tasks.items()}
        for name, entry in entries.items():
            self.tasks[name].provider(entry.partition(":")[0])
        return entries

    async def make_ready(self, context: RunContext) -> None:
        """Prepare the provider that each task starts with, such as models that are fitted.

        What cannot be prepared is told by the step that needs it, where another provider may answer instead.
        """
        try:
            providers = self.providers(context)
        except (StopRun, ModuleNotFoundError):
            # A graph from elsewhere has no list of tasks, and a wrong name is told by its step.
            return
        for name, entry in providers.items():
            with suppress(StopRun, CallError):
                await self.tasks[name].ready(entry.partition(":")[0])

    def estimate_microusd(self, items: Sequence[Item], context: RunContext) -> int:
        """Estimate the micro-dollars of the items; raises `ConfigurationError` for a model without a price."""
        providers = self.providers(context)
        return sum(self.estimate_item(item.input, providers) for item in items)

    def scores(self, values: Mapping[str, Any]) -> Mapping[str, float]:
        """Return what is watched of one finished item."""
        found = importlib.import_module(f"tasks.{self.of or self.module}").scores_of(values)
        return cast(Mapping[str, float], found)

    def row(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the pipeline's own fields of an output row."""
        return {name: values.get(name) for name in self.row_fields}


def _estimate_support(item: Mapping[str, Any], providers: Mapping[str, str]) -> int:
    from nodes.call import call_settings, estimate_microusd
    from tasks.mail import read_mail
    from tasks.support import CLASSIFY_PROMPT, DRAFT_PROMPT, URGENCY_PROMPT, shorten

    mail = read_mail(str(item.get("subject") or ""), str(item.get("text") or ""))
    text = len(shorten(mail.text)) + len(mail.subject)
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
        row_fields=(
            *("recommendation", "score", "score_reasons", "confidence", "technical", "soft", "certifications"),
            *("years", "years_stated", "unread"),
        ),
        estimate_item=_estimate_resumes,
        per_day=10_000,
        folder_field="job",
    ),
}


_STYLES = {
    "support_handoff": replace(_PIPELINES["support"], name="support_handoff", module="support_handoff", of="support"),
}
"""Pipelines of the table in another style."""


def names() -> list[str]:
    """Return the names of all pipelines; another style of one is not counted."""
    return list(_PIPELINES)


def pipeline(name: str, spec: str = "") -> Pipeline:
    """Return a pipeline by name, or one that is not shipped by its spec, `package.module:graph`.

    Raises `UsageError` naming those that exist, or the spec that leads nowhere.
    """
    if spec or ":" in name:
        from surefoot.own import load

        found = load(spec or name)
        if found.name in _PIPELINES | _STYLES:
            raise UsageError(f"the graph of {found.spec!r} has the name of a shipped pipeline, {found.name!r}")
        return found
    shipped = _PIPELINES | _STYLES
    if name not in shipped:
        raise UsageError(
            f"there is no pipeline {name!r}; known: {', '.join(shipped)}, or package.module:graph for one of your own"
        )
    return shipped[name]


def stored_types(pipeline: Pipeline) -> list[type[Any]]:
    """Return the types that checkpoints of a pipeline may hold: the schemas of its graph and their subgraphs."""
    graphs = [pipeline.graph, *(graph for _, graph in pipeline.graph.get_subgraphs(recurse=True))]
    builders = [getattr(graph, "builder", None) for graph in graphs]
    return list(dict.fromkeys(schema for builder in builders if builder is not None for schema in builder.schemas))
