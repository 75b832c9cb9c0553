"""`surefoot studio`: threads of the runner in LangGraph Studio."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated

import typer

from surefoot.cli.screen import DONE, console, say, write_json

SERVER = "http://127.0.0.1:2024"


def studio(
    threads: Annotated[
        list[str] | None,
        typer.Argument(metavar="THREAD", help="Ids or keys; else all that wait or stalled.", show_default=False),
    ] = None,
    server: Annotated[str, typer.Option(metavar="URL", help="A running `langgraph dev`.")] = SERVER,
    as_json: Annotated[bool, typer.Option("--json", help="Print the links as JSON.")] = False,
) -> int:
    """Make threads known to a running Studio server, and print where to open them."""
    from surefoot.studio import show

    shown, passed = asyncio.run(show(threads or [], server.rstrip("/")))
    for one in passed:
        say(f"passed over: {one.why}")
    if as_json:
        write_json([asdict(one) for one in shown])
    elif not shown:
        say("no thread of this server waits or stalled; name one" if passed else "no thread waits or stalled; name one")
    else:
        for found in shown:
            console().print(f"{found.key}  {found.link}", soft_wrap=True)
    return DONE
