"""`surefoot inbox` and `surefoot review`: what waits for a person, and the person's answer."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from surefoot.cli.question import Question, show
from surefoot.cli.screen import DONE, FAILED, WAITING, console, say, table, write_json

if TYPE_CHECKING:
    from surefoot.drive import Result
    from surefoot.questions import Asked
    from surefoot.threads import RawThread, ThreadRecord


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
    values = {str(item["id"]): item["value"] for item in raw.interrupts}
    return [
        Question(record, one.id, one.request, raw, one.form, values.get(one.id) if one.form == "value" else None)
        for one in asked
    ]


def _print_inbox(questions: list[Question]) -> None:
    from rich.text import Text

    from nodes.clock import now as time_now
    from surefoot.words import count, due, label, one_line, shell

    screen, now = console(), time_now()
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
    respond_json: Annotated[
        str | None,
        typer.Option(metavar="JSON", help='Answer a graph\'s own question: false, 3, [1], "text"; - reads it.'),
    ] = None,
    reject: Annotated[bool, typer.Option("--reject", help="Refuse: nothing is done with the item.")] = False,
    interrupt: Annotated[str | None, typer.Option("--id", metavar="INTERRUPT", help="Which question.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print question or result as JSON.")] = False,
) -> int:
    """Answer a question, or look at it in full."""
    given = _given(accept=accept, edit=edit, respond=respond, respond_json=respond_json, reject=reject)
    if given is None:
        questions = asyncio.run(_find(thread, interrupt))
        show(questions, as_json=as_json)
        return FAILED if any("unreadable" in question.request.reasons for question in questions) else DONE
    before, result = asyncio.run(_submit(thread, _answer(given, edit, respond, respond_json), interrupt))
    if as_json:
        write_json({"key": result.key, "error": result.error, **result.row})
    else:
        from surefoot.cli.changes import print_result

        print_result(before.values, result, given)
    return {"done": DONE, "waiting": WAITING}.get(result.status, FAILED)


def _given(
    *, accept: bool, edit: str | None, respond: str | None, respond_json: str | None, reject: bool
) -> str | None:
    """Return the option that answers, or None for none; raises `UsageError` for several."""
    from surefoot.errors import UsageError

    options = {"--accept": accept, "--edit": edit is not None, "--respond": respond is not None,
               "--respond-json": respond_json is not None, "--reject": reject}  # fmt: skip
    given = [name for name, on in options.items() if on]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: give one answer")
    return given[0] if given else None


def _answer(given: str, edit: str | None, respond: str | None, respond_json: str | None) -> Any:
    """Return the answer that was typed; raises `UsageError` for what cannot be read."""
    from langgraph.types import Command

    from surefoot.errors import UsageError

    if edit is not None:
        fields = _json("--edit", edit)
        if not isinstance(fields, dict):
            raise UsageError('--edit needs an object of fields, such as \'{"category": "billing"}\'')
        return {"type": "edit", "args": fields}
    if respond is not None:
        return {"type": "response", "args": _typed() if respond == "-" else respond}
    if respond_json is not None:
        return Command(resume=_json("--respond-json", _typed() if respond_json == "-" else respond_json))
    return {"type": given.removeprefix("--")}


def _json(option: str, text: str) -> Any:
    from surefoot.errors import UsageError

    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = "; a text stands in double quotes" if option == "--respond-json" else ""
        raise UsageError(f"{option} is no valid JSON ({str(error).split(':')[0].lower()}){hint}") from None


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


async def _submit(thread: str, answer: Any, interrupt: str | None) -> tuple[RawThread, Result]:
    from nodes.call import spending_cap
    from surefoot.api import resume_in
    from surefoot.broken import ThreadUnreadable, find_broken
    from surefoot.settings import settings
    from surefoot.store import open_store

    async with open_store() as store:
        record = await store.find(thread)
        before, broken = await find_broken(store, record)
        if broken is not None and broken.kind not in ("graph", "version"):
            raise ThreadUnreadable(record, broken)
        _refuse_short_text(before, answer, interrupt)
        with spending_cap(round(settings().max_cost_usd * 1_000_000)):
            return before, await resume_in(
                store, record, answer, interrupt_id=interrupt, patience_s=settings().patience_s
            )


MAX_SHORT: Final = 3
"""Words of a text that may be meant as yes or no, whatever its language."""


def _refuse_short_text(raw: RawThread, answer: Any, interrupt: str | None) -> None:
    """Raise `UsageError` for a short text to a question that does not say what it takes: its node may read a yes."""
    from surefoot.errors import UsageError
    from surefoot.questions import questions_in
    from surefoot.words import one_line

    asked = [one for one in questions_in(raw) if one.form == "value" and interrupt in (None, one.id)]
    text = answer.get("args") if isinstance(answer, dict) else None
    if not asked or asked[0].schema is not None or not isinstance(text, str) or not 0 < len(text.split()) <= MAX_SHORT:
        return
    exact = shlex.quote(json.dumps(text, ensure_ascii=False))
    raise UsageError(
        f"this question does not say what it takes, and any text counts as a yes for a node that asks yes or no: send "
        f"--respond-json true or --respond-json false, or {one_line(text)!r} as a text with --respond-json {exact}"
    )
