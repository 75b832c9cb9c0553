"""A graph of somebody's own that has a pipeline as a node; the server of the tests shows it."""

from __future__ import annotations

from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel
from typing_extensions import TypedDict

from graphs.support import graph as support
from state import RunContext


class Sent(BaseModel):
    """A type that no allow-list names."""

    to: tuple[str, ...]


class Mail(TypedDict, total=False):
    """What comes in, and what the desk needs to know."""

    text: str
    team: str
    urgency: str
    sent_to: str
    sent: Sent


def send(state: Mail) -> Mail:
    to = f"{state['team']}@example.org"
    return {"sent_to": to, "sent": Sent(to=(to,))}


builder = StateGraph(Mail, context_schema=RunContext)
builder.add_node("support", support)
builder.add_node("send", send)
builder.add_edge(START, "support")
builder.add_edge("support", "send")
builder.add_edge("send", END)
graph = builder.compile(name="outer")
