"""The way that a run took through its graph: which nodes, how often, in which order, over which edges.

A thread that keeps its history tells each superstep by the versions that its nodes have seen. Of a finished thread,
which keeps its last checkpoint alone, the way is put together from its records, over nodes that it has visited.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from surefoot.raw import text
from surefoot.story_events import events_of

if TYPE_CHECKING:
    from langgraph.checkpoint.base import CheckpointTuple

    from surefoot.store import Store
    from surefoot.threads import RawThread, ThreadRecord

START: Final = "__start__"
END: Final = "__end__"

Edges = Sequence[tuple[str, str]]


@dataclass
class Way:
    """The way of a run."""

    order: dict[str, list[int]] = field(default_factory=dict)
    """When each node ran: numbers from 1, the same for nodes that ran together; empty where only that is known."""
    edges: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often each edge was taken."""
    stands: tuple[str, ...] = ()
    """The nodes that are to run next."""
    exact: bool = True
    """Whether it is what was stored, and not put together from records."""


async def way_of(store: Store, record: ThreadRecord, raw: RawThread, edges: Edges) -> Way:
    """Return the way of a thread; raises what reading it raises."""
    config: Any = {"configurable": {"thread_id": record.thread_id, "checkpoint_ns": ""}}
    history = [found async for found in store.saver.alist(config)][::-1]
    if not history:
        return Way()
    steps = _supersteps(history)
    exact = int(history[0].metadata.get("step", 0)) < 0
    if not exact:
        steps = [[node] for node in _from_records(record, raw, edges, _seen(history[-1]))]
    ended, stands = record.status == "done" and not raw.next, list(raw.next)
    way = _walked([*steps, *([[END]] if ended else [stands] if stands else [])], edges)
    way.exact, way.stands = exact, tuple(stands)
    for node in stands:
        # It has not run yet, this time.
        way.order[node] = way.order[node][:-1]
        if not way.order[node]:
            del way.order[node]
    for node in _seen(history[-1]):
        way.order.setdefault(node, [])
    return way


def _seen(found: CheckpointTuple) -> list[str]:
    return [node for node in found.checkpoint.get("versions_seen", {}) if not node.startswith("__")]


def _supersteps(history: Sequence[CheckpointTuple]) -> list[list[str]]:
    """Return the nodes of each superstep: those that have seen something new since the checkpoint before."""
    steps, before = [], dict[str, Any]()
    for found in history:
        seen: Mapping[str, Any] = found.checkpoint.get("versions_seen", {})
        ran = [node for node, versions in seen.items() if not node.startswith("__") and before.get(node) != versions]
        if ran:
            steps.append(ran)
        before = {node: dict(versions) for node, versions in seen.items()}
    return steps


def _from_records(record: ThreadRecord, raw: RawThread, edges: Edges, seen: Sequence[str]) -> list[str]:
    """Return the nodes in the order that attempts, verdicts and decisions tell, joined over visited nodes."""
    known = {node for edge in edges for node in edge}
    told = []
    for event in events_of(record, raw, raw.values):
        if event.kind == "attempt":
            told.append(text(event.data.get("step")))
        elif event.kind == "decision":
            told.append("retry")
        elif event.kind == "gate":
            told.append(event.step if event.step in known else "gate")
        elif event.kind == "review" and event.data:
            told.append("human_review")
    told = [node for node in told if node in known]
    # The members of a group are attempts of one node.
    told = [node for number, node in enumerate(told) if number == 0 or node != told[number - 1]]
    way, at = list[str](), START
    for node in [*told, *([END] if record.status == "done" else [])]:
        way += _between(at, node, edges, {*seen, node})
        at = node
    return [node for node in way if not node.startswith("__")]


def _between(start: str, end: str, edges: Edges, through: set[str]) -> list[str]:
    """Return the shortest way from one node to another over some nodes, without its start; just the end for none."""
    left, came = deque([start]), {start: ""}
    while left:
        node = left.popleft()
        for source, target in edges:
            if source == node and (target == end or (target in through and target not in came)):
                if target == end:
                    found = [end]
                    while node != start:
                        found.append(node)
                        node = came[node]
                    return found[::-1]
                came[target] = node
                left.append(target)
    return [end]


def _walked(steps: Sequence[Sequence[str]], edges: Edges) -> Way:
    """Count nodes and edges of supersteps that followed each other."""
    way, known = Way(), set(edges)
    before: Sequence[str] = [START]
    for number, nodes in enumerate(steps, 1):
        for node in nodes:
            if node != END:
                way.order.setdefault(node, []).append(number)
            way.edges.update((source, node) for source in before if (source, node) in known)
        before = nodes
    return way
