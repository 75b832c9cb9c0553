"""The support pipeline in the handoff style: each node says to whom it hands over; the results are those of `support`.

from graphs.support_handoff import graph
result = graph.invoke({"text": "I was charged twice for March."})

Take this style when a workflow has outgrown one page: a node is added where it belongs, and only those that hand over
to it need to know. Take the central one (`graphs.support`) as long as one page shows it all.
"""

from __future__ import annotations

from typing import Final

from langgraph.graph import END, START

from graphs.support import (
    DRAFT_CHECKS,
    POLICIES,
    VERSION,
    answer,
    ask,
    assess,
    draft_source,
    finish,
    forward,
    validate,
)
from nodes import HandoffGraph, add_gate, add_retry, add_review, add_step, compile_graph
from state import RunContext, SupportInput, SupportState
from tasks import support as tasks

builder: Final = HandoffGraph(SupportState, context_schema=RunContext, input_schema=SupportInput)
builder.add_edge(START, "validate")
builder.add_agent("validate", validate, then="classify")

classify = add_step(builder, tasks.classify, POLICIES["classify"], then="urgency")
urgency = add_step(builder, tasks.urgency, POLICIES["urgency"], then="route")
route = add_step(builder, tasks.route, POLICIES["route"], then="assess")
builder.add_agent("assess", assess, then=(forward, ["human_review", "draft", "finish"]))

draft = add_step(builder, tasks.draft, POLICIES["draft"], then="gate", on_give_up="finish")
add_gate(builder, draft, field="draft", source=draft_source, checks=DRAFT_CHECKS, then="finish")

again: Final = ["classify", "urgency", "route", "draft", "finish"]
add_review(builder, ask=ask, answer=answer, tasks=tasks.TASKS, then=(forward, again))
add_retry(builder, [classify, urgency, route, draft], escalate_to="human_review")
builder.add_agent("finish", finish, then=END)

graph: Final = compile_graph(builder, name="support_handoff", version=VERSION)
