"""The guard in memory and the scripts in Redis give the same answers to everything, whatever the order."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from guard_tools import own_base
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from nodes.call import Limits, arithmetic, memory_admit, memory_settle
from nodes.call.memory_state import Shared
from nodes.call.scripts import script

START = 1_800_000_000_000

LIMITS = st.builds(
    Limits,
    concurrency=st.sampled_from([None, 1, 2, "auto"]),
    unreachable_calls=st.sampled_from([1, 2]),
    rejected_items=st.sampled_from([1, 2]),
    rejected_items_lately=st.just(6),
    lost_calls=st.just(3),
    lately_s=st.sampled_from([1, 60]),
    concurrency_start=st.just(2),
    concurrency_max=st.just(4),
    retry_reserve=st.sampled_from([0, 2]),
    retry_deposit=st.sampled_from([0.2, 0.7]),
    retry_max=st.just(3),
    hedge_share=st.sampled_from([0.05, 0.5]),
    throttle_ratio=st.sampled_from([1, 2]),
    breaker_failures=st.sampled_from([2, 4]),
    same_call=st.sampled_from([2, 12]),
    usd_per_minute=st.sampled_from([None, 0.0001]),
    timeout_samples=st.sampled_from([3, 50]),
    timeout_floor_s=st.sampled_from([0.2, 1]),
    open_s=st.just(5),
    lease_s=st.sampled_from([1, 30]),
    ledger_s=st.just(60),
)
OUTCOMES = ["ok", "ok", "ok", "transient", "timeout", "throttled", "cancelled", "permanent", "truncated"]


class Twins(RuleBasedStateMachine):
    """Drives both with the same requests at the same times."""

    connect: Callable[[], Any]

    def __init__(self) -> None:
        super().__init__()
        self.client = type(self).connect()
        self.base, self.now, self.count = own_base(), START, 0
        self.memory = Shared()
        self.waiting: dict[str, dict[str, Any]] = {}
        self.open: list[str] = []
        self.closed: list[str] = []
        self.told: set[str] = set()

    @initialize(limits=LIMITS, day=st.sampled_from([0, 50, 400]))
    def begin(self, limits: Limits, day: int) -> None:
        self.limits, self.day = limits.wire, day

    def teardown(self) -> None:
        if keys := self.client.keys(self.base.replace("[", "?") + ":*"):
            self.client.delete(*keys)
        self.client.close()

    def both(self, name: str, ask: dict[str, Any]) -> dict[str, Any]:
        twin = {
            "admit": memory_admit.admit,
            "leave": memory_admit.leave,
            "settle": memory_settle.settle,
            "money": memory_settle.money,
        }[name]
        told = twin(self.memory, self.now, json.loads(json.dumps(ask)))
        raw = self.client.eval(script(name).text, 1, self.base, str(self.now), json.dumps(ask))
        found = json.loads(raw.replace(b'"caps":{}', b'"caps":[]'))
        assert found.pop("now") == self.now
        assert found == json.loads(json.dumps(told)), (name, ask)
        self.compare_what_they_remember()
        self.told |= {told["r"], told.get("why", told["r"])}
        self.told |= {note["e"] for note in told.get("notes", ())}
        self.told |= {f"what {told['what']}"} if told.get("why") == "endpoint" else set()
        self.told |= {"rejects everything"} & {note.get("why") for note in told.get("notes", ())}
        return told

    def kept(self, *parts: str) -> dict[str, Any]:
        found = self.client.hgetall(":".join((self.base, *parts)))
        texts = (b"last", b"rejected", b"unconnected")
        return {k.decode(): v.decode() if k in texts else int(v) for k, v in found.items()}

    def numbers(self, *parts: str) -> dict[str, int]:
        found = self.client.zrange(":".join((self.base, *parts)), 0, -1, withscores=True)
        return {k.decode(): int(score) for k, score in found}

    def compare_what_they_remember(self) -> None:
        for name, ep in self.memory.endpoints.items():
            known = {"tokens": ep.tokens, "hedges": ep.hedges, "limit": ep.limit, "rest": ep.rest, "oks": ep.oks,
                     "begun": ep.begun, "unconnected": ep.unconnected, "answered": ep.answered, "down": int(ep.down),
                     "down_until": ep.down_until, "down_wait": ep.down_wait}  # fmt: skip
            assert known | self.kept("ep", name) | {"tickets": 0, "cut_at": 0} == known | {"tickets": 0, "cut_at": 0}
            assert sorted(ep.slots) == [
                k.decode() for k in sorted(self.client.zrange(f"{self.base}:slots:{name}", 0, -1))
            ]
            assert ep.line.first(99) == [k.decode() for k in self.client.zrange(f"{self.base}:queue:{name}", 0, -1)]
        for name, breaker in self.memory.breakers.items():
            known = asdict(breaker) | {"open": int(breaker.open), "rejects": int(breaker.rejects)}
            known["turns"] = breaker.line.tickets
            assert known | self.kept("breaker", name) == known
            assert breaker.line.first(999) == list(self.numbers("line", name))
            assert breaker.flight == self.numbers("flight", name)
            assert {str(number): number for number in breaker.row} == self.numbers("row", name)
            share = {f"b{k}": n for k, n in breaker.began.items()} | {f"f{k}": n for k, n in breaker.failed.items()}
            assert share == self.kept("share", name)
        for name, timing in self.memory.timings.items():
            known = {k: getattr(timing, k) for k in ("p99", "p95", "count", "lift")} | {"at": timing.computed_at}
            assert known | self.kept("timing", name) == known
        for name, sent in self.memory.same._items.items():
            stored = self.client.lrange(f"{self.base}:same:{name}", 0, -1)
            assert [int(at) for at in stored] == sent[::-1] or not stored
        for name, cap in self.memory.caps._items.items():
            known = {"spent": cap.spent, "held": cap.held, "unknown": cap.unknown}
            assert known | self.kept("cap", name) == known
            assert cap.held >= 0
            assert cap.unknown >= 0
            lost = self.client.zrange(f"{self.base}:cap:{name}:unknown", 0, -1)
            assert sorted(cap.lost) == sorted(k.decode() for k in lost)

    def ask(self, ask: dict[str, Any]) -> None:
        told = self.both("admit", ask)
        name = ask["id"]
        self.waiting.pop(name, None)
        if told["r"] == "admitted":
            if name not in self.open:
                self.open.append(name)
        elif told["r"] == "wait":
            self.waiting[name] = ask | {"waiting": 1, "ticket": told["ticket"], "turn": told["turn"]}

    @rule(
        ep=st.sampled_from(["a:1", "a:1", "b:2"]),
        model=st.sampled_from(["m", "m", "n"]),
        thread=st.sampled_from(["", "t", "u"]),
        tenant=st.sampled_from(["x", "y"]),
        worst=st.sampled_from([0, 10, 30, 45]),
        call=st.sampled_from(["", "c1", "c2"]),
        prompt=st.sampled_from(["", "p", "q"]),
        retry=st.sampled_from([0, 0, 1]),
        hedge=st.sampled_from([0, 0, 1]),
        timeout=st.sampled_from([500, 3000]),
        step=st.sampled_from(["s", "a|b"]),
        room=st.sampled_from([0, 40, 90]),
        dice=st.sampled_from([0, 400_000, 999_999]),
        patient=st.sampled_from([0, 1]),
    )
    def come(self, **asked: Any) -> None:
        self.request(**asked)

    def request(self, ep: str, model: str, thread: str, tenant: str, worst: int, call: str, prompt: str, retry: int,
                hedge: int, timeout: int, step: str, room: int, dice: int, patient: int) -> None:  # fmt: skip
        self.count += 1
        caps = [["day", self.day], [f"tenant:{tenant}", 60]] if self.day else []
        self.ask({
            "id": f"r{self.count:04}", "ep": ep, "model": model, "key": "k", "thread": thread, "worst": worst,
            "timeout": timeout, "ceiling": 2 * timeout, "lat": f"{model}|s|512", "call": call if thread else "",
            "prompt": prompt, "item": thread or prompt, "step": step,
            "room": [["step", room], ["run", room + 40]] if room else [],
            "retry": retry, "hedge": hedge, "caps": caps, "ticket": 0, "waiting": 0,
            "fresh": int(self.count % 7 == 0), "dice": dice, "patient": patient, "turn": 0,
            "limits": self.limits,
        })  # fmt: skip

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def come_again(self, data: st.DataObject) -> None:
        self.ask(self.waiting[data.draw(st.sampled_from(sorted(self.waiting)))])

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.both("leave", self.waiting.pop(data.draw(st.sampled_from(sorted(self.waiting)))))

    @precondition(lambda self: self.open)
    @rule(
        data=st.data(),
        outcome=st.sampled_from(OUTCOMES),
        cost=st.sampled_from([0, 5, 30]),
        latency=st.sampled_from([1, 40, 333, 1200, 5000]),
        halt=st.sampled_from(["", "", "", "", "key", "model"]),
        retry_ms=st.sampled_from([0, 0, 2000, 90_000]),
        answer=st.sampled_from(["", '{"a":1.25}']),
        lost=st.sampled_from([0, 0, 1]),
        connected=st.booleans(),
    )
    def settle(self, data: st.DataObject, outcome: str, cost: int, latency: int, halt: str, retry_ms: int, answer: str,
               lost: int, connected: bool) -> None:  # fmt: skip
        name = data.draw(st.sampled_from(self.open))
        self.open.remove(name)
        self.closed.append(name)
        halt = halt if outcome == "permanent" else ""
        self.say(name, outcome, cost, latency, halt, retry_ms, answer, lost, connected or outcome != "transient")

    def say(self, name: str, outcome: str, cost: int, latency: int, halt: str, retry_ms: int, answer: str,
            lost: int, connected: bool = True) -> dict[str, Any]:  # fmt: skip
        return self.both("settle", {
            "id": name, "outcome": outcome, "cost": cost, "latency": latency, "halt": halt, "error": "no" * bool(halt),
            "retry_ms": retry_ms, "answer": answer, "lost": lost,
            "connected": int(connected), "limits": self.limits,
        })  # fmt: skip

    @precondition(lambda self: self.closed)
    @rule(data=st.data())
    def settle_again(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.closed))
        assert self.say(name, "ok", 99, 1, "", 0, "", 0)["r"] == "unknown"

    @rule(settle=st.sampled_from([{}, {}, {"day": 7}, {"tenant:x": 0}]))
    def count_money(self, settle: dict[str, int]) -> None:
        self.both("money", {"settle": settle if self.day else {}, "date": "", "limits": self.limits})

    @rule(ms=st.sampled_from([0, 1, 700, 1100, 3500, 6000, 65_000, 700_000, -3_600_000]))
    def time_passes(self, ms: int) -> None:
        self.now += ms


@pytest.mark.timeout(120)
def test_the_twins_answer_alike(any_server: Callable[[], Any]) -> None:
    class Machine(Twins):
        connect = staticmethod(any_server)

    run_state_machine_as_test(
        Machine,
        settings=settings(max_examples=60, stateful_step_count=60, suppress_health_check=list(HealthCheck)),
    )


DEEP = [
    Limits(concurrency="auto", concurrency_start=3, concurrency_max=6, timeout_samples=5, same_call=50),
    Limits(breaker_failures=3, open_s=4, same_call=50, retry_reserve=3, unreachable_calls=1, lost_calls=4,
           lately_s=0.2),
    Limits(retry_reserve=3, retry_deposit=0.2, retry_max=5, hedge_share=0.3, timeout_samples=5, usd_per_minute=0.002,
           lease_s=4),
    Limits(breaker_failures=40, throttle_ratio=1, timeout_samples=5, same_call=4, ledger_s=60),
    Limits(concurrency=4, breaker_failures=9, unreachable_calls=2, rejected_items=2, rejected_items_lately=3,
           lately_s=0.5, same_call=50, lease_s=4),
]  # fmt: skip


def test_long_stories_end_alike(any_server: Callable[[], Any]) -> None:
    told = set[str]().union(*(long_story(any_server, seed) for seed in (*range(12), 14, 28)), bad_day(any_server))
    assert told == {
        "admitted", "replay", "wait", "halted", "runaway", "retries_spent", "hedges_spent", "open", "resting",
        "unreachable", "reach", "rejects everything", "spent_out", "unknown_out", "money", "left", "settled", "late",
        "breaker", "limit", "retries", "place", "throttle", "endpoint", "budget",
        "what unreachable", "what rejects", "what down", "what ramp",
    }  # fmt: skip


def bad_day(any_server: Callable[[], Any]) -> set[str]:
    """An endpoint that fails most requests, then all of them, then is back."""

    class Machine(Twins):
        connect = staticmethod(any_server)

    one = Machine()
    one.begin(Limits(breaker_failures=40, open_s=1), 0)

    def ask(times: int) -> None:
        for _ in range(times):
            one.request("a:1", "m", "", "x", 0, "", "", 0, 0, 500, "s", 0, 0, 1)

    def end(*outcomes: str) -> None:
        for outcome in outcomes:
            one.say(one.open.pop(0), outcome, 0, 5, "", 0, "", 0, True)

    ask(36)
    end(*["transient"] * 34, "ok", "ok")
    ask(2)
    one.now += 40_000
    ask(45)
    end(*["transient"] * 45)
    one.waiting.clear()
    one.now += 5_000
    ask(1)
    end("ok")
    ask(12)
    one.teardown()
    return one.told


def long_story(any_server: Callable[[], Any], seed: int) -> set[str]:
    """Hypothesis finds the short stories; what takes many calls (percentiles, breakers, limits) needs long ones."""

    class Machine(Twins):
        connect = staticmethod(any_server)

    dice, one = random.Random(seed), Machine()
    one.begin(DEEP[seed % len(DEEP)], dice.choice([0, 900]))
    # Every now and then the endpoint is out of order for a while.
    outage, connects = [(["transient", "timeout"], 1.0), (["transient"], 0.0), (["permanent"], 1.0)][seed % 3]
    for _ in range(500):
        odds = dice.random()
        if odds < 0.4:
            one.request(
                dice.choice(["a:1", "a:1", "b:2"]), dice.choice("mmmn"), dice.choice(["", "t", "u", "v"]),
                dice.choice("xy"), dice.choice([0, 10, 30]), dice.choice(["", "", "c1", "c2"]),
                dice.choice(["", "p", "q"]), int(dice.random() < 0.2), int(dice.random() < 0.1),
                dice.choice([500, 3000]), dice.choice(["s", "t"]), dice.choice([0, 0, 35]),
                dice.randrange(1_000_000), dice.randrange(2),
            )  # fmt: skip
        elif odds < 0.41:
            one.count_money(dice.choice([{}, {"day": 3}]))
        elif odds < 0.44 and one.open:
            # Its process dies.
            one.open.pop(dice.randrange(len(one.open)))
        elif odds < 0.55 and one.waiting:
            one.ask(one.waiting[dice.choice(sorted(one.waiting))])
        elif odds < 0.57 and one.waiting:
            one.both("leave", one.waiting.pop(dice.choice(sorted(one.waiting))))
        elif odds < 0.93 and one.open:
            name = one.open.pop(dice.randrange(len(one.open)))
            out = one.count % 60 < 30
            connected = not out or dice.random() < connects
            usual = ["ok"] * 8 + ["transient", "timeout"] * (1 + seed % 3) + ["throttled", "cancelled"]
            outcome = dice.choice(outage if out else usual)
            halt = dice.choice(["key", "model"]) if dice.random() < 0.01 else ""
            latency = int(dice.lognormvariate(5.5, 1.2))
            one.say(name, "permanent" if halt else outcome, dice.choice([0, 5, 10]), latency, halt,
                    dice.choice([0, 0, 0, 1500]), dice.choice(["", '{"a":1.25}']),
                    int(dice.random() < 0.05), connected or outcome != "transient")  # fmt: skip
        else:
            one.now += dice.choice([1, 30, 300, 1100, 2500, 2500, 6000])
    one.teardown()
    return one.told


@pytest.fixture
def scripts() -> list[Path]:
    import nodes.call

    return sorted((Path(nodes.call.__file__).parent / "lua").glob("*.lua"))


def test_the_scripts_are_files_of_the_package(scripts: list[Path]) -> None:
    assert [path.stem for path in scripts] == ["admit", "keep", "leave", "money", "prelude", "recall", "settle", "time"]


def test_the_scripts_use_the_constants_of_the_twin(scripts: list[Path]) -> None:
    from nodes.call.arithmetic import WAITER_MS

    text = "".join(path.read_text() for path in scripts)
    for number in (
        WAITER_MS, arithmetic.LATENCY_WINDOW_MS, arithmetic.GAMMA, arithmetic.RATE_SLICE_MS, arithmetic.HEALTH_SLICE_MS,
        arithmetic.DICE,
    ):  # fmt: skip
        assert f"{number}" in text
