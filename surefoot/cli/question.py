"""A question to a person on the screen: what is asked, the values as a table, and the commands that answer it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from surefoot.cli.screen import MAX_WIDTH, console, table, write_json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from state import ReviewRequest
    from surefoot.threads import RawThread, ThreadRecord


@dataclass(frozen=True)
class Question:
    """A pending review as it is listed."""

    record: ThreadRecord
    interrupt_id: str
    request: ReviewRequest
    raw: RawThread
    form: str = "review"
    value: Any = None
    """What a graph of somebody else asks, as it is; None for a review of ours."""

    @property
    def about(self) -> str:
        """The item in one line, or why it cannot be read."""
        from surefoot.words import about

        return self.request.reasons.get("unreadable") or about(self.raw.values, 300) or self.record.unreadable

    def as_json(self) -> dict[str, Any]:
        """Return the question as JSON-able data."""
        return {
            "key": self.record.key,
            "thread_id": self.record.thread_id,
            "interrupt_id": self.interrupt_id,
            "about": self.about,
            **self.request.model_dump(mode="json"),
            **({"question": self.value} if self.form == "value" else {}),
        }


def show(questions: list[Question], *, as_json: bool) -> None:
    """Print questions in full."""
    if as_json:
        write_json([question.as_json() for question in questions])
        return
    screen = console()
    for question in questions:
        _show_one(question, screen, several=len(questions) > 1)


def _show_one(question: Question, screen: Console, *, several: bool) -> None:
    """Print a question in full, and the commands that answer it."""
    from rich.padding import Padding

    from surefoot.questions import answerable, elsewhere
    from surefoot.words import clock, due, one_line, shell

    request, key = question.request, question.record.key
    when = f", due {clock(request.due_at, date=True)} ({due(request.due_at)})" if request.due_at is not None else ""
    screen.print(f"{one_line(key)}  {request.tier}{when}", style="bold red" if request.tier == "urgent" else "bold")
    screen.print()
    width = min(screen.width, MAX_WIDTH)
    if question.value is None:
        for style, line in _described(request.description, width - 2):
            screen.print(f"  {line}" if line else "", style=style)
        screen.print()
    if rows := _rows(request.action_request.args if question.value is None else question.value):
        screen.print(Padding(value_table(rows, "proposal" if question.value is None else "question"), (0, 2)))
        screen.print()
    if "unreadable" in request.reasons:
        return
    extra = ["--id", question.interrupt_id] if several else []
    if not answerable(question.record):
        screen.print(elsewhere(question.record), style="dim")
        return
    screen.print("Answer with one of:", style="dim")
    for words in _possible(question):
        screen.print(f"  {shell('review', key, *words, *extra)}", soft_wrap=True)
    if request.default_action != "wait":
        screen.print(f"\nIf nobody answers in time: {request.default_action}.", style="dim")


def _described(markdown: str, width: int) -> list[tuple[str, str]]:
    """Return the lines of a description with their styles, without what could steer a terminal."""
    from surefoot.words import one_line, wrap

    lines = []
    for line in map(one_line, markdown.splitlines()):
        heading = line.startswith("**") and line.endswith("**") and len(line) > 4
        lines += [("bold" if heading else "", part) for part in wrap(line.strip("*") if heading else line, width)]
    return lines


def _rows(values: Any) -> dict[str, Any]:
    return {str(name): value for name, value in values.items()} if isinstance(values, dict) else {"": values}


def value_table(values: dict[str, Any], title: str) -> Table:
    """Return a table of names and values, nested ones as indented lines."""
    from surefoot.readable import lines_of
    from surefoot.words import one_line

    made = table(**{title: {"overflow": "fold"}, "value": {"no_wrap": False, "overflow": "fold"}})
    for name, value in values.items():
        made.add_row(one_line(name), "\n".join(lines_of(value)))
    return made


def _possible(question: Question) -> list[list[str]]:
    """Return the options of each possible answer; pasted as they stand, none of them says anything by mistake."""
    request = question.request
    if question.form == "value":
        return [["--respond-json", "-"], ["--respond", "-"]]
    proposed = request.action_request.args
    field, value = next(((name, value) for name, value in proposed.items() if value is not None), ("field", "..."))
    allowed = request.config
    return [
        words
        for on, words in (
            (allowed.allow_accept, ["--accept"]),
            (allowed.allow_edit and proposed, ["--edit", json.dumps({field: value}, ensure_ascii=False)]),
            (allowed.allow_respond, ["--respond", "-"]),
            (allowed.allow_ignore, ["--reject"]),
        )
        if on
    ]
