"""The retry node keeps every decision with its cause, what was before and what came after."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from toy import Script, decision, toy_graph

from nodes import Policy, fixed
from nodes.errors import Permanent, Throttled, Transient
from state import DecisionMade, RunContext, RunState


def ran(policy: Policy, *, review: bool = False, **scripts: Script) -> list[DecisionMade]:
    graph = toy_graph(policy, review=review, **scripts)
    final = graph.invoke({"text": "hi"}, context=RunContext(provider=next(iter(scripts))))
    return RunState.model_validate(final).retry_decisions


def test_retries_and_a_fallback_are_kept_in_order() -> None:
    policy = Policy(retries=1, backoff=fixed(0), fallback=("spare",))
    again, fell = ran(
        policy, main=Script(Throttled("429", retry_after=0.05), Transient("500")), spare=Script()
    )  # fmt: skip
    assert (again.action, again.outcome, again.before, again.after) == ("again", "throttled", "main", "main")
    assert (again.step, again.visit, again.attempt, again.retry_after) == ("word", 0, 1, 0.05)
    assert 0 < again.until - again.at <= 0.06
    assert (fell.action, fell.outcome, fell.before, fell.after) == ("fallback", "transient", "main", "spare")
    assert (fell.attempt, fell.reason) == (2, "word failed (throttled, transient), last: 500")


def test_giving_up_is_kept_with_where_the_run_goes() -> None:
    (gave_up,) = ran(Policy(retries=3, backoff=fixed(0)), only=Script(Permanent("400")))
    assert (gave_up.action, gave_up.before, gave_up.after, gave_up.until) == ("give_up", "only", "done", 0.0)


def test_a_run_without_failures_keeps_nothing() -> None:
    assert ran(Policy(retries=3, backoff=fixed(0)), only=Script()) == []


def test_secrets_stay_out_and_texts_are_bounded() -> None:
    (kept,) = ran(Policy(retries=0), only=Script(Permanent("key sk-abcdefghijklmnop " + "x" * 5000)))
    assert "sk-abc" not in kept.reason
    assert len(kept.reason) <= 200


def test_asking_a_person_and_what_an_edit_replaced_are_kept() -> None:
    graph = toy_graph(
        Policy(retries=0, on_exhausted="escalate"), review=True, only=Script(Permanent("400"))
    ).copy(update={"checkpointer": InMemorySaver()})  # fmt: skip
    config: Any = {"configurable": {"thread_id": "t"}}
    asked = graph.invoke({"text": "hi"}, config)
    (escalated,) = RunState.model_validate({**asked, "__interrupt__": None}).retry_decisions
    assert (escalated.action, escalated.after) == ("escalate", "human_review")
    (question,) = asked["__interrupt__"]
    final = graph.invoke(Command(resume={question.id: decision("edit", {"word": "YES"})}), config)
    state = RunState.model_validate(final)
    assert state.retry_decisions == [escalated]
    assert state.review[0].before == {"word": None}


@pytest.mark.parametrize("turns", [2, 3])
def test_each_turn_of_a_thread_adds_its_own(turns: int) -> None:
    script = Script(*[entry for _ in range(turns) for entry in (Transient("500"), "HI")])
    graph = toy_graph(Policy(retries=1, backoff=fixed(0)), only=script).copy(update={"checkpointer": InMemorySaver()})
    config: Any = {"configurable": {"thread_id": "t"}}
    for _ in range(turns):
        final = graph.invoke({"text": "hi"}, config)
    decisions = RunState.model_validate(final).retry_decisions
    assert len({(made.step, made.visit, made.attempt) for made in decisions}) == len(decisions) >= 1


def test_a_state_that_is_sent_back_whole_doubles_nothing() -> None:
    graph = toy_graph(Policy(retries=1, backoff=fixed(0)), only=Script(Transient("500"))).copy(
        update={"checkpointer": InMemorySaver()}
    )
    config: Any = {"configurable": {"thread_id": "t"}}
    final = graph.invoke({"text": "hi"}, config)
    graph.update_state(config, {"retry_decisions": final["retry_decisions"]})
    assert len(graph.get_state(config).values["retry_decisions"]) == 1
