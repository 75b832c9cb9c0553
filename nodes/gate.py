"""A gate: named checks on an output before it counts.

Nothing passes silently: each check leaves a `Verdict`. A check that hangs or raises is a verdict too, and a failed
one. A refused output is removed and made again with the violation in the prompt; when that does not help, the gate
hands the step to the retry node as a `gate_failed` failure, whose ladder decides what comes next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import BaseMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph

from nodes import bridge, clock, events
from nodes.call import tokens
from nodes.loading import Clock
from nodes.step import Route, StepSpec, route_function
from nodes.view import View, Viewer
from state import Failure, RunState, Verdict

DEFAULT_DEADLINE = 2.0
"""Seconds for one check; the shipped ones take milliseconds."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One named check of a gate."""

    name: str
    run: Callable[[str, str], str | None]
    """`(output, source)` to None when it is fine, else one sentence that says what is wrong."""
    action: Literal["regenerate", "fallback", "escalate", "record"] = "regenerate"
    """What a violation leads to; `record` notes it, marks the result degraded and lets it pass."""
    deadline: float = DEFAULT_DEADLINE
    """Seconds."""


def add_gate(
    builder: StateGraph[Any, Any, Any, Any],
    step: StepSpec,
    *,
    field: str,
    source: Callable[[Any], str],
    checks: Sequence[Check],
    then: Route,
    regenerations: int = 2,
    name: str = "gate",
    review: str | None = None,
    retry: str = "retry",
) -> None:
    """Add a gate on the output `field` of `step`.

    `source` gives the text that the output may draw on. A `field` of messages is judged by its last message, and a
    refused one is removed. After `regenerations` refused versions the step fails for
    good on this provider. `review` is the review node, needed by checks whose action is `escalate`.
    """
    if not review and any(check.action == "escalate" for check in checks):
        raise ValueError(f"gate {name!r}: a check escalates, so name the review node")
    choose, targets = route_function(then)
    step_name = step.task.name
    step.gates.append(name)
    viewer = Viewer(builder)

    async def gate(view: View, config: RunnableConfig) -> dict[str, Any]:
        run, output = view.run, view.get(field)
        visit = run.visits.get(step_name, 0)
        attempts = run.attempts_of(step_name)
        attempt = attempts[-1].n if attempts else 0
        verdicts = await judge(name, _text(output), source(view.state), checks, visit, attempt)
        events.emit(events.GateJudged(bridge.thread_of(config), tuple(verdicts)))
        last = len(_refused_versions(run, name)) >= regenerations
        update = _consequence(verdicts, step_name, field, _discard(output), visit, last=last)
        _show(update, step_name, visit, attempt, field)
        return update

    def after(view: View) -> str:
        if step_name in view.run.failures:
            return retry
        if review and name in view.run.escalations:
            return review
        return step_name if step_name in view.run.feedback else choose(view.state)

    viewer.add_node(name, gate)
    extra = [review] if review else []
    viewer.add_routes(name, after, list(dict.fromkeys([*targets, step_name, retry, *extra])))


async def judge(
    gate: str, output: str, source: str, checks: Sequence[Check], visit: int, attempt: int = 0
) -> list[Verdict]:
    """Run all checks, each in a thread under its own deadline, and return a verdict for each."""

    async def one(check: Check) -> Verdict:
        try:
            async with Clock(check.deadline):
                detail = await bridge.in_thread(check.run, output, source)
        except TimeoutError:
            detail = f"the check gave no verdict within {check.deadline:g} s"
        except Exception as error:
            detail = f"the check failed with {type(error).__name__}"
        return Verdict(
            gate=gate,
            check=check.name,
            visit=visit,
            attempt=attempt,
            passed=detail is None,
            action="pass" if detail is None else check.action,
            detail=detail or "",
            at=clock.now(),
        )

    return list(await asyncio.gather(*(one(check) for check in checks)))


def _refused_versions(state: RunState, gate: str) -> set[int]:
    """Return the visits whose output this gate refused since a person last decided: a new turn starts afresh."""
    since = state.decisions[-1].decided_at if state.decisions else state.started_at
    ours = (v for v in state.verdicts if v.gate == gate and v.at >= since)
    return {v.visit for v in ours if not v.passed and v.action != "record"}


def _text(output: Any) -> str:
    """Return what a gate judges of an output."""
    if isinstance(output, list) and output and isinstance(output[-1], BaseMessage):
        output = output[-1].text
    return str(output or "")


def _discard(output: Any) -> Any:
    """Return the update that removes a refused output."""
    if isinstance(output, list) and output and isinstance(output[-1], BaseMessage):
        return [RemoveMessage(id=str(output[-1].id))]
    return None


def _show(update: Mapping[str, Any], step: str, visit: int, attempt: int, field: str) -> None:
    """Tell whoever watches the answers come in what the gate made of this one; a version that a person judges waits."""
    if field in update:
        reason = "; ".join(f"{v.check}: {v.detail}" for v in update["verdicts"] if not v.passed)
        tokens.show(tokens.RETRACTED, step, visit, attempt, reason=reason)
    elif "escalations" not in update:
        tokens.show(tokens.CONFIRMED, step, visit, attempt)


def _consequence(
    verdicts: list[Verdict], step: str, field: str, discard: Any, visit: int, *, last: bool
) -> dict[str, Any]:
    """Return the update that follows from the verdicts; the most serious action wins."""
    update: dict[str, Any] = {"verdicts": verdicts}
    violations = [v for v in verdicts if not v.passed]
    if not violations:
        return update | {"feedback": {step: None}}
    said = "; ".join(f"{v.check}: {v.detail}" for v in violations)
    actions = {v.action for v in violations}
    if actions == {"record"}:
        return update | {"degraded": True, "reasons": [f"passed with a remark: {said}"]}
    if "escalate" in actions:
        # The refused version stays: it is what the person judges.
        return update | {"escalations": {verdicts[0].gate: said}, "degraded": True, "reasons": [said]}
    update |= {field: discard, "provenance": {field: None}}
    if last or "fallback" in actions:
        failure = Failure(step=step, outcome="gate_failed", error=said, failed_at=clock.now(), visit=visit)
        return update | {"failures": {step: failure}}
    return update | {"visits": {step: visit + 1}, "feedback": {step: said}}
