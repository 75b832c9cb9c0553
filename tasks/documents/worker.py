"""The process that reads documents: one request after the other on standard input, until its parent is gone."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO, Final

MEMORY: Final = 600_000_000
"""Bytes of resident memory from which a worker ends itself; it has about 140 million with its libraries."""
ADDRESSES: Final = 1_200_000_000
"""Bytes of address space of a worker: stops one large request before the memory is there. Linux alone obeys it."""
TOO_LARGE: Final = 77
"""Exit status of a worker that ended itself for its memory."""
WATCH_S: Final = 0.02
"""Seconds between two looks at the memory; PDFium takes up to half a gigabyte a second."""
LENGTH: Final = struct.Struct(">I")
ELSE: Final = "open it and answer with its text, or ask for a simpler file"
"""What to do about a document that may be good, and that is not read all the same."""


def send(pipe: BinaryIO, *parts: bytes) -> None:
    """Write parts, each with its length."""
    pipe.write(b"".join(LENGTH.pack(len(part)) + part for part in parts))
    pipe.flush()


def receive(pipe: BinaryIO) -> bytes:
    """Read one part; raises `EOFError` when the other side is gone."""
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        raise EOFError
    (size,) = LENGTH.unpack(head)
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data


_reading: Final = threading.Event()
"""Set while a document is read: a process that waits costs nothing."""


def resident() -> int:
    """Return the bytes of memory that this process has, or the most that it had where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        import resource

        # Bytes on macOS, where there is no /proc.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _watch() -> None:
    """End the process when a document makes it too large: a native library that runs out of memory would abort."""
    while _reading.wait():
        if resident() >= MEMORY:
            os._exit(TOO_LARGE)
        time.sleep(WATCH_S)


def _limit() -> None:
    threading.Thread(target=_watch, daemon=True).start()
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    except (ImportError, ValueError, OSError):
        # Without that limit there is still the watch.
        return


def main() -> None:
    """Serve."""
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit()
    from tasks.documents.extract import extract
    from tasks.documents.kinds import DocumentError, Limits

    send(answers, b"ready")
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            asked = json.loads(receive(sys.stdin.buffer))
            data = receive(sys.stdin.buffer)
            _reading.set()
            try:
                told = asdict(extract(data, asked["name"], Limits(**asked["limits"])))
            except DocumentError as error:
                told = {"trouble": error.kind, "message": str(error)}
            except MemoryError:
                os._exit(TOO_LARGE)
            except RecursionError:
                told = {"trouble": "too_complex", "message": f"it is nested too deeply: {ELSE}"}
            except Exception as error:
                # A fault of ours as likely as one of the document: its sender is not to blame.
                told = {"trouble": "crashed", "message": f"reading it failed ({type(error).__name__}): {ELSE}"}
            _reading.clear()
            send(answers, json.dumps(told).encode())


if __name__ == "__main__":
    main()
