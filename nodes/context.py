"""What a node asks of its run: the context, the deadline, the first choice of a provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.runtime import get_runtime
from pydantic import ValidationError

from nodes import clock
from nodes.call import call_settings
from nodes.errors import ConfigurationError
from nodes.loading import loaded_since
from nodes.policy import ResolvedPolicy
from nodes.task import AnyTask, Task
from state import RunContext, RunState, describe


def run_context() -> RunContext:
    """Return the context of the current run, or one of defaults where none was given.

    A graph with a context of its own (another class, a dict) is served too: from a dict the names of `RunContext` are
    taken. Raises `ConfigurationError` for a wrong value.
    """
    given: Any = get_runtime().context
    if isinstance(given, RunContext):
        return given
    if not isinstance(given, Mapping):
        return RunContext()
    try:
        return RunContext.model_validate({name: given[name] for name in RunContext.model_fields if name in given})
    except ValidationError as error:
        raise ConfigurationError(f"context: {describe(error)}") from None


def deadline_of(state: RunState, context: RunContext) -> float | None:
    """Return the absolute deadline of a run in seconds since the epoch, if it has one.

    It moves on by the time in which this process was loading something since the run began.
    """
    if context.deadline_s is None:
        return None
    began = state.started_at or min((a.started_at for a in state.attempts), default=clock.now())
    began = max([began, *(record.decided_at for record in state.decisions)])
    return began + context.deadline_s + loaded_since(began)


def patience_of(policy: ResolvedPolicy, context: RunContext) -> float:
    """Return the seconds that an item waits for its endpoints: the policy's, else the run's, else none."""
    return policy.patience if policy.patience is not None else context.patience_s or 0.0


def ladder_start(task: AnyTask, context: RunContext) -> str:
    """Return the first entry of a task's ladder: by context, then its own, then by settings.

    A task with one provider uses that.
    """
    if len(task.providers) == 1:
        return next(iter(task.providers))
    if isinstance(task, Task) and task.first:
        return context.providers.get(task.name) or task.first
    return context.providers.get(task.name) or context.provider or call_settings().provider
