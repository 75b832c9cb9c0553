"""The adopted agent of the examples, killed with kill -9 and resumed by another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from checkpointers import open_saver
from surefoot.testing import KEY, MODEL, PRICES, OpenAIEndpoint, calls_tool, hang, status

AGENT = Path(__file__).resolve().parent.parent / "examples" / "adopt" / "agent.py"


def respond(body: dict[str, Any]) -> Any:
    last = body["messages"][-1]
    return calls_tool("order_status", order=7) if last["role"] == "user" else f"Good news. {last['content']}"


class Agent:
    """The example as a process, on a thread of its own."""

    def __init__(self, url: str, endpoint: OpenAIEndpoint, folder: Path, thread: str) -> None:
        endpoint.responder = respond
        self.endpoint, self.url, self.thread, self.log = endpoint, url, thread, folder / "tools.log"
        self.env = {
            **os.environ, "SUREFOOT_REDIS_URL": url, "OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": KEY,
            "SUREFOOT_MODEL": MODEL, "SUREFOOT_PRICES": json.dumps(PRICES), "TOOL_LOG": str(self.log),
        }  # fmt: skip

    def start(self, *question: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(AGENT), self.thread, *question]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def kill_when(self, ready: Callable[[dict[str, Any]], bool]) -> None:
        """Ask, and kill the process as soon as the thread is where it is wanted."""
        process = self.start("Where is order 7?")
        give_up_at = time.monotonic() + 60
        while not ready(self.values()):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait(30)

    def resume(self) -> str:
        out, error = self.start().communicate(timeout=90)
        assert out, error
        return out.strip()

    def values(self) -> dict[str, Any]:
        with open_saver(self.url) as saver:
            found = saver.get_tuple({"configurable": {"thread_id": self.thread}})
        return dict(found.checkpoint["channel_values"]) if found else {}

    def attempts(self) -> list[tuple[int, int, str]]:
        return [(a["visit"], a["n"], a["outcome"]) for a in self.values()["attempts"]]


def released_soon(values: dict[str, Any]) -> bool:
    """Tell whether the retry node waits."""
    return any(f.get("decision") and not f.get("released") for f in values.get("failures", {}).values())


@pytest.mark.slow
def test_killed_in_the_wait_of_a_retry(
    shared_embedded_url: str, openai_endpoint: OpenAIEndpoint, tmp_path: Path
) -> None:
    agent = Agent(shared_embedded_url, openai_endpoint, tmp_path, "adopt-wait")
    openai_endpoint.script(status(503), None, status(500))
    # Killed twice: in the wait before the tool was asked for, and in the one after it has answered.
    agent.kill_when(released_soon)
    assert agent.attempts() == [(0, 1, "transient")]
    process = agent.start()
    give_up_at = time.monotonic() + 60
    while len(agent.values()["attempts"]) < 3 or not released_soon(agent.values()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    process.kill()
    process.wait(30)
    assert agent.resume() == "Good news. Order 7 left the warehouse this morning."
    assert agent.attempts() == [(0, 1, "transient"), (0, 2, "ok"), (1, 1, "transient"), (1, 2, "ok")]
    assert [message.type for message in agent.values()["messages"]] == ["human", "ai", "tool", "ai"]
    assert agent.log.read_text() == "7\n", "the tool ran once"
    assert openai_endpoint.calls == 4
    waits = [a["wait_ms"] for a in agent.values()["attempts"] if a["n"] == 2]
    assert all(wait >= 2_000 for wait in waits)


@pytest.mark.slow
def test_killed_after_the_tool_has_answered(
    shared_embedded_url: str, openai_endpoint: OpenAIEndpoint, tmp_path: Path
) -> None:
    agent = Agent(shared_embedded_url, openai_endpoint, tmp_path, "adopt-tool")
    openai_endpoint.script(None, hang(60))
    agent.kill_when(lambda _values: openai_endpoint.calls == 2)
    assert [message.type for message in agent.values()["messages"]] == ["human", "ai", "tool"]
    assert agent.resume() == "Good news. Order 7 left the warehouse this morning."
    assert agent.attempts() == [(0, 1, "ok"), (1, 1, "ok")]
    assert agent.log.read_text() == "7\n", "the tool ran once"
    assert openai_endpoint.calls == 3, "the answer that was paid for was not asked for again"
