"""A graph as SVG or Mermaid, made here: no browser, no web service. What a run has visited stands out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from surefoot.layout import HEIGHT, STEP, Box, place
from surefoot.way import END, START, Way
from surefoot.words import one_line

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph

CHARACTER: Final = 7.6
"""Width of a character of a label in pixels, a little more than it takes."""
SMALL: Final = 6.0
MARGIN: Final = 36.0
MAX_LABEL: Final = 40

STYLE: Final = """
text { font: 14px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2937; text-anchor: middle; }
.small { font-size: 11px; fill: #6b7280; } .title { font-size: 15px; font-weight: 600; text-anchor: start; }
.sub { font-size: 12px; fill: #6b7280; text-anchor: start; }
.box { fill: #ffffff; stroke: #94a3b8; stroke-width: 1.4; } .end { fill: #f1f5f9; }
.hub { fill: #f8fafc; stroke-dasharray: 5 3; } .edge { fill: none; stroke: #a8b3c2; stroke-width: 1.3; }
.visited { fill: #e0ecff; stroke: #2563eb; stroke-width: 1.8; stroke-dasharray: none; }
.stands { fill: #fef3c7; stroke: #d97706; stroke-width: 2.2; stroke-dasharray: none; }
.taken { stroke: #2563eb; stroke-width: 2.2; } .order { fill: #1d4ed8; font-weight: 600; }
.count { fill: #1d4ed8; font-weight: 600; paint-order: stroke; stroke: #ffffff; stroke-width: 4px; }
.faded { opacity: 0.45; }
""".strip()


def edges_of(graph: Graph) -> list[tuple[str, str]]:
    """Return the edges of a graph, each once."""
    return list(dict.fromkeys((edge.source, edge.target) for edge in graph.edges))


def svg(graph: Graph, *, title: str, subtitle: str = "", way: Way | None = None) -> str:
    """Return a graph as an SVG document; with a way, what it visited is marked with its order and counts."""
    edges, notes = edges_of(graph), {node: _note(node, graph, way) for node in graph.nodes}
    widths = {node: _width(node, notes[node]) for node in graph.nodes}
    boxes = place(list(graph.nodes), edges, widths)
    heads = max(CHARACTER * len(title) * 1.1, SMALL * len(subtitle) * 1.1)
    left = min(box.x - box.width / 2 for box in boxes.values()) - MARGIN - 30
    right = max(max(box.x + box.width / 2 for box in boxes.values()) + MARGIN + 30, left + heads + 2 * MARGIN)
    top, bottom = -HEIGHT / 2 - MARGIN - 48, max(box.y for box in boxes.values()) + HEIGHT / 2 + MARGIN
    wide, high = right - left, bottom - top
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{left:.0f} {top:.0f} {wide:.0f} {high:.0f}" role="img">',
        f"<title>{_text(title)}</title>",
        f"<style>{STYLE}</style>",
        _markers(),
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{wide:.0f}" height="{high:.0f}" fill="#ffffff"/>',
        f'<text class="title" x="{left + MARGIN:.0f}" y="{top + 30:.0f}">{_text(title)}</text>',
        f'<text class="sub" x="{left + MARGIN:.0f}" y="{top + 49:.0f}">{_text(subtitle)}</text>' if subtitle else "",
    ]
    lines, labels = _edges(edges, boxes, way)
    parts += [*lines, *(_node(node, boxes[node], notes[node], way) for node in graph.nodes), *labels, "</svg>"]
    return "\n".join(part for part in parts if part) + "\n"


def _text(text: str) -> str:
    return escape(one_line(text))


def _label(node: str) -> str:
    return one_line({START: "start", END: "end"}.get(node, node), MAX_LABEL)


def _note(node: str, graph: Graph, way: Way | None) -> str:
    """Return the small line of a node: its members, or when it ran."""
    if way is not None and node in way.order:
        order = way.order[node]
        shown = ", ".join(map(str, order[:8])) + (" …" if len(order) > 8 else "")
        return (f"{len(order)}×: {shown}" if len(order) > 1 else shown) if order else "visited"
    if way is not None and node in way.stands:
        return "stands here"
    members = (graph.nodes[node].metadata or {}).get("members", "")
    return one_line(f"{len(str(members).split(','))} members" if members else "", MAX_LABEL)


def _width(node: str, note: str) -> float:
    return max(CHARACTER * len(_label(node)), SMALL * len(note), 40.0) + 28


def _node(node: str, box: Box, note: str, way: Way | None) -> str:
    kind = "box" + (" end" if node in (START, END) else "") + (" hub" if box.side else "")
    faded = ""
    if way is not None:
        visited = node in way.order or node == START or (node == END and any(edge[1] == END for edge in way.edges))
        kind += " visited" if visited else ""
        kind += " stands" if node in way.stands else ""
        faded = "" if visited or node in way.stands else ' class="faded"'
    radius = HEIGHT / 2 if node in (START, END) else 9
    x, y = box.x - box.width / 2, box.y - HEIGHT / 2
    line = -3 if note else 5
    order = "small order" if way is not None and note else "small"
    return (
        f"<g{faded}>"
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{box.width:.1f}" height="{HEIGHT:g}" rx="{radius:g}"/>'
        f'<text x="{box.x:.1f}" y="{box.y + line:.1f}">{_text(_label(node))}</text>'
        + (f'<text class="{order}" x="{box.x:.1f}" y="{box.y + 14:.1f}">{_text(note)}</text>' if note else "")
        + "</g>"
    )


def _markers() -> str:
    made = [
        f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
        f'orient="auto-start-reverse"><path d="M0,0 L10,5 L0,10 z" fill="{color}"/></marker>'
        for name, color in (("a", "#a8b3c2"), ("t", "#2563eb"))
    ]
    return f"<defs>{''.join(made)}</defs>"


def _edges(edges: Sequence[tuple[str, str]], boxes: Mapping[str, Box], way: Way | None) -> tuple[list[str], list[str]]:
    """Return the lines and the counts of edges; two that go both ways are one line, and taken ones lie above others."""
    plain, taken, labels = list[str](), list[str](), list[str]()
    for source, target in edges:
        both = (target, source) in edges and source != target
        if both and edges.index((target, source)) < edges.index((source, target)):
            continue
        there = way.edges[source, target] if way is not None else 0
        back = way.edges[target, source] if way is not None and both else 0
        path, middle = _path(boxes[source], boxes[target])
        used = there or back
        kind, marker = ("edge taken", "t") if used else ("edge" + (" faded" if way is not None else ""), "a")
        ends = f' marker-end="url(#{marker})"' if there or not used else ""
        ends += f' marker-start="url(#{marker})"' if back or (both and not used) else ""
        (taken if used else plain).append(f'<path class="{kind}" d="{path}"{ends}/>')
        if there + back > 1:
            told = f"{there}× there, {back}× back" if there and back else f"{there or back}×"
            labels.append(f'<text class="small count" x="{middle[0]:.1f}" y="{middle[1]:.1f}">{told}</text>')
    return [*plain, *taken], labels


def _path(source: Box, target: Box) -> tuple[str, tuple[float, float]]:
    """Return the line from one box to another, and the point for its count."""
    if source is target or (source.x, source.y) == (target.x, target.y):
        side = source.side or 1
        x, y = source.x + side * source.width / 2, source.y
        far = x + side * 46
        path = _curve((x, y - 9), (far, y - 30), (far, y + 30), (x, y + 9))
        return path, (x + side * 44, y + 4)
    if source.side or target.side:
        return _sideways(source, target)
    if target.layer == source.layer + 1:
        y1, y2 = source.y + HEIGHT / 2, target.y - HEIGHT / 2 - 1
        bend = (y2 - y1) * 0.5
        path = _curve((source.x, y1), (source.x, y1 + bend), (target.x, y2 - bend), (target.x, y2))
        return path, ((source.x + target.x) / 2 + 20, (y1 + y2) / 2 + 4)
    side = -1 if target.layer > source.layer else 1
    x1, x2 = source.x + side * source.width / 2, target.x + side * target.width / 2
    out = 26 + 9 * abs(target.layer - source.layer)
    far = min(x1, x2) - out if side < 0 else max(x1, x2) + out
    path = _curve((x1, source.y), (far, source.y), (far, target.y), (x2, target.y))
    return path, (far + side * -8, (source.y + target.y) / 2)


Point = tuple[float, float]


def _curve(start: Point, out: Point, back: Point, end: Point) -> str:
    (a, b), (c, d), (e, f), (g, h) = start, out, back, end
    return f"M{a:.1f},{b:.1f} C{c:.1f},{d:.1f} {e:.1f},{f:.1f} {g:.1f},{h:.1f}"


def _sideways(source: Box, target: Box) -> tuple[str, tuple[float, float]]:
    """Return the line between the column and a hub, or between two hubs."""
    way = 1 if target.x > source.x else -1
    if abs(target.x - source.x) < STEP:
        x1, x2 = source.x, target.x
        y1 = source.y + (HEIGHT / 2 if target.y > source.y else -HEIGHT / 2)
        y2 = target.y + (-HEIGHT / 2 if target.y > source.y else HEIGHT / 2)
        return f"M{x1:.1f},{y1:.1f} L{x2:.1f},{y2:.1f}", ((x1 + x2) / 2 + 24, (y1 + y2) / 2)
    x1, x2 = source.x + way * source.width / 2, target.x - way * target.width / 2
    bend = max(abs(x2 - x1) * 0.45, 30)
    path = _curve((x1, source.y), (x1 + way * bend, source.y), (x2 - way * bend, target.y), (x2, target.y))
    return path, (x1 + (x2 - x1) * 0.3, source.y + (target.y - source.y) * 0.22 - 4)


def mermaid(graph: Graph, way: Way) -> str:
    """Return a graph as Mermaid with the way of a run: order and counts at what it visited, the rest dotted."""
    names = {node: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = ["graph TD"]
    for node, name in names.items():
        note, ends = _note(node, graph, way), node in (START, END)
        label = escape(_label(node)) + (f"<br/><small>{escape(note)}</small>" if note else "")
        shape = ("([", "])") if ends else ("[", "]")
        visited = node in way.order or node == START or (node == END and any(edge[1] == END for edge in way.edges))
        kind = ":::stands" if node in way.stands else ":::visited" if visited else ""
        lines.append(f'  {name}{shape[0]}"{label}"{shape[1]}{kind}')
    for source, target in edges_of(graph):
        times = way.edges[source, target]
        arrow = f'== "{times}×" ==>' if times > 1 else "==>" if times else "-.->"
        lines.append(f"  {names[source]} {arrow} {names[target]}")
    lines += ["  classDef visited fill:#e0ecff,stroke:#2563eb", "  classDef stands fill:#fef3c7,stroke:#d97706"]
    return "\n".join(lines) + "\n"
