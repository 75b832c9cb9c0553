"""What is written for people, as blocks of code that can be run: the README and the pages of `docs/`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from servers import end_embedded

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^(?P<fence>```+)(?P<info>[^\n]*)\n(?P<code>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block of code of a page."""

    page: Path
    line: int
    language: str
    title: str
    """Name of a file that it is to be saved as; empty for one to be run."""
    code: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in their order."""
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(page, line, language, title[1] if title else "", match["code"]))
    return found


def commands(code: str) -> list[str]:
    """Return the commands of a block, with lines that end in a backslash joined and comments left out."""
    lines = code.replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def prose(page: Path) -> str:
    """Return a page without its blocks of code."""
    return _FENCE.sub("", page.read_text())


@contextmanager
def empty_home() -> Iterator[dict[str, str]]:
    """Yield the environment of somebody who has just cloned the project: no key, no setting, and no data yet."""
    with tempfile.TemporaryDirectory(prefix="sf-home-") as directory:
        Path(directory, "examples").symlink_to(ROOT / "examples")
        keep = {name: os.environ[name] for name in ("LANG", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
        yield {
            **keep,
            "HOME": directory,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "XDG_DATA_HOME": f"{directory}/data",
            "COLUMNS": "120",
            "PYTHONPATH": str(ROOT),
        }
        end_embedded(f"{directory}/data/surefoot")


def run_shell(command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a line as somebody would type it in a clone."""
    words = command.replace(".venv/bin/", f"{BIN}/")
    return _run(["bash", "-c", words], env)


def run_python(code: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run code as a program of its own."""
    return _run([sys.executable, "-c", code], env)


def _run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=env["HOME"], env=env, capture_output=True, text=True, timeout=150, check=False)
