"""One small pipeline, built four ways: sort a ticket into a category (a schema), then write a first response (text).

All four have the same prompts, the same model, the same time limit and the same stand-ins to fall back on where their
way has a place for one. What differs is who retries, and what is said about the result.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import openai
from langchain_core.exceptions import OutputParserException
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy
from pydantic import BaseModel, SecretStr, ValidationError

from nodes import Check, Policy, Task, add_gate, add_retry, add_step, compile_graph
from nodes.call import Call
from nodes.checks import boilerplate, length, unfinished
from nodes.graph import CheckedGraph
from state import Checked, RunContext, RunState

Category = Literal["bug", "feature_request", "billing", "general"]
CLASSIFY = "Sort this support ticket into one category.\n<ticket>{text}</ticket>"
DRAFT = "Write a short first response to this support ticket.\n<ticket>{text}</ticket>"
TEMPLATE = "Thank you for writing to us. We will get back to you."
TIMEOUT_S = 2.0
"""Time limit of a request, the same for all: the client's default of ten minutes would make the comparison endless."""


class Sorted(BaseModel):
    """The answer to the first question."""

    category: Category


class State(BaseModel):
    """The state of the pipelines that are not built with Surefoot."""

    text: str = ""
    category: Category | None = None
    draft: str | None = None


@dataclass(frozen=True)
class Ended:
    """What a pipeline handed over for an item."""

    category: str | None
    draft: str | None
    told: bool = False
    """True when the pipeline itself says that the result is less than what was asked for."""


Run = Callable[[str, str], Awaitable[Ended]]
"""Takes a thread id and the text of an item."""


def rules(text: str) -> Category:
    """Sort by two words: what a team has before it has a model, and what is left when the model is gone."""
    return "bug" if "error" in text else "billing" if "invoice" in text else "general"


def client(url: str, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(model="loopback-small", base_url=url, api_key=SecretStr("x"), timeout=TIMEOUT_S, **options)


def _plain(classify: Any, draft: Any, policy: RetryPolicy | None) -> Run:
    async def classify_node(state: State) -> dict[str, Any]:
        return {"category": (await classify.ainvoke(CLASSIFY.format(text=state.text))).category}

    async def draft_node(state: State) -> dict[str, Any]:
        return {"draft": (await draft.ainvoke(DRAFT.format(text=state.text))).content}

    builder = StateGraph(State)
    builder.add_node("classify", classify_node, retry_policy=policy)
    builder.add_node("draft", draft_node, retry_policy=policy)
    builder.add_edge(START, "classify")
    builder.add_edge("classify", "draft")
    builder.add_edge("draft", END)
    graph = builder.compile(checkpointer=InMemorySaver())

    async def run(thread: str, text: str) -> Ended:
        values = await graph.ainvoke({"text": text}, {"configurable": {"thread_id": thread}})
        return Ended(values["category"], values["draft"])

    return run


def defaults(url: str) -> Run:
    """LangGraph's `RetryPolicy()` around a `ChatOpenAI` with its own retries: both as they come."""
    model = client(url)
    return _plain(model.with_structured_output(Sorted), model, RetryPolicy())


def tuned(url: str) -> Run:
    """What a careful team writes: one owner of retries, and a list of what is worth trying again."""
    model = client(url, max_retries=0)
    worth_it = (
        openai.RateLimitError,
        openai.InternalServerError,
        openai.APIConnectionError,
        openai.APITimeoutError,
        openai.LengthFinishReasonError,
        OutputParserException,
        ValidationError,
        AttributeError,
    )
    policy = RetryPolicy(max_attempts=4, initial_interval=0.5, backoff_factor=2.0, jitter=True, retry_on=worth_it)
    return _plain(model.with_structured_output(Sorted), model, policy)


def langchain(url: str) -> Run:
    """LangChain's `with_retry` and `with_fallbacks`."""
    model = client(url, max_retries=0)
    sort: Any = model.with_structured_output(Sorted).with_retry(stop_after_attempt=4)
    write: Any = model.with_retry(stop_after_attempt=4)
    by_rule = RunnableLambda(lambda prompt: Sorted(category=rules(str(prompt))))
    by_template = RunnableLambda(lambda _prompt: State(draft=TEMPLATE))
    written = RunnableLambda(lambda message: message if isinstance(message, State) else State(draft=message.content))
    return _plain(
        sort.with_fallbacks([by_rule]),
        RunnableLambda(lambda prompt: prompt)
        | (write | written).with_fallbacks([by_template])
        | RunnableLambda(lambda state: _Content(content=state.draft or "")),
        None,
    )


class _Content(BaseModel):
    content: str


class SurefootState(RunState):
    """The state of the pipeline that is built with Surefoot."""

    text: Annotated[str, Checked] = ""
    category: Annotated[Category | None, Checked] = None
    draft: Annotated[str | None, Checked] = None


class Text(BaseModel):
    """What both tasks read."""

    text: str


class Draft(BaseModel):
    """What the second task writes."""

    draft: str


async def _classify(inputs: Text, call: Call) -> Sorted:
    return (await call.model(CLASSIFY.format(text=inputs.text), Sorted, max_tokens=64)).value


async def _draft(inputs: Text, call: Call) -> Draft:
    return Draft(draft=(await call.model(DRAFT.format(text=inputs.text), max_tokens=256)).value)


def _by_rule(inputs: Text, _call: Call) -> Sorted:
    return Sorted(category=rules(inputs.text))


def _by_template(_inputs: Text, _call: Call) -> Draft:
    return Draft(draft=TEMPLATE)


def surefoot_graph() -> CheckedGraph:
    """Build the pipeline of Surefoot's nodes."""
    builder = StateGraph(SurefootState, context_schema=RunContext)
    policy = Policy(retries=3, timeout=TIMEOUT_S, fallback=("embedded",), on_exhausted="give_up")
    sort = Task(name="classify", input=Text, output=Sorted, providers={"openai": _classify, "embedded": _by_rule})
    write = Task(name="write", input=Text, output=Draft, providers={"openai": _draft, "embedded": _by_template})
    steps = [
        add_step(builder, sort, policy, then="write"),
        add_step(builder, write, policy, then="gate", on_give_up="done"),
    ]
    checks = [
        Check(name="length", run=length(min_words=6, max_words=200)),
        Check(name="boilerplate", run=boilerplate()),
        Check(name="unfinished", run=unfinished()),
    ]
    add_gate(builder, steps[1], field="draft", source=lambda state: state.text, checks=checks, then="done")
    add_retry(builder, steps)
    builder.add_node("done", lambda _state: {"outcome": "done"})
    builder.add_edge(START, "classify")
    builder.add_edge("done", END)
    return compile_graph(builder, name="chaos", version="1")


def surefoot(_url: str) -> Run:
    """Surefoot: one attempt a superstep, one retry node, one guard, a gate; the endpoint is that of the environment."""
    graph = surefoot_graph().copy(update={"checkpointer": InMemorySaver()})

    async def run(thread: str, text: str) -> Ended:
        config: Any = {"configurable": {"thread_id": thread}}
        values = await graph.ainvoke({"text": text}, config, context=RunContext(provider="openai"))
        return Ended(values.get("category"), values.get("draft"), told=bool(values.get("degraded")))

    return run


WAYS: dict[str, Callable[[str], Run]] = {
    "LangGraph, defaults": defaults,
    "LangGraph, tuned": tuned,
    "LangChain": langchain,
    "Surefoot": surefoot,
}
