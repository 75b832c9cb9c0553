"""The process that reads documents: one request after the other on standard input, until its parent is gone."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import sys
from dataclasses import asdict
from typing import BinaryIO, Final

MEMORY: Final = 1_500_000_000
"""Bytes of address space of a worker, where the system has such a limit."""
LENGTH: Final = struct.Struct(">I")


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


def main() -> None:
    """Serve."""
    # Whatever a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from tasks.documents.extract import extract
    from tasks.documents.kinds import DocumentError, Limits

    send(answers, b"ready")
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):
        while True:
            asked = json.loads(receive(sys.stdin.buffer))
            data = receive(sys.stdin.buffer)
            try:
                told = asdict(extract(data, asked["name"], Limits(**asked["limits"])))
            except DocumentError as error:
                told = {"trouble": error.kind, "message": str(error)}
            except MemoryError:
                told = {"trouble": "too_large", "message": "it needs too much memory: send a smaller one"}
            except Exception as error:
                told = {"trouble": "corrupt", "message": f"it cannot be read ({type(error).__name__}): ask for another"}
            send(answers, json.dumps(told).encode())


if __name__ == "__main__":
    main()
