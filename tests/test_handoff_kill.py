"""A graph in the handoff style, killed with kill -9 in a wait and in a call, and resumed by another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checkpointers import open_saver
from surefoot.testing import KEY, MODEL, PRICES, OpenAIEndpoint, hang, status, support_responder

ROOT = Path(__file__).resolve().parent.parent
CODE = """
import os
import sys
from checkpointers import open_saver
from graphs.support_handoff import graph
from state import RunContext

given = {"text": "The export crashes with an error each time."} if sys.argv[2:] else None
config = {"configurable": {"thread_id": sys.argv[1]}}
with open_saver(os.environ["SUREFOOT_REDIS_URL"]) as saver:
    kept = graph.copy(update={"checkpointer": saver})
    print(kept.invoke(given, config, context=RunContext(provider="openai"), durability="sync")["outcome"])
"""


class Handed:
    """A thread that a process of its own works on."""

    def __init__(self, url: str, endpoint: OpenAIEndpoint, thread: str) -> None:
        endpoint.responder, endpoint.token_probability = support_responder, 0.99
        self.url, self.thread = url, thread
        self.env = {
            **os.environ, "SUREFOOT_REDIS_URL": url, "OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": KEY,
            "SUREFOOT_MODEL": MODEL, "SUREFOOT_PRICES": json.dumps(PRICES),
        }  # fmt: skip

    def start(self, *first: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CODE, self.thread, *first]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def kill_when(self, process: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
        give_up_at = time.monotonic() + 60
        while not ready():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        process.kill()
        process.wait(30)

    def values(self) -> dict[str, Any]:
        with open_saver(self.url) as saver:
            found = saver.get_tuple({"configurable": {"thread_id": self.thread}})
        return dict(found.checkpoint["channel_values"]) if found else {}


@pytest.mark.slow
def test_killed_between_and_in_its_nodes_it_goes_on_with_its_attempts(
    shared_embedded_url: str, openai_endpoint: OpenAIEndpoint
) -> None:
    handed = Handed(shared_embedded_url, openai_endpoint, "handed-over")
    # In the wait of the first step's retry, then in the call of the second step.
    openai_endpoint.script(status(503), None, hang(60))
    handed.kill_when(handed.start("first"), lambda: bool(handed.values().get("failures", {}).get("classify")))
    handed.kill_when(handed.start(), lambda: openai_endpoint.calls == 3)
    out, error = handed.start().communicate(timeout=90)
    assert out.strip() == "routed", error
    values = handed.values()
    assert [(a["step"], a["n"], a["outcome"]) for a in values["attempts"]] == [
        ("classify", 1, "transient"), ("classify", 2, "ok"), ("urgency", 1, "ok"), ("route", 1, "ok"),
        ("draft", 1, "ok"),
    ]  # fmt: skip
    assert values["team"] == "engineering"
    assert openai_endpoint.calls == 5, "what was paid for was not asked for again"
