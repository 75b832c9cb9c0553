"""What holds for every pipeline: killed and run again each item ends once, rehearsals work, graphs fit a page."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from cli_tools import Cli, read_rows, spawn

from surefoot.pipelines import names, pipeline
from surefoot.testing import KEY, MODEL, PRICES, OpenAIEndpoint
from surefoot.testing.simulated import RESPONDERS

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = {
    "support": "tickets.jsonl",
    "content": "articles.jsonl",
    "fraud": "transactions.csv",
    "pattern": "tickets.jsonl",
    "resumes": "resumes",
}
"""An example input of each pipeline."""


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", [name for name in names() if name != "support"])
def test_a_run_that_is_killed_goes_on_and_has_each_item_once(
    name: str, cli_url: str, tmp_path: Path, openai_endpoint: OpenAIEndpoint
) -> None:
    openai_endpoint.responder = RESPONDERS[name]
    openai_endpoint.latency_s = 0.1
    env = {
        "SUREFOOT_REDIS_URL": cli_url, "OPENAI_BASE_URL": openai_endpoint.url, "OPENAI_API_KEY": KEY,
        "SUREFOOT_MODEL": MODEL, "SUREFOOT_PRICES": json.dumps(PRICES),
    }  # fmt: skip
    command = ("run", name, str(ROOT / "examples" / EXAMPLES[name]), "--provider", "openai", "--limit", "20",
               "--namespace", f"killed-{name}", "--parallel", "3", "--out", "rows.jsonl")  # fmt: skip
    for wanted in (3, 8):
        process = spawn(*command, env=env, cwd=tmp_path)
        rows, give_up_at = tmp_path / "rows.jsonl", time.monotonic() + 90
        while not rows.exists() or len(rows.read_bytes().splitlines()) < wanted:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    process = spawn(*command, env=env, cwd=tmp_path)
    out, error = process.communicate(timeout=120)
    assert process.returncode in (0, 3), error
    assert "20 of 20" in out or "for a person" in out
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert len(lines) == len({json.loads(line)["id"] for line in lines}) == 20


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_pipeline_can_be_rehearsed(name: str, cli: Cli, tmp_path: Path) -> None:
    source = str(ROOT / "examples" / EXAMPLES[name])
    done = cli("run", name, source, "--chaos", "garbled", "--limit", "6", "--out", "rows.jsonl", "--json")
    assert done.status in (0, 3), done.err
    assert done.json["items"] == len(read_rows(tmp_path / "rows.jsonl")) == 6
    assert done.json["failed"] == 0


@pytest.mark.parametrize("name", names())
def test_every_graph_fits_a_page(name: str) -> None:
    found = pipeline(name)
    assert len((ROOT / "graphs" / f"{found.module}.py").read_text().splitlines()) <= 150
    drawn = found.graph.get_graph().draw_mermaid().splitlines()
    assert len(drawn) < 60
    assert json.loads((ROOT / "langgraph.json").read_text())["graphs"][name]["path"] == f"graphs.{found.module}:graph"
    assert set(found.row_fields) <= set(found.state.model_fields)
    assert set(found.required) <= set(found.input.model_fields)
