"""`surefoot inbox` and `surefoot review`: what waits for a person, and the person's answer."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surefoot.cli.screen import DONE, FAILED, MAX_WIDTH, WAITING, console, say, table, write_json

if TYPE_CHECKING:
    from rich.console import Console

    from state import ReviewRequest
    from surefoot.drive import Result
    from surefoot.questions import Asked
    from surefoot.threads import RawThread, ThreadRecord


@dataclass(frozen=True)
class Question:
    """A pending review as it is listed."""

    record: ThreadRecord
    interrupt_id: str
    request: ReviewRequest
    raw: RawThread

    @property
    def about(self) -> str:
        """The item in one line, or why it cannot be read."""
        from surefoot.words import about

        return about(self.raw.values, 300) or self.record.unreadable

    def as_json(self) -> dict[str, Any]:
        """Return the question as JSON-able data."""
        return {
            "key": self.record.key,
            "thread_id": self.record.thread_id,
            "interrupt_id": self.interrupt_id,
            "about": self.about,
            **self.request.model_dump(mode="json"),
        }


def inbox(
    namespace: Annotated[str | None, typer.Option(metavar="NS", help="Only those of one namespace.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the questions as JSON.")] = False,
) -> int:
    """List what waits for a person, the most urgent first."""
    from surefoot.threads import check_namespace

    if namespace is not None:
        check_namespace(namespace)
    questions = asyncio.run(_questions(namespace))
    if as_json:
        write_json([question.as_json() for question in questions])
    elif not questions:
        say("nothing waits for a person")
    else:
        _print_inbox(questions)
    return DONE


async def _questions(namespace: str | None) -> list[Question]:
    """Return the open questions: overdue ones and urgent ones first, then by due time."""
    from surefoot.questions import asked_by, urgency
    from surefoot.store import open_store

    found = []
    async with open_store() as store:
        async for page in store.pages(status="waiting", namespace=namespace):
            for record in page:
                if record.waits_for == "person":
                    found += _questions_of(record, *await asked_by(store, record))
    return sorted(found, key=lambda question: urgency(question.request))


def _questions_of(record: ThreadRecord, asked: list[Asked], raw: RawThread) -> list[Question]:
    return [Question(record, one.id, one.request, raw) for one in asked]


def _print_inbox(questions: list[Question]) -> None:
    from rich.text import Text

    from surefoot.words import count, due, label, one_line, shell

    screen, now = console(), time.time()
    key = {"overflow": "fold", "max_width": 60}
    made = table(thread=key, tier={}, due={}, why={"max_width": 18}, item={"ratio": 1})
    made.expand = True
    for question in questions:
        request = question.request
        when = due(request.due_at, now)
        made.add_row(
            one_line(question.record.key),
            Text(request.tier, style="bold red" if request.tier == "urgent" else ""),
            Text(when, style="red" if when.startswith("overdue") else ""),
            one_line(", ".join(map(label, request.reasons))),
            Text(question.about, style="dim"),
        )
    screen.print(made)
    urgent = sum(question.request.tier == "urgent" for question in questions)
    late = sum(due(question.request.due_at, now).startswith("overdue") for question in questions)
    parts = [f"{count(len(questions), 'question')}", *([f"{urgent:,} urgent"] if urgent else []),
             *([f"{late:,} overdue"] if late else [])]  # fmt: skip
    screen.print(f"\n{', '.join(parts)}. Look at one with: {shell('review', questions[0].record.key)}", style="dim")


def review(
    thread: Annotated[str, typer.Argument(metavar="THREAD", help="Id or key (support:48291).", show_default=False)],
    accept: Annotated[bool, typer.Option("--accept", help="Take the proposal as it is.")] = False,
    edit: Annotated[
        str | None, typer.Option(metavar="JSON", help='Change fields: \'{"category": "billing"}\'.')
    ] = None,
    respond: Annotated[str | None, typer.Option(metavar="TEXT", help="Answer with this text; - reads it.")] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Refuse: nothing is done with the item.")] = False,
    interrupt: Annotated[str | None, typer.Option("--id", metavar="INTERRUPT", help="Which question.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print question or result as JSON.")] = False,
) -> int:
    """Answer a question, or look at it in full."""
    answer = _answer(accept=accept, edit=edit, respond=respond, reject=reject)
    if respond == "-" and answer is not None:
        answer["args"] = _typed()
    if answer is None:
        _show(asyncio.run(_find(thread, interrupt)), as_json=as_json)
        return DONE
    before, result = asyncio.run(_submit(thread, answer, interrupt))
    if as_json:
        write_json({"key": result.key, "error": result.error, **result.row})
    else:
        from surefoot.cli.changes import print_result

        print_result(before.values, result, answer["type"])
    return {"done": DONE, "waiting": WAITING}.get(result.status, FAILED)


def _answer(*, accept: bool, edit: str | None, respond: str | None, reject: bool) -> dict[str, Any] | None:
    """Return the answer that was typed, or None for none; raises `UsageError` for several."""
    from surefoot.errors import UsageError

    options = {"--accept": accept, "--edit": edit is not None, "--respond": respond is not None, "--reject": reject}
    given = [name for name, on in options.items() if on]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: give one answer")
    if edit is not None:
        try:
            fields = json.loads(edit)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"--edit is no valid JSON ({str(error).split(':')[0].lower()})") from None
        if not isinstance(fields, dict):
            raise UsageError('--edit needs an object of fields, such as \'{"category": "billing"}\'')
        return {"type": "edit", "args": fields}
    if respond is not None:
        return {"type": "response", "args": respond}
    return {"type": given[0].removeprefix("--")} if given else None


def _typed() -> str:
    """Return the text that is typed or piped in."""
    if sys.stdin.isatty():
        say("type the answer; Ctrl-D on a line of its own ends it, Ctrl-C sends nothing")
    return sys.stdin.read().strip()


async def _find(thread: str, interrupt: str | None) -> list[Question]:
    """Return the questions of a thread; raises `UsageError` when it asks none, or not this one."""
    from surefoot.questions import asked_by, question_of
    from surefoot.store import open_store

    async with open_store() as store:
        record = await store.find(thread)
        asked, raw = await asked_by(store, record)
        questions = _questions_of(record, asked, raw)
    if not questions or interrupt is not None:
        question_of(record, raw, interrupt)
    return [question for question in questions if interrupt in (None, question.interrupt_id)]


async def _submit(thread: str, answer: dict[str, Any], interrupt: str | None) -> tuple[RawThread, Result]:
    from nodes.call import spending_cap
    from surefoot.api import resume_in
    from surefoot.settings import settings
    from surefoot.store import open_store

    async with open_store() as store:
        record = await store.find(thread)
        before = await store.channels(record.thread_id)
        with spending_cap(round(settings().max_cost_usd * 1_000_000)):
            return before, await resume_in(
                store, record, answer, interrupt_id=interrupt, patience_s=settings().patience_s
            )


def _show(questions: list[Question], *, as_json: bool) -> None:
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
    for style, line in _described(request.description, min(screen.width, MAX_WIDTH) - 2):
        screen.print(f"  {line}" if line else "", style=style)
    screen.print()
    made = table(proposal={}, value={"no_wrap": False})
    for name, value in request.action_request.args.items():
        made.add_row(one_line(name), "none" if value is None else one_line(value))
    if made.row_count:
        screen.print(Padding(made, (0, 2), expand=False))
        screen.print()
    extra = ["--id", question.interrupt_id] if several else []
    if not answerable(question.record):
        screen.print(elsewhere(question.record), style="dim")
        return
    screen.print("Answer with one of:", style="dim")
    for words in _possible(request):
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


def _possible(request: ReviewRequest) -> list[list[str]]:
    """Return the options of each possible answer; pasted as they stand, none of them says anything by mistake."""
    proposed = request.action_request.args
    field, value = next(((name, value) for name, value in proposed.items() if value is not None), ("field", "..."))
    allowed = request.config
    return [
        words
        for on, words in (
            (allowed.allow_accept, ["--accept"]),
            (allowed.allow_edit, ["--edit", json.dumps({field: value}, ensure_ascii=False)]),
            (allowed.allow_respond, ["--respond", "-"]),
            (allowed.allow_ignore, ["--reject"]),
        )
        if on
    ]
