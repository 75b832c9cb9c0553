"""The fraud pipeline: seven models judge a transaction, a weighted vote decides, people decide what the vote does not.

from graphs.fraud import graph
result = graph.invoke({"amount": 912.0, "usual_amount": 40.0, ...})
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from langgraph.graph import END, START, StateGraph
from pydantic import ValidationError

from nodes import Member, Policy, Rules, add_review, add_vote, begin_turn, clock, compile_graph, exponential
from nodes.bridge import in_thread
from nodes.bridge import node as both_ways
from nodes.context import run_context
from nodes.errors import InputError
from state import ReviewDecision, ReviewRequest, RunContext, describe
from state.fraud import FraudState, TransactionInput
from state.review import ActionRequest, ReviewConfig
from tasks import fraud as tasks

VERSION: Final = "1"

WITHIN_S: Final = 5.0
"""Seconds that the seven models have together; a payment waits for them."""
REVIEW_WITHIN_S: Final = 3600.0
"""Seconds within which a person should have looked."""
MEMBER: Final = Policy(retries=1, backoff=exponential(0.1, 2, 0.5), timeout=2.5, max_cost=0.01, on_exhausted="give_up")


def validate(state: FraudState) -> dict[str, Any]:
    """Refuse a transaction with a field missing: a model would judge the gap."""
    try:
        tasks.Transaction.model_validate({name: getattr(state, name) for name in tasks.Transaction.model_fields})
    except ValidationError as error:
        raise InputError(f"transaction: {describe(error)}") from None
    return begin_turn(state, tasks.TASKS) | {"verdict": None, "score": None, "vote": None, "margin": None}


def rules() -> Rules:
    """Return the rules of the vote; `RunContext.thresholds` may name `fraud` and `thin`."""
    named = run_context().thresholds
    return Rules(
        threshold=named.get("fraud", tasks.RULES.threshold), thin=named.get("thin", tasks.RULES.thin),
        quorum=tasks.RULES.quorum, least_weight=tasks.RULES.least_weight,
    )  # fmt: skip


def weights() -> Mapping[str, float]:
    """Return the weights of the models; `RunContext.thresholds` may name others as `weight_logistic` and so on."""
    named = run_context().thresholds
    return {name: named.get(f"weight_{name}", weight) for name, weight in tasks.WEIGHTS.items()}


async def judge(state: FraudState, _config: Any) -> dict[str, Any]:
    """Turn the vote into a verdict; what it does not decide is for a person, with the evidence."""
    if state.vote != "unsure":
        return {"verdict": "fraud" if state.vote == "yes" else "clean"}
    given = {name: getattr(state, name) for name in tasks.Transaction.model_fields}
    return {"verdict": "review", "evidence": await in_thread(tasks.evidence, given)}


def ask(state: FraudState) -> ReviewRequest:
    """Put the transaction, the vote and the evidence before a person."""
    votes = {name: getattr(state, name) for name in tasks.WEIGHTS}
    told = ", ".join(f"{name} {p:.2f}" if p is not None else f"{name} missing" for name, p in votes.items())
    given = "\n".join(f"- {name}: {getattr(state, name)}" for name in tasks.Transaction.model_fields)
    leaning = "fraud" if (state.score or 0.0) >= rules().threshold else "clean"
    why = "\n".join(f"- {reason}" for reason in (*state.escalations.values(), *state.evidence))
    return ReviewRequest(
        action_request=ActionRequest(action="decide", args={"verdict": leaning}),
        # With too few models nothing may be waved through: a person says which.
        config=ReviewConfig(allow_accept=not state.degraded, allow_respond=False),
        description=f"**Why you are asked**\n{why}\n\n**Models**\n{told}\n\n**Transaction**\n{given}",
        reasons=state.escalations,
        tier="urgent",
        asked_at=clock.now(),
        due_at=clock.now() + REVIEW_WITHIN_S,
        default_action="reject",
    )


def answer(state: FraudState, decision: ReviewDecision) -> dict[str, Any]:
    """Turn a decision into a verdict: accepting takes the side that the models lean to."""
    if decision.type == "accept":
        return {"verdict": "fraud" if (state.score or 0.0) >= rules().threshold else "clean"}
    return {}


def finish(state: FraudState) -> dict[str, Any]:
    """Write the outcome: a transaction that nobody decided stays held."""
    return {"outcome": state.verdict if state.verdict in ("fraud", "clean") else "held"}


builder: Final = StateGraph(FraudState, context_schema=RunContext, input_schema=TransactionInput)
builder.add_node("validate", validate)
builder.add_node("judge", both_ways(judge, "judge"))
builder.add_node("finish", finish)
add_vote(
    builder, "models", [Member(task=task, policy=MEMBER) for task in tasks.TASKS.values()],
    weights=weights, rules=rules, into=("score", "vote", "margin"), deadline=WITHIN_S, then="judge",
)  # fmt: skip
add_review(builder, ask=ask, answer=answer, tasks=tasks.TASKS, then="finish")
builder.add_edge(START, "validate")
builder.add_edge("validate", "models")
builder.add_conditional_edges(
    "judge", lambda state: "human_review" if state.verdict == "review" else "finish", ["human_review", "finish"]
)
builder.add_edge("finish", END)

graph: Final = compile_graph(builder, name="fraud", version=VERSION)
