"""Steps and the retry node: attempts are counted, waits are kept, nothing is retried twice."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from toy import Script, Word, decision, toy_graph

from nodes import Policy, fixed
from nodes.errors import (
    BudgetSpent,
    ConfigurationError,
    InvalidOutput,
    NeedsCheckpointer,
    Permanent,
    Refused,
    Throttled,
    Transient,
    UnexpectedError,
)
from state import RunContext

NOW = Policy(retries=2, backoff=fixed(0))


def outcomes(values: dict[str, Any], step: str = "word") -> list[str]:
    return [a["outcome"] for a in values["attempts"] if a["step"] == step]


def supersteps(graph: Any, thread: str = "t") -> list[Any]:
    return list(graph.get_state_history({"configurable": {"thread_id": thread}}))


@pytest.fixture(params=["sync", "async"])
def invoke(request: pytest.FixtureRequest) -> Any:
    """Run a graph under `invoke` and under `ainvoke`: both must do the same."""
    if request.param == "sync":
        return lambda graph, *args, **kwargs: graph.invoke(*args, **kwargs)
    return lambda graph, *args, **kwargs: asyncio.run(graph.ainvoke(*args, **kwargs))


def config(thread: str = "t") -> Any:
    return {"configurable": {"thread_id": thread}}


def with_saver(graph: Any) -> Any:
    return graph.copy(update={"checkpointer": InMemorySaver()})


def test_the_happy_path_takes_one_superstep_a_step(invoke: Any) -> None:
    graph = with_saver(toy_graph(only=Script()))
    values = invoke(graph, {"text": "hi"}, config())
    assert (values["word"], values["size"]) == ("HI", 2)
    assert [a["n"] for a in values["attempts"]] == [1, 1]
    assert values.get("degraded") in (None, False)
    assert len(supersteps(graph)) == 5  # input, start, word, size, done


def test_retries_are_the_attempts_after_the_first(invoke: Any) -> None:
    script = Script(Transient("500"), Transient("502"))
    values = invoke(toy_graph(NOW, only=script), {"text": "hi"})
    assert outcomes(values) == ["transient", "transient", "ok"]
    assert [a["n"] for a in values["attempts"]][:3] == [1, 2, 3]
    assert values["failures"] == {}
    assert values["word"] == "HI"


def test_exhausted_retries_give_up_with_the_reason(invoke: Any) -> None:
    script = Script(*[Transient("500 from host")] * 9)
    policy = Policy(retries=2, backoff=fixed(0), on_exhausted="give_up")
    values = invoke(toy_graph(policy, only=script), {"text": "hi"})
    assert len(script.calls) == 3
    assert values["outcome"] == "done without a word"
    assert values["degraded"] is True
    assert "3 x transient" in values["reasons"][0]
    assert "500 from host" in values["reasons"][0]
    assert values["failures"] == {}


def test_zero_retries_means_one_attempt() -> None:
    script = Script(Transient("500"))
    toy_graph(Policy(retries=0, on_exhausted="give_up"), only=script).invoke({"text": "hi"})
    assert len(script.calls) == 1


@pytest.mark.parametrize("error", [Permanent("400"), Refused("declined")])
def test_what_cannot_succeed_is_not_retried(error: Exception) -> None:
    script = Script(error)
    values = toy_graph(Policy(retries=5, on_exhausted="give_up"), only=script).invoke({"text": "hi"})
    assert len(script.calls) == 1
    assert values["degraded"]


def test_retry_after_is_never_broken(invoke: Any) -> None:
    script = Script(Throttled("429", retry_after=0.4), Throttled("429", retry_after=0.2))
    values = invoke(toy_graph(NOW, only=script), {"text": "hi"})
    gaps = [b - a for a, b in zip(script.times, script.times[1:], strict=False)]
    assert gaps[0] >= 0.4
    assert gaps[1] >= 0.2
    assert values["attempts"][1]["wait_ms"] >= 400


def test_a_wait_longer_than_is_worth_it_counts_as_exhausted() -> None:
    script = Script(Throttled("429", retry_after=10_000))
    values = toy_graph(Policy(retries=5, max_wait=60, on_exhausted="give_up"), only=script).invoke({"text": "hi"})
    assert len(script.calls) == 1
    assert "throttled" in values["reasons"][0]


def test_the_ladder_is_climbed_in_order_and_the_result_is_degraded(invoke: Any) -> None:
    first, second, third = Script(*[Transient("500")] * 9), Script(Permanent("400")), Script("saved")
    policy = Policy(retries=1, backoff=fixed(0), fallback=("second", "third"))
    graph = toy_graph(policy, first=first, second=second, third=third)
    values = invoke(graph, {"text": "hi"}, context=RunContext(provider="first"))
    assert [a["provider"] for a in values["attempts"][:4]] == ["first", "first", "second", "third"]
    assert values["word"] == "saved"
    assert values["degraded"] is True
    assert "third answered instead" in values["reasons"][0]
    assert values["provenance"]["word"]["provider"] == "third"


def test_a_fallback_has_retries_of_its_own() -> None:
    first, second = Script(Permanent("400")), Script(Transient("500"), "saved")
    policy = Policy(retries=1, backoff=fixed(0), fallback=("second",))
    values = toy_graph(policy, first=first, second=second).invoke({"text": "hi"}, context=RunContext(provider="first"))
    assert outcomes(values) == ["permanent", "transient", "ok"]
    assert values["degraded"] is True


def test_a_timeout_is_recorded_at_its_value(invoke: Any) -> None:
    script = Script(lambda: asyncio.sleep(5))
    values = invoke(toy_graph(Policy(retries=1, backoff=fixed(0), timeout=0.1), only=script), {"text": "hi"})
    assert outcomes(values) == ["timeout", "ok"]
    assert values["attempts"][0]["timeout_ms"] == 100
    assert values["attempts"][0]["latency_ms"] >= 100


def test_a_wrong_type_is_invalid_output_and_the_next_attempt_is_told() -> None:
    script = Script({"word": 7}, "fine")
    values = toy_graph(NOW, only=script).invoke({"text": "hi"})
    assert outcomes(values) == ["invalid_output", "ok"]
    assert "word" in (script.calls[1].feedback or "")


def test_a_task_that_raises_is_a_recorded_failure_without_secrets() -> None:
    script = Script(RuntimeError("key sk-abcdef0123456789 for jane@example.com broke"))
    values = toy_graph(Policy(retries=3, on_exhausted="give_up"), only=script).invoke({"text": "hi"})
    assert outcomes(values) == ["crashed"]
    stored = str(values)
    assert "RuntimeError" in stored
    assert "sk-abcdef" not in stored
    assert "jane@example.com" not in stored


@pytest.mark.parametrize("error", [ConfigurationError("key refused"), BudgetSpent("cap spent")])
def test_what_no_retry_can_mend_stops_the_run_and_keeps_the_thread(invoke: Any, error: Exception) -> None:
    script = Script(error)
    graph = with_saver(toy_graph(NOW, only=script))
    with pytest.raises(type(error), match=str(error)):
        invoke(graph, {"text": "hi"}, config())
    state = graph.get_state(config())
    assert state.next == ("word",)
    assert state.values.get("attempts", []) == []
    values = invoke(graph, None, config())
    assert values["word"] == "HI"
    assert outcomes(values) == ["ok"]


def test_a_misconfigured_fallback_is_skipped() -> None:
    first, second = Script(Permanent("400")), Script(ConfigurationError("not installed"))
    policy = Policy(retries=1, fallback=("second",), on_exhausted="give_up")
    values = toy_graph(policy, first=first, second=second).invoke({"text": "hi"}, context=RunContext(provider="first"))
    assert outcomes(values) == ["permanent", "permanent"]
    assert "not installed" in values["reasons"][0]


def test_an_unknown_provider_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"no provider 'nobody'.*first, second"):
        toy_graph(first=Script(), second=Script()).invoke({"text": "hi"}, context=RunContext(provider="nobody"))


def test_the_deadline_of_the_run_ends_retries() -> None:
    script = Script(*[Transient("500")] * 50)
    policy = Policy(retries=50, backoff=fixed(0.6), on_exhausted="give_up")
    values = toy_graph(policy, only=script).invoke(
        {"text": "hi", "started_at": time.time()}, context=RunContext(deadline_s=1.5)
    )
    assert 2 <= len(script.calls) <= 4
    assert values["degraded"]


def test_the_choice_is_stored_before_the_wait() -> None:
    """Killed while it waits, the retry node finds its choice, its time and its count again."""
    script = Script(Throttled("429", retry_after=30))
    graph = with_saver(toy_graph(NOW, only=script))

    async def cut_during_the_wait() -> None:
        task = asyncio.create_task(graph.ainvoke({"text": "hi"}, config(), durability="sync"))
        while True:
            await asyncio.sleep(0.02)
            failures = (await graph.aget_state(config())).values.get("failures") or {}
            if failures.get("word", {}).get("decision"):
                break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cut_during_the_wait())
    state = graph.get_state(config())
    chosen = state.values["failures"]["word"]["decision"]
    assert state.next == ("retry",)
    assert chosen["at"] - state.values["failures"]["word"]["failed_at"] == pytest.approx(30, abs=1)
    past = {**state.values["failures"]["word"], "decision": {**chosen, "at": time.time() + 0.3}}
    graph.update_state(config(), {"failures": {"word": past}}, as_node="word")
    before = time.time()
    values = graph.invoke(None, config())
    assert script.times[-1] >= before + 0.25
    assert outcomes(values) == ["throttled", "ok"]
    assert [a["n"] for a in values["attempts"]][:2] == [1, 2]


def test_a_far_wait_interrupts_a_run_that_has_somebody_to_wake_it() -> None:
    script = Script(Throttled("429", retry_after=0.6))
    graph = with_saver(toy_graph(NOW, only=script))
    context = RunContext(max_inline_wait_s=0.1)
    values = graph.invoke({"text": "hi"}, config(), context=context)
    (item,) = values["__interrupt__"]
    assert item.value["kind"] == "surefoot.wait"
    assert item.value["until"] > time.time()
    time.sleep(0.6)
    values = graph.invoke(Command(resume={item.id: True}), config(), context=context)
    assert values["word"] == "HI"
    assert outcomes(values) == ["throttled", "ok"]


def test_escalation_asks_a_person_and_the_answer_goes_on(invoke: Any) -> None:
    graph = with_saver(toy_graph(Policy(retries=0), review=True, only=Script(Transient("500"))))
    values = invoke(graph, {"text": "hi"}, config())
    (item,) = values["__interrupt__"]
    assert "transient" in item.value["reasons"]["word"]
    values = invoke(graph, Command(resume={item.id: decision("edit", {"word": "HEY"})}), config())
    assert (values["word"], values["size"]) == ("HEY", 3)
    assert values["provenance"]["word"]["provider"] == "person"
    assert values["escalations"] == {}


def test_without_a_saver_the_default_action_is_taken_or_the_run_fails() -> None:
    def graph() -> Any:
        return toy_graph(Policy(retries=0), review=True, only=Script(Transient("500")))

    values = graph().invoke({"text": "hi"})
    assert values["degraded"]
    assert any("nobody was asked" in reason for reason in values["reasons"])
    with pytest.raises(NeedsCheckpointer, match="checkpointer"):
        graph().invoke({"text": "hi"}, context=RunContext(without_saver="fail"))


def test_an_answer_that_does_not_fit_is_asked_again() -> None:
    graph = with_saver(toy_graph(Policy(retries=0), review=True, only=Script(Transient("500"))))
    (item,) = graph.invoke({"text": "hi"}, config())["__interrupt__"]
    for wrong in ("yes", {"type": "edit", "args": {"size": "big"}}, {"type": "edit", "args": {"outcome": "x"}}):
        (item,) = graph.invoke(Command(resume={item.id: wrong}), config())["__interrupt__"]
        assert "not usable" in item.value["description"]
    values = graph.invoke(Command(resume={item.id: decision("edit", {"word": "OK"})}), config())
    assert values["size"] == 2


def test_the_caller_of_invoke_sees_an_unexpected_error_redacted() -> None:
    def broken(_state: Any) -> Any:
        raise RuntimeError("password=hunter2 at postgres://u:secret@host")

    graph = toy_graph(Policy(retries=lambda _s: broken(_s)), only=Script(Transient("x")))
    with pytest.raises(UnexpectedError) as caught:
        graph.invoke({"text": "hi"})
    assert "hunter2" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_policy_that_makes_no_sense_is_named() -> None:
    with pytest.raises(ValueError, match="retries must be 0 or more"):
        Policy(retries=-1)
    with pytest.raises(UnexpectedError, match="retries must be 0 or more"):
        toy_graph(Policy(retries=lambda _state: -1), only=Script()).invoke({"text": "hi"})


def test_policies_take_callables_of_the_state() -> None:
    script = Script(*[Transient("500")] * 9)
    policy = Policy(retries=lambda s: len(s.text), backoff=fixed(0), on_exhausted=lambda _s: "give_up")
    toy_graph(policy, only=script).invoke({"text": "four"})
    assert len(script.calls) == 5


def test_a_plain_function_is_a_provider_too() -> None:
    values = toy_graph(only=lambda inputs, _call: Word(word=inputs.text[::-1])).invoke({"text": "abc"})
    assert values["word"] == "cba"


def test_a_task_that_writes_unknown_fields_is_refused_when_the_graph_is_built() -> None:
    from langgraph.graph import StateGraph
    from toy import toy_task

    from nodes import add_step
    from state import RunState

    with pytest.raises(ValueError, match=r"'word'.*RunState"):
        add_step(StateGraph(RunState), toy_task(only=Script()), NOW, then="done")


async def test_invalid_output_of_a_provider_reaches_the_record_without_the_value() -> None:
    script = Script(InvalidOutput("word: Input should be a valid string"), "fine")
    values = await toy_graph(NOW, only=script).ainvoke({"text": "hi"})
    assert values["attempts"][0]["error"].startswith("word:")
