"""Lists that grow are stored as logs: what is read back is what was put, however the list came to be."""

from __future__ import annotations

import copy
import dataclasses
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph, add_messages
from pydantic import BaseModel
from servers import checkpoint_of, config_of

from checkpointers import AsyncRedisSaver, Encryption, RecordDamaged, RedisSaver, _logs
from checkpointers._codec import thread_keys
from checkpointers._logs import SEGMENTS

TEXT = "the parcel was sent to the old address, and nobody was at home to take it " * 8


NEXT: dict[str, Any] = {"branch:to:next": None}


class Note(BaseModel):
    text: str
    tags: list[str] = []


@dataclasses.dataclass(slots=True)
class Slotted:
    a: int


@dataclasses.dataclass
class Beside(Slotted):
    """Has a `__dict__`, in which not all of its fields are."""

    b: str = ""


class Thread:
    """A thread whose list channel is written from any earlier checkpoint, beside what was put where."""

    def __init__(self, *savers: BaseCheckpointSaver[Any]) -> None:
        self.savers, self.id = savers, str(uuid4())
        self.put: dict[str, list[Any]] = {}
        self.versions: dict[str, str] = {}

    def write(self, value: list[Any], parent: str | None = None, saver: int = 0) -> str:
        """Put a checkpoint with this list; return its id."""
        own = self.savers[saver]
        version = own.get_next_version(self.versions.get(parent or ""), None)
        # Something follows, as in the middle of a run: at its end a saver forgets the logs.
        values, versions = {"log": value, **NEXT}, {"log": version, **dict.fromkeys(NEXT, version)}
        checkpoint = checkpoint_of(values, versions)
        config = config_of(self.id, "", parent)
        own.put(config, checkpoint, {"source": "loop", "step": len(self.put), "parents": {}}, versions)
        self.put[checkpoint["id"]] = copy.deepcopy(value)
        self.versions[checkpoint["id"]] = version
        return checkpoint["id"]

    def check(self) -> None:
        """Compare everything that can be read with what was put, through each saver."""
        for saver in self.savers:
            for identity, value in self.put.items():
                found = saver.get_tuple(config_of(self.id, "", identity))
                assert found is not None
                # By its text too, because 1 equals True.
                assert repr(found.checkpoint["channel_values"]["log"]) == repr(value)
            listed = {t.checkpoint["id"]: t.checkpoint["channel_values"]["log"] for t in saver.list(config_of(self.id))}
            assert listed == self.put

    def size(self) -> int:
        """Bytes of all fields of the thread on the server."""
        stored: dict[bytes, bytes] = self.savers[0].client.hgetall(thread_keys(self.id)[0])  # type: ignore[attr-defined]
        return sum(len(name) + len(value) for name, value in stored.items())


@pytest.fixture
def saver(valkey_url: str) -> Iterator[RedisSaver]:
    with RedisSaver.from_url(valkey_url, allow=[Note, Slotted, Beside]) as opened:
        yield opened


@pytest.fixture
def other(valkey_url: str) -> Iterator[RedisSaver]:
    """A saver as another process has it: it knows of no log that it has not read."""
    with RedisSaver.from_url(valkey_url, allow=[Note, Slotted, Beside]) as opened:
        yield opened


@pytest.mark.parametrize("count", [1, SEGMENTS - 1, SEGMENTS, SEGMENTS + 1, 2 * SEGMENTS, 1024])
def test_a_growing_list_stays_linear_and_readable_at_every_length(saver: RedisSaver, count: int) -> None:
    thread, value, last = Thread(saver), [{"n": -1, "text": TEXT}], None
    last = thread.write(value)
    before = thread.size()
    for number in range(count):
        value = [*value, {"n": number, "text": f"{number} {random.Random(number).randbytes(200).hex()}"}]
        last = thread.write(value, last)
    assert (thread.size() - before) / count < 1500
    found = saver.get_tuple(config_of(thread.id))
    assert found is not None
    assert found.checkpoint["channel_values"]["log"] == value
    early = list(thread.put)[min(count, 20)]
    found = saver.get_tuple(config_of(thread.id, "", early))
    assert found is not None
    assert found.checkpoint["channel_values"]["log"] == thread.put[early]


def test_two_children_of_each_checkpoint_have_lists_of_their_own(saver: RedisSaver) -> None:
    thread = Thread(saver)
    value = [{"text": TEXT}]
    last = thread.write(value)
    for number in range(40):
        thread.write([*value, {"branch": number}], last)
        value = [*value, {"trunk": number}]
        last = thread.write(value, last)
    for identity in list(thread.put):
        thread.write([*thread.put[identity], {"late": True}], identity)
    thread.check()


def test_two_savers_in_turn_lose_and_mix_nothing(saver: RedisSaver, other: RedisSaver) -> None:
    thread = Thread(saver, other)
    value, last = [{"text": TEXT}], None
    for number in range(70):
        value = [*value, {"n": number}]
        # Each goes on from what the other stored, without reading it first half of the time.
        if number % 4 < 2 and last:
            found = thread.savers[number % 2].get_tuple(config_of(thread.id, "", last))
            assert found is not None
            value = [*found.checkpoint["channel_values"]["log"], {"read": number}]
        last = thread.write(value, last, saver=number % 2)
    thread.check()


def test_a_saver_that_starts_cold_continues_a_log(saver: RedisSaver, valkey_url: str) -> None:
    thread, value, last = Thread(saver), [{"text": TEXT}], None
    last = thread.write(value)
    for number in range(50):
        value = [*value, {"n": number}]
        last = thread.write(value, last)
    before = thread.size()
    for number in range(20):
        with RedisSaver.from_url(valkey_url) as fresh:
            found = fresh.get_tuple(config_of(thread.id))
            assert found is not None
            thread.savers = (fresh,)
            last = thread.write([*found.checkpoint["channel_values"]["log"], {"cold": number}], last)
            thread.check()
            # One element more each time, not the list anew.
            assert thread.size() - before < (number + 1) * 700


def test_a_log_whose_directory_is_damaged_is_an_error_that_names_the_thread(saver: RedisSaver, valkey_url: str) -> None:
    thread, value = Thread(saver), [{"n": n, "text": uuid4().hex * 4} for n in range(20)]
    last = thread.write(list(value))
    data = thread_keys(thread.id)[0]
    name = next(field for field in saver.client.hkeys(data) if field[:1] == b"g")  # type: ignore[union-attr]
    for bad in (b"", b"\0\0"):
        saver.client.hset(data, name, bad)  # type: ignore[arg-type]  # redis-py's stub wants text
        with RedisSaver.from_url(valkey_url) as cold:
            thread.savers = (cold,)
            with pytest.raises(RecordDamaged, match=thread.id):
                thread.write([*value, {"n": "last"}], last)


@pytest.mark.parametrize("keys", [None, {"k": bytes(32)}])
def test_a_saver_that_knows_nothing_finds_the_log_on_the_server(sealed_url: str, keys: dict[str, bytes] | None) -> None:
    """As after an eviction, and for a program that puts without reading first: linear all the same."""
    encryption = Encryption(keys) if keys else None
    with RedisSaver.from_url(sealed_url, encryption=encryption) as saver:
        thread = Thread(saver)
        value = [{"n": n, "text": TEXT[n:]} for n in range(20)]
        last = thread.write(list(value))
        before = thread.size()
        for number in range(SEGMENTS + 5):
            value = [*value, {"n": number}]
            with RedisSaver.from_url(sealed_url, encryption=encryption) as cold:
                thread.savers = (cold,)
                last = thread.write(copy.deepcopy(value), last)
        assert (thread.size() - before) / (SEGMENTS + 5) < 900
        # What was changed meanwhile is no continuation.
        value[3]["n"] = -1
        with RedisSaver.from_url(sealed_url, encryption=encryption) as cold:
            thread.savers = (cold,)
            thread.write([*value, {"n": "last"}], last)
            thread.check()


def test_many_threads_at_work_stay_linear_beyond_what_is_remembered(
    saver: RedisSaver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_logs, "MOST_BYTES", 20_000)
    threads = [Thread(saver) for _ in range(5)]
    values: list[list[Any]] = [[{"n": n, "text": TEXT[n:]} for n in range(30)] for _ in threads]
    lasts = [thread.write(list(value)) for thread, value in zip(threads, values, strict=True)]
    before = sum(thread.size() for thread in threads)
    for number in range(20):
        for at, thread in enumerate(threads):
            values[at] = [*values[at], {"n": number}]
            lasts[at] = thread.write(list(values[at]), lasts[at])
    assert (sum(thread.size() for thread in threads) - before) / 100 < 900
    for thread in threads:
        thread.check()


def test_a_run_that_has_ended_is_forgotten(saver: RedisSaver) -> None:
    builder = StateGraph(State)
    builder.add_node("speak", lambda state: {"messages": [AIMessage(TEXT, id=f"m{len(state['messages'])}")]})
    builder.add_edge(START, "speak")
    graph = builder.compile(checkpointer=saver)
    for number in range(20):
        graph.invoke({"messages": [HumanMessage(TEXT)]}, config_of(f"{uuid4()} {number}"))
    assert not saver._logs._known.logs


@pytest.mark.parametrize("ended", [True, False])
def test_what_is_remembered_of_threads_that_were_read_is_bounded_in_bytes(
    saver: RedisSaver, other: RedisSaver, monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    monkeypatch.setattr(_logs, "MOST_BYTES", 200_000)
    monkeypatch.setattr(_logs, "ENDED_BYTES", 100_000)
    value = [AIMessage(random.Random(n).randbytes(5_000).hex(), id=str(n)) for n in range(2)]
    threads = [str(uuid4()) for _ in range(20)]
    for thread in threads:
        values = {"log": value} if ended else {"log": value, **NEXT}
        versions = dict.fromkeys(values, saver.get_next_version(None, None))
        saver.put(
            config_of(thread), checkpoint_of(values, versions), {"source": "loop", "step": 0, "parents": {}}, versions
        )
        assert other.get_tuple(config_of(thread)) is not None
    known = other._logs._ended if ended else other._logs._known
    assert not (other._logs._known if ended else other._logs._ended).logs
    # 20 kB a thread and what holds it; the last ones.
    expected = 100_000 if ended else 200_000
    assert expected / 2 < known.size <= expected
    assert list(known.logs) == [(thread, "") for thread in threads[-len(known.logs) :]]
    assert 3 <= len(known.logs) <= 10


CHANGES: dict[str, Any] = {
    "a value of a dict": lambda element: element["dict"].__setitem__("a", "changed"),
    "a key more in a dict": lambda element: element["dict"].__setitem__("new", 1),
    "an inner list": lambda element: element["inner"].append("more"),
    "an equal number of another type": lambda element: element["dict"].__setitem__("a", True),
    "a model's field": lambda element: setattr(element["model"], "text", "changed"),
    "a list of a model": lambda element: element["model"].tags.append("changed"),
    "a message's content": lambda element: setattr(element["message"], "content", "changed"),
    "a field in slots": lambda element: setattr(element["slots"], "a", 999),
    "a field in slots of what is extended": lambda element: setattr(element["beside"], "a", 999),
    "what a message carries": lambda element: element["message"].additional_kwargs.__setitem__("k", 1),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_in_place_is_stored_and_changes_nothing_that_was(saver: RedisSaver, what: str) -> None:
    thread = Thread(saver)
    value: list[Any] = [
        {
            # Not to be compressed, because what is short is no log.
            "dict": {"a": 1, "text": random.Random(n).randbytes(400).hex()},
            "inner": [1],
            "model": Note(text="note"),
            "message": AIMessage("said", id=str(n)),
            **({"slots": Slotted(0)} if what == "a field in slots" else {}),
            **({"beside": Beside(0)} if what == "a field in slots of what is extended" else {}),
        }
        for n in range(3)
    ]
    last = thread.write(list(value))
    for _ in range(37):
        value = [*value, copy.deepcopy(value[0])]
        last = thread.write(list(value), last)
    for position in (39, 5, 0):
        CHANGES[what](value[position])
        value = [*value, {"after": position}]
        last = thread.write(list(value), last)
        value = [*value, {"again": position}]
        last = thread.write(list(value), last)
    thread.check()


def test_lists_that_shrink_grow_empty_or_are_replaced(saver: RedisSaver) -> None:
    thread = Thread(saver)
    long = [{"n": n, "text": TEXT} for n in range(5)]
    last = None
    for value in (long, long[:2], [*long[:2], {"x": 1}], [], long, [*long, *long], long[1:], [{}], [*long, {"y": 2}]):
        last = thread.write(list(value), last)
    thread.check()


def test_elements_that_cannot_be_looked_into_are_stored_whole(saver: RedisSaver) -> None:
    thread, last = Thread(saver), None
    value: list[Any] = [{"set": {1, 2}, "text": TEXT}, frozenset({3}), {"n": 1}]
    for number in range(5):
        value = [*value, {number}]
        last = thread.write(list(value), last)
        value[0]["set"].add(number + 3)
    thread.check()


def test_a_put_whose_answer_was_lost_may_be_sent_again(saver: RedisSaver, other: RedisSaver) -> None:
    thread, value = Thread(saver, other), [{"text": TEXT}]
    last = thread.write(value)
    for number in range(SEGMENTS + 3):
        value = [*value, {"n": number}]
        version = f"{number + 2:08x}.00000000"
        checkpoint = checkpoint_of({"log": value, **NEXT}, {"log": version, "branch:to:next": version})
        config, metadata = config_of(thread.id, "", last), {"source": "loop", "step": number, "parents": {}}
        for sender in (saver, saver, other):
            sender.put(config, checkpoint, metadata, checkpoint["channel_versions"])  # type: ignore[arg-type]
        last = checkpoint["id"]
        thread.put[last] = copy.deepcopy(value)
    thread.check()


def test_pruning_copying_and_deleting_runs_leave_what_is_kept_whole(saver: RedisSaver) -> None:
    thread, value, last = Thread(saver), [{"text": TEXT}], None
    for number in range(45):
        value = [*value, {"n": number}]
        last = thread.write(list(value), last)
    copied = str(uuid4())
    saver.copy_thread(thread.id, copied)
    saver.prune([thread.id], strategy="keep_last", keep=3)
    kept = list(saver.list(config_of(thread.id)))
    assert [t.checkpoint["channel_values"]["log"] for t in kept] == [thread.put[i] for i in list(thread.put)[:-4:-1]]
    saver.prune([thread.id])
    found = saver.get_tuple(config_of(thread.id))
    assert found is not None
    assert found.checkpoint["channel_values"]["log"] == value
    # The log goes on after the prune, and the copy is untouched by it.
    thread.put = {}
    thread.write([*value, {"after": 1}], last)
    found = saver.get_tuple(config_of(thread.id))
    assert found is not None
    assert found.checkpoint["channel_values"]["log"] == [*value, {"after": 1}]
    assert len(list(saver.list(config_of(copied)))) == 45
    found = saver.get_tuple(config_of(copied))
    assert found is not None
    assert found.checkpoint["channel_values"]["log"] == value


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]


def test_messages_may_be_removed_and_replaced_in_a_graph(saver: RedisSaver) -> None:
    def speak(state: State) -> State:
        said: list[AnyMessage] = [AIMessage(TEXT, id=f"m{len(state['messages'])}")]
        if len(state["messages"]) % 5 == 0:
            said.append(RemoveMessage(id=state["messages"][0].id or ""))
        if len(state["messages"]) % 7 == 0:
            said.append(HumanMessage("replaced", id=state["messages"][1].id))
        return {"messages": said}

    builder = StateGraph(State)
    builder.add_node("speak", speak)
    builder.add_edge(START, "speak")
    graph = builder.compile(checkpointer=saver)
    config = config_of(str(uuid4()))
    expected: list[AnyMessage] = []
    for number in range(30):
        asked = HumanMessage(TEXT, id=f"q{number}")
        expected = graph.invoke({"messages": [asked]}, config)["messages"]
        assert graph.get_state(config).values["messages"] == expected
    assert len(expected) > 20


@pytest.mark.asyncio
async def test_the_sync_and_the_async_saver_take_turns_at_one_log(saver: RedisSaver, valkey_url: str) -> None:
    thread, value, last = Thread(saver), [{"text": TEXT}], None
    last = thread.write(value)
    async with AsyncRedisSaver.from_url(valkey_url) as other:
        for number in range(40):
            value = [*value, {"n": number}]
            if number % 2:
                last = thread.write(value, last)
                continue
            version = other.get_next_version(thread.versions[last], None)
            checkpoint = checkpoint_of({"log": value, **NEXT}, {"log": version, "branch:to:next": version})
            await other.aput(
                config_of(thread.id, "", last),
                checkpoint,
                {"source": "loop", "step": number, "parents": {}},
                checkpoint["channel_versions"],
            )
            last = checkpoint["id"]
            thread.put[last], thread.versions[last] = copy.deepcopy(value), version
            found = await other.aget_tuple(config_of(thread.id))
            assert found is not None
            assert found.checkpoint["channel_values"]["log"] == value
    thread.check()


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60))
def test_random_histories_read_back_as_they_were_put(valkey_url: str, seed: int, steps: int) -> None:
    dice = random.Random(seed)
    with RedisSaver.from_url(valkey_url) as first, RedisSaver.from_url(valkey_url) as second:
        thread = Thread(first, second)
        alive: list[tuple[str | None, list[Any]]] = [(None, [{"text": TEXT}])]
        for number in range(steps):
            parent, value = alive[-1] if dice.random() < 0.7 else dice.choice(alive)
            kind = dice.random()
            if kind < 0.6:
                value = [*value, *({"n": number, "in": [number]} for _ in range(dice.randint(1, 3)))]
            elif kind < 0.75 and value:
                dice.choice(value)["in"] = [f"changed by {number}"]
            elif kind < 0.85:
                value = value[: dice.randint(0, len(value))]
            elif kind < 0.95 and value:
                at = dice.randrange(len(value))
                value = [*value[:at], {"new": number}, *value[at + 1 :]]
            who = dice.randrange(2)
            if parent and dice.random() < 0.3:
                found = thread.savers[who].get_tuple(config_of(thread.id, "", parent))
                assert found is not None
                value = [*found.checkpoint["channel_values"]["log"], {"read": number}]
            alive.append((thread.write(value, parent, who), value))
        thread.check()


@pytest.mark.parametrize("kind", ["valkey_url", "cluster_service_url"])
def test_of_two_who_write_at_the_same_time_each_reads_what_it_has_put(
    request: pytest.FixtureRequest, kind: str
) -> None:
    """No lease, one thread, the same parents: whatever was acknowledged is there as its writer put it."""
    url, thread, turns = request.getfixturevalue(kind), str(uuid4()), 50
    put: dict[str, tuple[dict[str, Any], str]] = {}
    together = threading.Barrier(2, timeout=60)

    def work(name: str) -> None:
        with RedisSaver.from_url(url) as saver:
            for turn in range(turns):
                found = saver.get_tuple(config_of(thread))
                # Both have read by now: they go on from one checkpoint, or from one of the other's.
                together.wait()
                values = found.checkpoint["channel_values"] if found else {"log": [{"text": TEXT, "by": name}]}
                version = saver.get_next_version(found.checkpoint["channel_versions"]["log"] if found else None, None)
                # What is in a value of its own, in the record, unchanged since the parent, and in a list that grows.
                grown = [*values["log"], {"by": name, "turn": turn, "noise": random.randbytes(60).hex()}]
                values = {**values, "log": grown, "large": [name] * 99 + [turn], "small": f"{name} {turn}", **NEXT}
                versions: dict[str, Any] = dict.fromkeys(values, version)
                new = dict(versions)
                if found and "kept" in values:
                    versions["kept"] = found.checkpoint["channel_versions"]["kept"]
                    del new["kept"]
                else:
                    values["kept"], versions["kept"], new["kept"] = TEXT + name, version, version
                checkpoint = checkpoint_of(values, versions)
                parent = found.config if found else config_of(thread)
                metadata: Any = {"source": "loop", "step": turn, "parents": {}}
                config = saver.put(parent, checkpoint, metadata, new)
                task = f"{name} {turn}"
                if found:
                    # Both write to the same checkpoint, too.
                    saver.put_writes(found.config, [("log", task)], task)
                put[config["configurable"]["checkpoint_id"]] = copy.deepcopy(values), task

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(work, name) for name in ("one", "other")]:
            done.result(timeout=100)
    with RedisSaver.from_url(url) as fresh:
        assert len(put) == 2 * turns
        listed = {found.checkpoint["id"]: found for found in fresh.list(config_of(thread))}
        assert set(listed) == set(put)
        written: set[str] = set()
        for identity, (values, _) in put.items():
            found = fresh.get_tuple(config_of(thread, "", identity))
            assert found is not None
            assert found.checkpoint["channel_values"] == listed[identity].checkpoint["channel_values"] == values
            written |= {write[0] for write in found.pending_writes or []}
        assert len(written) >= 2 * (turns - 1)
