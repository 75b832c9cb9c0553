"""A vote: weights renormalised over those present, a quorum, an early end that changes nothing, people for the rest."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, create_model

from nodes import Member, Policy, Task, compile_graph
from nodes.call import Call
from nodes.errors import Transient
from nodes.tally import Rules, relearned, settled, tally, weight_of
from nodes.vote import add_vote
from state import Checked, RunContext, RunState

NAMES = tuple("abcdefg")
probability = st.floats(0, 1)
ballots = st.dictionaries(st.sampled_from(NAMES), probability, max_size=7)
weights = st.fixed_dictionaries(dict.fromkeys(NAMES, st.floats(0.05, 4)))
rules = st.builds(
    Rules, threshold=st.floats(0.1, 0.9), quorum=st.integers(1, 7), least_weight=st.floats(0, 1), thin=st.floats(0, 0.3)
)


@given(ballots, weights, rules, st.randoms())
def test_the_order_of_ballots_does_not_matter(given_: Any, weight: Any, rule: Rules, random: Any) -> None:
    shuffled = list(given_.items())
    random.shuffle(shuffled)
    assert tally(dict(shuffled), weight, rule) == tally(given_, weight, rule)


@given(ballots, weights, rules)
def test_a_failure_is_never_a_no(voted: Any, weight: Any, rule: Rules) -> None:
    counted = tally(voted, weight, rule)
    if len(voted) < rule.quorum or sum(weight[m] for m in voted) / sum(weight.values()) < rule.least_weight - 1e-9:
        assert counted.verdict == "unsure"
        assert counted.score == max(voted.values(), default=1.0)
        assert "models answered" in counted.reason


agreeing = st.sampled_from([0.0, 1.0]).flatmap(
    lambda side: st.dictionaries(
        st.sampled_from(NAMES), st.floats(abs(side - 0.1), side) if side else st.floats(0, 0.1)
    )
)
lenient = st.builds(Rules, quorum=st.integers(1, 4), least_weight=st.floats(0, 0.6), thin=st.floats(0, 0.1))


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(agreeing, weights, lenient, st.dictionaries(st.sampled_from(NAMES), probability))
def test_an_early_end_changes_no_verdict(voted: Any, weight: Any, rule: Rules, later: Any) -> None:
    assume(settled(voted, weight, rule))
    assert tally(later | voted, weight, rule).verdict == tally(voted, weight, rule).verdict


@given(ballots, weights, rules)
def test_one_who_agrees_never_lowers_the_score(voted: Any, weight: Any, rule: Rules) -> None:
    missing = [name for name in NAMES if name not in voted]
    before = tally(voted, weight, rule)
    assume(missing and before.quorate)
    after = tally(voted | {missing[0]: min(1.0, before.score)}, weight, rule)
    assert after.score >= before.score - 1e-9


def test_weights_are_log_odds_and_few_cases_make_no_expert() -> None:
    assert weight_of(0.5, 1000) == 0
    assert weight_of(0.4, 1000) == 0
    assert weight_of(0.9, 10_000) == pytest.approx(2.197, abs=0.02)
    assert weight_of(1.0, 1) < weight_of(0.9, 1000)
    with pytest.raises(ValueError, match="accuracy"):
        weight_of(1.2, 3)


def test_weights_learned_anew_move_slowly() -> None:
    old = {"good": 2.0, "bad": 0.5, "unheard": 1.0}
    new = relearned(old, {"good": (10, 100), "bad": (1000, 1000)})
    assert new["good"] == 1.5
    assert new["bad"] == 0.625
    assert new["unheard"] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="cannot be right in 3 of 2 cases"):
        relearned(old, {"good": (3, 2)})


@pytest.mark.parametrize("wrong", [{"threshold": 2}, {"quorum": 0}, {"thin": True}, {"least_weight": -0.1}])
def test_rules_that_make_no_sense_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"vote: {next(iter(wrong))} must be"):
        Rules(**wrong)


def test_what_is_no_ballot_is_refused() -> None:
    with pytest.raises(ValueError, match="'x' has no weight; known: a"):
        tally({"x": 0.5}, {"a": 1.0}, Rules())
    with pytest.raises(ValueError, match="'a' gave nan, which is no probability"):
        tally({"a": float("nan")}, {"a": 1.0}, Rules())


class Case(RunState):
    text: Annotated[str, Checked] = ""
    score: Annotated[float | None, Checked] = None
    verdict: Annotated[str | None, Checked] = None
    margin: Annotated[float | None, Checked] = None


Seven = create_model("Seven", __base__=Case, **{f"p_{n}": (Annotated[float | None, Checked], None) for n in NAMES})  # type: ignore[call-overload] # fields by name


class Text(BaseModel):
    text: str


def voting(given_: dict[str, float | Exception], after: dict[str, float] | None = None) -> Any:
    def member(name: str) -> Member:
        async def work(_text: Text, _call: Call) -> dict[str, float]:
            await asyncio.sleep((after or {}).get(name, 0))
            answer = given_[name]
            if isinstance(answer, Exception):
                raise answer
            return {f"p_{name}": answer}

        output = create_model(f"Out{name}", **{f"p_{name}": (float, ...)})  # type: ignore[call-overload] # by name
        task = Task(name=name, input=Text, output=output, providers={"rule": work})
        return Member(task=task, policy=Policy(retries=0, on_exhausted="give_up"))

    builder = StateGraph(Seven, context_schema=RunContext)
    add_vote(
        builder, "vote", [member(n) for n in NAMES], weights=dict.fromkeys(NAMES, 1.0), rules=Rules(), then=END,
        deadline=5.0,
    )  # fmt: skip
    builder.add_edge(START, "vote")
    return compile_graph(builder, name="vote", version="1")


def test_seven_vote_and_a_thin_margin_is_a_question() -> None:
    sure = asyncio.run(voting(dict.fromkeys(NAMES, 0.95)).ainvoke({"text": "x"}))
    assert (sure["verdict"], sure.get("escalations")) == ("yes", None)
    thin = voting(dict.fromkeys(NAMES, 0.55)).invoke({"text": "x"})
    assert thin["verdict"] == "unsure"
    assert thin["escalations"] == {"vote": "the models are close (0.55 of 0.50)"}


@pytest.mark.parametrize("gone", list(itertools.combinations(NAMES, 3))[::7])
def test_three_may_be_missing(gone: tuple[str, ...]) -> None:
    given_: dict[str, float | Exception] = dict.fromkeys(NAMES, 0.05)
    ended = voting(given_ | dict.fromkeys(gone, Transient("down"))).invoke({"text": "x"})
    assert ended["verdict"] in ("no", "unsure")
    assert ended["score"] == pytest.approx(0.05)


def test_four_missing_send_everything_to_a_person() -> None:
    given_: dict[str, float | Exception] = dict.fromkeys(NAMES, 0.01)
    ended = voting(given_ | dict.fromkeys("abcd", Transient("down"))).invoke({"text": "x"})
    assert ended["verdict"] == "unsure"
    assert ended["degraded"] is True
    assert "only 3 of 7 models answered" in ended["escalations"]["vote"]
    nobody = voting(dict.fromkeys(NAMES, Transient("down"))).invoke({"text": "x"})
    assert (nobody["verdict"], nobody["score"]) == ("unsure", 1.0)


def test_nobody_waits_for_a_member_that_cannot_change_anything() -> None:
    began = time.monotonic()
    ended = asyncio.run(voting(dict.fromkeys(NAMES, 0.99), after={"f": 30, "g": 30}).ainvoke({"text": "x"}))
    assert time.monotonic() - began < 20
    assert ended["verdict"] == "yes"
    assert "degraded" not in ended
    assert {a["member"] for a in ended["attempts"]} == set("abcde")


def test_members_without_a_weight_or_with_two_fields_are_refused() -> None:
    one = Task(name="a", input=Text, output=Text, providers={"rule": lambda t, _c: t})
    builder = StateGraph(Seven)
    with pytest.raises(ValueError, match="'a' has no weight"):
        add_vote(builder, "vote", [Member(task=one)], weights={}, rules=Rules(), then=END)
    two = Task(name="a", input=Text, output=Case, providers={"rule": lambda t, _c: t})
    with pytest.raises(ValueError, match="has to write one probability"):
        add_vote(builder, "vote", [Member(task=two)], weights={"a": 1}, rules=Rules(), then=END)
