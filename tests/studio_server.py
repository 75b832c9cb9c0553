"""The real `langgraph dev` as `make studio` starts it: offline, without keys, in a directory and on its own Redis."""

from __future__ import annotations

import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from servers import embedded_directory, free_port

from surefoot.testing import MODEL, PRICES, OpenAIEndpoint

ROOT = Path(__file__).resolve().parent.parent
READY_S = 60.0
FOREIGN = ("OPENAI_", "LANGSMITH_", "LANGCHAIN_", "SUREFOOT_", "LANGGRAPH_")


@cache
def recipe() -> str:
    """Return the command of `make studio`, with the tools of this environment."""
    command = ["make", "--no-print-directory", "--dry-run", "studio"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return printed.strip().splitlines()[-1].replace(".venv/bin/", f"{Path(sys.executable).parent}/")


class StudioServer:
    """A server that can be killed and started again; `url` stays."""

    def __init__(self, directory: Path, redis_url: str, model: OpenAIEndpoint, proxy: str) -> None:
        self.directory, self.redis_url = directory, redis_url
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        env = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        # What would leave the machine goes to a proxy that counts it.
        env |= {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "ALL_PROXY": proxy, "NO_PROXY": "127.0.0.1,localhost"}
        env |= {"SUREFOOT_REDIS_URL": redis_url, "SUREFOOT_PROVIDER": "embedded"}
        env |= {"OPENAI_BASE_URL": model.url, "SUREFOOT_MODEL": MODEL, "SUREFOOT_PRICES": json.dumps(PRICES)}
        self.env = env
        self.config = ROOT / "langgraph.json"
        self.reload = False
        """Whether it watches the code, as it does for users: what other tests write would start it anew."""
        self.ready_s = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it and wait until it answers."""
        more = f"{'' if self.reload else '--no-reload '}--port {self.port} --config {self.config}"
        began = time.monotonic()
        with (self.directory / "log").open("ab") as out:
            self.process = subprocess.Popen(
                ["bash", "-c", f"exec env {recipe()} {more}"],
                cwd=self.directory, env=self.env, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/ok", timeout=2, trust_env=False).status_code == 200:
                    self.ready_s = time.monotonic() - began
                    return
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"the server did not start:\n{self.log[-4000:]}")

    def kill(self) -> None:
        """End it as `kill -9` does, at once and with nothing written."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def stop(self) -> int:
        """End it as Ctrl-C does, and return its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.process.returncode


@contextmanager
def outside() -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a proxy that lets nothing out, and what was asked of it."""
    asked: list[str] = []

    class Refuse(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(self.rfile.readline(500).decode(errors="replace").strip())
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refuse) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


@contextmanager
def studio_server(
    directory: Path, model: OpenAIEndpoint, proxy: str = "http://127.0.0.1:9", **graphs: str
) -> Iterator[StudioServer]:
    """Yield a server that runs; with `graphs`, it has these beside those of `langgraph.json`."""
    with embedded_directory() as redis:
        server = StudioServer(directory, f"embedded:{redis}", model, proxy)
        if graphs:
            config = json.loads(server.config.read_text())
            config["dependencies"] = [str(ROOT)]
            config["graphs"] |= graphs
            server.config = directory / "langgraph.json"
            server.config.write_text(json.dumps(config))
        try:
            server.start()
            yield server
        finally:
            server.stop()


def question_of(client: Any, thread: str) -> dict[str, Any]:
    """Return the one open question of a thread."""
    state = client.threads.get_state(thread)
    (question,) = [one for task in state["tasks"] for one in task["interrupts"]]
    found: dict[str, Any] = question
    return found
