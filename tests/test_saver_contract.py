"""The contract beyond the conformance package: order, merging, forks, listing, pruning; checked against the in-memory
saver."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.base.id import uuid6
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT, RESUME, SCHEDULED, _DeltaSnapshot
from servers import checkpoint_of, config_of, put_values

from checkpointers import Encryption, RedisSaver, ThreadConflict, ThreadFormatUnknown
from checkpointers._codec import thread_keys


@pytest.fixture
def saver(any_url: str) -> Iterator[RedisSaver]:
    with RedisSaver.from_url(any_url) as opened:
        yield opened


@pytest.fixture
def thread() -> str:
    return str(uuid4())


def writes_of(saver: BaseCheckpointSaver[Any], config: Any) -> list[tuple[str, str, Any]]:
    found = saver.get_tuple(config)
    assert found is not None
    return list(found.pending_writes or [])


def test_pending_writes_are_in_the_order_of_path_task_and_index(saver: RedisSaver, thread: str) -> None:
    config = put_values(saver, config_of(thread), a=1)
    saver.put_writes(config, [("x", 1), ("y", 2)], "task-a", "path-2")
    saver.put_writes(config, [("x", 3)], "task-z", "path-1")
    saver.put_writes(config, [("x", 4)], "task-b", "path-1")
    saver.put_writes(config, [(ERROR, "e")], "task-a", "path-2")
    assert writes_of(saver, config) == [
        ("task-b", "x", 4),
        ("task-z", "x", 3),
        ("task-a", ERROR, "e"),
        ("task-a", "x", 1),
        ("task-a", "y", 2),
    ]


def test_a_second_put_writes_of_a_task_merges(saver: RedisSaver, thread: str) -> None:
    config = put_values(saver, config_of(thread), a=1)
    for channel in (ERROR, INTERRUPT, RESUME, SCHEDULED):
        saver.put_writes(config, [(channel, "first")], "t")
        saver.put_writes(config, [(channel, "second")], "t")
    saver.put_writes(config, [("a", "kept")], "t", "p")
    saver.put_writes(config, [("a", "ignored"), ("b", "added")], "t", "p")
    assert dict(write[1:] for write in writes_of(saver, config)) == {
        ERROR: "second",
        INTERRUPT: "second",
        RESUME: "second",
        SCHEDULED: "second",
        "a": "kept",
        "b": "added",
    }


@pytest.mark.parametrize("keys", [None, {"k": bytes(32)}])
def test_many_tasks_of_a_superstep_do_not_write_each_other_again(
    sealed_url: str, thread: str, keys: dict[str, bytes] | None
) -> None:
    with RedisSaver.from_url(sealed_url, encryption=Encryption(keys) if keys else None) as saver:
        config = put_values(saver, config_of(thread), a=1)
        tasks = [f"{number:04}" + uuid4().hex for number in range(2000)]
        for task in tasks:
            saver.put_writes(config, [("a", task), ("b", None)], task, f"path {task}")
        fields: dict[bytes, bytes] = saver.client.hgetall(thread_keys(thread)[0])  # type: ignore[assignment]
        # What a call rewrites is the first field, the last of those with more tasks, and the task's own.
        assert max(len(value) for name, value in fields.items() if name[:1] == b"w") < 6000
        # A task that is written to again, an early one and a late one, stays one.
        for task in (tasks[0], tasks[1999]):
            saver.put_writes(config, [(ERROR, "late")], task, f"path {task}")
            saver.put_writes(config, [("a", "not again"), ("c", 1), ("d", 2)], task, f"path {task}")
        expected = [(task, channel, value) for task in tasks for channel, value in (("a", task), ("b", None))]
        expected[2:2] = [(tasks[0], "d", 2)]
        expected[0:0] = [(tasks[0], ERROR, "late")]
        expected[-2:-2] = [(tasks[1999], ERROR, "late")]
        expected += [(tasks[1999], "d", 2)]
        copied = str(uuid4())
        saver.copy_thread(thread, copied)
        for name in (thread, copied):
            found = saver.get_tuple(config_of(name))
            assert found is not None
            assert found.pending_writes == expected
        put_values(saver, config, a=2)
        saver.prune([thread])
        left: list[bytes] = saver.client.hkeys(thread_keys(thread)[0])  # type: ignore[assignment]
        assert not [name for name in left if name[:1] == b"w"]


def test_a_few_tasks_of_a_superstep_share_one_field(saver: RedisSaver, thread: str) -> None:
    config = put_values(saver, config_of(thread), a=1)
    for number in range(8):
        saver.put_writes(config, [("a", number)], str(uuid4()), "a path")
    names: list[bytes] = saver.client.hkeys(thread_keys(thread)[0])  # type: ignore[assignment]
    assert len([name for name in names if name[:1] == b"w"]) == 1


def test_writes_may_come_before_their_checkpoint(saver: RedisSaver, thread: str) -> None:
    checkpoint = checkpoint_of({"a": 1}, {"a": "1"})
    saver.put_writes(config_of(thread, "", checkpoint["id"]), [(INTERRUPT, "ask")], "t")
    assert saver.get_tuple(config_of(thread)) is None
    config = saver.put(config_of(thread), checkpoint, {"source": "loop"}, {"a": "1"})
    assert writes_of(saver, config) == [("t", INTERRUPT, "ask")]


@pytest.mark.parametrize("versions", [(1, 2), ("1", "2"), (1.0, 2.0)])
def test_a_fork_changes_no_stored_checkpoint(saver: RedisSaver, thread: str, versions: tuple[Any, Any]) -> None:
    first, second = versions
    root = saver.put(config_of(thread), checkpoint_of({"a": "root"}, {"a": first}), {}, {"a": first})
    left = saver.put(root, checkpoint_of({"a": "left"}, {"a": second}), {}, {"a": second})
    right = saver.put(root, checkpoint_of({"a": "right"}, {"a": second}), {}, {"a": second})
    # Children that do not touch the channel go on with the value of their own parent.
    of_left = saver.put(left, checkpoint_of({"a": "left"}, {"a": second}), {}, {})
    of_right = saver.put(right, checkpoint_of({"a": "right"}, {"a": second}), {}, {})
    seen = [saver.get(config) for config in (root, left, right, of_left, of_right)]
    assert [c and c["channel_values"] for c in seen] == [
        {"a": "root"},
        {"a": "left"},
        {"a": "right"},
        {"a": "left"},
        {"a": "right"},
    ]
    saver.prune([thread])
    latest = saver.get(config_of(thread))
    assert latest is not None
    assert latest["channel_values"] == {"a": "right"}


def test_versions_grow_keep_their_type_and_never_meet(saver: RedisSaver) -> None:
    samples: list[Any] = [None, 7, 7.5, f"{41:032}.0.123", "00000009.0000abcd"]
    assert saver.get_next_version(None, None) < f"{2:032}.0.1"
    for start in samples:
        chosen = {saver.get_next_version(start, None) for _ in range(100)}
        assert len(chosen) == 100
        assert start is None or all(type(v) is type(start) and v > start for v in chosen)
    version = None
    for _ in range(300):
        following = saver.get_next_version(version, None)
        assert version is None or following > version
        version = following


def test_versions_are_stored_short_and_read_wide(saver: RedisSaver, thread: str) -> None:
    """Ours, those of LangGraph's API server, and any other; what was stored short before is read wide too."""
    ours, servers = saver.get_next_version(None, None), f"{10:032}.0.0123456789012345"
    versions: Any = {"a": ours, "b": servers, "c": "00000012.x", "d": f"{2**40:032}.0000abcd", "e": 3}
    checkpoint = checkpoint_of(dict.fromkeys(versions, 1), versions)
    checkpoint["versions_seen"] = {"node": dict(versions)}
    saver.put(config_of(thread), checkpoint, {}, versions)
    found = saver.get(config_of(thread))
    assert found is not None
    assert found["channel_versions"] == versions
    assert found["versions_seen"] == {"node": versions}
    (record,) = [value for name, value in saver.client.hgetall(thread_keys(thread)[0]).items() if name[:1] == b"c"]  # type: ignore[union-attr]
    assert b"00000001." in record
    assert b"0000000a.0.0123456789012345" in record
    assert b"0" * 12 + b"1." not in record


def test_a_thread_with_short_versions_goes_on_in_order(saver: RedisSaver, thread: str) -> None:
    short: Any = {"a": "0000000a.0000abcd"}
    checkpoint = checkpoint_of({"a": 1}, short)
    checkpoint["versions_seen"] = {"node": dict(short)}
    saver.put(config_of(thread), checkpoint, {}, short)
    found = saver.get(config_of(thread))
    assert found is not None
    assert found["channel_versions"] == found["versions_seen"]["node"] == {"a": f"{10:032}.0000abcd"}
    following = saver.get_next_version(found["channel_versions"]["a"], None)
    assert following > found["versions_seen"]["node"]["a"]
    assert following.startswith(f"{11:032}.")


def test_a_thread_deleted_under_a_run_is_written_whole_again(saver: RedisSaver, thread: str) -> None:
    versions: Any = {"a": "1", "b": "1"}
    first = saver.put(config_of(thread), checkpoint_of({"a": 1, "b": 2}, versions), {}, versions)
    saver.delete_thread(thread)
    config = saver.put(first, checkpoint_of({"a": 1, "b": 3}, {"a": "1", "b": "2"}), {}, {"b": "2"})
    checkpoint = saver.get(config)
    assert checkpoint is not None
    assert checkpoint["channel_values"] == {"a": 1, "b": 3}


def test_before_follows_uuid6_order_across_pages(
    saver: RedisSaver, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checkpointers._reading.PAGE", 7)
    monkeypatch.setattr("checkpointers._reading.FILTERED_PAGE", 5)
    made = [put_values(saver, config_of(thread), step=step, a=step) for step in range(30)]
    ids = [config["configurable"]["checkpoint_id"] for config in made]

    def listed(**options: Any) -> list[str]:
        return [found.checkpoint["id"] for found in saver.list(config_of(thread), **options)]

    before = config_of(thread, "", ids[20])
    assert listed() == ids[::-1]
    assert listed(before=before) == ids[19::-1]
    assert listed(before=before, limit=3) == ids[19:16:-1]
    assert listed(filter={"step": 3}, limit=2) == [ids[3]]
    assert listed(limit=0) == []


def test_listing_a_whole_thread_is_newest_first_across_namespaces(
    saver: RedisSaver, thread: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("checkpointers._reading.PAGE", 4)
    made = [put_values(saver, config_of(thread, ns), a=ns) for ns in ("", "b", "a", "", "b:1", "b") * 3]
    shared = str(uuid6(clock_seq=-1))
    for ns in ("", "a", "b"):
        made.append(saver.put(config_of(thread, ns), checkpoint_of({}, {}, shared), {}, {}))
    everything = list(saver.list({"configurable": {"thread_id": thread}}))
    assert len(everything) == len(made)
    ids = [found.checkpoint["id"] for found in everything]
    assert ids == sorted(ids, reverse=True)
    assert {str(found.config) for found in everything} == {str(config) for config in made}


def test_listing_a_whole_thread_reads_a_page_and_not_its_index(valkey_url: str, thread: str) -> None:
    with RedisSaver.from_url(valkey_url) as saver, redis.Redis.from_url(valkey_url) as client:
        # Namespaces that begin alike, and characters that are escaped.
        for number, ns in enumerate(["", "a", "a\0", "a\1", "a:b"] * 3):
            put_values(saver, config_of(thread, ns), step=number)
        index = thread_keys(thread)[1]
        # What is far older than a page: a script that met one of these would say that its record is missing.
        for ns in (b"", b"a"):
            client.zadd(index, {ns + b"\0" + f"{number:08}".encode(): 0 for number in range(1000)})
        config: Any = {"configurable": {"thread_id": thread}}
        steps = [(found.metadata or {})["step"] for found in saver.list(config, limit=9)]
        assert steps == list(range(14, 5, -1))
        started = commands(client)
        assert len(list(saver.list(config, limit=1))) == 1
        done = {name: calls - started.get(name, 0) for name, calls in commands(client).items()}
        assert not done.get("zrange")
        assert done["zrevrangebylex"] == 5
        assert done["zrangebylex"] == 6
        saver.delete_thread(thread)


def commands(client: redis.Redis) -> dict[str, int]:
    """Return how often each command was called."""
    told: dict[str, Any] = client.info("commandstats")  # type: ignore[assignment]
    return {name.removeprefix("cmdstat_"): stats["calls"] for name, stats in told.items()}


def test_listing_without_a_config_covers_every_thread(valkey_url: str) -> None:
    threads = {f"{uuid4()}:{{}}é\0" for _ in range(5)}
    with RedisSaver.from_url(valkey_url) as saver:
        for thread in threads:
            put_values(saver, config_of(thread), run_id="listed", a=1)
        assert {t.config["configurable"]["thread_id"] for t in saver.list(None, filter={"run_id": "listed"})} == threads
        saver.delete_for_runs(["listed"])
        assert list(saver.list(None, filter={"run_id": "listed"})) == []


def test_deleting_runs_keeps_values_that_others_refer_to(saver: RedisSaver, thread: str) -> None:
    first = saver.put(config_of(thread), checkpoint_of({"a": 1}, {"a": "1"}), {"run_id": "old"}, {"a": "1"})
    saver.put_writes(first, [("a", 1)], "t")
    kept = saver.put(first, checkpoint_of({"a": 1, "b": 2}, {"a": "1", "b": "1"}), {"run_id": "new"}, {"b": "1"})
    saver.delete_for_runs(["old"])
    found = saver.get(kept)
    assert found is not None
    assert found["channel_values"] == {"a": 1, "b": 2}
    assert saver.get_tuple(first) is None


def test_copying_is_complete_repeatable_and_never_mixes(saver: RedisSaver, thread: str) -> None:
    config = put_values(saver, config_of(thread), a=1)
    saver.put_writes(put_values(saver, config, a=2), [("a", 3)], "t", "p")
    put_values(saver, config_of(thread, "child"), b=1)
    target = thread + ":copy"
    for _ in range(2):
        saver.copy_thread(thread, target)
    whole = {"configurable": {"thread_id": thread}}
    copied = list(saver.list({"configurable": {"thread_id": target}}))
    assert [t.checkpoint for t in copied] == [t.checkpoint for t in saver.list(whole)]
    assert [t.pending_writes for t in copied] == [t.pending_writes for t in saver.list(whole)]
    put_values(saver, config_of(target), a=9)
    with pytest.raises(ThreadConflict, match="already holds other data"):
        saver.copy_thread(thread, target)
    saver.copy_thread(thread, thread)
    saver.copy_thread("nobody", "no one")
    assert saver.get_tuple(config_of("no one")) is None


def test_pruning_keeps_interrupts_and_frees_the_rest(saver: RedisSaver, thread: str) -> None:
    config = config_of(thread)
    for step in range(20):
        config = put_values(saver, config, step=step, a="x" * 1000, b=step)
        saver.put_writes(config, [("a", "y" * 1000)], "t")
    saver.put_writes(config, [(INTERRUPT, "ask")], "t")
    data, index = thread_keys(thread)
    before = saver.client.memory_usage(data, samples=0)
    saver.prune([thread])
    after = saver.client.memory_usage(data, samples=0)
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert after < before / 5
    assert saver.client.zcard(index) == 1
    assert writes_of(saver, config_of(thread)) == [("t", INTERRUPT, "ask"), ("t", "a", "y" * 1000)]
    saver.prune([thread], strategy="delete")
    assert saver.client.exists(data, index) == 0
    with pytest.raises(ValueError, match="strategy"):
        saver.prune([thread], strategy="some")


def test_writes_on_what_is_gone_go_with_the_next_pruning(saver: RedisSaver, thread: str) -> None:
    configs = [config_of(thread)]
    for step in range(4):
        configs.append(put_values(saver, configs[-1], step=step, run_id=f"run-{step}", a=step))
    saver.prune([thread], strategy="keep_last", keep=3)
    saver.delete_for_runs(["run-2"])
    early = config_of(thread, "", "2ffffffe-0000-6000-8000-000000000000")
    elsewhere = config_of(thread, "child", "2ffffffe-0000-6000-8000-000000000000")
    for gone in (configs[1], configs[3]):
        saver.put_writes(gone, [("a", 1)], "late")
        saver.put_writes(gone, [("a", "z" * 10_000)], "late and long")
    for kept in (configs[2], configs[4], early, elsewhere):
        saver.put_writes(kept, [("a", 2)], "task")
    saver.prune([thread], strategy="keep_last", keep=3)
    fields: list[bytes] = saver.client.hkeys(thread_keys(thread)[0])  # type: ignore[assignment]  # the sync client's
    assert sorted(field for field in fields if field[:1] == b"w") == sorted(
        b"w%s\0%s" % (at["configurable"]["checkpoint_ns"].encode(), at["configurable"]["checkpoint_id"].encode())
        for at in (configs[2], configs[4], early, elsewhere)
    )


def test_pruning_keeps_the_history_that_a_delta_channel_is_rebuilt_from(saver: RedisSaver, thread: str) -> None:
    config = config_of(thread)
    for step in range(12):
        version = f"{step:04}"
        snapshot = {"log": _DeltaSnapshot(["seed"])} if step == 5 else {}
        counters = {} if step == 5 else {"counters_since_delta_snapshot": {"log": (1, 1)}}
        metadata: Any = {"step": step, **counters}
        config = saver.put(config, checkpoint_of(snapshot, {"log": version}), metadata, {"log": version})
        saver.put_writes(config, [("log", step), ("other", step)], "t", "p")
    before = saver.get_delta_channel_history(config=config, channels=["log"])
    assert before["log"]["seed"] == _DeltaSnapshot(["seed"])
    assert [write[2] for write in before["log"]["writes"]] == [5, 6, 7, 8, 9, 10]
    saver.prune([thread])
    assert saver.get_delta_channel_history(config=config, channels=["log"]) == before
    assert len(list(saver.list(config_of(thread)))) == 7


def test_a_history_longer_than_a_page_is_whole(saver: RedisSaver, thread: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkpointers._reading.WALK_PAGE", 4)
    config = config_of(thread)
    for step in range(15):
        config = saver.put(config, checkpoint_of({}, {"log": f"{step:04}"}), {}, {"log": f"{step:04}"})
        saver.put_writes(config, [("log", step)], "t")
    history = saver.get_delta_channel_history(config=config_of(thread), channels=["log", "none"])
    assert [write[2] for write in history["log"]["writes"]] == list(range(14))
    assert history["none"] == {"writes": []}
    assert "seed" not in history["log"]


def test_a_thread_of_an_unknown_format_is_named_and_left_alone(saver: RedisSaver, thread: str) -> None:
    config = put_values(saver, config_of(thread), a=1)
    saver.client.hset(thread_keys(thread)[0], "v", "9")
    attempts = [
        lambda: saver.get_tuple(config),
        lambda: list(saver.list(config)),
        lambda: put_values(saver, config, a=2),
        lambda: saver.put_writes(config, [("a", 1)], "t"),
        lambda: saver.prune([thread]),
        lambda: saver.copy_thread(thread, "other"),
        lambda: saver.get_delta_channel_history(config=config, channels=["a"]),
    ]
    for attempt in attempts:
        with pytest.raises(ThreadFormatUnknown, match=thread):
            attempt()
    saver.delete_thread(thread)


operations = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5), st.sampled_from(["", "n"]), st.sets(st.sampled_from("abc"))),
        st.tuples(
            st.just("write"),
            st.integers(0, 5),
            st.sampled_from(["t1", "t2"]),
            st.lists(st.tuples(st.sampled_from(["a", "b", ERROR, RESUME]), st.integers(0, 99)), max_size=4),
        ),
    ),
    max_size=14,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=operations)
def test_it_answers_like_the_in_memory_saver(valkey_url: str, steps: list[Any]) -> None:
    """Any sequence of writes reads the same from both, forks included."""
    model, thread = InMemorySaver(), str(uuid4())
    counter = itertools.count(1)
    with RedisSaver.from_url(valkey_url) as saver:
        made: list[tuple[Any, dict[str, Any], dict[str, Any]]] = []
        for kind, at, name, detail in steps:
            parent = made[at % len(made)] if made else None
            if kind == "put":
                known = parent is not None and parent[0]["configurable"]["checkpoint_ns"] == name
                config = parent[0] if known and parent else config_of(thread, name)
                values, versions = (dict(parent[1]), dict(parent[2])) if known and parent else ({}, {})
                new = {channel: f"{next(counter):08}" for channel in sorted(detail)}
                values.update({channel: [version] for channel, version in new.items()})
                versions.update(new)
                checkpoint = checkpoint_of(values, versions)
                stored = [s.put(config, checkpoint, {"step": len(made)}, new) for s in (saver, model)]
                assert stored[0] == stored[1]
                made.append((stored[0], values, versions))
            elif parent is not None:
                saver.put_writes(parent[0], detail, name, "path" + name)
                failed = any(channel == ERROR for channel, _ in detail)
                # What a failed task had written by then is left out: LangGraph would take it as finished.
                whole = [write for write in detail if not failed or write[0] in (ERROR, RESUME)]
                model.put_writes(parent[0], whole, name, "path" + name)
        for config, _values, _versions in made:
            assert saver.get_tuple(config) == model.get_tuple(config)
            ours, theirs = (s.get_delta_channel_history(config=config, channels=["a", "b"]) for s in (saver, model))
            assert ours == theirs
        for ns in ("", "n"):
            assert list(saver.list(config_of(thread, ns))) == list(model.list(config_of(thread, ns)))
        saver.delete_thread(thread)
