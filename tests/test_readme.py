"""What the README says is run, word for word."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import end_embedded

from surefoot.testing import OpenAIEndpoint

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str, heading: str) -> list[str]:
    """Return the code blocks of a section."""
    section = README.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.fixture(scope="module")
def home() -> Iterator[dict[str, str]]:
    """An empty home, and an environment that holds no key and no setting."""
    with tempfile.TemporaryDirectory(prefix="sf-home-") as directory:
        Path(directory, "examples").symlink_to(ROOT / "examples")
        keep = {name: os.environ[name] for name in ("PATH", "LANG", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
        yield {**keep, "HOME": directory, "XDG_DATA_HOME": f"{directory}/data", "COLUMNS": "120"}
        end_embedded(f"{directory}/data/surefoot")


def run_shell(command: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    words = command.replace(".venv/bin/", f"{BIN}/")
    return subprocess.run(
        ["bash", "-c", words], cwd=env["HOME"], env=env, capture_output=True, text=True, timeout=120, check=False
    )


def run_python(code: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=env["HOME"], env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_five_minute_tour(home: dict[str, str]) -> None:
    printed = []
    for block in blocks("console", "Five minutes"):
        for command in block.strip().splitlines():
            done = run_shell(command, home)
            printed.append((command, done))
            assert "Traceback" not in done.stderr, done.stderr
            assert done.returncode in (0, 3), f"{command}\n{done.stdout}\n{done.stderr}"
    said = {command: done.stdout + done.stderr for command, done in printed}

    def text(*words: str) -> str:
        return next(told for command, told in said.items() if all(word in command for word in words))

    assert "killed/support:T-" in text("threads --status stalled"), "the kill came too late or too early"
    resumed = [told for command, told in said.items() if "--namespace killed" in command][-1]
    assert "240" in resumed
    assert "tour/support:T-" in text("inbox")
    assert "edit" in text("review", "T-1230")
    assert "finance" in text("--edit")
    assert "a person" in text("explain")


@pytest.mark.slow
@pytest.mark.parametrize("heading", ["From Python", "A pipeline of your own", "Adopt one piece", "Rehearse a bad day"])
def test_the_python_of_the_readme_runs(heading: str, home: dict[str, str]) -> None:
    found = blocks("python", heading)
    assert found
    for code in found:
        done = run_python(code, home)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("heading", "told"),
    [
        ("Rehearse a bad day", "simulated cost"),
        ("Seven models, one verdict", "verdict"),
        ("Summaries that are none", "31 of 31"),
    ],
)
def test_the_commands_of_a_section_run(heading: str, told: str, home: dict[str, str]) -> None:
    (block,) = blocks("console", heading)
    done = run_shell(block.strip(), home)
    assert done.returncode in (0, 3), done.stderr
    assert told in done.stdout


def test_the_readme_names_both_commands_and_every_setting() -> None:
    from surefoot.settings import Settings

    assert "make run" in README
    assert "make test" in README
    for field in Settings.model_fields.values():
        assert str(field.validation_alias) in README


def test_make_run_makes_no_paid_call_whatever_the_shell_holds(
    home: dict[str, str], openai_endpoint: OpenAIEndpoint
) -> None:
    recipe = (ROOT / "Makefile").read_text().split("\nrun:", 1)[1].split("\n\n", 1)[0]
    command = re.search(r"surefoot run support \S+ --provider embedded", recipe)
    assert command, "`make run` names the embedded provider"
    rich = {**home, "OPENAI_API_KEY": "sk-paid-0123456789", "OPENAI_BASE_URL": openai_endpoint.url}
    done = run_shell(f".venv/bin/{command[0]} --limit 5 --namespace paid", rich)
    assert done.returncode in (0, 3), done.stderr
    assert openai_endpoint.calls == 0
