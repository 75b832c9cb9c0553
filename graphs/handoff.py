"""Graphs of agents that hand work over to each other, with an end to every loop.

`build_handoff` makes such a graph of plain functions. An agent returns what it found, and with `HAND_OVER` to whom the
work goes next; without it the work is done. `agents` of a table or a directory make a graph of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from langgraph.graph import END, START
from pydantic import BaseModel, ValidationError, create_model

from nodes import CheckedGraph, HandoffGraph, Policy, add_retry, add_review, add_step, begin_turn, clock, compile_graph
from nodes.call import Call
from nodes.errors import InputError, InvalidOutput
from nodes.registry import asked_fields
from nodes.task import StepFunction, hash_of, work_once
from state import ReviewRequest, RunContext, describe
from state.handoff import HandedOver, HandoffState
from state.review import ActionRequest, ReviewConfig

VERSION: Final = "1"
HAND_OVER: Final = "hand_over"
"""Key of an agent's update: the name of the next agent, or `(name, why)`."""
LOOP: Final = "loop"


@dataclass(frozen=True)
class Agent:
    """One agent: a function `(state, call) -> update`, and those whom it may hand over to."""

    name: str
    function: StepFunction
    hands_to: tuple[str, ...] = ()
    policy: Policy = field(default_factory=lambda: Policy(retries=2))


def build_handoff(
    name: str,
    *,
    input: type[BaseModel],
    result: type[BaseModel],
    agents: Sequence[Agent],
    first: str,
    max_handovers: int | None = None,
    review: bool = False,
    version: str = VERSION,
) -> CheckedGraph:
    """Return the compiled graph of some agents; attach a saver with `graph.copy(update={"checkpointer": saver})`.

    The agents read the fields of `input` and write those of `result`. `first` gets the work. A handover ends in a loop
    when the same agent would get the same work again (its input and all results are as they were), or after
    `max_handovers` of a turn (default: three for each agent): then a person is asked with `review`, else the outcome is
    `stopped`. The result stays `degraded` and says why also when a person has settled it: then the outcome is `done`,
    or `rejected`. Raises `ValueError` for unknown, doubled and unreachable agents.
    """
    by_name = {agent.name: agent for agent in agents}
    _check_agents(by_name, agents, first)
    most = 3 * len(agents) if max_handovers is None else max_handovers
    fields = [*input.model_fields, *result.model_fields]
    schema, given = _schemas(name, input, result)
    builder = HandoffGraph(schema, context_schema=RunContext, input_schema=given)
    end = "human_review" if review else "finish"

    def check(state: Any) -> dict[str, Any]:
        there = {each: getattr(state, each) for each in input.model_fields if getattr(state, each) is not None}
        try:
            input.model_validate(there)
        except ValidationError as error:
            raise InputError(f"input: {describe(error)}") from None
        begun = begin_turn(state, tasks)
        turn = "visits" in begun
        given = [getattr(state, each) for each in input.model_fields] + [None for _ in result.model_fields]
        taken = {"holder": first, "begun_with": _mark(first, given)}
        return begun | taken | (dict.fromkeys(result.model_fields) if turn else {})

    def finish(state: Any) -> dict[str, Any]:
        return {"outcome": _outcome(state), "holder": ""}

    builder.add_edge(START, "validate")
    steps = [
        add_step(
            builder, _working(agent, fields, most), agent.policy, name=agent.name, on_give_up=end,
            then=(_next(end), [*agent.hands_to, "finish", end]),
        )
        for agent in agents
    ]  # fmt: skip
    tasks = {step.task.name: step.task for step in steps}
    builder.add_agent("validate", check, then=first)
    builder.add_agent("finish", finish, then=END)
    add_retry(builder, steps, escalate_to="human_review" if review else None)
    if review:
        add_review(
            builder, ask=_ask(result), answer=lambda _state, _decision: {}, tasks={},
            then=(lambda state: first if state.last_decision == "response" else "finish", [first, "finish"]),
        )  # fmt: skip
    return compile_graph(builder, name=name, version=version)


def _check_agents(by_name: Mapping[str, Agent], agents: Sequence[Agent], first: str) -> None:
    if len(by_name) < len(agents):
        names = [agent.name for agent in agents]
        raise ValueError(f"two agents are called {next(n for n in names if names.count(n) > 1)!r}")
    if first not in by_name:
        raise ValueError(f"{first!r} is to begin, but is no agent; there are: {', '.join(by_name)}")
    reached, left = {first}, [first]
    while left:
        for to in by_name[left.pop()].hands_to:
            if to not in by_name:
                raise ValueError(f"somebody hands over to {to!r}, which is no agent; there are: {', '.join(by_name)}")
            if to not in reached:
                reached.add(to)
                left.append(to)
    if alone := [agent for agent in by_name if agent not in reached]:
        raise ValueError(f"nobody hands over to {', '.join(alone)}")


def _schemas(name: str, input: type[BaseModel], result: type[BaseModel]) -> tuple[type[HandoffState], type[BaseModel]]:
    both = [*input.model_fields, *result.model_fields]
    if taken := sorted({one for one in both if both.count(one) > 1} | (HandoffState.model_fields.keys() & set(both))):
        raise ValueError(f"{taken[0]!r} is taken: give that field of the input or the result another name")
    asked, asked_form = asked_fields(input)
    made, _ = asked_fields(result)
    title = name.title().replace("_", "")
    return create_model(f"{title}State", __base__=HandoffState, **(asked | made)), create_model(
        f"{title}Input", __config__=asked_form, **asked
    )


def _working(agent: Agent, fields: Sequence[str], most: int) -> StepFunction:
    """Return the agent's function with the handover that follows from what it says."""

    async def working(state: Any, call: Call) -> dict[str, Any]:
        update = dict(await work_once(agent.function, state, call) or {})
        said = update.pop(HAND_OVER, None)
        to, why = said if isinstance(said, tuple) else (said, "")
        if unknown := sorted(update.keys() - set(fields)):
            raise InvalidOutput(f"{agent.name} wrote {unknown[0]!r}, which is no field of the input or the result")
        if not to:
            return update | {"holder": ""}
        if to not in agent.hands_to:
            raise InvalidOutput(
                f"{agent.name} hands over to {to!r}; it may to: {', '.join(agent.hands_to) or 'nobody'}"
            )
        return update | _handed_over(state, agent.name, to, why, update, fields, most)

    return working


def _handed_over(
    state: HandoffState, agent: str, to: str, why: str, update: Mapping[str, Any], fields: Sequence[str], most: int
) -> dict[str, Any]:
    """Return the update of a handover, or of the loop that it would be."""
    mark = _mark(to, [update.get(name, getattr(state, name)) for name in fields])
    turn = [past for past in state.handovers if past.at >= state.started_at]
    now = clock.now()
    record = HandedOver(id=f"{len(state.handovers)}", agent=agent, to=to, why=why, print=mark, at=now)
    told = {"handovers": [record], "holder": to}
    if mark in (state.begun_with, *(past.print for past in turn)):
        way = " -> ".join([past.agent for past in turn[-4:]] + [agent, to])
        reason = f"{to} would get the same work again: {way}"
    elif len(turn) >= most:
        reason = f"more than {most} handovers, the last from {agent} to {to}"
    else:
        return told
    return told | {"holder": "", "degraded": True, "reasons": [reason], "escalations": {LOOP: reason}}


def _outcome(state: HandoffState) -> str:
    """Say how it ended: a person had the last word, nobody finished the work, or it is done."""
    last = state.decisions[-1].decision if state.decisions else None
    if last is not None and last.by != "default":
        return "rejected" if last.type == "reject" else "done"
    return "stopped" if last is not None or state.holder or LOOP in state.escalations else "done"


def _mark(agent: str, work: Sequence[Any]) -> str:
    """Return the hash of what an agent is given."""
    return hash_of([agent, [one.model_dump(mode="json") if isinstance(one, BaseModel) else one for one in work]])


def _next(end: str) -> Callable[[Any], str]:
    return lambda state: end if LOOP in state.escalations else state.holder or "finish"


def _ask(result: type[BaseModel]) -> Callable[[Any], ReviewRequest]:
    def ask(state: Any) -> ReviewRequest:
        dumped: Mapping[str, Any] = state.model_dump(mode="json", include=set(result.model_fields))
        return ReviewRequest(
            action_request=ActionRequest(action="settle", args=dict(dumped)),
            config=ReviewConfig(allow_respond=False, allow_accept=True),
            description="\n".join(f"- {reason}" for reason in state.escalations.values()),
            reasons=state.escalations,
            asked_at=clock.now(),
            default_action="accept",
        )

    return ask
