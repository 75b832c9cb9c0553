"""The beginning of a turn: the first input of a thread, or another one on the same thread."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from langgraph.types import Overwrite

from nodes.task import Task
from state import RunState


def begin_turn(state: RunState, tasks: Mapping[str, Task[Any, Any]]) -> dict[str, Any]:
    """Return the update with which a graph begins; put it into the first node.

    LangGraph keeps the state of a thread when it is invoked with another input. What was derived from the last one is
    reset here, so that no answer of an old turn passes as one of the new; attempts, verdicts, decisions and spend
    stay, and attempts are counted anew by raising the visit of every step.
    """
    if not (state.attempts or state.review):
        return {"started_at": state.started_at or time.time()}
    fields = type(state).model_fields
    derived = {name for task in tasks.values() for name in task.outputs}
    return {
        **{name: Overwrite(fields[name].get_default(call_default_factory=True)) for name in sorted(derived)},
        **{name: Overwrite({}) for name in ("provenance", "escalations", "failures", "feedback")},
        "reasons": Overwrite([]),
        "degraded": Overwrite(False),
        "outcome": None,
        "visits": {name: state.visits.get(name, 0) + 1 for name in tasks},
        "started_at": time.time(),
    }
