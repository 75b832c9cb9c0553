"""What the README and the documentation say is run, word for word; the documentation builds without a warning."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from langsmith_server import langsmith_endpoint
from pages import PAGES, README, ROOT, Block, blocks, commands, empty_home, prose, run_python, run_shell

from surefoot.testing import MODEL, PRICES, OpenAIEndpoint, support_responder

RUN = {"python", "console"}
READ: dict[str, Callable[[str], Any]] = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
SHOWN = {"text", "mermaid"}
ELSEWHERE = re.compile(r"make |python3 -m venv")
"""How blocks begin that install everything, or run these very tests: `test_fresh_clone` follows them in a clone."""
SITES = {"langchain-ai.github.io", "docs.langchain.com", "aws.amazon.com", "sre.google", "keepachangelog.com"}


def id_of(page: Path) -> str:
    return str(page.relative_to(ROOT)).removeprefix("docs/").removesuffix(".md").replace("/", "-")


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_every_block_is_of_a_kind_that_is_run_or_read(page: Path) -> None:
    for block in blocks(page):
        assert block.language in RUN | READ.keys() | SHOWN, f"{block}: {block.language!r} is neither run nor read"
        if reader := READ.get(block.language):
            assert reader(block.code), str(block)
        elif block.language == "python":
            ast.parse(block.code, str(block))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=id_of(page), marks=pytest.mark.xdist_group(id_of(page)))
        for page in PAGES
        if any(b.language in RUN for b in blocks(page))
    ],
)
def test_every_block_of_a_page_runs(page: Path, openai_endpoint: OpenAIEndpoint) -> None:
    """In order and in one folder: a block with a title is saved under it, the others are run."""
    openai_endpoint.responder, openai_endpoint.token_probability = support_responder, 0.99
    said: list[tuple[str, str]] = []
    with empty_home() as home, langsmith_endpoint() as (traces, _sent):
        for block in blocks(page):
            if block.title:
                Path(home["HOME"], block.title).write_text(block.code)
            elif block.language == "python":
                done = run_python(block.code, home)
                assert done.returncode == 0, f"{block}\n{done.stderr[-3000:]}"
                assert done.stdout.strip(), f"{block} prints nothing"
            elif block.language == "console":
                said += run_console(block, home, openai_endpoint.url, traces)
    if page == README:
        check_the_tour(said)


def run_console(block: Block, home: dict[str, str], endpoint: str, traces: str) -> list[tuple[str, str]]:
    """Run the commands of a block and return what each said; what it exports holds for the block.

    A key is shown to no provider and no LangSmith but to the endpoints of the tests.
    """
    home, said = dict(home), []
    if ELSEWHERE.match(block.code):
        return []
    for command in commands(block.code):
        if exported := re.fullmatch(r"export (\w+)=(.*)", command):
            home[exported[1]] = exported[2].strip("'")
            if exported[1] == "OPENAI_API_KEY":
                home |= {"OPENAI_BASE_URL": endpoint, "SUREFOOT_MODEL": MODEL, "SUREFOOT_PRICES": json.dumps(PRICES)}
            if exported[1] == "LANGSMITH_API_KEY":
                home["LANGSMITH_ENDPOINT"] = traces
            continue
        done = run_shell(command, home)
        assert done.returncode in (0, 3), f"{block}: {command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert "Traceback" not in done.stderr, f"{block}: {command}\n{done.stderr}"
        said.append((command, done.stdout + done.stderr))
    return said


def check_the_tour(said: list[tuple[str, str]]) -> None:
    """Each command of the README's tour says what the text around it promises."""

    def told(*words: str) -> str:
        return next(text for command, text in reversed(said) if all(word in command for word in words))

    assert "killed/support:T-" in told("threads --status stalled"), "the kill came too late or too early"
    assert "80" in told("--namespace killed")
    assert "tour/support:T-" in told("inbox")
    assert "edit" in next(text for command, text in said if command.endswith("review tour/support:T-1230"))
    assert "finance" in told("--edit")
    assert "a person" in told("explain")
    assert "$" in told("--max-cost")


@pytest.mark.parametrize("page", PAGES, ids=id_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = prose(page)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            assert target.split("/")[2] in SITES, f"{target}: look at it, then name its site here"
        elif page == README:
            path, _, anchor = target.partition("#")
            assert not path or (ROOT / path).exists(), target
            assert not anchor or path, "a heading is linked by its page"


@pytest.mark.slow
def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=110,
        check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-3000:]
    assert "WARNING" not in built.stderr
    pages = {str(path.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("index.html")}
    assert {"index.html", "reference/cli/index.html", "reference/savers/index.html"} <= pages
    commands_page = (tmp_path / "site/reference/cli/index.html").read_text()
    assert "surefoot review" in commands_page
    assert "--max-cost" in commands_page
    named = {"python": "aresume", "nodes": "add_step", "savers": "AsyncRedisSaver", "state": "RunState"}
    for name, inside in named.items():
        assert inside in (tmp_path / f"site/reference/{name}/index.html").read_text()
    whole = "".join(path.read_text() for path in (tmp_path / "site").rglob("*.html"))
    assert not re.findall(
        r'(?:src|href)="https?://(?!' + "|".join(map(re.escape, SITES)) + r')[^"]*\.(?:js|css)', whole
    )


def test_the_settings_and_the_metrics_are_all_described() -> None:
    from surefoot.settings import Settings
    from surefoot.telemetry.metrics import Metrics

    described = (ROOT / "docs/reference/settings.md").read_text()
    for field in Settings.model_fields.values():
        assert f"`{field.validation_alias}`" in described
    metrics = (ROOT / "docs/reference/events.md").read_text()
    for family in Metrics().registry.collect():
        assert f"`{family.name}" in metrics


def test_the_readme_is_read_in_ten_minutes() -> None:
    """At the 230 words a minute that people read, tables left out, and half of the time for its commands."""
    text = " ".join(line for line in prose(README).splitlines() if not line.startswith("|"))
    assert len(text.split()) < 5 * 230
    assert "make run" in README.read_text()
    assert "make test" in README.read_text()
