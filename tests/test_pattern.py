"""`build_pattern`: plain functions become a pipeline with retries, fallbacks, gates and people."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Cli, read_rows
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel, Field

from graphs.pattern import build_pattern
from nodes import Check, fixed, work
from nodes.call import Call, MemoryGuard, set_guard
from nodes.errors import InputError, Transient
from surefoot.testing import OpenAIEndpoint, status

QUICK = {"backoff": fixed(0), "on_exhausted": "give_up"}
CONFIG: Any = {"configurable": {"thread_id": "t"}}


class Note(BaseModel):
    text: str = Field(min_length=2)
    author: str = "nobody"


def words(text: str) -> list[str]:
    return text.split()


def shouted(words: list[str]) -> str:
    return " ".join(words).upper()


async def signed(author: str, shouted: str = "(silence)") -> str:
    return f"{shouted} - {author}"


def report(words: list[str], shouted: str = "", signed: str = "") -> dict[str, Any]:
    return {"count": len(words), "shouted": shouted, "signed": signed}


def counted(words: list[str]) -> int:
    return len(words)


def run(graph: Any, text: str = "so it is", **more: Any) -> dict[str, Any]:
    ended: dict[str, Any] = graph.invoke({"text": text, **more})
    return ended


@pytest.mark.parametrize("asynchronous", [False, True])
def test_functions_get_by_name_what_the_others_gave(asynchronous: bool) -> None:
    graph = build_pattern("notes", input=Note, works=[signed, shouted, words], aggregate=report)
    given = {"text": "so it is", "author": "me"}
    ended = asyncio.run(graph.ainvoke(given)) if asynchronous else graph.invoke(given)
    assert ended["report"] == {"count": 3, "shouted": "SO IT IS", "signed": "SO IT IS - me"}
    assert (ended["outcome"], ended["words"]) == ("done", ["so", "it", "is"])
    assert not ended["degraded"]
    told = [(a["step"], a["member"]) for a in ended["attempts"]]
    assert told == [("works_1", "words"), ("works_2", "shouted"), ("works_3", "signed"), ("report", "")]


def test_one_that_raises_hangs_or_gives_the_wrong_type_is_missing_and_told() -> None:
    def raises(text: str) -> str:
        raise RuntimeError(f"cannot read {text}")

    async def hangs(text: str) -> str:
        await asyncio.sleep(30)
        return "late"

    def lies(text: str) -> int:
        return text  # type: ignore[return-value] # that is the point

    def opaque(text: str) -> Any:
        return object()

    def follows(raises: str) -> str:
        return raises

    def all_of(text: str, raises: str = "", hangs: str = "", lies: int = 0, follows: str = "") -> str:
        return f"{text}{raises}{hangs}{lies}{follows}"

    once = {**QUICK, "retries": 0}
    works = [
        work(raises, **once),
        work(hangs, timeout=0.2, **once),
        work(lies, **once),
        work(opaque, **once),
        work(follows, **once),
    ]
    ended = run(build_pattern("odd", input=Note, works=works, aggregate=all_of))
    assert ended["all_of"] == "so it is0"
    assert (ended["outcome"], ended["degraded"]) == ("done", True)
    outcomes = {a["member"]: a["outcome"] for a in ended["attempts"] if a["member"]}
    assert outcomes == {"raises": "crashed", "hangs": "timeout", "lies": "invalid_output", "opaque": "invalid_output"}
    reasons = "\n".join(ended["reasons"])
    assert "RuntimeError" in reasons
    assert "'follows' cannot start: raises" in reasons
    assert "is no plain data" in reasons


def test_what_cannot_be_joined_is_incomplete_and_never_silent() -> None:
    def raises(text: str) -> str:
        raise Transient("no")

    def joins(raises: str) -> str:
        return raises

    ended = run(build_pattern("gone", input=Note, works=[work(raises, retries=1, **QUICK)], aggregate=joins))
    assert (ended["outcome"], ended["degraded"]) == ("incomplete", True)
    assert "2 x transient" in ended["reasons"][0]


def test_retries_then_other_functions_then_the_model_of_a_ladder(
    openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_guard(MemoryGuard())
    seen: list[tuple[str, str]] = []

    async def ask(text: str, call: Call) -> str:
        seen.append((call.provider, call.model_name))
        return (await call.model(text)).value

    def by_rule(text: str) -> str:
        return text[::-1]

    def joined(ask: str) -> str:
        return ask

    openai_endpoint.script(status(500), status(500), status(500))
    first = work(ask, retries=1, fallback=["openai:loopback-large", by_rule], **QUICK)
    monkeypatch.setenv("SUREFOOT_PRICES", '{"loopback-small": "free", "loopback-large": "free"}')
    ended = run(build_pattern("ladder", input=Note, works=[first], aggregate=joined))
    assert ended["joined"] == "All is well."
    assert seen == [("ask", ""), ("ask", ""), ("openai", "loopback-large"), ("openai", "loopback-large")]
    openai_endpoint.always(status(400))
    ended = run(build_pattern("ladder", input=Note, works=[first], aggregate=joined))
    assert ended["joined"] == "si ti os"
    assert "by_rule answered instead" in ended["reasons"][0]
    assert ended["provenance"]["ask"]["provider"] == "by_rule"


def test_checks_of_a_work_send_it_back_with_the_reason() -> None:
    polite = Check(name="polite", run=lambda text, _source: None if "please" in text else "say please")
    told: list[str | None] = []

    def asks(text: str, call: Call) -> str:
        told.append(call.feedback)
        return f"please {text}" if call.feedback else text

    def joined(asks: str) -> str:
        return asks

    ended = run(build_pattern("polite", input=Note, works=[work(asks, checks=[polite], **QUICK)], aggregate=joined))
    assert ended["joined"] == "please so it is"
    assert told == [None, "asks: polite: say please"] or "say please" in str(told[1])


def test_the_gate_at_the_end_regenerates_and_then_asks_a_person() -> None:
    versions: list[int] = []

    def joined(words: list[str], call: Call) -> str:
        versions.append(call.visit)
        return "bad" if len(versions) < 9 else " ".join(words)

    fine = Check(name="fine", run=lambda text, _source: "it is bad" if text == "bad" else None)
    graph = build_pattern(
        "gated", input=Note, works=[words], aggregate=work(joined, retries=0), checks=[fine], review=True
    ).copy(update={"checkpointer": InMemorySaver()})
    stopped = graph.invoke({"text": "so it is"}, CONFIG)
    (asked,) = stopped["__interrupt__"]
    assert "it is bad" in asked.value["description"]
    assert asked.value["action_request"]["args"]["words"] == ["so", "it", "is"]
    assert versions == [0, 1, 2]
    edited = {"type": "edit", "args": {"joined": "written by hand"}}
    ended = graph.invoke(Command(resume={asked.id: edited}), CONFIG)
    assert (ended["joined"], ended["outcome"]) == ("written by hand", "done")


def test_an_edit_computes_again_what_depends_on_it_and_nothing_else() -> None:
    ran: list[str] = []

    def first(text: str) -> str:
        ran.append("first")
        if len(ran) < 3:
            raise Transient("no")
        return text

    def second(first: str) -> str:
        ran.append("second")
        return first.upper()

    def other(text: str) -> str:
        ran.append("other")
        return text

    def joined(second: str, other: str) -> str:
        return f"{second}/{other}"

    works = [work(first, retries=0), second, other]
    graph = build_pattern("edits", input=Note, works=works, aggregate=joined, review=True).copy(
        update={"checkpointer": InMemorySaver()}
    )
    (asked,) = graph.invoke({"text": "so it is"}, CONFIG)["__interrupt__"]
    assert sorted(ran) == ["first", "other"]
    edit = {"type": "edit", "args": {"first": "by hand"}}
    ended = graph.invoke(Command(resume={asked.id: edit}), CONFIG)
    assert ended["joined"] == "BY HAND/so it is"
    assert sorted(ran) == ["first", "other", "second"]


def test_a_second_turn_begins_from_its_own_input() -> None:
    graph = build_pattern("notes", input=Note, works=[words], aggregate=counted).copy(
        update={"checkpointer": InMemorySaver()}
    )
    graph.invoke({"text": "one two"}, CONFIG)
    assert graph.invoke({"text": "three"}, CONFIG)["counted"] == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [({}, "none of this graph's fields|text: Field required"), ({"text": "x"}, "text: String should have at least 2"),
     ({"text": "no way"}, "input: that is not allowed")],
)  # fmt: skip
def test_wrong_input_is_told_by_field(given: dict[str, Any], told: str) -> None:
    def check(note: Note) -> str | None:
        return "that is not allowed" if note.text == "no way" else None

    graph = build_pattern("notes", input=Note, works=[words], aggregate=counted, validate=check)
    with pytest.raises(InputError, match=told):
        graph.invoke({"author": "me"} | given)


def test_what_cannot_work_is_refused_by_name_when_the_graph_is_built() -> None:
    def a(b: str) -> str:
        return b

    def b(c: str) -> str:
        return c

    def c(a: str) -> str:
        return a

    def lost(nowhere: str) -> str:
        return nowhere

    def anything(*args: str) -> str:
        return str(args)

    def joined(a: str) -> str:
        return a

    def text(text: str) -> str:
        return text

    def reasons(text: str) -> str:
        return text

    def build(*works: Any, aggregate: Any = joined) -> Any:
        return build_pattern("x", input=Note, works=works, aggregate=aggregate)

    with pytest.raises(ValueError, match=r"works wait for each other: \w -> \w -> \w -> \w"):
        build(a, b, c)
    with pytest.raises(ValueError, match="'lost' needs 'nowhere', which nothing gives; there are: author, joi"):
        build(lost, aggregate=work(lambda lost: lost, name="joined"))
    with pytest.raises(ValueError, match=r"work 'anything': \*args"):
        build(anything)
    with pytest.raises(ValueError, match="'text' is a field of the input and a work"):
        build(text)
    with pytest.raises(ValueError, match="'reasons' is a field of every run"):
        build(reasons, aggregate=work(lambda reasons: reasons, name="joined"))
    with pytest.raises(ValueError, match="two works are called 'words'"):
        build(words, words)
    with pytest.raises(ValueError, match="policy: retries must be 0 or more"):
        work(words, retries=-1)
    with pytest.raises(ValueError, match="its fallback 'a' needs 'b', which 'words' does not"):
        work(words, fallback=[a])


def test_values_of_a_policy_may_be_functions_of_the_state() -> None:
    def stubborn(text: str, call: Call) -> str:
        if call.n < 3:
            raise Transient("not yet")
        return text

    def joined(stubborn: str) -> str:
        return stubborn

    patient = work(stubborn, retries=lambda state: len(state.text.split()), **QUICK)
    assert run(build_pattern("p", input=Note, works=[patient], aggregate=joined))["joined"] == "so it is"


def test_the_pattern_of_the_command_line_runs_on_both_providers(
    cli: Cli, tmp_path: Path, openai_endpoint: OpenAIEndpoint
) -> None:
    (tmp_path / "t.jsonl").write_text(
        '{"id": "a", "text": "The price rose by 12% to 3.50. Nobody bought it. The shop closed."}\n'
        '{"id": "b", "text": ""}\n{"id": "c"}\n'
    )
    common = ("run", "pattern", "t.jsonl", "--json")
    done = cli(*common, "--provider", "embedded", "--namespace", "e", "--out", "e.jsonl")
    assert done.status == 1
    assert "t.jsonl:2: field text" in done.err
    assert 't.jsonl:3: field "text" is missing' in done.err
    row = read_rows(tmp_path / "e.jsonl")["a"]
    assert row["summary"] == "The price rose by 12% to 3.50. Nobody bought it."
    assert row["figures"] == ["12%", "3.50"]
    openai_endpoint.script(status(500))
    done = cli(*common, "--provider", "openai", "--namespace", "o", "--out", "o.jsonl")
    assert done.json["done"] == 1
    assert read_rows(tmp_path / "o.jsonl")["a"]["summary"] == "plain text"
    assert openai_endpoint.calls == 2
    told = cli("explain", "o/pattern:a")
    assert "summary" in told.out
    assert "keywords" in told.out
    assert cli("draw", "pattern").status == 0
