"""Fills the page of the command line with what each command's `--help` prints."""

from __future__ import annotations

from typing import Any

from typer.main import get_command
from typer.testing import CliRunner

from surefoot.cli import app

HERE = "<!-- help -->"


def on_page_markdown(markdown: str, **_page: Any) -> str:
    """Put the help of all commands where a page asks for it."""
    return markdown.replace(HERE, "\n\n".join(_helps())) if HERE in markdown else markdown


def _helps() -> list[str]:
    commands: dict[str, Any] = getattr(get_command(app), "commands", {})
    return [_help("surefoot"), *(_help(f"surefoot {name}", name) for name in commands)]


def _help(title: str, *command: str) -> str:
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "96"}, prog_name="surefoot")
    if shown.exit_code:
        raise RuntimeError(f"`{title} --help` fails: {shown.output}")
    return f"## {title}\n\n```text\n{shown.output.strip()}\n```"
