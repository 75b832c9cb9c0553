"""Listing threads: every one that waits, those of other programs, and those that cannot be read."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from cli_tools import Cli
from langgraph.graph import START, StateGraph
from langgraph.types import Interrupt, interrupt
from pydantic import BaseModel
from servers import config_of, put_values, tcp_server
from typing_extensions import TypedDict

import surefoot
from checkpointers import RedisSaver, thread_keys
from checkpointers._place import binary
from state import ReviewRequest
from surefoot.records import record_key
from surefoot.store import Store, open_store
from surefoot.threads import ThreadRecord


@pytest.fixture
def url() -> Iterator[str]:
    """A server without threads of others."""
    with tcp_server(binary()) as started:
        yield started


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    async with open_store(url) as opened:
        yield opened


class Card(BaseModel):
    number: int


class Foreign(TypedDict, total=False):
    card: Card
    answer: str


def ask_in(saver: Any, thread: str, card: Card | None = None) -> None:
    """Run a graph of somebody else's that asks a person."""

    def ask(_state: Foreign) -> Foreign:
        return {"answer": interrupt(ReviewRequest(description="which one?", tier="urgent").payload())}

    builder = StateGraph(Foreign)
    builder.add_node("ask", ask)
    builder.add_edge(START, "ask")
    builder.compile(checkpointer=saver).invoke({"card": card} if card else {"answer": ""}, config_of(thread))


async def test_what_waits_is_listed_however_many_threads_are_newer(url: str, store: Store) -> None:
    with RedisSaver.from_url(url, registry=True) as saver:
        ask_in(saver, "asks")
        for number in range(600):
            put_values(saver, config_of(f"done{number}"), a=1)
    waiting = await store.records(status="waiting")
    assert [(record.thread_id, record.waits_for, record.tier) for record in waiting] == [("asks", "person", "urgent")]
    assert [one.record.thread_id for one in await surefoot.apending(url=url)] == ["asks"]
    pages = [page async for page in store.pages()]
    assert max(map(len, pages)) <= 200
    assert sum(map(len, pages)) == 601
    assert pages[0][0].thread_id == "done599"


async def test_threads_that_have_expired_leave_with_ordinary_work(url: str, store: Store) -> None:
    with RedisSaver.from_url(url, registry=True) as saver:
        for number in range(400):
            put_values(saver, config_of(f"gone{number}"), a=1)
        ask_in(saver, "asks")
        saver.client.delete(*(key for number in range(400) for key in thread_keys(f"gone{number}")))
    await store.save(ThreadRecord(thread_id="begun", key="begun", pipeline="support", item_id="begun"))
    for _ in range(10):
        await store.sweep()
    assert {entry.thread_id for entry in await store.saver.alist_threads()} == {"asks", "begun"}


@pytest.mark.parametrize("kind", ["types", "damaged", "newer"])
def test_one_thread_that_cannot_be_read_is_listed_with_the_rest(
    url: str, cli: Cli, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with RedisSaver.from_url(url, registry=True, allow=[Card]) as saver:
        ask_in(saver, "fine")
        ask_in(saver, "odd", Card(number=7))
        data = thread_keys("odd")[0]
        if kind == "newer":
            saver.client.hset(data, "v", "9")
        elif kind == "damaged":
            name = max(field for field in saver.client.hkeys(data) if field.startswith(b"c"))
            saver.client.hset(data, name, b"cut")
    monkeypatch.setenv("SUREFOOT_REDIS_URL", url)
    records = {record["thread_id"]: record for record in cli("threads", "--json").json}
    assert {name: record["status"] for name, record in records.items()} == {"fine": "waiting", "odd": "waiting"}
    reason = {"types": "Card", "damaged": "cannot be read", "newer": "format 9"}[kind]
    assert reason in records["odd"]["unreadable"]
    assert not records["fine"]["unreadable"]
    pending = {one.record.thread_id: one.request for one in surefoot.pending(url=url)}
    assert pending["fine"].description == "which one?"
    assert reason in pending["odd"].description
    assert not pending["odd"].config.allow_accept
    found = {finding["name"]: finding for finding in cli("doctor", "--json").json}
    name, level, told = {
        "types": ("types of others", "ok", "holds types that only its own program knows: odd"),
        "damaged": ("broken", "fail", "odd"),
        "newer": ("newer", "warn", "format 9"),
    }[kind]
    assert found[name]["level"] == level
    assert told in found[name]["told"]
    assert (found["broken"]["level"] == "fail") is (kind == "damaged")
    for command in ("threads", "inbox"):
        shown = cli(command, COLUMNS="200")
        assert shown.status == 0, shown.err
        assert "odd" in shown.out
        assert "fine" in shown.out


async def test_a_record_of_a_newer_version_is_listed_too(store: Store) -> None:
    await store.save(ThreadRecord(thread_id="t", key="k", pipeline="support", item_id="i", status="done"))
    await store._client.set(record_key("t"), '{"thread_id": "t", "status": "dreaming"}')
    (record,) = await store.records()
    assert "cannot be read by this version" in record.unreadable


async def test_an_interrupt_of_another_shape_does_not_hide_the_questions(url: str) -> None:
    with RedisSaver.from_url(url, registry=True) as saver:
        ask_in(saver, "asks")
        config = put_values(saver, config_of("odd"), a=1)
        saver.put_writes(config, [("__interrupt__", [Interrupt(value="?", id="i")])], "task")
    assert [one.record.thread_id for one in await surefoot.apending(url=url)] == ["asks", "odd"]


async def test_a_question_whose_record_was_not_written_is_in_the_inbox(url: str, store: Store) -> None:
    """The runner was killed between the interrupt and its record."""
    with RedisSaver.from_url(url, registry=True) as saver:
        ask_in(saver, "asks")
    running = ThreadRecord(thread_id="asks", key="mine", pipeline="support", item_id="i", updated_at=time.time())
    await store.save(running)
    (record,) = await store.records(status="waiting")
    assert (record.key, record.status, record.waits_for) == ("mine", "waiting", "person")


async def test_leases_of_all_threads_are_asked_page_by_page(
    url: str, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RedisSaver.from_url(url, registry=True) as saver:
        for number in range(450):
            put_values(saver, config_of(f"t{number}"), a=1)
    asked: list[int] = []
    alive = store.leases.alive

    async def counted(threads: list[str]) -> list[bool | None]:
        asked.append(len(threads))
        return await alive(threads)

    monkeypatch.setattr(store.leases, "alive", counted)
    assert await store.records(status="waiting") == []
    assert sum(asked) == 0
    assert len(await store.records(status="done")) == 450
    assert max(asked) <= 200
