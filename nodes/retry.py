"""The retry node: the one owner of retries in a graph. It replaces LangGraph's default retry logic.

It takes two supersteps. The first decides (see `nodes.decide`) and writes the choice with the absolute time of the
next attempt; the second waits until then and sends the step back. So a process that is killed while it waits finds
the same choice, the same time and the same attempt count when it resumes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph
from langgraph.types import Command, interrupt

from nodes import bridge, clock, events
from nodes.context import deadline_of, patience_of, run_context
from nodes.decide import Again, Escalate, Fallback, GiveUp, decide, decision_made
from nodes.errors import InputError, StepFailed
from nodes.patience import patient_until
from nodes.review import ask_until_valid
from nodes.step import StepSpec
from nodes.view import View, Viewer
from state import (
    ActionRequest,
    Decision,
    Failure,
    ReviewConfig,
    ReviewRequest,
    RunContext,
    RunState,
)

WAIT_KIND = "surefoot.wait"
"""Marks the interrupt of a thread that waits for a time, not for a person."""


def add_retry(
    builder: StateGraph[Any, Any, Any, Any],
    steps: Sequence[StepSpec],
    *,
    escalate_to: str | None = None,
    name: str = "retry",
) -> None:
    """Add the retry node for these steps.

    `escalate_to` is the review node; in a graph without one, a policy that escalates gives up instead. A step that
    has nowhere to go after giving up stops the run: with an interrupt, which is answered with
    `Command(resume={"type": "accept"})` to try again, or with `StepFailed` in a graph without a saver.
    """
    specs = {spec.task.name: spec for spec in steps}
    targets = dict.fromkeys([name, *specs, *(spec.on_give_up for spec in steps if spec.on_give_up)])
    if escalate_to is not None:
        targets[escalate_to] = None

    async def retry(view: View, config: RunnableConfig) -> Command[str]:
        undecided = [failure for failure in view.run.failures.values() if failure.decision is None]
        if undecided:
            return _decide_all(specs, view, undecided, escalate_to or "", name, config)
        return await _wait_and_release(view.run, run_context(), name, config)

    Viewer(builder).add_node(name, retry, destinations=tuple(targets))


def _decide_all(
    specs: dict[str, StepSpec],
    view: View,
    failures: Sequence[Failure],
    escalate_to: str,
    name: str,
    config: RunnableConfig,
) -> Command[str]:
    """First superstep: choose for every failure, persist the choices, go where they lead."""
    update: dict[str, Any] = {"failures": {}, "reasons": [], "escalations": {}, "feedback": {}, "retry_decisions": []}
    goto: dict[str, None] = {}
    state = view.run
    for failure in failures:
        spec = specs.get(failure.step)
        if spec is None:
            raise InputError(f"failures: step {failure.step!r} is not served here; known: {', '.join(specs)}")
        attempts, now = state.attempts_of(failure.step, failure.visit), clock.now()
        policy = spec.policy.resolve(view.state)
        choice = decide(
            policy,
            attempts,
            failure,
            now,
            deadline=deadline_of(state, run_context()),
            patient_until=patient_until(patience_of(policy, run_context()), state.attempts, attempts, now),
            jitter=random.random(),  # noqa: S311 - spreads retries over time, guards nothing
        )
        if isinstance(choice, Escalate) and not escalate_to:
            choice = GiveUp(choice.reason)
        if isinstance(choice, GiveUp) and not spec.on_give_up:
            _ask_whether_again(failure.step, choice.reason, config)
            first = attempts[0].entry if attempts else ""
            granted = Decision(action="again", at=now, provider=first, reason=f"{choice.reason}; a person let it go on")
            update["retry_decisions"].append(decision_made(failure, attempts, granted, now, first))
            update["failures"][failure.step] = None
            update["feedback"][failure.step] = None
            goto[failure.step] = None
            continue
        match choice:
            case Again(at, provider):
                decision = Decision(action="again", at=at, made_at=now, provider=provider, reason=failure.error)
                goto[name] = None
            case Fallback(to, reason):
                decision = Decision(action="fallback", at=now, made_at=now, provider=to, reason=reason)
                goto[name] = None
            case Escalate(reason):
                decision = Decision(action="escalate", reason=reason)
                update["escalations"][failure.step] = reason
                goto[escalate_to] = None
            case GiveUp(reason):
                decision = Decision(action="give_up", reason=reason)
                goto[spec.on_give_up] = None
        after = {"escalate": escalate_to, "give_up": spec.on_give_up}.get(decision.action, decision.provider)
        update["retry_decisions"].append(decision_made(failure, attempts, decision, now, after))
        update["failures"][failure.step] = _settled(failure, decision)
        if decision.action in ("escalate", "give_up"):
            update["reasons"].append(decision.reason)
            update["feedback"][failure.step] = None
            update["degraded"] = True
        events.emit(events.RetryDecided(bridge.thread_of(config), failure.step, decision))
    return Command(update=update, goto=list(goto))


def _ask_whether_again(step: str, reason: str, config: RunnableConfig) -> None:
    """Stop until a person lets a step be tried again, in a new visit; raises `StepFailed` without a saver."""
    if not bridge.has_saver(config):
        raise StepFailed(f"{reason}; run it again, or name a node to go on with (on_give_up)")
    request = ReviewRequest(
        action_request=ActionRequest(action="retry", args={"step": step}),
        config=ReviewConfig(allow_edit=False, allow_respond=False, allow_ignore=False),
        description=f"**{reason}**\n\nAccept to try again.",
        reasons={step: reason},
        asked_at=clock.now(),
    )
    ask_until_valid(request, RunState, bridge.thread_of(config))


def _settled(failure: Failure, decision: Decision) -> Failure | None:
    """Keep a failure that will be tried again, drop one that is over."""
    if decision.action in ("escalate", "give_up"):
        return None
    return failure.model_copy(update={"decision": decision})


async def _wait_and_release(state: RunState, context: RunContext, name: str, config: RunnableConfig) -> Command[str]:
    """Second superstep: wait until the first of the failures is due, and send its step back."""
    waiting = [f for f in state.failures.values() if f.decision is not None and not f.released]
    if not waiting:
        raise RuntimeError("the retry node was entered without a failure: route to it only while `failures` has one")
    left = {failure.step: _left(failure) for failure in waiting}
    first = min(left.values())
    longest = context.max_inline_wait_s
    if longest is not None and first > longest and bridge.has_saver(config):
        now = clock.now()
        interrupt({"kind": WAIT_KIND, "until": now + first, "since": now, "steps": list(left)})
        first = min(_left(failure) for failure in waiting)
    await asyncio.sleep(max(0.0, first))
    due = [failure for failure in waiting if left[failure.step] <= first]
    released = {failure.step: failure.model_copy(update={"released": True}) for failure in due}
    goto = [failure.step for failure in due]
    if len(due) < len(waiting):
        goto.append(name)
    return Command(update={"failures": released}, goto=goto)


def _left(failure: Failure) -> float:
    """Return the seconds that a failure still waits; a wait that is resumed is never longer than it was begun with."""
    decision = failure.decision
    return clock.left(decision.at, decision.made_at) if decision is not None else 0.0
