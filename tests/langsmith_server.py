"""An endpoint on the loopback interface that takes what the real LangSmith client sends."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import zstandard


class Sent:
    """What has arrived: runs by id, with later parts merged into earlier ones, and feedback."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.runs: dict[str, dict[str, Any]] = {}
        self.feedback: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def take(self, body: bytes, boundary: str) -> None:
        """Read one request: multipart with `post.ID`, `patch.ID` and their fields apart, or a piece of feedback."""
        with self._lock:
            self.raw.append(body)
            if not boundary:
                self.feedback.append(json.loads(body))
                return
            for part in body.split(b"--" + boundary.encode()):
                head, _, rest = part.partition(b"\r\n\r\n")
                named = re.search(rb'name="(post|patch)\.([0-9a-f-]+)(?:\.(\w+))?"', head)
                if named is None:
                    continue
                _kind, identity, field = (group.decode() if group else "" for group in named.groups())
                value = json.loads(rest.rstrip(b"\r\n"))
                if field:
                    self.runs.setdefault(identity, {})[field] = value
                else:
                    self.runs.setdefault(identity, {}).update(value)

    def metadata(self, key: str) -> list[Any]:
        """Return what runs say under a key of their metadata."""
        found = [(run.get("extra") or {}).get("metadata", {}) for run in self.runs.values()]
        return [one[key] for one in found if key in one]


@contextmanager
def langsmith_endpoint(status: int = 202) -> Iterator[tuple[str, Sent]]:
    """Yield the URL of an endpoint that answers with a status, and what it was sent."""
    sent = Sent()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            limits = {"size_limit": 100, "size_limit_bytes": 20_000_000, "scale_up_qsize_trigger": 1000,
                      "scale_up_nthreads_limit": 16, "scale_down_nempty_trigger": 4}  # fmt: skip
            self._answer(200, json.dumps({"batch_ingest_config": {"use_multipart_endpoint": True, **limits}}).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if self.headers.get("Content-Encoding") == "zstd":
                body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
            boundary = re.search(r"boundary=\"?([^\";]+)", self.headers.get("Content-Type", ""))
            if status < 300:
                sent.take(body, boundary[1] if boundary else "")
            else:
                sent.raw.append(body)
            self._answer(status, b"{}")

        do_PATCH = do_POST  # noqa: N815 - the name is that of the standard library

        def _answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", sent
        server.shutdown()
