"""A story as lines of text, each with the style that a terminal may give it."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

from surefoot.readable import brief
from surefoot.story import Story
from surefoot.story_events import Event
from surefoot.words import clock, count, duration, money, one_line, wrap

Line = tuple[str, str]
"""Style (a word of `rich`, or empty) and text."""

MAX_WIDTH = 120
"""Longer lines are hard to read, however wide the terminal is."""

SHORT_VALUE = 18
VALUE_LINES = 4
"""Most lines that the value of one field takes."""


def render(story: Story, width: int = 80) -> list[Line]:
    """Return the story in lines of at most `width` terminal cells."""
    width = min(max(width, 40), MAX_WIDTH)
    lines: list[Line] = [*_head(story, width), ("", "")]
    if story.events:
        lines += [*_events(story.events, width), ("", "")]
    if story.fields:
        lines += [("bold", "Where each field came from"), *_fields(story, width), ("", "")]
    for problem in story.problems:
        lines += [("yellow", line) for line in _hanging("unreadable: ", problem, width)]
    lines += [("bold", line) for line in wrap(story.next[:1].upper() + story.next[1:] + ".", width)]
    if story.command:
        lines.append(("cyan", f"  {story.command}"))
    return lines


def _head(story: Story, width: int) -> list[Line]:
    styles = {"done": "bold green", "failed": "bold red", "stalled": "bold yellow"}
    style = "bold red" if story.broken else styles.get(story.status, "bold")
    lines: list[Line] = [(style, line) for line in wrap(f"{one_line(story.key)} {story.headline}", width)]
    if story.about:
        lines += [("", line) for line in wrap(f"“{story.about}”", width)]
    if story.broken:
        where = {"waiting": "it was waiting", "running": "it was running"}.get(story.status, f"it was {story.status}")
        lines.append(("dim", f"before that {where}"))
    facts = [f"outcome {story.outcome.replace('_', ' ')}"] if story.outcome else []
    failed = f", {story.failed_attempts} failed" if story.failed_attempts else ""
    retried = f" ({money(story.retry_microusd)} for retries)" if story.retry_microusd else ""
    # What cannot be read is not none.
    attempts = count(story.attempts, "attempt") + failed if story.attempts or not story.broken else "attempts unknown"
    cost = money(story.cost_microusd) + retried if story.cost_microusd or not story.broken else "cost unknown"
    facts += [attempts, cost, duration(story.seconds)]
    lines.append(("dim", ", ".join(facts)))
    if story.route:
        lines += [("dim", line) for line in _hanging("route: ", " > ".join(story.route), width)]
    if story.outlier:
        lines += [("yellow", line) for line in _hanging("stands out: ", story.outlier, width)]
    if story.degraded:
        why = "; ".join(story.reasons) or "no reason was recorded"
        lines += [("yellow", line) for line in _hanging("degraded: ", why, width)]
    return lines


def _events(events: list[Event], width: int) -> list[Line]:
    column = min(max(cell_len(event.step) for event in events), 14)
    lines: list[Line] = []
    day = ""
    for event in events:
        today = clock(event.at, date=True)[:10] if event.at is not None else day
        if today != day:
            lines.append(("dim", today))
            day = today
        moment = clock(event.at) if event.at is not None else ""
        lead = f"{moment:8}  {set_cell_size(event.step, column)}  "
        style = {True: "", False: "red", None: "cyan" if event.kind == "review" else ""}[event.good]
        lines += [(style, line) for line in _hanging(lead, event.title, width)]
        for detail in event.details:
            lines += [("dim", line) for line in _hanging(" " * cell_len(lead), detail, width)]
    return lines


def _fields(story: Story, width: int) -> list[Line]:
    """Say each value and its origin: on one line where both are short."""
    column = min(max(cell_len(source.field) for source in story.fields), 18)
    lines: list[Line] = []
    for source in story.fields:
        lead, value = f"  {set_cell_size(source.field, column)}  ", brief(source.value)
        short = f"{lead}{set_cell_size(value, SHORT_VALUE)}  from {source.origin}"
        if cell_len(value) <= SHORT_VALUE and cell_len(short) <= width:
            lines.append(("", short))
            continue
        said = _hanging(lead, value, width - 2)
        if len(said) > VALUE_LINES:
            said = [*said[: VALUE_LINES - 1], f"{said[VALUE_LINES - 1]} …"]
        lines += [("", line) for line in said]
        lines += [("dim", line) for line in _hanging(" " * cell_len(lead), f"from {source.origin}", width)]
    return lines


def _hanging(lead: str, text: str, width: int) -> list[str]:
    """Wrap a text after a lead, with the following lines indented below its beginning."""
    indent = min(cell_len(lead), width - 8)
    first, *rest = wrap(text, width - indent)
    return [f"{lead}{first}".rstrip() if text else lead.rstrip(), *(" " * indent + line for line in rest)]
