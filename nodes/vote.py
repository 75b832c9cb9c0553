"""A vote: a group whose members each give a probability, merged by weight into one verdict.

Nobody waits for a member that cannot change the outcome, and no verdict comes from too few: what failed is never a no.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langgraph.graph import StateGraph

from nodes.group import Ended, Member, add_group
from nodes.step import Route
from nodes.tally import Rules, settled, tally


def add_vote(
    builder: StateGraph[Any, Any, Any, Any],
    name: str,
    members: Sequence[Member],
    *,
    weights: Mapping[str, float],
    rules: Rules,
    then: Route,
    deadline: float | None = None,
    into: tuple[str, str, str] = ("score", "verdict", "margin"),
) -> None:
    """Add a node in which the members vote, each with one field that holds a probability.

    `weights` are by name of the member's task. `into` names the fields for the score, the verdict (`yes`, `no` or
    `unsure`) and the distance from the threshold. An unsure verdict is an escalation under the name of the vote, for
    the review that the graph has after it. Missing members make the result degraded.
    Raises `ValueError` for a member without a weight, and for one that writes more than one field.
    """
    for task in (member.task for member in members):
        if task.name not in weights:
            raise ValueError(f"vote {name!r}: {task.name!r} has no weight")
        if len(task.outputs) != 1:
            raise ValueError(f"vote {name!r}: {task.name!r} has to write one probability, it writes {task.outputs}")
    whole = {member.task.name: weights[member.task.name] for member in members}

    def enough(_state: Any, ended: Mapping[str, Ended]) -> bool:
        return settled(_ballots(ended), whole, rules)

    def finish(_state: Any, ended: Mapping[str, Ended]) -> dict[str, Any]:
        counted = tally(_ballots(ended), whole, rules)
        score, verdict, margin = into
        update: dict[str, Any] = {
            score: counted.score, verdict: counted.verdict, margin: counted.score - rules.threshold
        }  # fmt: skip
        if counted.verdict == "unsure":
            update["escalations"] = {name: counted.reason}
        if not counted.quorate:
            update |= {"degraded": True, "reasons": [f"{name}: {counted.reason}"]}
        return update

    add_group(builder, name, members, then=then, deadline=deadline, enough=enough, finish=finish)


def _ballots(ended: Mapping[str, Ended]) -> dict[str, float]:
    """Return the probabilities of the members that gave one."""
    return {
        member: float(next(iter(end.fields.values()))) for member, end in ended.items() if end.fields is not None
    }  # fmt: skip
