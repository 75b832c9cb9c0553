"""`surefoot inbox`, `review`, `resume` and `threads`: what waits, and what people make of it."""

from __future__ import annotations

import asyncio
import io
import json
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
from cli_tools import TICKETS, Cli, write_tickets

from surefoot.store import open_store
from surefoot.threads import ThreadRecord


def waiting(cli: Cli, folder: Path, namespace: str, **tickets: str) -> None:
    """Run tickets that then wait for a person."""
    path = write_tickets(folder / "t.jsonl", tickets or {"down": TICKETS["down"], "odd": TICKETS["odd"]})
    assert cli("run", "support", path, "--provider", "embedded", "--namespace", namespace).status == 3


def mine(found: Any, namespace: str) -> list[dict[str, Any]]:
    return [item for item in found if item["key"].startswith(f"{namespace}/")]


def test_the_inbox_lists_the_most_urgent_first(cli: Cli, tmp_path: Path) -> None:
    waiting(cli, tmp_path, "inbox")
    first, second = mine(cli("inbox", "--json").json, "inbox")
    assert (first["key"], first["tier"], list(first["reasons"])) == ("inbox/support:down", "urgent", ["critical"])
    assert (second["key"], second["tier"]) == ("inbox/support:odd", "routine")
    found = cli("inbox")
    assert found.status == 0
    line = next(line for line in found.out.splitlines() if line.startswith("inbox/support:down"))
    for part in ("urgent", "in 60 min", "critical", "Everyone in"):
        assert part in line, part
    assert "surefoot review " in found.out


def test_a_question_is_shown_in_full_with_its_commands(cli: Cli, tmp_path: Path) -> None:
    waiting(cli, tmp_path, "show")
    found = cli("review", "show/support:down")
    assert found.status == 0
    for part in ("the ticket is critical", TICKETS["down"].split(",")[0], "escalations", "--accept", "--edit '{",
                 "--respond -", "--reject", "surefoot review show/support:down"):  # fmt: skip
        assert part in found.out, part
    assert cli("review", "show/support:down", "--json").json[0]["action_request"]["args"]["urgency"] == "critical"


def test_what_is_printed_can_be_pasted(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ("--accept", "--edit", "--respond", "--reject")
    waiting(cli, tmp_path, "paste", **{f"no {number}": TICKETS["down"] for number in range(len(answers))})
    for number, name in enumerate(answers):
        shown = cli("review", f"paste/support:no {number}").out.splitlines()
        program, *words = shlex.split(next(line for line in shown if f" {name}" in line))
        monkeypatch.setattr("sys.stdin", io.StringIO("We are on it.\nSoon.\n"))
        found = cli(*words, "--json")
        assert (program, found.status) == ("surefoot", 0), found.err
        assert (found.json["draft"] == "We are on it.\nSoon.") == (name == "--respond")


def test_one_namespace_is_listed_alone(cli: Cli, tmp_path: Path) -> None:
    waiting(cli, tmp_path, "one", odd=TICKETS["odd"])
    waiting(cli, tmp_path, "two", odd=TICKETS["odd"])
    for command in ("inbox", "threads"):
        assert [item["key"] for item in cli(command, "--namespace", "two", "--json").json] == ["two/support:odd"]
        assert cli(command, "--namespace", "nobody's", "--json").json == []
        assert not [item for item in cli(command, "--namespace", "", "--json").json if "/" in item["key"]]
        assert cli(command, "--namespace", "a:b").status == 2


def test_accepting_goes_on_as_proposed(cli: Cli, tmp_path: Path) -> None:
    waiting(cli, tmp_path, "accept")
    found = cli("review", "accept/support:down", "--accept")
    assert found.status == 0
    assert "accept/support:down  accepted, now done (routed)" in found.out
    assert "escalations" in found.out
    again = cli("review", "accept/support:down", "--accept")
    assert again.status == 2
    assert "waits for no person (it is done)" in again.err
    assert again.err.count("\n") == 1


def test_an_edit_computes_what_depends_on_it_again(cli: Cli, tmp_path: Path) -> None:
    waiting(cli, tmp_path, "edit")
    found = cli("review", "edit/support:odd", "--edit", '{"category": "billing"}')
    assert found.status == 0
    for part in ("edited, now done", "billing", "now from a person", "finance", "now from a rule", "now from embedded"):
        assert part in found.out, part
    row = mine(cli("threads", "--json", "--limit", "0").json, "edit")
    assert {r["key"]: r["status"] for r in row} == {"edit/support:odd": "done", "edit/support:down": "waiting"}
    story = cli("explain", "edit/support:odd").out
    assert "a person edits category = billing" in story
    assert "computed again: " in story


def test_a_response_and_a_rejection_end_the_item(cli: Cli, tmp_path: Path) -> None:
    waiting(cli, tmp_path, "end")
    found = cli("review", "end/support:down", "--respond", "We are on it.", "--json")
    assert (found.status, found.json["draft"]) == (0, "We are on it.")
    rejected = cli("review", "end/support:odd", "--reject")
    assert rejected.status == 0
    assert "rejected, now done (rejected)" in rejected.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--accept", "--reject"), "--accept and --reject: give one answer"),
        (("--edit", "{x"), "--edit is no valid JSON"),
        (("--edit", "[1]"), "--edit needs an object of fields"),
        (("--edit", "{}"), "an edit needs args"),
        (("--edit", '{"category": "nonsense"}'), "category: Input should be 'bug'"),
        (("--edit", '{"attempts": []}'), "'attempts' cannot be edited here; editable: category"),
        (("--edit", '{"category": null}'), "null"),
        (("--respond", "  "), "the text is empty"),
        (("--accept", "--id", "nope"), "asks no question 'nope'"),
    ],
)
def test_a_wrong_answer_changes_nothing(cli: Cli, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    waiting(cli, tmp_path, "wrong", down=TICKETS["down"])
    found = cli("review", "wrong/support:down", *arguments)
    assert (found.status, found.out) == (2, "")
    assert told in found.err
    assert found.err.count("\n") == 1
    assert cli("review", "wrong/support:down").status == 0


@pytest.mark.parametrize("command", ["review", "explain", "resume"])
def test_an_unknown_thread_is_named(cli: Cli, command: str) -> None:
    found = cli(command, "support:nobody")
    assert (found.status, found.out) == (2, "")
    assert found.err == "surefoot: there is no thread 'support:nobody'; `surefoot threads` lists them\n"


def test_threads_are_listed_and_filtered(cli: Cli, tmp_path: Path) -> None:
    waiting(cli, tmp_path, "list", **TICKETS)
    listed = cli("threads", "--status", "waiting", "--pipeline", "support", "--limit", "1")
    assert listed.status == 0
    assert "more, --limit 0 lists all" in listed.out
    assert {r["status"] for r in cli("threads", "--status", "done", "--json").json} == {"done"}
    for more in ((), ("--pipeline", "todo")):
        assert cli("threads", "--status", "failed", *more).err == "no thread is failed\n"
    for arguments in (("--status", "odd"), ("--pipeline", "odd")):
        found = cli("threads", *arguments)
        assert (found.status, found.err.count("\n")) == (2, 1)


def change(url: str, key: str, **fields: Any) -> None:
    """Change a thread's record, as a killed process leaves it."""

    async def save() -> None:
        async with open_store(url) as store:
            record = await store.find(key)
            await store.save(record.model_copy(update=fields))

    asyncio.run(save())


def test_resume_wants_threads_or_all(cli: Cli, tmp_path: Path) -> None:
    for arguments in ((), ("support:1", "--all")):
        found = cli("resume", *arguments)
        assert found.status == 2
        assert "name the threads to resume, or say --all" in found.err
    waiting(cli, tmp_path, "resume", **TICKETS)
    finished = cli("resume", "resume/support:bill")
    assert finished.status == 2
    assert "is finished" in finished.err
    asks = cli("resume", "resume/support:down")
    assert asks.status == 2
    assert "surefoot review resume/support:down" in asks.err


def test_several_threads_are_resumed_each_on_its_own(cli: Cli, tmp_path: Path) -> None:
    waiting(cli, tmp_path, "several", **TICKETS)
    found = cli("resume", "several/support:bill", "several/support:down", "--json")
    assert found.status == 2
    assert [("is finished" in item["error"], "waits for a person" in item["error"]) for item in found.json] == [
        (True, False),
        (False, True),
    ]


def test_a_stalled_thread_without_a_checkpoint_is_told_apart(cli: Cli, cli_url: str) -> None:
    async def save() -> None:
        async with open_store(cli_url) as store:
            await store.save(
                ThreadRecord(thread_id="0d8f5f0e-4a43-5b0f-9d6e-000000000001", key="support:never", pipeline="support",
                             item_id="never", status="running", created_at=time.time(), updated_at=time.time())
            )  # fmt: skip

    asyncio.run(save())
    found = cli("explain", "0d8f5f0e-4a43-5b0f-9d6e-000000000001")
    assert found.status == 0
    assert "support:never has stalled" in found.out
    assert "run its input again" in found.out.replace("\n", " ")
    assert "support:never" in cli("doctor").out

    async def forget() -> None:
        async with open_store(cli_url) as store:
            await store.forget("0d8f5f0e-4a43-5b0f-9d6e-000000000001")

    asyncio.run(forget())


def test_a_piped_list_ends_quietly_when_its_reader_goes(cli: Cli, cli_url: str, tmp_path: Path) -> None:
    from cli_tools import spawn

    waiting(cli, tmp_path, "pipe", **TICKETS)
    process = spawn("threads", "--json", env={"SUREFOOT_REDIS_URL": cli_url}, cwd=tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert "Traceback" not in process.stderr.read()
    process.wait()
    process.stderr.close()


def test_json_is_all_that_stands_on_stdout(cli: Cli, tmp_path: Path) -> None:
    waiting(cli, tmp_path, "json")
    for arguments in (
        ("inbox",),
        ("threads",),
        ("explain", "json/support:odd"),
        ("doctor",),
        ("review", "json/support:odd"),
    ):
        assert json.loads(cli(*arguments, "--json").out)
