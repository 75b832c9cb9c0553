"""A step: one attempt of one task is one superstep.

A step never raises for a failure that it can classify: it records an `Attempt` and a pending `Failure` and lets the
graph go to the retry node. What it does raise stops the run with the thread as it was: a misconfigured provider, a
spent budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph

from nodes import bridge
from nodes.attempt import Trial, readied, standing
from nodes.call import prepare_settings
from nodes.context import ladder_start, run_context
from nodes.errors import ConfigurationError
from nodes.policy import Policy
from nodes.task import AnyTask, FunctionTask, StepFunction, Task
from nodes.view import NodeOfView, View, Viewer

Route: TypeAlias = str | tuple[Callable[[Any], str], Sequence[str]]
"""The next node, or a function of the state together with all nodes that it may name."""

PUSHED: Final = "__pregel_push"
"""How LangGraph marks, in the metadata of a node, that it was reached by `Send`."""


@dataclass(frozen=True)
class StepSpec:
    """What the retry, gate and review nodes need to know about a step."""

    task: AnyTask
    policy: Policy
    on_give_up: str
    """Where the run goes on without it; empty where nobody would see that it is missing."""
    gates: list[str] = field(default_factory=list)
    """Gates that its output has to pass: until then it is provisional."""


def add_step(
    builder: StateGraph[Any, Any, Any, Any],
    work: Task[Any, Any] | StepFunction,
    policy: Policy,
    *,
    then: Route,
    name: str = "",
    on_give_up: str | None = None,
    retry: str = "retry",
) -> StepSpec:
    """Add a node that attempts some work once, and its edges: to `retry` while a failure is pending, else to `then`.

    `work` is a `Task`, or a function `(state, call) -> update` for a node of an existing graph; `name` names the node
    of a function, its own name does by default. The state may be anybody's: fields of a run that it lacks are added.
    A step that is entered again, in the loop of an agent or by another input, begins a new visit with all its retries.
    Returns the spec to hand to `add_retry`. `on_give_up` is where the retry node sends the run after giving up. It
    defaults to `then` when that is a single node and the graph returns `degraded`; otherwise nobody would see that the
    step is missing, so the retry node asks a person whether to try again.
    Raises `ValueError` when the state lacks a field that the task writes, `ConfigurationError` when the ladder names a
    provider that the task does not have.
    """
    task = work if isinstance(work, Task) else FunctionTask(name or getattr(work, "__name__", ""), work)
    viewer = Viewer(builder)
    if missing := [output for output in task.outputs if output not in builder.channels]:
        raise ValueError(f"task {task.name!r} writes {missing}, which {builder.state_schema.__name__} does not have")
    for entry in () if callable(policy.fallback) else policy.fallback:
        task.provider(entry.partition(":")[0])
    choose, targets = route_function(then)
    told = "degraded" in builder.schemas.get(builder.output_schema, ())
    spec = StepSpec(task, policy, on_give_up or (then if isinstance(then, str) and told else ""))
    viewer.add_node(task.name, _attempt_function(spec, builder.channels))
    viewer.add_routes(
        task.name,
        lambda view: retry if task.name in view.run.failures else choose(view.state),
        [*targets, retry],
    )
    return spec


def route_function(route: Route) -> tuple[Callable[[Any], str], Sequence[str]]:
    """Return a route as a function of the state and the nodes that it may name."""
    if isinstance(route, str):
        target = route
        return (lambda _state: target), [target]
    return route


def _attempt_function(spec: StepSpec, channels: Mapping[str, Any]) -> NodeOfView:
    task = spec.task

    async def attempt(view: View, config: RunnableConfig) -> dict[str, Any]:
        if config.get("metadata", {}).get("langgraph_path", [""])[0] == PUSHED:
            raise ConfigurationError(
                f"step {task.name!r} was reached by Send, whose input a retry could not be given again: use add_group, "
                "or put the step into a subgraph and send to that"
            )
        context = run_context()
        await prepare_settings()
        entry = ladder_start(task, context)
        at = standing(view.run, task.name)
        if at.pending is not None and at.pending.decision is not None and at.pending.decision.provider:
            entry = at.pending.decision.provider
        resolved, thread = spec.policy.resolve(view.state), bridge.thread_of(config)
        durable = bridge.has_saver(config)
        async with readied(task, entry) as trouble:
            trial = Trial(
                task, resolved, view, context, at, entry, thread, channels, durable, gated=bool(spec.gates),
                trouble=trouble,
            )  # fmt: skip
            return await trial.run()

    return attempt
