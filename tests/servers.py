"""Fixtures with real servers, and what the saver tests share.

Private embedded servers, plain Valkey on a loopback port, a cluster of three, and Redis where it is installed. All are
started by the tests and ended by process id.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    empty_checkpoint,
)
from langgraph.checkpoint.base.id import uuid6

from checkpointers import embedded
from checkpointers._place import binary

PASSWORD = "correct-horse"


_ports = itertools.cycle(random.Random(os.getpid()).sample(range(10_000, 30_000), 4_000))


def free_port() -> int:
    """Return a port that nobody has, of those that no system gives to the outgoing connections of others meanwhile."""
    while True:
        port = next(_ports)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def tcp_server(program: str, *, password: str = "", port: int = 0, extra: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the URL of a plain server on the loopback interface that keeps nothing on disk."""
    with tempfile.TemporaryDirectory(prefix="sf-tcp-") as directory:
        port = port or free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]
        command += [directory, *(("--requirepass", password) if password else ()), *extra]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        url = f"redis://:{password}@127.0.0.1:{port}/0" if password else f"redis://127.0.0.1:{port}/0"
        try:
            with redis.Redis.from_url(url) as client:
                deadline = time.monotonic() + 20
                while True:
                    try:
                        client.ping()
                        break
                    except redis.ConnectionError:
                        if time.monotonic() > deadline or process.poll() is not None:
                            raise
                        time.sleep(0.02)
            yield url
        finally:
            process.kill()
            process.wait()


def has_come_together(node: redis.Redis) -> bool:
    """Tell whether a node of a cluster knows all three and their slots."""
    told: dict[str, str] = node.execute_command("CLUSTER INFO")
    return told["cluster_state"] == "ok" and told["cluster_size"] == "3" and told["cluster_slots_ok"] == "16384"


@contextmanager
def node_of_cluster(program: str) -> Iterator[str]:
    """Yield the URL of a server that may become a node of a cluster."""
    # The bus is on a port of its own, which by default is too high for ports that the system hands out. With some of
    # the slots missing the others are served.
    extra = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "5000")
    extra = (*extra, "--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0")
    with tcp_server(program, extra=extra) as url:
        yield url


def meet(node: redis.Redis, other: redis.Redis) -> None:
    """Make two nodes those of one cluster."""
    own, bus = other.connection_pool.connection_kwargs["port"], other.config_get("cluster-port")["cluster-port"]
    node.execute_command("CLUSTER MEET", "127.0.0.1", own, bus)


@contextmanager
def cluster_of_three(program: str) -> Iterator[str]:
    """Yield the URL of one of three masters, each with a third of the slots."""
    with ExitStack() as stack:
        urls = [stack.enter_context(node_of_cluster(program)) for _ in range(3)]
        nodes = [stack.enter_context(redis.Redis.from_url(url)) for url in urls]
        for number, node in enumerate(nodes):
            first, last = 16384 * number // 3, 16384 * (number + 1) // 3 - 1
            node.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
        for node in nodes[1:]:
            meet(nodes[0], node)
        deadline = time.monotonic() + 20
        while not all(has_come_together(node) for node in nodes):
            assert time.monotonic() < deadline, "the cluster did not come together"
            time.sleep(0.05)
        yield urls[0]


@contextmanager
def service_behind_sentinels(program: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of a service of a primary and a replica behind three sentinels, and the URLs of the two."""
    with ExitStack() as stack:
        ports = [free_port(), free_port()]
        urls = [stack.enter_context(tcp_server(program, port=ports[0]))]
        urls.append(
            stack.enter_context(tcp_server(program, port=ports[1], extra=("--replicaof", f"127.0.0.1 {ports[0]}")))
        )
        watchers = []
        for _ in range(3):
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sf-sen-")))
            port = free_port()
            (directory / "sentinel.conf").write_text(
                f"port {port}\nbind 127.0.0.1\ndir {directory}\nsentinel monitor pipelines 127.0.0.1 {ports[0]} 2\n"
                "sentinel down-after-milliseconds pipelines 600\nsentinel failover-timeout pipelines 5000\n"
            )
            command = [program, str(directory / "sentinel.conf"), "--sentinel"]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait)
            stack.callback(process.kill)
            watchers.append(port)
        deadline = time.monotonic() + 30
        while not all(_knows_the_others(port) for port in watchers):
            assert time.monotonic() < deadline, "the sentinels did not find each other"
            time.sleep(0.05)
        yield f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in watchers)}/pipelines", urls


def _knows_the_others(port: int) -> bool:
    """Tell whether a sentinel knows the two others and the replica."""
    try:
        with redis.Redis(port=port, decode_responses=True) as sentinel:
            known = sentinel.sentinel_master("pipelines")
    except redis.RedisError:
        return False
    return bool(known["num-other-sentinels"] == 2 and known["num-slaves"] == 1)


def end_embedded(directory: str | Path) -> None:
    """Kill the embedded server of a directory, if it runs; its watchdog ends with it."""
    pid = embedded.server_pid(os.path.realpath(directory))
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def embedded_directory() -> Iterator[Path]:
    """Yield a short directory for an embedded server, which is ended with it."""
    directory = Path(tempfile.mkdtemp(prefix="sf-emb-"))
    try:
        yield directory
    finally:
        end_embedded(directory)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A plain Valkey server over TCP, shared by the session."""
    with tcp_server(binary()) as url:
        yield url


@pytest.fixture(scope="session")
def sealed_url(valkey_url: str) -> str:
    """A database for encrypted threads: without a key they stop those who list all threads."""
    return f"{valkey_url.rpartition('/')[0]}/5"


@pytest.fixture(scope="session")
def password_url() -> Iterator[str]:
    """A Valkey server that asks for `PASSWORD`, shared by the session."""
    with tcp_server(binary(), password=PASSWORD) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis server of the system's, shared by the session."""
    program = os.environ.get("SUREFOOT_TEST_REDIS_SERVER") or shutil.which("redis-server")
    if not program:
        if os.environ.get("SUREFOOT_TEST_REQUIRE_REDIS"):
            pytest.fail("no redis-server on PATH, although it was to be there")
        pytest.skip("no redis-server on PATH; .ci/run installs one and runs this")
    with tcp_server(program) as url:
        yield url


@pytest.fixture(scope="session")
def cluster_url() -> Iterator[str]:
    """One node of a cluster of three Valkey servers, shared by the session; give it to a cluster's client."""
    with cluster_of_three(binary()) as url:
        yield url


@pytest.fixture(scope="session")
def cluster_service_url(cluster_url: str) -> str:
    """The same cluster as a URL that names it as one."""
    return cluster_url.replace("redis://", "redis+cluster://").removesuffix("/0")


@pytest.fixture(scope="session")
def sentinel_url() -> Iterator[str]:
    """A service behind three sentinels, shared by the session."""
    with service_behind_sentinels(binary()) as (url, _):
        yield url


@pytest.fixture(scope="session")
def shared_embedded_url() -> Iterator[str]:
    """An embedded server shared by the session; use thread ids of your own."""
    with embedded_directory() as directory:
        yield f"embedded:{directory}"


@pytest.fixture(params=["embedded", "valkey", "redis", "cluster", "sentinel"])
def every_url(request: pytest.FixtureRequest) -> str:
    """Each kind of server and of topology in turn, shared by the session; use thread ids of your own."""
    names = {"cluster": "cluster_service_url", "sentinel": "sentinel_url", "embedded": "shared_embedded_url"}
    url: str = request.getfixturevalue(names.get(request.param, f"{request.param}_url"))
    return url


@pytest.fixture
def embedded_dir() -> Iterator[Path]:
    """A directory for an embedded server of the test's own."""
    with embedded_directory() as directory:
        yield directory


@pytest.fixture
def embedded_url(embedded_dir: Path) -> str:
    """The URL of an embedded server of the test's own."""
    return f"embedded:{embedded_dir}"


@pytest.fixture(params=["embedded", "valkey", "redis"])
def any_url(request: pytest.FixtureRequest) -> str:
    """Each kind of server in turn, shared by the session; use thread ids of your own."""
    name = {"embedded": "shared_embedded_url", "valkey": "valkey_url", "redis": "redis_url"}[request.param]
    url: str = request.getfixturevalue(name)
    return url


def checkpoint_of(values: dict[str, Any], versions: ChannelVersions, checkpoint_id: str | None = None) -> Checkpoint:
    """Return a checkpoint with these channels."""
    checkpoint = empty_checkpoint()
    checkpoint["id"] = checkpoint_id or str(uuid6(clock_seq=-1))
    checkpoint["channel_values"], checkpoint["channel_versions"] = values, versions
    return checkpoint


def config_of(thread_id: str, ns: str = "", checkpoint_id: str | None = None) -> RunnableConfig:
    """Return a config as LangGraph passes it."""
    found = {"thread_id": thread_id, "checkpoint_ns": ns}
    return {"configurable": found if checkpoint_id is None else {**found, "checkpoint_id": checkpoint_id}}


def put_values(
    saver: BaseCheckpointSaver[Any], config: RunnableConfig, step: int = 0, run_id: str | None = None, **values: Any
) -> RunnableConfig:
    """Store one checkpoint whose channels are all new; return its config."""
    versions: ChannelVersions = {name: saver.get_next_version(None, None) for name in values}
    metadata: CheckpointMetadata = {"source": "loop", "step": step, "parents": {}}
    if run_id:
        metadata["run_id"] = run_id
    return saver.put(config, checkpoint_of(values, versions), metadata, versions)
