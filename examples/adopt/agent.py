"""Somebody's agent, and what it takes to adopt a guarded model, a step and a retry node in it.

Three lines differ from the graph as it was: `guard(...)`, `add_step` instead of `add_node`, `add_retry`. The state
stays `MessagesState`, the tools stay tools, and `compile` stays LangGraph's own.

    python examples/adopt/agent.py my-thread "Where is order 7?"      # ask
    python examples/adopt/agent.py my-thread                          # go on after a crash
"""

import os
import sys
from pathlib import Path
from typing import Any

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from checkpointers import open_saver
from nodes import Policy, add_retry, add_step, fixed, guard


@tool
def order_status(order: int) -> str:
    """Look up where an order is."""
    if log := os.environ.get("TOOL_LOG"):
        with Path(log).open("a") as file:
            file.write(f"{order}\n")
    return f"Order {order} left the warehouse this morning."


def build() -> StateGraph[Any, Any, Any, Any]:
    """Return the graph: the agent, its tools, and back, until it has an answer."""
    name = os.environ.get("SUREFOOT_MODEL", "gpt-4.1-mini")
    model = guard(ChatOpenAI(model=name), max_tokens=500).bind_tools([order_status])

    async def agent(state: MessagesState, _call: Any) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    policy = Policy(retries=3, backoff=fixed(2), timeout=30, max_cost=0.05)
    step = add_step(builder, agent, policy, then=(tools_condition, ["tools", END]))
    builder.add_node("tools", ToolNode([order_status]))
    builder.add_edge(START, "agent")
    builder.add_edge("tools", "agent")
    add_retry(builder, [step])
    return builder


if __name__ == "__main__":
    thread, *question = sys.argv[1:]
    with open_saver(os.environ.get("SUREFOOT_REDIS_URL", "embedded:")) as saver:
        graph = build().compile(checkpointer=saver)
        asked = {"messages": [("user", question[0])]} if question else None
        result = graph.invoke(asked, {"configurable": {"thread_id": thread}}, durability="sync")
        sys.stdout.write(result["messages"][-1].text + "\n")
