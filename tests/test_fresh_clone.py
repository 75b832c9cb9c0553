"""A newcomer's first ten minutes: a clone, and the README word for word."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import BIN, README, ROOT, blocks, commands
from servers import end_embedded

FOREIGN = ("OPENAI_", "LANGSMITH_", "LANGCHAIN_", "SUREFOOT_", "VIRTUAL_ENV", "PYTHONPATH", "PYTEST_")


@pytest.fixture
def clone() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sf-clone-") as directory:
        path = Path(directory) / "surefoot"
        done = subprocess.run(
            ["git", "clone", "--quiet", str(ROOT), str(path)], capture_output=True, text=True, check=False
        )
        if done.returncode:  # an export without a history
            shutil.copytree(ROOT, path, ignore=shutil.ignore_patterns(".venv", "out", ".*_cache", "__pycache__"))
        yield path
        end_embedded(path / "data" / "surefoot")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif("SUREFOOT_TEST_FRESH_CLONE" not in os.environ, reason="installs all packages anew; .ci/run does it")
def test_a_fresh_clone_reaches_its_first_interrupted_and_resumed_run(clone: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    env["PATH"] = os.pathsep.join(part for part in env["PATH"].split(os.pathsep) if Path(part) != BIN)
    env |= {"XDG_DATA_HOME": str(clone / "data"), "COLUMNS": "120"}

    def typed(command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command], cwd=clone, env=env, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode in (0, 3), f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout + done.stderr

    text = README.read_text()
    tour = (text[: text.index("\n## Five minutes")].count("\n"), text[: text.index("\n## With a model")].count("\n"))
    first = next(block for block in blocks(README) if block.language == "console")
    made = re.match(r"make run\b", first.code)
    assert made, "the README begins with `make run`"
    by_hand = next(block for block in blocks(README) if block.code.startswith("python3 -m venv"))
    *installing, run, tests = commands(by_hand.code)
    for command in installing:
        typed(command)
    assert "240" in typed(run)
    # Whoever runs this is running the tests; here they only have to be found with what was installed.
    assert re.search(r"\d{3,} tests collected", typed(f"{tests} --collect-only"))
    # It finds the environment made, and has nothing to download.
    assert "240" in typed("make run")
    said: dict[str, str] = {}
    for block in blocks(README):
        if block.language == "console" and tour[0] < block.line <= tour[1]:
            for command in commands(block.code):
                said[command] = typed(command)
    stalled = next(told for command, told in said.items() if "--status stalled" in command)
    assert "killed/support:T-" in stalled
    resumed = [told for command, told in said.items() if "--namespace killed" in command][-1]
    assert "80" in resumed
    assert "a person" in next(told for command, told in said.items() if " explain " in command)
