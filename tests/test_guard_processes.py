"""Several processes on one guard: no cap is exceeded, one probe at a time, nothing is lost with a killed process."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio as aredis
from guard_tools import own_base, request, settled
from servers import cluster_of_three, free_port, tcp_server

from checkpointers import Encryption, new_key
from checkpointers._place import binary
from nodes.call import Limits, MemoryGuard, get_guard, set_guard, set_sealer, using_guard
from nodes.call.redis_guard import BASE, RedisGuard
from nodes.errors import BudgetSpent, ConfigurationError, GuardUnavailable, Throttled
from surefoot.store import open_store
from surefoot.testing import KEY, MODEL, PRICES, OpenAIEndpoint, support_responder

TESTS = Path(__file__).parent


def start(role: str, url: str, base: str, **order: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(TESTS / "guard_worker.py"), role, url, base, json.dumps(order)],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": f"{TESTS.parent}:{TESTS}"},
    )  # fmt: skip


def told(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out.splitlines()[-1])
    return found


@pytest.mark.slow
def test_eight_processes_spend_a_cap_to_the_last_call_and_no_more(valkey_url: str) -> None:
    base, cap, worst = own_base(), 60_000, 100
    order = {"worst": worst, "calls": 150, "limits": {"max_cost_per_day_microusd": cap}}
    workers = [start("spend", valkey_url, base, **order) for _ in range(8)]
    totals = [told(worker) for worker in workers]
    cost = sum(total["cost"] for total in totals)
    assert cost <= cap
    assert cost > cap - worst, "money that was free was not refused"
    assert sum(total["throttled"] for total in totals) == 0
    with redis.Redis.from_url(valkey_url) as client:
        (key,) = client.keys(base + ":cap:*")
        kept = {name.decode(): int(value) for name, value in client.hgetall(key).items()}
    assert kept == {"spent": cost, "held": 0}


@pytest.mark.slow
def test_one_probe_an_interval_over_four_processes(valkey_url: str) -> None:
    limits = {"open_s": 0.5, "breaker_failures": 4}
    workers = [start("probe", valkey_url, base, seconds=3, limits=limits) for base in [own_base()] for _ in range(4)]
    totals = [told(worker) for worker in workers]
    probes = sorted(at for total in totals for at in total["probes"])
    assert len(probes) >= 3
    # Half of the usual between two, and the clocks of hosts in between.
    assert all(later - earlier >= 0.24 for earlier, later in itertools.pairwise(probes))
    # 4 to open it, and at most one of each process under way then.
    assert len(probes) + 4 <= sum(total["sent"] for total in totals) <= len(probes) + 8
    assert sum(total["refused"] for total in totals) > 100


async def test_a_killed_process_gives_its_place_back_and_has_spent_what_it_held(valkey_url: str) -> None:
    base, limits = own_base(), {"concurrency": 1, "max_cost_per_day_microusd": 100, "lease_s": 0.2}
    worker = start("hang", valkey_url, base, worst=60, timeout_s=0.5, limits=limits)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "admitted\n"
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    async with aredis.Redis.from_url(valkey_url) as client:
        guard = RedisGuard(client, Limits(**limits), base=base)  # type: ignore[arg-type]
        # Woken by nobody: the waiter finds by itself that the lease has expired.
        admission = await guard.admit(request(40, timeout_s=5))
        await guard.settle(admission, settled(0))
        with pytest.raises(BudgetSpent):
            await guard.admit(request(41))
        await guard.aclose()


async def test_kept_answers_are_encrypted_and_bound_to_their_call(valkey_url: str) -> None:
    base, answer = own_base(), {"text": "quince-4711", "cost": 3}
    one, two = Encryption({"one": bytes(32)}), Encryption({"two": bytes(range(32)), "one": bytes(32)})
    async with aredis.Redis.from_url(valkey_url) as client:

        async def replayed(encryption: Encryption | None, call_id: str = "c", **more: bool) -> Any:
            guard = RedisGuard(client, base=base, sealer=encryption, **more)
            admission = await guard.admit(request(call_id=call_id))
            if admission.replay is None:
                await guard.settle(admission, settled(answer=answer))
            await guard.keep("t", "part", answer)
            kept = await guard.recall("t", "part")
            await guard.aclose()
            return admission.replay, kept

        assert await replayed(one) == (None, answer)
        assert await replayed(one) == (answer, answer)
        assert await replayed(two) == (answer, answer), "the older key still opens it"
        ledger = f"{base}:ledger:t"
        for value in (await client.hgetall(ledger)).values():
            assert b"quince" not in value
        await client.hset(ledger, "d", (await client.hget(ledger, "c")) or b"")
        assert await replayed(one, "d") == (None, answer), "an answer of another call is asked for anew"
        assert await replayed(Encryption({"else": bytes(32)})) == (None, answer)
        assert await replayed(None) == (None, answer), "without a key it is asked for anew"
        assert await replayed(one) == (None, answer), "what is not encrypted is not taken either"
        await client.delete(ledger)
        assert await replayed(None, keeps=False) == (None, None)
        assert await client.exists(ledger) == 0


async def test_the_guard_of_a_bare_graph_keeps_nothing_that_it_cannot_encrypt(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUREFOOT_REDIS_URL", valkey_url)
    monkeypatch.setenv("SUREFOOT_CHECKPOINT_KEYS", new_key())
    for sealer in (None, Encryption({"one": bytes(32)})):
        set_sealer(sealer)
        try:
            guard = get_guard()
            assert isinstance(guard, RedisGuard)
            thread = own_base()
            await guard.keep(thread, "c", {"text": "quince-4711"})
            assert (await guard.recall(thread, "c") is None) is (sealer is None)
            await guard.forget(thread)
            await guard.aclose()
        finally:
            set_sealer(None)


async def test_a_bare_graph_keeps_its_guard_when_stores_are_opened_beside_it(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUREFOOT_REDIS_URL", valkey_url)
    guards = []
    for keys in (new_key("one"), new_key("two")):
        monkeypatch.setenv("SUREFOOT_CHECKPOINT_KEYS", keys)
        for _ in range(2):
            async with open_store(valkey_url):
                guards.append(get_guard())
    assert guards[0] is guards[1]
    assert guards[2] is guards[3]
    assert guards[1] is not guards[2], "other keys make another one"


async def test_a_lost_server_fails_closed_and_late_settlements_arrive(tmp_path: Path) -> None:
    port = free_port()
    program, base = binary(), own_base()
    persistent = ("--appendonly", "yes", "--dir", str(tmp_path))
    client = aredis.Redis.from_url(f"redis://127.0.0.1:{port}")
    guard = RedisGuard(client, Limits(max_cost_per_day_microusd=100), base=base)
    with tcp_server(program, port=port, extra=persistent):
        admission = await guard.admit(request(60))
    with pytest.raises(GuardUnavailable, match=rf"^the guard's Redis at 127\.0\.0\.1:{port} does not answer"):
        await guard.admit(request(1))
    await guard.settle(admission, settled(10))
    with tcp_server(program, port=port, extra=persistent):
        for _ in range(100):
            try:
                again = await guard.admit(request(90))
                break
            except (BudgetSpent, Throttled, GuardUnavailable):
                await asyncio.sleep(0.05)
        else:
            raise AssertionError("the settlement did not arrive")
        await guard.settle(again, settled(0))
        await guard.aclose()
    await client.aclose()


async def test_a_waiter_on_a_cluster_is_woken_whatever_node_it_listens_to(
    cluster_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Unheard, it would ask again only after the test has given up.
    monkeypatch.setattr("nodes.call.front.POLL_S", 60.0)
    base, limits = own_base(), Limits(concurrency=1)
    clients = [aredis.RedisCluster.from_url(cluster_url) for _ in range(4)]
    guards = [RedisGuard(client, limits, base=base) for client in clients]
    admission = await guards[0].admit(request())
    for before, after in itertools.pairwise(guards):
        waiting = asyncio.create_task(after.admit(request()))
        await asyncio.sleep(0.3)
        await before.settle(admission, settled())
        async with asyncio.timeout(20):
            admission = await waiting
    await guards[-1].settle(admission, settled())
    for guard, client in zip(guards, clients, strict=True):
        await guard.aclose()
        await client.aclose()


async def test_a_cluster_that_lost_the_guards_node_fails_closed() -> None:
    with cluster_of_three(binary()) as url:
        client = aredis.RedisCluster.from_url(url)
        guard = RedisGuard(client)
        await guard.settle(await guard.admit(request()), settled())
        home = client.get_node_from_key(BASE)
        assert home is not None
        with redis.Redis(port=int(home.port)) as node, suppress(redis.ConnectionError):
            node.shutdown(nosave=True)
        with pytest.raises(GuardUnavailable, match=rf"^the guard's Redis at .*127\.0\.0\.1:{home.port}.* does not ans"):
            await guard.admit(request())
        await guard.aclose()
        await client.aclose()


async def test_a_cluster_that_is_not_there_is_named() -> None:
    client = aredis.RedisCluster(host="127.0.0.1", port=free_port())
    guard = RedisGuard(client)
    with pytest.raises(GuardUnavailable, match=r"^the guard's Redis at 127\.0\.0\.1:\d+ does not answer"):
        await guard.admit(request())
    await guard.aclose()


async def test_scripts_that_the_server_forgot_are_sent_again(valkey_url: str) -> None:
    async with aredis.Redis.from_url(valkey_url) as client:
        guard = RedisGuard(client, base=own_base())
        for _ in range(2):
            await client.script_flush()
            admissions = await asyncio.gather(*(guard.admit(request(thread="")) for _ in range(50)))
            assert len({admission.id for admission in admissions}) == 50
            await asyncio.gather(*(guard.settle(admission, settled()) for admission in admissions))
        assert await client.keys(f"{guard._base}:adm:*") == []
        await guard.aclose()


async def test_a_long_line_at_a_server_that_is_silent_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodes.call.redis_line.ANSWER_S", 2.0)
    silent = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(60), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    client = aredis.Redis(port=port)
    guard = RedisGuard(client)
    # Once in line and once for the answer, however long the line is: one batch after another would be 10 s at least.
    async with asyncio.timeout(9):
        ends = await asyncio.gather(*(guard.admit(request(thread="")) for _ in range(100)), return_exceptions=True)
    assert {type(end) for end in ends} == {GuardUnavailable}
    await guard.aclose()
    await client.aclose()
    silent.close()


async def test_who_is_cancelled_in_a_batch_takes_nobody_with_him(valkey_url: str) -> None:
    async with aredis.Redis.from_url(valkey_url) as client:
        guard = RedisGuard(client, Limits(concurrency=20), base=own_base())
        await guard.settle(await guard.admit(request(thread="")), settled())
        asking = [asyncio.create_task(guard.admit(request(thread=""))) for _ in range(20)]
        await asyncio.sleep(0)
        for task in asking[::2]:
            task.cancel()
        ends = await asyncio.gather(*asking, return_exceptions=True)
        assert [isinstance(end, asyncio.CancelledError) for end in ends] == [True, False] * 10
        for end in ends[1::2]:
            assert not isinstance(end, BaseException)
            await guard.settle(end, settled())
        # What the cancelled ones were admitted is given back.
        await asyncio.gather(*(guard.admit(request(thread="", timeout_s=2)) for _ in range(20)))
        await guard.aclose()


def test_a_settlement_survives_its_cancelled_caller(valkey_url: str) -> None:
    base = own_base()

    async def story() -> None:
        async with aredis.Redis.from_url(valkey_url) as client:
            guard = RedisGuard(client, Limits(concurrency=1, queue_age_s=2), base=base)
            for _ in range(5):
                admission = await guard.admit(request())
                task = asyncio.create_task(guard.settle(admission, settled()))
                await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await guard.settle(await guard.admit(request()), settled())
            await guard.aclose()

    asyncio.run(story())


def test_the_guard_of_the_process_follows_the_settings(monkeypatch: pytest.MonkeyPatch, valkey_url: str) -> None:
    set_guard(None)
    assert isinstance(get_guard(), MemoryGuard)
    assert get_guard() is get_guard()
    monkeypatch.setenv("SUREFOOT_CONCURRENCY", "auto")
    monkeypatch.setenv("SUREFOOT_MAX_COST_PER_DAY_USD", "0.5")
    assert (get_guard().limits.concurrency, get_guard().limits.max_cost_per_day_microusd) == ("auto", 500_000)
    monkeypatch.setenv("SUREFOOT_CONCURRENCY", "7")
    assert get_guard().limits.concurrency == 7
    monkeypatch.setenv("SUREFOOT_RETRY_BUDGET", "1")
    assert get_guard().limits.retry_deposit == 1
    for wrong in ("0", "many"):
        monkeypatch.setenv("SUREFOOT_CONCURRENCY", wrong)
        with pytest.raises(ConfigurationError, match=r"^SUREFOOT_CONCURRENCY: has to be a whole number"):
            get_guard()
    monkeypatch.delenv("SUREFOOT_CONCURRENCY")
    monkeypatch.setenv("SUREFOOT_REDIS_URL", "embedded:")
    assert isinstance(get_guard(), MemoryGuard)
    monkeypatch.setenv("SUREFOOT_REDIS_URL", valkey_url)
    shared = get_guard()
    assert isinstance(shared, RedisGuard)

    async def call() -> None:
        # In the shared state of the default guard: a thread and an endpoint that nobody else has.
        asked = request(endpoint=own_base(), thread=own_base())
        await shared.settle(await shared.admit(asked), settled())

    for _ in range(3):
        asyncio.run(call())
    other = MemoryGuard()
    with using_guard(other):
        assert get_guard() is other
    assert get_guard() is shared
    set_guard(None)


# --- whole runs -----------------------------------------------------------------------------------------------------


@pytest.fixture
def endpoint() -> Iterator[OpenAIEndpoint]:
    server = OpenAIEndpoint().start()
    server.responder, server.token_probability = support_responder, 0.99
    yield server
    server.stop()


def surefoot(endpoint: OpenAIEndpoint, url: str, tickets: Path, **more: str) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SUREFOOT_", "OPENAI_"))}
    named = {
        "OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": KEY, "SUREFOOT_MODEL": MODEL, "SUREFOOT_REDIS_URL": url,
        "SUREFOOT_PRICES": json.dumps(PRICES),
    }  # fmt: skip
    words = [sys.executable, "-m", "surefoot.cli", "run", "support", str(tickets), "--json", "--parallel", "4"]
    return subprocess.Popen(
        words, env=clean | named | more, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=TESTS.parent
    )


def write(path: Path, count: int) -> Path:
    lines = [{"id": f"{n}", "text": f"The export crashes with an error. (marker-{n}-)"} for n in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.mark.slow
def test_redis_lost_in_the_middle_stops_cleanly_and_the_same_command_finishes(
    endpoint: OpenAIEndpoint, tmp_path: Path
) -> None:
    endpoint.latency_s = 0.15
    data, port = tmp_path / "data", free_port()
    data.mkdir()
    persistent = ("--appendonly", "yes", "--appendfsync", "always", "--dir", str(data))
    tickets, url = write(tmp_path / "t.jsonl", 12), f"redis://127.0.0.1:{port}/0"
    with tcp_server(binary(), port=port, extra=persistent):
        process = surefoot(endpoint, url, tickets)
        while endpoint.calls < 8:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
    lost_at = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert f"127.0.0.1:{port}" in err
    # What was under way when it was lost may end; nothing new is sent.
    assert [r for r in endpoint.requests if r.at > lost_at + 0.3] == []
    before = endpoint.calls
    with tcp_server(binary(), port=port, extra=persistent):
        out, err = surefoot(endpoint, url, tickets).communicate(timeout=60)
    assert json.loads(out)["done"] == 12, err
    # Three calls a ticket; at most the four under way at the loss are sent again.
    assert before < endpoint.calls <= 36 + 4


@pytest.mark.slow
def test_a_paid_call_whose_checkpoint_was_lost_is_not_sent_again(endpoint: OpenAIEndpoint, tmp_path: Path) -> None:
    """kill -9 after the settlement and before the checkpoint: the provider freezes there, after its call."""
    script = tmp_path / "freeze.py"
    script.write_text(FREEZE)
    with tcp_server(binary()) as url:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SUREFOOT_", "OPENAI_"))}
        env = clean | {
            "OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": KEY, "SUREFOOT_MODEL": MODEL,
            "SUREFOOT_REDIS_URL": url, "SUREFOOT_PRICES": json.dumps(PRICES),
            "PYTHONPATH": f"{TESTS.parent}:{TESTS}",
        }  # fmt: skip
        frozen = subprocess.Popen([sys.executable, str(script), "freeze"], env=env, stdout=subprocess.PIPE, text=True)
        assert frozen.stdout is not None
        paid = json.loads(frozen.stdout.readline())
        frozen.kill()
        frozen.wait()
        frozen.stdout.close()
        assert endpoint.calls == 1
        done = subprocess.run(
            [sys.executable, str(script), "go"], env=env, capture_output=True, text=True, timeout=60, check=True
        )
    result = json.loads(done.stdout.splitlines()[-1])
    assert endpoint.calls == 1
    assert result["word"] == paid["text"]
    assert result["cost"] == paid["cost"] > 0
    assert result["calls"] == 0
    assert result["command"] == 0


FREEZE = """
import asyncio, json, sys, time

from toy import Text, Word, toy_graph

from checkpointers import open_saver
from nodes.call import Call, call_settings, spending_cap


async def word(inputs: Text, call: Call) -> Word:
    reply = await call.model("Say something about " + inputs.text)
    if sys.argv[1] == "freeze":
        print(json.dumps({"text": reply.value, "cost": call.usage.cost_microusd}), flush=True)
        time.sleep(60)
    return Word(word=reply.value)


async def main() -> None:
    config = {"configurable": {"thread_id": "t"}}
    async with open_saver(call_settings().guard_url) as saver:
        graph = toy_graph(word=word).copy(update={"checkpointer": saver})
        start = {"text": "snow"} if sys.argv[1] == "freeze" else None
        with spending_cap(1_000_000) as budget:
            state = await graph.ainvoke(start, config, durability="sync")
    spend = state["spend"]["word"]
    spend = spend if isinstance(spend, dict) else spend.model_dump()
    print(json.dumps({"word": state["word"], "cost": spend["cost_microusd"], "calls": spend["calls"],
                      "command": budget.spent_microusd}))


asyncio.run(main())
"""
