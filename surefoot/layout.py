"""Where the nodes of a graph are drawn: a column of what follows each other, and hubs at its sides.

The graphs of pipelines are a line of steps with a few hubs (the retry node, the review) that all steps lead to and come
back from. So hubs are found first, by taking the node with most neighbours out of each cycle; what is left is layered
by the longest way from the start (Sugiyama), and neighbours in a layer are ordered by the middle of those above them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

Edges = Sequence[tuple[str, str]]

HUB_NEIGHBOURS: Final = 4
"""Least neighbours of a node that is drawn at the side."""
STEP: Final = 84.0
"""Pixels between two layers."""
GAP: Final = 34.0
"""Pixels between two nodes of a layer, and between the column and a hub at its nearest."""
SIDE_GAP: Final = 150.0
HEIGHT: Final = 44.0


@dataclass(frozen=True)
class Box:
    """A node as it is drawn: its middle and its width, in pixels."""

    x: float
    y: float
    width: float
    side: int = 0
    """-1 for a hub left of the column, 1 for one at its right."""
    layer: int = 0


def place(nodes: Sequence[str], edges: Edges, widths: Mapping[str, float]) -> dict[str, Box]:
    """Return the box of each node."""
    hubs = _hubs(nodes, edges)
    column = [node for node in nodes if node not in hubs]
    layers = _layers(column, [edge for edge in edges if not hubs & set(edge)])
    boxes: dict[str, Box] = {}
    for number, layer in enumerate(_ordered(layers, edges)):
        total = sum(widths[node] for node in layer) + GAP * (len(layer) - 1)
        left = -total / 2
        for node in layer:
            boxes[node] = Box(left + widths[node] / 2, number * STEP, widths[node], 0, number)
            left += widths[node] + GAP
    half = max((abs(box.x) + box.width / 2 for box in boxes.values()), default=0.0)
    for number, hub in enumerate(node for node in nodes if node in hubs):
        side = 1 if number % 2 == 0 else -1
        near = [boxes[a if b == hub else b].y for a, b in edges if hub in (a, b) and (a if b == hub else b) in boxes]
        y = sum(near) / len(near) if near else 0.0
        taken = [box.y for box in boxes.values() if box.side == side]
        while any(abs(y - other) < STEP for other in taken):
            y += STEP
        boxes[hub] = Box(side * (half + SIDE_GAP + widths[hub] / 2), y, widths[hub], side)
    return boxes


def _hubs(nodes: Sequence[str], edges: Edges) -> set[str]:
    """Return the nodes that have to go for the rest to be nearly free of cycles."""
    hubs: set[str] = set()
    while True:
        left = [edge for edge in edges if not hubs & set(edge) and edge[0] != edge[1]]
        cyclic = _in_cycles([node for node in nodes if node not in hubs], left)
        # A node that comes back to itself, such as one that waits, is a hub rather than a step.
        degree = {node: len({a if b == node else b for a, b in left if node in (a, b)}) for node in cyclic}
        degree = {node: number + 2 * ((node, node) in edges) for node, number in degree.items()}
        most = max(cyclic, key=lambda node: degree[node], default=None)
        if most is None or degree[most] < HUB_NEIGHBOURS:
            return hubs
        hubs.add(most)


def _in_cycles(nodes: Sequence[str], edges: Edges) -> list[str]:
    """Return the nodes that can be reached from themselves."""
    after = {node: {b for a, b in edges if a == node} for node in nodes}
    found = []
    for node in nodes:
        seen, left = set[str](), list(after[node])
        while left:
            one = left.pop()
            if one not in seen:
                seen.add(one)
                left += after.get(one, ())
        if node in seen:
            found.append(node)
    return found


def _layers(nodes: Sequence[str], edges: Edges) -> list[list[str]]:
    """Return the nodes by their longest way from a node without predecessors; edges that go back do not count."""
    forward = _without_back_edges(nodes, edges)
    depth = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for source, target in forward:
            depth[target] = max(depth[target], depth[source] + 1)
    if "__end__" in depth:
        depth["__end__"] = max(depth.values())
    return [[node for node in nodes if depth[node] == number] for number in sorted(set(depth.values()))]


def _without_back_edges(nodes: Sequence[str], edges: Edges) -> list[tuple[str, str]]:
    forward, done = list[tuple[str, str]](), set[str]()

    def visit(node: str, above: Collection[str]) -> None:
        done.add(node)
        for source, target in edges:
            if source != node or target in above or target == node:
                continue
            forward.append((source, target))
            if target not in done:
                visit(target, {*above, target})

    for node in nodes:
        if node not in done:
            visit(node, {node})
    return forward


def _ordered(layers: Sequence[Sequence[str]], edges: Edges) -> list[list[str]]:
    """Order each layer by the middle of its neighbours in the layer above."""
    ordered: list[list[str]] = []
    for layer in layers:
        above = {node: number for number, node in enumerate(ordered[-1])} if ordered else {}

        def middle(node: str, above: Mapping[str, int] = above) -> float:
            near = [above[a] for a, b in edges if b == node and a in above]
            return sum(near) / len(near) if near else 0.0

        ordered.append(sorted(layer, key=middle))
    return ordered
