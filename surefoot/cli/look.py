"""`surefoot explain`, `surefoot draw` and `surefoot doctor`: looking, not doing."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from surefoot.cli.screen import DONE, FAILED, console, write_json

if TYPE_CHECKING:
    from surefoot.story import Story


def explain(
    thread: Annotated[str, typer.Argument(metavar="THREAD", help="Id or key (support:48291).", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the story as JSON.")] = False,
) -> int:
    """Tell what happened to an item, step by step."""
    from surefoot.story_text import render

    story = asyncio.run(_story(thread))
    if as_json:
        write_json(story.model_dump(mode="json"))
        return DONE
    screen = console()
    for style, line in render(story, screen.width):
        screen.print(line, style=style or None, soft_wrap=True)
    return DONE


async def _story(thread: str) -> Story:
    from surefoot.api import aexplain

    return await aexplain(thread)


def draw(
    target: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE|THREAD",
            help="A pipeline (support, package.module:graph) or a thread (support:48291).",
            show_default=False,
        ),
    ],
    svg: Annotated[str | None, typer.Option(metavar="FILE", help="Write an SVG image; - is stdout.")] = None,
) -> int:
    """Draw a pipeline, or the way that a thread took through it, as a Mermaid diagram or an SVG image."""
    from surefoot.words import escaped

    image, text = asyncio.run(_drawn(target)) if _is_thread(target) else _drawn_pipeline(target)
    if svg is None:
        sys.stdout.write(escaped(text.rstrip()) + "\n")
    elif svg == "-":
        sys.stdout.write(image)
    else:
        _write(svg, image)
    return DONE


def _is_thread(target: str) -> bool:
    """Tell a thread from a pipeline: a key begins with the name of a pipeline, a spec leads to a graph."""
    from uuid import UUID

    from surefoot.errors import UsageError
    from surefoot.pipelines import pipeline as find_pipeline

    head, colon, _ = target.partition(":")
    if not colon:
        try:
            UUID(target)
        except ValueError:
            return False
        return True
    try:
        find_pipeline(head.rpartition("/")[2])
    except UsageError:
        pass
    else:
        return True
    try:
        find_pipeline(target)
    except UsageError as error:
        # A spec that cannot be imported is told as that; one that names no graph may be a key.
        if isinstance(error.__cause__, Exception) and not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        return True
    return False


def _drawn_pipeline(name: str) -> tuple[str, str]:
    from surefoot.drawing import svg
    from surefoot.pipelines import pipeline as find_pipeline

    found = find_pipeline(name)
    graph = found.graph.get_graph()
    return svg(graph, title=found.name, subtitle=f"version {found.version}"), graph.draw_mermaid()


async def _drawn(thread: str) -> tuple[str, str]:
    """Draw the way of a thread; raises `UsageError` and `ThreadUnreadable`."""
    from surefoot.broken import ThreadUnreadable, find_broken
    from surefoot.drawing import edges_of, mermaid, svg
    from surefoot.questions import pipeline_of
    from surefoot.store import open_store
    from surefoot.story import tell
    from surefoot.way import way_of

    async with open_store() as store:
        record = await store.find(thread)
        raw, broken = await find_broken(store, record)
        if broken is not None and not raw.exists:
            raise ThreadUnreadable(record, broken)
        graph = pipeline_of(record).graph.get_graph()
        way = await way_of(store, record, raw, edges_of(graph))
    story = tell(record, raw, broken=broken)
    how = "" if way.exact else " (the way by its records: a finished thread keeps its last checkpoint alone)"
    return svg(graph, title=record.key, subtitle=story.headline + how, way=way), mermaid(graph, way)


def _write(path: str, text: str) -> None:
    from pathlib import Path

    from surefoot.errors import UsageError

    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"--svg {path} cannot be written: {(error.strerror or type(error).__name__).lower()}"
        ) from None


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write the list of threads anew from what is stored.")
    ] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Put threads aside whose records are damaged.")
    ] = False,
    restore: Annotated[
        list[str] | None, typer.Option(metavar="THREAD", help="Put a thread back that was put aside.")
    ] = None,
    discard: Annotated[
        list[str] | None, typer.Option(metavar="THREAD", help="Delete for good what was put aside of a thread.")
    ] = None,
    settle_unknown: Annotated[
        list[str] | None,
        typer.Option(metavar="[TENANT=]USD", help="What calls whose process died did cost by the provider's bill."),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read the whole history of each thread, not its last checkpoint alone.")
    ] = False,
) -> int:
    """Check installation, settings, server and threads."""
    from rich.text import Text

    from surefoot.doctor import examine

    findings = asyncio.run(
        examine(repair=repair, quarantine=quarantine, restore=restore or (), discard=discard or (), deep=deep,
                settle_unknown=settle_unknown or (), on_read=_progress)
    )  # fmt: skip
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    if as_json:
        write_json([finding.model_dump() for finding in findings])
    else:
        screen = console()
        styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
        column = max(len(finding.name) for finding in findings)
        for finding in findings:
            head = Text.assemble((f"{finding.level:4}  ", styles[finding.level]), f"{finding.name:{column}}  ")
            for number, line in enumerate(Text(finding.told).wrap(screen, screen.width - len(head))):
                screen.print(head + line if number == 0 else Text(" " * len(head)) + line)
            if finding.advice:
                for line in Text(finding.advice).wrap(screen, screen.width - len(head)):
                    screen.print(Text(" " * len(head)) + line, style="dim")
    return FAILED if any(finding.level == "fail" for finding in findings) else DONE


def _progress(read: int) -> None:
    """Tell a person who waits how many threads were looked at."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{read:,} threads looked at ")
        sys.stderr.flush()
