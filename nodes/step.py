"""A step: one attempt of one task is one superstep.

A step never raises for a failure that it can classify: it records an `Attempt` and a pending `Failure` and lets the
graph go to the retry node. What it does raise stops the run with the thread as it was: a misconfigured provider, a
spent budget.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph
from langgraph.runtime import get_runtime
from pydantic import BaseModel

from nodes import bridge, events
from nodes.call import Call, Usage, call_settings, classify_error, prepare_settings
from nodes.decide import summarise
from nodes.errors import BudgetSpent, CallError, CallTimeout, ConfigurationError, Permanent, SurefootError
from nodes.policy import Policy, ResolvedPolicy
from nodes.task import Task
from state import Attempt, Failure, Provenance, RunContext, RunState, Spend

Route: TypeAlias = str | tuple[Callable[[Any], str], Sequence[str]]
"""The next node, or a function of the state together with all nodes that it may name."""

REGENERATION_TEMPERATURE = 0.3
"""Added for each regeneration: an answer that a gate refused should not come back word for word."""


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
    writes.
    """
    fields = getattr(builder.state_schema, "model_fields", {})
    if missing := [name for name in task.outputs if name not in fields]:
        raise ValueError(f"task {task.name!r} writes {missing}, which {builder.state_schema.__name__} does not have")
    builder.add_node(task.name, bridge.node(_attempt_function(task, policy), task.name))
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


def run_context() -> RunContext:
    """Return the context of the current run, or one of defaults where none was given."""
    return get_runtime(RunContext).context or RunContext()


def deadline_of(state: RunState, context: RunContext) -> float | None:
    """Return the absolute deadline of a run in seconds since the epoch, if it has one."""
    return None if context.deadline_s is None else (state.started_at or time.time()) + context.deadline_s


def ladder_start(task: Task[Any, Any], context: RunContext) -> str:
    """Return the first entry of a task's ladder: by context, then by settings; a task with one provider uses that."""
    if len(task.providers) == 1:
        return next(iter(task.providers))
    return context.providers.get(task.name) or context.provider or call_settings().provider


@dataclass
class _Try:
    """One attempt in the making."""

    task: Task[Any, Any]
    policy: ResolvedPolicy
    state: RunState
    context: RunContext
    entry: str
    thread: str

    def __post_init__(self) -> None:
        earlier = self.state.attempts_of(self.task.name)
        self.pending = self.state.failures.get(self.task.name)
        self.first_choice = ladder_start(self.task, self.context)
        self.provider, _, named_model = self.entry.partition(":")
        self.model = named_model or self.context.model or ""
        self.started_at = time.time()
        deadline = deadline_of(self.state, self.context)
        left = self.policy.timeout if deadline is None else min(self.policy.timeout, deadline - self.started_at)
        self.timeout = max(left, 0.001)
        self.attempt = Attempt(
            step=self.task.name,
            visit=self.state.visits.get(self.task.name, 0),
            n=len(earlier) + 1,
            entry=self.entry,
            provider=self.provider,
            model=named_model,
            variant=self.context.variant,
            started_at=self.started_at,
            timeout_ms=round(self.timeout * 1000),
            wait_ms=max(0, round((self.started_at - self.pending.failed_at) * 1000)) if self.pending else 0,
        )

    def call(self) -> Call:
        """Return the guarded call that the provider is given."""
        attempt, state = self.attempt, self.state
        return Call(
            step=attempt.step,
            thread=self.thread,
            tenant=state.tenant,
            provider=self.provider,
            model=self.model,
            n=attempt.n,
            visit=attempt.visit,
            timeout_s=self.timeout,
            feedback=state.feedback.get(attempt.step),
            temperature=REGENERATION_TEMPERATURE * attempt.visit if attempt.step in state.feedback else 0.0,
            max_cost_microusd=self.policy.max_cost_microusd,
            step_spent_microusd=state.spend.get(attempt.step, Spend()).cost_microusd,
            run_spent_microusd=state.spent_microusd,
            run_cap_microusd=self.context.max_cost_microusd,
            variant=attempt.variant,
        )

    async def run(self) -> dict[str, Any]:
        """Attempt the task once and return the update of the state."""
        inputs = self.task.read(self.state)
        call = self.call()
        try:
            async with asyncio.timeout(self.timeout):
                output = await self.task.run(self.provider, inputs, call)
        except Exception as error:
            failure = self.understand(error)
            return self.failed(failure, call.usage)
        return self.succeeded(inputs, output, call.usage)

    def understand(self, error: Exception) -> CallError | Exception:
        """Turn an exception into what is recorded; re-raise what must stop the run."""
        if isinstance(error, TimeoutError):
            return CallTimeout(f"no answer within {self.timeout:g} s")
        known = error if isinstance(error, SurefootError) else classify_error(error)
        if isinstance(known, BudgetSpent):
            raise known from None
        if isinstance(known, ConfigurationError):
            # Without a key or a model of the first choice nothing will succeed: stop and say so. A later rung of the
            # ladder that is not set up is only skipped.
            if self.entry == self.first_choice:
                raise known from None
            return Permanent(str(known))
        return known if isinstance(known, CallError) else error

    def close(self, usage: Usage, outcome: str, error: str = "") -> dict[str, Any]:
        """Return the part of the update that every attempt writes."""
        latency = time.time() - self.started_at
        attempt = self.attempt.model_copy(
            update={
                "model": usage.model or self.attempt.model,
                "outcome": outcome,
                "latency_ms": max(0, round(latency * 1000)),
                "tokens_in": usage.tokens_in,
                "tokens_out": usage.tokens_out,
                "calls": usage.calls,
                "cost_microusd": usage.cost_microusd,
            }
        )
        attempt = Attempt.model_validate({**attempt.model_dump(), "error": error})
        before = self.state.spend.get(attempt.step, Spend())
        spend = Spend(
            calls=before.calls + usage.calls,
            tokens_in=before.tokens_in + usage.tokens_in,
            tokens_out=before.tokens_out + usage.tokens_out,
            cost_microusd=before.cost_microusd + usage.cost_microusd,
        )
        events.emit(events.AttemptEnded(self.thread, attempt))
        return {"attempts": [attempt], "spend": {attempt.step: spend}}

    def failed(self, error: Exception, usage: Usage) -> dict[str, Any]:
        """Record a failure for the retry node."""
        known = isinstance(error, CallError)
        outcome = error.outcome if isinstance(error, CallError) else "crashed"
        message = str(error) if known else f"{type(error).__name__}: {error}"
        update = self.close(usage, outcome, message)
        failure = Failure(
            step=self.task.name,
            outcome=outcome,
            error=message,
            retryable=isinstance(error, CallError) and error.retryable,
            retry_after=error.retry_after if isinstance(error, CallError) else None,
            failed_at=time.time(),
            visit=self.attempt.visit,
        )
        feedback = {self.task.name: message} if outcome == "invalid_output" else {}
        return update | {"failures": {self.task.name: failure}, "feedback": feedback}

    def succeeded(self, inputs: BaseModel, output: BaseModel, usage: Usage) -> dict[str, Any]:
        """Write the outputs, where they came from, and settle the failure that was pending."""
        update = self.close(usage, "ok")
        source = Provenance(
            step=self.task.name,
            visit=self.attempt.visit,
            attempt=self.attempt.n,
            provider=self.provider,
            model=usage.model or self.attempt.model,
            variant=self.attempt.variant,
            input_hash=self.task.input_hash(inputs),
        )
        update |= {name: getattr(output, name) for name in self.task.outputs}
        update["provenance"] = dict.fromkeys(self.task.outputs, source)
        if self.pending is not None:
            update["failures"] = {self.task.name: None}
        if self.entry != self.first_choice:
            earlier = [a for a in self.state.attempts_of(self.task.name) if a.entry != self.entry]
            why = summarise(self.task.name, earlier)
            update |= {"degraded": True, "reasons": [f"{why}; {self.entry} answered instead"]}
        return update


def _attempt_function(task: Task[Any, Any], policy: Policy) -> bridge.NodeFunction:
    async def attempt(state: RunState, config: RunnableConfig) -> dict[str, Any]:
        context = run_context()
        await prepare_settings()
        pending = state.failures.get(task.name)
        entry = ladder_start(task, context)
        if pending is not None and pending.decision is not None and pending.decision.provider:
            entry = pending.decision.provider
        return await _Try(task, policy.resolve(state), state, context, entry, bridge.thread_of(config)).run()

    return attempt
