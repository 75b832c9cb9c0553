"""The beginning of a turn: the first input of a thread, or another one on the same thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langgraph.types import Overwrite

from nodes import clock
from nodes.task import AnyTask
from nodes.view import run_fields
from state import RunState


def begin_turn(state: RunState | Mapping[str, Any], tasks: Mapping[str, AnyTask]) -> dict[str, Any]:
    """Return the update with which a graph begins; put it into the first node.

    `tasks` are those of the graph's steps by name: `{step.task.name: step.task for step in steps}`.

    LangGraph keeps the state of a thread when it is invoked with another input. What was derived from the last one is
    reset here, so that no answer of an old turn passes as one of the new; attempts, verdicts, decisions and spend
    stay, and attempts are counted anew by raising the visit of every step.
    """
    run = state if isinstance(state, RunState) else run_fields(state)
    if not (run.attempts or run.review):
        return {"degraded": False, "reasons": [], "started_at": run.started_at or clock.now()}
    derived = {name for task in tasks.values() for name in task.outputs}
    return {
        **{name: Overwrite(_empty(state, name)) for name in sorted(derived)},
        **{name: Overwrite({}) for name in ("provenance", "escalations", "failures", "feedback")},
        "reasons": Overwrite([]),
        "degraded": Overwrite(False),
        "outcome": None,
        "visits": {name: run.visits.get(name, 0) + 1 for name in tasks},
        "started_at": clock.now(),
    }


def _empty(state: RunState | Mapping[str, Any], field: str) -> Any:
    """Return what a field holds before anything is written to it."""
    fields = getattr(type(state), "model_fields", {})
    return fields[field].get_default(call_default_factory=True) if field in fields else None
