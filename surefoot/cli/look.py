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
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE", help="Its name, such as support, or package.module:graph.", show_default=False
        ),
    ],
) -> int:
    """Print a pipeline as a Mermaid diagram."""
    from surefoot.pipelines import pipeline as find_pipeline

    sys.stdout.write(find_pipeline(pipeline).graph.get_graph().draw_mermaid().rstrip() + "\n")
    return DONE


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
