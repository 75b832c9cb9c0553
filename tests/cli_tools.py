"""What the tests of the command line share: the command in this process, and as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from surefoot.cli import main
from surefoot.settings import settings


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Done]


@pytest.fixture(scope="module")
def cli_url() -> Iterator[str]:
    """One embedded server for the commands of a file, whose tests keep apart by namespace."""
    from servers import embedded_directory

    with embedded_directory() as directory:
        yield f"embedded:{directory}"


@pytest.fixture
def cli(
    cli_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    """Run commands in this process, in a folder of their own: the embedded models are trained only once."""
    monkeypatch.setenv("SUREFOOT_REDIS_URL", cli_url)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    for name in ("SUREFOOT_PROVIDER", "SUREFOOT_PARALLEL", "SUREFOOT_MAX_COST_USD", "SUREFOOT_DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, **variables: str) -> Done:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(name, value)
            settings.cache_clear()
            capfd.readouterr()
            status = main(arguments)
        found = capfd.readouterr()
        return Done(status, found.out, found.err)

    yield run
    settings.cache_clear()


def spawn(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start the command as a process of its own."""
    command = [sys.executable, "-m", "surefoot.cli", *arguments]
    env = {**os.environ, **options.pop("env", {})}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, **options)


TICKETS = {
    "bug": "The export button crashes with error 500 since the last update.",
    "bill": "I was charged twice for March, please refund the second invoice.",
    "down": "Everyone in our clinics gets 403 workspace suspended, nobody here can work, please call us.",
    "odd": "\U0001f44d\U0001f44d",
}
"""Two that go through, one that is critical, one that is unsure."""


def write_tickets(path: Path, tickets: dict[str, str]) -> str:
    path.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in tickets.items()))
    return str(path)


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len({row["id"] for row in rows}) == len(rows), "an id stands twice in the file"
    return {row["id"]: row for row in rows}


ROOT = Path(__file__).resolve().parent.parent
FOREIGN = ("OPENAI_", "LANGSMITH_", "LANGCHAIN_", "SUREFOOT_")


def run_python(code: str, url: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own: the client of LangSmith is one for a process."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    env |= {"SUREFOOT_REDIS_URL": url, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True, timeout=100, check=False
    )
