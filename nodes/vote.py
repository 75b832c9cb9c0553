"""A vote: a group whose members each give a probability, merged by weight into one verdict.

Nobody waits for a member that cannot change the outcome, and no verdict comes from too few: what failed is never a no.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    weights: Mapping[str, float] | Callable[[], Mapping[str, float]],
    rules: Rules | Callable[[], Rules],
    then: Route,
    deadline: float | None = None,
    into: tuple[str, str, str] = ("score", "verdict", "margin"),
) -> None:
    """Add a node in which the members vote, each with one field that holds a probability.

    `weights` are by name of the member's task; weights and rules may be functions, called in each run. `into` names the
    fields for the score, the verdict (`yes`, `no` or `unsure`) and the distance from the threshold. An unsure verdict
    is an escalation under the name of the vote, for the review that the graph has after it. Missing members make the
    result degraded.
    Raises `ValueError` for a member without a weight, and for one that writes more than one field.
    """
    names = [member.task.name for member in members]
    for task in (member.task for member in members):
        if len(task.outputs) != 1:
            raise ValueError(f"vote {name!r}: {task.name!r} has to write one probability, it writes {task.outputs}")
    if not callable(weights):
        _weights(name, names, weights)

    def terms() -> tuple[dict[str, float], Rules]:
        found = _weights(name, names, weights() if callable(weights) else weights)
        return found, rules() if callable(rules) else rules

    def enough(_state: Any, ended: Mapping[str, Ended]) -> bool:
        return settled(_ballots(ended), *terms())

    def finish(_state: Any, ended: Mapping[str, Ended]) -> dict[str, Any]:
        whole, rule = terms()
        counted = tally(_ballots(ended), whole, rule)
        score, verdict, margin = into
        update: dict[str, Any] = {
            score: counted.score, verdict: counted.verdict, margin: counted.score - rule.threshold
        }  # fmt: skip
        if counted.verdict == "unsure":
            update["escalations"] = {name: counted.reason}
        if not counted.quorate:
            update |= {"degraded": True, "reasons": [f"{name}: {counted.reason}"]}
        return update

    add_group(builder, name, members, then=then, deadline=deadline, enough=enough, finish=finish)


def _weights(vote: str, names: Sequence[str], weights: Mapping[str, float]) -> dict[str, float]:
    if missing := [name for name in names if name not in weights]:
        raise ValueError(f"vote {vote!r}: {missing[0]!r} has no weight")
    return {name: weights[name] for name in names}


def _ballots(ended: Mapping[str, Ended]) -> dict[str, float]:
    """Return the probabilities of the members that gave one."""
    return {
        member: float(next(iter(end.fields.values()))) for member, end in ended.items() if end.fields is not None
    }  # fmt: skip
