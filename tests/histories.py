"""Histories of a thread: the same random writes from the same seed, for a saver and for a model of it.

Lists grow from any earlier checkpoint, elements are changed in place or replaced, tasks write, ask and fail.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT
from servers import checkpoint_of, config_of

Operation = tuple[str, Any]


def operations(seed: int, count: int) -> Iterator[Operation]:
    """Yield puts and writes; ids and versions are part of them, so that a second player writes the same.

    Values share their elements, as those of a graph do: play each operation before taking the next.
    """
    dice = random.Random(seed)
    made: list[tuple[str, dict[str, Any], dict[str, str]]] = []
    for number in range(count):
        if not made or dice.random() < 0.6:
            parent = dice.choice(made[-4:] if dice.random() < 0.8 else made) if made else None
            values, versions = (dict(parent[1]), dict(parent[2])) if parent else ({"log": [], "n": 0}, {})
            new = {}
            for channel in ("log", "n", "text"):
                if not versions or dice.random() < 0.6:
                    _change(channel, values, dice, number)
                    new[channel] = versions[channel] = f"{number:032}.{dice.getrandbits(32):08x}"
            identity = f"1f{number:06x}-0000-6000-8000-{dice.getrandbits(48):012x}"
            made.append((identity, values, versions))
            yield "put", (parent and parent[0], identity, values, versions, new, {"step": number})
        else:
            at = dice.choice(made[-3:])[0]
            channel, value = dice.choice([("log", [number]), ("n", number), (ERROR, "it broke"), (INTERRUPT, [number])])
            yield "write", (at, [(channel, value)] * dice.randint(1, 2), f"task-{dice.randint(0, 2)}", "path")


def _change(channel: str, values: dict[str, Any], dice: random.Random, number: int) -> None:
    if channel == "n":
        values["n"] = number
    elif channel == "text":
        values["text"] = f"{number} " * dice.choice((1, 40, 400))
    elif (kind := dice.random()) < 0.75 or not values["log"]:
        values["log"] = [*values["log"], *({"number": number, "body": "x" * dice.choice((5, 300))} for _ in "ab")]
    elif kind < 0.85:
        dice.choice(values["log"])["body"] = f"changed in place by {number}"
    elif kind < 0.95:
        values["log"] = values["log"][: dice.randrange(len(values["log"]))]
    else:
        values["log"] = [{"number": number, "body": "all new"}]


def play(saver: BaseCheckpointSaver[Any], thread: str, operation: Operation) -> None:
    """Do one operation."""
    kind, told = operation
    if kind == "put":
        parent, identity, values, versions, new, metadata = told
        saver.put(config_of(thread, "", parent), checkpoint_of(dict(values), dict(versions), identity), metadata, new)
    else:
        at, writes, task, path = told
        saver.put_writes(config_of(thread, "", at), writes, task, path)


def state_of(saver: BaseCheckpointSaver[Any], thread: str) -> list[Any]:
    """Return everything that can be read of a thread."""
    return [
        (found.checkpoint["id"], found.checkpoint["channel_values"], found.checkpoint["channel_versions"],
         found.metadata, found.parent_config, found.pending_writes)
        for found in saver.list(config_of(thread))
    ]  # fmt: skip


def main() -> None:
    """Play a part of a history on a server, and print the number of each operation that was acknowledged."""
    from checkpointers import RedisSaver

    url, thread, seed, count, begin = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    with RedisSaver.from_url(url) as saver:
        for number, operation in enumerate(operations(seed, count)):
            if number >= begin:
                play(saver, thread, operation)
                print(number, flush=True)


if __name__ == "__main__":
    main()
