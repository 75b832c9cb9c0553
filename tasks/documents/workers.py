"""Worker processes that read documents: few, used again, and replaced when a document was too much for one."""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from nodes.cores import Turns
from nodes.loading import loading, off_clock
from tasks.documents.kinds import Document, DocumentError, Limits
from tasks.documents.worker import ELSE, LENGTH, MEMORY, TOO_LARGE, send

WORKERS: Final = min(4, os.cpu_count() or 1)
USES: Final = 200
"""Documents after which a worker is replaced: libraries keep memory."""
GONE_S: Final = 5.0
"""Seconds to wait for the exit status of a worker that has closed its pipe."""
START_S: Final = 60.0
"""Seconds within which a worker has to be ready, on a machine that is busy."""


async def read_document(source: Path | bytes, *, name: str = "", limits: Limits | None = None) -> Document:
    """Read a document from a file or from bytes; `name` is the one that its sender gave it.

    Waits for a free worker, which counts neither as time of the document nor of the attempt that reads it. Raises
    `DocumentError`.
    """
    limits = limits or Limits()
    with off_clock():
        await _free.take()
    try:
        reading = _threads.submit(_read, source, name, limits)
    except BaseException:
        _free.give()
        raise
    # Whoever no longer waits leaves the worker busy: it is free when it has ended.
    reading.add_done_callback(lambda _: _free.give())
    return await asyncio.wrap_future(reading)


def _read(source: Path | bytes, name: str, limits: Limits) -> Document:
    if isinstance(source, Path):
        name, source = name or source.name, _bytes_of(source, limits)
    if not source.strip():
        raise DocumentError("empty", "it is empty: ask for the document again")
    worker: _Worker | None = getattr(_own, "worker", None)
    if worker is None or not worker.usable:
        if worker is not None:
            worker.end()
        with loading():
            worker = _own.worker = _Worker()
    return worker.read(source, name, limits)


def _bytes_of(path: Path, limits: Limits) -> bytes:
    try:
        size = path.stat().st_size
        if size > limits.size:
            raise DocumentError("too_large", f"it has {size:,} bytes, {limits.size:,} are the most: send a smaller one")
        with path.open("rb") as file:
            return file.read(limits.size + 1)
    except FileNotFoundError:
        raise DocumentError("missing", "there is no such file: check the path") from None
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise DocumentError("unreadable", f"the file cannot be opened ({why})") from None


class _Worker:
    """One process; it belongs to one thread."""

    def __init__(self) -> None:
        root = Path(__file__).resolve().parents[2]
        command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root)!r}); {_SERVE}"]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter on our own module
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self._uses = 0
        _all.add(self)
        if self._answer(time.monotonic() + START_S) != b"ready":
            self.end()
            raise DocumentError("not_started", "the process that reads documents does not start: run surefoot doctor")

    @property
    def usable(self) -> bool:
        return self._uses < USES and self._process.poll() is None

    def read(self, data: bytes, name: str, limits: Limits) -> Document:
        self._uses += 1
        try:
            send(self._process.stdin, json.dumps({"name": name, "limits": asdict(limits)}).encode(), data)  # type: ignore[arg-type] # it has one
            raw = self._answer(time.monotonic() + limits.seconds)
        except BrokenPipeError:
            raw = b""
        except TimeoutError:
            self.end()
            raise DocumentError("timeout", f"reading it took longer than {limits.seconds:g} s: {ELSE}") from None
        if not raw:
            raise self._ended()
        told: dict[str, Any] = json.loads(raw)
        if "trouble" in told:
            raise DocumentError(told["trouble"], told["message"])
        return Document(**told)

    def _ended(self) -> DocumentError:
        """Say why the process is gone."""
        try:
            status = self._process.wait(GONE_S)
        except subprocess.TimeoutExpired:
            status = 0
        self.end()
        if status == TOO_LARGE:
            return DocumentError(
                "too_complex", f"reading it takes more than {MEMORY // 1_000_000} MB of memory: {ELSE}"
            )
        # How it ended is a negative number: that of the signal.
        how = signal.strsignal(-status) if status < 0 else f"exit status {status}"
        return DocumentError("crashed", f"the process that reads documents ended ({how}) while reading it: {ELSE}")

    def _answer(self, until: float) -> bytes:
        """Return the next answer, an empty one when the process has ended; raises `TimeoutError`."""
        head = self._exactly(LENGTH.size, until)
        return self._exactly(LENGTH.unpack(head)[0], until) if head else b""

    def _exactly(self, size: int, until: float) -> bytes:
        pipe, data = self._process.stdout.fileno(), b""  # type: ignore[union-attr] # it has one
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN)
        while len(data) < size:
            if not waiting.poll(max(0.0, until - time.monotonic()) * 1000):
                raise TimeoutError
            piece = os.read(pipe, min(size - len(data), 1 << 20))
            if not piece:
                return b""
            data += piece
        return data

    def end(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    # What was not sent cannot be sent any more.
                    continue
        self._process.wait()


_SERVE: Final = "from tasks.documents.worker import main; main()"
_own = threading.local()
_all: weakref.WeakSet[_Worker] = weakref.WeakSet()
_free: Final = Turns(WORKERS)
_threads = ThreadPoolExecutor(WORKERS, thread_name_prefix="documents")


@atexit.register
def _end_all() -> None:
    for worker in list(_all):
        worker.end()
