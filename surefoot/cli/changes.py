"""What became of an item after a person's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from surefoot.cli.screen import MAX_WIDTH, console, say

if TYPE_CHECKING:
    from surefoot.drive import Result


ANSWERED = {"accept": "accepted", "edit": "edited", "response": "answered", "reject": "rejected"}


def print_result(before: dict[str, Any], result: Result, given: str) -> None:
    """Print what became of the item: each field before and after, and who set it."""
    from rich.text import Text

    from surefoot.cli.threads import STYLES
    from surefoot.words import money, one_line, shell

    told = _answered(before, result, given)
    screen = console()
    head = Text.assemble(
        (one_line(result.key), "bold"), f"  {told}, now ", (result.status, STYLES.get(result.status, ""))
    )
    outcome = result.values.get("outcome")
    screen.print(head + Text(f" ({outcome})" if isinstance(outcome, str) and outcome != result.status else ""))
    screen.print()
    for style, line in _changes(before, result, min(screen.width, MAX_WIDTH)):
        screen.print(line, style=style, soft_wrap=True)
    screen.print()
    if result.row.get("degraded"):
        screen.print(f"degraded: {one_line('; '.join(map(str, result.row.get('reasons') or [])))}", style="yellow")
    screen.print(f"cost so far {money(result.row['cost_microusd'])}", style="dim")
    if result.error:
        say(f"surefoot: {one_line(result.error)}")
    if result.waits_for == "person":
        screen.print(f"\nIt waits for a person again: {shell('review', result.key)}")


def _answered(before: dict[str, Any], result: Result, given: str) -> str:
    """Say what the answer was: as the thread has it, since an edit that changes nothing is an accept."""
    reviews = result.values.get("review")
    last = reviews[-1] if isinstance(reviews, list) and len(reviews) > len(before.get("review") or []) else {}
    kind = last.get("decision", {}).get("type") if isinstance(last, dict) else None
    if kind == "accept" and given == "--edit":
        return "accepted as proposed, since the edit changes nothing"
    return ANSWERED.get(kind or given.removeprefix("--"), "answered")


def _changes(before: dict[str, Any], result: Result, width: int) -> list[tuple[str, str]]:
    """Return a paragraph for each field of the row: its value, what it was, and who set it."""
    from surefoot.story import origins
    from surefoot.words import wrap

    standard = ("id", "thread_id", "status", "degraded", "reasons", "cost_microusd")
    names, came_from = [name for name in result.row if name not in standard], origins(result.values)
    column, lines = max(map(len, names), default=0), []
    for name in names:
        old, new = before.get(name), result.values.get(name)
        first, *rest = wrap(_cell(new), width - column - 4)
        lines.append(("bold" if old != new else "", f"  {name:{column}}  {first}"))
        lines += [("bold" if old != new else "", " " * (column + 4) + line) for line in rest]
        if old != new:
            origin = came_from.get(name)
            told = f"was {_cell(old, 60)}" + (f", now from {origin}" if origin else "")
            lines += [("dim", " " * (column + 4) + line) for line in wrap(told, width - column - 4)]
    return lines


def _cell(value: Any, limit: int = 500) -> str:
    from surefoot.readable import brief

    return brief(value, limit)
