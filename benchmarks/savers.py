"""Our savers beside others, in one run: `python benchmarks/savers.py [PART ...] [--peers DIR] [--only NAME] [--json]`.

Beside each other: AsyncRedisSaver, RedisSaver (a thread for each client), LangGraph's in-memory saver and, where they
are installed, langgraph-checkpoint-redis, plainredis, the Valkey saver of langgraph-checkpoint-aws, sqlite (asyncio and
in threads) and postgres. One that cannot take part is told with the reason. `--peers DIR` (or SUREFOOT_BENCH_PEERS) is
a directory that pip installed them to with `--target`; it comes last on the path, so that the versions of everything
else stay those of this environment. The official saver needs `redis-stack-server` on PATH too.

Each saver has a server or file of its own, started by this run on the loopback interface: Valkey from the wheel (or the
system's redis-server, `--redis`) once with the append-only file off and once with `appendfsync everysec`; PostgreSQL
with default settings and once more with `synchronous_commit` off; sqlite as its saver sets it up. The client runs in
this one process, and shares the machine's cores with the servers. In a round each cell of a table is measured for every
saver in turn, and rounds follow each other (A B A B); told are the medians over the rounds, and the medians of the
ratios within a round, to ours that writes to disk as the other does and to the in-memory saver's.

- pairs: put + put_writes a second, by 1 and by 64 clients with a thread of their own each. The state is a small one of
  three values, or has 20 messages of 500 characters more to which each step adds one. After 20 steps, another thread.
- reads: p50 in ms of get_tuple of the latest checkpoint, at 10, 100 and 1,000 checkpoints of the small state, and
  with 100 checkpoints and messages.
- bytes: what a checkpoint takes when each step adds a message of 500 characters, from none to 10, 100 and 1,000 of
  them. For Redis the server's used memory, for postgres the tables with their indexes, for sqlite the file, for memory
  the serialized values alone. Measured once, because it does not scatter, and without an append-only file.
- graphs: runs a second of a graph of six nodes in a row, whose state has messages, 1 and 32 at once, by durability.

`--soak` instead tells of our saver alone whether its memory, put and get stay flat: 1,000 threads of 1,000 steps, half
of them with the small state, half with the growing one (`--threads`, `--steps`).

All takes about ten minutes, `--quick` less than one: one round, less of everything, append-only files off.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import savers_load as load  # noqa: E402 - the path comes first
import savers_soak as soak  # noqa: E402
from savers_peers import Contender, Field, gather  # noqa: E402
from savers_table import LASTING, Table, as_data, lines_of  # noqa: E402

CLIENTS = (1, 64)
AT_ONCE = (1, 32)
DURABILITIES = ("sync", "async", "exit")


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int = 3
    steps: int = load.STEPS
    least_s: float = 0.4
    depths: tuple[int, ...] = (10, 100, 1000)
    reads: int = 60
    threads: tuple[tuple[int, int], ...] = ((20, 10), (4, 100), (1, 1000))
    """Of the bytes: how many threads of how many steps."""
    runs: tuple[int, int] = (12, 64)
    """Of the graph, 1 and 32 at once."""


QUICK = Size(rounds=1, steps=5, least_s=0.1, depths=(10, 100), reads=30, threads=((10, 10), (2, 100)), runs=(4, 32))
PARTS = ("pairs", "reads", "bytes", "graphs")


class Bench:
    """One run over the savers that take part."""

    def __init__(self, who: Field, size: Size) -> None:
        self.who, self.size = who, size
        self.tables: list[Table] = []

    def table(self, title: str, columns: list[str], digits: int = 0) -> Table:
        """Begin a table."""
        self.tables.append(Table(title, columns, digits))
        return self.tables[-1]

    async def cell(
        self, table: Table, column: str, turn: int, measure: Callable[[Contender], Awaitable[float | None]]
    ) -> None:
        """Measure a cell for every saver in turn; one that fails is told and not asked for it again."""
        for one in self.who.contenders:
            what = f"{table.title.partition(':')[0]}, {column}"
            if what in one.failed:
                continue
            try:
                number = await measure(one)
            except Exception as error:
                one.failed[what] = f"{type(error).__name__}: {error}"[:300]
                continue
            if number is not None:
                table.add(one, column, turn, number)

    def turns(self) -> Iterator[int]:
        """Yield the rounds and tell of each."""
        for turn in range(self.size.rounds):
            print(f"{self.tables[-1].title.partition(':')[0]}: round {turn + 1} of {self.size.rounds}", file=sys.stderr)
            yield turn

    async def empty(self) -> None:
        """Delete what every saver has stored."""
        for one in self.who.contenders:
            await one.empty()

    async def pairs(self) -> None:
        """Writes, by clients and state."""
        cells = {
            f"{clients} client{'s' * (clients > 1)}, {'messages' if grows else 'small'}": (clients, grows)
            for clients in CLIENTS for grows in (False, True)
        }  # fmt: skip
        table = self.table("pairs: put + put_writes a second", list(cells))
        for turn in self.turns():
            for column, (clients, grows) in cells.items():
                await self.cell(
                    table, column, turn,
                    lambda one, c=clients, g=grows: load.pairs(one, c, g, self.size.steps, self.size.least_s),
                )  # fmt: skip
                await self.empty()

    async def reads(self) -> None:
        """The latest checkpoint, by the depth of its thread."""
        cells = {f"{depth:,} checkpoints": (depth, False) for depth in self.size.depths}
        cells["100, with messages"] = (100, True)
        table = self.table("reads: p50 of get_tuple in ms", list(cells), digits=2)
        # By saver and cell, because a thread that is read must not grow.
        walks: dict[tuple[str, str], load.Walk] = {}

        async def read(one: Contender, column: str) -> float:
            key, (depth, grows) = (one.label, column), cells[column]
            if key not in walks:
                walks[key] = load.Walk(one.saver, grows)
                await load.walk(one, [walks[key]], depth)
            return await load.read_ms(one, walks[key].config, self.size.reads)

        for turn in self.turns():
            for column in cells:
                await self.cell(table, column, turn, lambda one, c=column: read(one, c))
        await self.empty()

    async def bytes(self) -> None:
        """What is stored, by the length of the thread."""
        cells = {f"{steps:,} steps": (threads, steps) for threads, steps in self.size.threads}
        table = self.table("bytes: a checkpoint, when each adds 500 characters", list(cells))

        async def measure(one: Contender, threads: int, steps: int) -> float | None:
            # Elsewhere the same bytes are stored, at the cost of a minute.
            again = not one.is_async or one.store == "AOF everysec" or one.store == "commit later"
            return None if again else await load.bytes_each(one, threads, steps)

        for column, (threads, steps) in cells.items():
            print(f"bytes: {column}", file=sys.stderr)
            await self.cell(table, column, 0, lambda one, t=threads, s=steps: measure(one, t, s))

    async def graphs(self) -> None:
        """Whole runs, by durability and by how many are under way."""
        for durability in DURABILITIES:
            cells = dict(zip((f"{many} at once" for many in AT_ONCE), AT_ONCE, strict=True))
            table = self.table(f"graphs, durability {durability}: runs of six nodes a second", list(cells), digits=1)
            for turn in self.turns():
                for (column, many), count in zip(cells.items(), self.size.runs, strict=True):
                    run = partial(load.graph_runs, durability=durability, side_by_side=many, count=count)
                    await self.cell(table, column, turn, run)
                await self.empty()


def report(bench: Bench, took_s: float, as_json: bool) -> None:
    who = bench.who
    failed = {one.label: one.failed for one in who.contenders if one.failed}
    if as_json:
        machine = {"python": platform.python_version(), "system": platform.system(), "cores": os.cpu_count()}
        print(json.dumps({
            "machine": machine, "rounds": bench.size.rounds, "seconds": round(took_s), "left_out": who.left_out,
            "failed": failed, "measures": [as_data(table, who.contenders) for table in bench.tables],
        }, indent=2))  # fmt: skip
        return
    for table in bench.tables:
        print("\n".join(lines_of(table, who.contenders)))
    for name, why in who.left_out.items():
        print(f"\nleft out: {name}: {why}")
    for label, errors in failed.items():
        for what, error in errors.items():
            print(f"\nfailed: {label}: {what}: {error}")
    print(f"\nmedians of {bench.size.rounds} rounds in {took_s:.0f} s on {os.cpu_count()} cores")


async def run(options: argparse.Namespace) -> None:
    size = QUICK if options.quick else Size()
    if options.rounds:
        size = Size(**{**vars(size), "rounds": options.rounds})
    async with AsyncExitStack() as stack:
        who = await gather(stack, options.redis, options.only)
        if options.quick:
            who.contenders = [one for one in who.contenders if one.store not in LASTING or one.store == "each commit"]
        bench, began = Bench(who, size), time.perf_counter()
        for part in options.parts or PARTS:
            await getattr(bench, part)()
        report(bench, time.perf_counter() - began, options.json)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="which of them; all by default")
    parser.add_argument("--quick", action="store_true", help="one short round, append-only files off")
    parser.add_argument("--only", metavar="NAME", help="of the others, those with this in their name")
    parser.add_argument("--rounds", type=int, help="how often each is measured")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--redis", action="store_true", help="the system's redis-server instead of Valkey")
    parser.add_argument("--peers", metavar="DIR", default=os.environ.get("SUREFOOT_BENCH_PEERS"),
                        help="where the others are installed; SUREFOOT_BENCH_PEERS")  # fmt: skip
    parser.add_argument("--soak", action="store_true", help="our saver alone, for long")
    parser.add_argument("--threads", type=int, default=1000, help="of the soak")
    parser.add_argument("--steps", type=int, default=1000, help="of each thread of the soak")
    return parser.parse_args()


def main() -> None:
    options = parse()
    logging.disable(logging.ERROR)
    if options.peers:
        sys.path.append(options.peers)
    work: Any = soak.run(options.redis, options.threads, options.steps, options.json) if options.soak else run(options)
    asyncio.run(work)


if __name__ == "__main__":
    main()
