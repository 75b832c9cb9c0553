"""A step: one attempt of one task is one superstep.

A step never raises for a failure that it can classify: it records an `Attempt` and a pending `Failure` and lets the
graph go to the retry node. What it does raise stops the run with the thread as it was: a misconfigured provider, a
spent budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph

from nodes import bridge
from nodes.attempt import Trial
from nodes.call import prepare_settings
from nodes.context import ladder_start, run_context
from nodes.policy import Policy
from nodes.task import Task
from state import RunState

Route: TypeAlias = str | tuple[Callable[[Any], str], Sequence[str]]
"""The next node, or a function of the state together with all nodes that it may name."""


@dataclass(frozen=True)
class StepSpec:
    """What the retry and review nodes need to know about a step."""

    task: Task[Any, Any]
    policy: Policy
    on_give_up: str


def add_step(
    builder: StateGraph[Any, Any, Any, Any],
    task: Task[Any, Any],
    policy: Policy,
    *,
    then: Route,
    on_give_up: str | None = None,
    retry: str = "retry",
) -> StepSpec:
    """Add a node that attempts `task` once, and its edges: to `retry` while a failure is pending, else to `then`.

    Returns the spec to hand to `add_retry`. `on_give_up` is where the retry node sends the run after giving up; it
    defaults to `then` when that is a single node. Raises `ValueError` when the state lacks a field that the task
    writes, `ConfigurationError` when the ladder names a provider that the task does not have.
    """
    fields = getattr(builder.state_schema, "model_fields", {})
    if missing := [name for name in task.outputs if name not in fields]:
        raise ValueError(f"task {task.name!r} writes {missing}, which {builder.state_schema.__name__} does not have")
    for entry in () if callable(policy.fallback) else policy.fallback:
        task.provider(entry.partition(":")[0])
    builder.add_node(task.name, bridge.node(_attempt_function(task, policy, builder.channels), task.name))
    choose, targets = route_function(then)

    # `Any`, because LangGraph reads the annotation: it would hand over a RunState without the pipeline's fields.
    def after(state: Any) -> str:
        return retry if task.name in state.failures else choose(state)

    builder.add_conditional_edges(task.name, after, [*targets, retry])
    return StepSpec(task, policy, on_give_up or targets[0])


def route_function(route: Route) -> tuple[Callable[[Any], str], Sequence[str]]:
    """Return a route as a function of the state and the nodes that it may name."""
    if isinstance(route, str):
        target = route
        return (lambda _state: target), [target]
    return route


def _attempt_function(task: Task[Any, Any], policy: Policy, channels: Mapping[str, Any]) -> bridge.NodeFunction:
    async def attempt(state: RunState, config: RunnableConfig) -> dict[str, Any]:
        context = run_context()
        await prepare_settings()
        pending = state.failures.get(task.name)
        entry = ladder_start(task, context)
        if pending is not None and pending.decision is not None and pending.decision.provider:
            entry = pending.decision.provider
        await task.ready(entry.partition(":")[0])
        resolved, thread = policy.resolve(state), bridge.thread_of(config)
        durable = bridge.has_saver(config)
        return await Trial(task, resolved, state, context, entry, thread, channels, durable).run()

    return attempt
