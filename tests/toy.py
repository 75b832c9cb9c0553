"""A small pipeline of our own nodes whose provider does what a script says: no network, no model."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, ConfigDict

from nodes import Policy, StepSpec, Task, add_retry, add_review, add_step, compile_graph, fixed
from nodes.call import Call
from nodes.graph import CheckedGraph
from state import Checked, ReviewDecision, ReviewRequest, RunContext, RunState
from state.review import ActionRequest


class ToyState(RunState):
    """Text in, an upper-case word and its length out."""

    text: Annotated[str, Checked] = ""
    word: Annotated[str | None, Checked] = None
    size: Annotated[int | None, Checked] = None


class Text(BaseModel):
    text: str


class Word(BaseModel):
    model_config = ConfigDict(strict=True)

    word: str


class Size(BaseModel):
    size: int


class Script:
    """Does one entry a call: an exception is raised, a callable is called, anything else is the answer."""

    def __init__(self, *entries: Any) -> None:
        self.entries = list(entries)
        self.calls: list[Call] = []
        self.times: list[float] = []

    async def __call__(self, inputs: Text, call: Call) -> Any:
        self.calls.append(call)
        self.times.append(time.time())
        entry = self.entries.pop(0) if self.entries else inputs.text.upper()
        if isinstance(entry, BaseException):
            raise entry
        if callable(entry):
            entry = entry()
        if hasattr(entry, "__await__"):
            entry = await entry
        return Word(word=entry) if isinstance(entry, str) else entry


def toy_task(**providers: Any) -> Task[Any, Any]:
    """Return the task `word` with these providers."""
    return Task(name="word", input=Text, output=Word, providers=providers)


def measure(inputs: Word, _call: Call) -> Size:
    return Size(size=len(inputs.word))


SIZE = Task(name="size", input=Word, output=Size, providers={"rule": measure})


def finish(state: ToyState) -> dict[str, Any]:
    return {"outcome": "done" if state.word else "done without a word"}


def toy_graph(
    policy: Policy | None = None,
    *,
    review: bool = False,
    extend: Callable[[StateGraph[Any, Any, Any, Any], StepSpec], None] | None = None,
    then: Any = "size",
    **providers: Any,
) -> CheckedGraph:
    """Build word -> size -> done, with a retry node and, if asked for, a person at the end of the ladder."""
    builder = StateGraph(ToyState, context_schema=RunContext)
    word = toy_task(**providers)
    step = add_step(builder, word, policy or Policy(retries=2, backoff=fixed(0)), then=then, on_give_up="done")
    size = add_step(builder, SIZE, Policy(retries=0), then="done")
    add_retry(builder, [step, size], escalate_to="human_review" if review else None)
    if review:
        add_review(
            builder,
            ask=ask,
            answer=lambda _s, _d: {},
            tasks={"word": word, "size": SIZE},
            then=(after, ["size", "done"]),
        )
    if extend:
        extend(builder, step)
    builder.add_node("done", finish)
    builder.add_edge(START, "word")
    builder.add_edge("done", END)
    return compile_graph(builder, name="toy", version="1")


def ask(state: ToyState) -> ReviewRequest:
    return ReviewRequest(
        action_request=ActionRequest(args={"word": state.word, "size": state.size}),
        description="what word?",
        reasons=state.escalations or {"asked": "asked"},
        default_action="accept",
    )


def after(state: ToyState) -> str:
    return "size" if state.word and state.size is None else "done"


def decision(kind: str, args: Any = None) -> dict[str, Any]:
    """Return a person's answer as it would be submitted."""
    return ReviewDecision(type=kind, args=args).model_dump(mode="json")  # type: ignore[arg-type] # tests pass literals
