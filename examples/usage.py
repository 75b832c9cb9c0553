"""The Python interface in one file: it is type-checked and run by the tests.

Run it with `python examples/usage.py`; it needs no key and no server.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, TypedDict

from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel

import surefoot
from checkpointers import open_saver
from graphs.support import graph as support
from nodes import Policy, Task, add_retry, add_step, compile_graph, exponential
from nodes.call import Call
from nodes.events import AttemptEnded, RetryDecided
from state import Checked, ReviewDecision, RunContext, RunState

TICKET = {"text": "You charged us twice for March, please refund one of the payments."}
EMBEDDED = RunContext(provider="embedded")


def run_review_explain() -> None:
    """Run an item, answer the review that it asks for, and read its story."""
    result = surefoot.run("support", {"text": "  "}, id="usage-1", rerun=True, context=EMBEDDED)
    print(result.key, result.status, result.waits_for)
    for question in surefoot.pending():
        if question.record.key == result.key:
            print(question.request.reasons, question.request.tier)
    answer = ReviewDecision(type="edit", args={"category": "general"}, comment="blank, but polite")
    done = surefoot.resume(result.key, answer)
    story = surefoot.explain(done.key)
    print(done.row["team"], story.headline, story.attempts)


async def watch() -> None:
    """Follow a run: typed events, pieces of answers, and the result last."""
    async for part in surefoot.astream("support", TICKET, id="usage-2", rerun=True, context=EMBEDDED):
        match part:
            case AttemptEnded(attempt=attempt):
                print("attempt", attempt.step, attempt.outcome, attempt.latency_ms)
            case RetryDecided(step=step, decision=decision):
                print("failed", step, decision.action)
            case surefoot.Token(kind="token", text=text):
                print("token", text)
            case surefoot.Result(status=status, row=row):
                print(status, row["category"])
            case _:
                pass


class Mail(TypedDict, total=False):
    """State of a graph of one's own, which uses the support pipeline as a node."""

    body: str
    team: str


def triage(state: Mail) -> Mail:
    """Run the pipeline inside another graph: its guards, its caps and its saver are those of the run around it."""
    outcome = support.invoke({"text": state["body"]}, context=EMBEDDED)
    return {"team": str(outcome["team"])}


def one_graph_inside_another() -> None:
    """Use a pipeline as a node of a graph that is kept in Redis."""
    builder = StateGraph(Mail)
    builder.add_node("triage", triage)
    builder.add_edge(START, "triage")
    builder.add_edge("triage", END)
    with open_saver("embedded:") as saver:
        graph = builder.compile(checkpointer=saver)
        print(graph.invoke({"body": TICKET["text"]}, {"configurable": {"thread_id": "usage-3"}}))


class NoteState(RunState):
    """State of a pipeline of one's own."""

    text: Annotated[str, Checked] = ""
    title: Annotated[str | None, Checked] = None


class Note(BaseModel):
    """What the task reads."""

    text: str


class Title(BaseModel):
    """What the task writes."""

    title: str


async def ask_model(note: Note, call: Call) -> Title:
    """Ask the model that the settings name."""
    return (await call.model(f"Give this note a title: {note.text}", Title, max_tokens=40)).value


def first_words(note: Note, _call: Call) -> Title:
    """Do without a model."""
    return Title(title=" ".join(note.text.split()[:4]))


def own_task() -> None:
    """Build a graph of a task of one's own: a model first, a rule when it cannot be had."""
    task = Task(name="entitle", input=Note, output=Title, providers={"openai": ask_model, "embedded": first_words})
    builder = StateGraph(NoteState, context_schema=RunContext)
    policy = Policy(retries=3, backoff=exponential(1, 2, 30), timeout=20, max_cost=0.01, fallback=("embedded",))
    step = add_step(builder, task, policy, then=END)
    add_retry(builder, [step])
    builder.add_edge(START, "entitle")
    graph = compile_graph(builder, name="notes", version="1")
    print(graph.invoke({"text": "Buy milk and then call the bank"}, context=EMBEDDED)["title"])


if __name__ == "__main__":
    run_review_explain()
    asyncio.run(watch())
    one_graph_inside_another()
    own_task()
