"""The content pipeline: nothing passes as a summary that is not one, and what no model can do goes to a person."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from graphs.content import CHECKS, graph
from nodes.checks import (
    copied,
    figures,
    gibberish,
    language_of,
    names,
    on_topic,
    same_language,
    shorter,
)
from nodes.errors import InputError
from state import RunContext
from surefoot.testing import OpenAIEndpoint, says, schema_in, status
from tasks.content import shortened
from tasks.embedded.summary import sentences, summarise

ROOT = Path(__file__).resolve().parent.parent
CONFIG: Any = {"configurable": {"thread_id": "t"}}
OPENAI = RunContext(provider="openai")


def rows(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ROOT / path).read_text().splitlines()]


ARTICLES = {row["id"]: row for row in rows("examples/articles.jsonl")}
GOOD, BAD = rows("tests/data/good_summaries.jsonl"), rows("tests/data/bad_summaries.jsonl")
FERRY = ARTICLES["A-01"]


def violations(text: str, article: dict[str, Any]) -> list[str]:
    source = f"{article['title']}\n{article['text']}"
    return [check.name for check in CHECKS if check.run(text, source) is not None]


def answer(text: str) -> Any:
    return says(json.dumps({"summary": text}))


def test_the_corpora_are_large_and_mixed() -> None:
    assert len(ARTICLES) >= 30
    assert len(GOOD) >= 60
    assert len(BAD) >= 60
    assert len({row["kind"] for row in BAD}) >= 15
    assert {language_of(article["text"]) for article in ARTICLES.values()} == {"English", "German", "Spanish"}


@pytest.mark.parametrize("row", BAD, ids=lambda row: f"{row['article']}-{row['kind']}")
def test_every_planted_bad_summary_is_caught(row: dict[str, Any]) -> None:
    assert violations(row["text"], ARTICLES[row["article"]])


def test_good_summaries_pass() -> None:
    stopped = {row["text"]: found for row in GOOD if (found := violations(row["text"], ARTICLES[row["article"]]))}
    assert len(stopped) <= 0.02 * len(GOOD), stopped


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_embedded_summary_passes_its_own_gates(asynchronous: bool) -> None:
    context = RunContext(provider="embedded")
    for article in list(ARTICLES.values())[:: 1 if asynchronous else 10]:
        given_ = {"title": article["title"], "text": article["text"]}
        ended = (
            asyncio.run(graph.ainvoke(given_, context=context))
            if asynchronous
            else graph.invoke(given_, context=context)
        )
        assert ended["outcome"] == "summarised"
        assert not ended.get("degraded")
        assert all(sentence in " ".join(article["text"].split()) for sentence in sentences(ended["summary"]))


def test_gibberish_is_made_again_with_the_violation_and_more_temperature(openai_endpoint: OpenAIEndpoint) -> None:
    good = GOOD[0]["text"]
    openai_endpoint.script(answer("qwzx vkjq plmv zzxw jqvk xwzq vkpl mzxw qjvk wzxq vkjq."), answer(good))
    ended = graph.invoke({"text": FERRY["text"], "title": FERRY["title"]}, context=OPENAI)
    assert (ended["summary"], ended["outcome"]) == (good, "summarised")
    first, second = (request.body for request in openai_endpoint.requests)
    assert "gibberish: contains words that no language spells" in str(second["messages"])
    assert second["temperature"] > first["temperature"]
    assert [verdict["check"] for verdict in ended["verdicts"] if not verdict["passed"]]


def test_a_model_that_says_nothing_but_gibberish_is_replaced_and_then_a_person_is_asked(
    openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai_endpoint.responder = lambda body: json.dumps({"summary": "word " * 20}) if schema_in(body) else "?"
    ended = graph.invoke({"text": FERRY["text"]}, context=OPENAI)
    assert ended["outcome"] == "summarised"
    assert ended["degraded"] is True
    assert any("embedded answered instead" in reason for reason in ended["reasons"])
    assert openai_endpoint.calls == 3

    monkeypatch.setattr("tasks.embedded.summary.summarise", lambda *_, **__: "the the the of of and and " * 5)
    kept = graph.copy(update={"checkpointer": InMemorySaver()})
    (asked,) = kept.invoke({"text": FERRY["text"], "title": "Ferry"}, CONFIG, context=OPENAI)["__interrupt__"]
    assert asked.value["config"]["allow_accept"] is False
    assert "repetition" in asked.value["description"]
    done = kept.invoke(Command(resume={asked.id: {"type": "response", "args": "By hand."}}), CONFIG, context=OPENAI)
    assert (done["summary"], done["outcome"]) == ("By hand.", "summarised")
    nobody = graph.invoke({"text": FERRY["text"]}, context=OPENAI)
    assert (nobody.get("summary"), nobody["outcome"]) == (None, "unpublished")


def test_a_model_that_is_down_costs_no_summary(openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.always(status(400))
    ended = graph.invoke({"text": FERRY["text"]}, context=OPENAI)
    assert (ended["outcome"], ended["degraded"]) == ("summarised", True)


@pytest.mark.parametrize("given_", [{"title": "x"}, {"text": ""}, {"text": " \n "}])
def test_an_article_without_a_text_is_refused(given_: dict[str, Any]) -> None:
    with pytest.raises(InputError, match='field "text" is missing or blank'):
        graph.invoke({"title": "x"} | given_, context=RunContext(provider="embedded"))


@pytest.mark.parametrize(
    "text",
    [
        "One sentence is all that this article of the shortest kind has to say.",
        " ".join(article["text"] for article in ARTICLES.values()) * 9,
        "Тихий вечер опустился на город. Люди шли домой. Над рекой стоял туман, и фонари светили слабо.",
        "?",
        "東京で新しい駅が開業した。乗客は一日に一万人を見込む。",
    ],
)
def test_odd_articles_end_with_a_clear_outcome(text: str) -> None:
    ended = graph.invoke({"text": text[:200_000]}, context=RunContext(provider="embedded"))
    assert ended["outcome"] in ("summarised", "unpublished")
    assert ended["outcome"] == "summarised" or ended["degraded"]


def test_long_articles_keep_the_beginning_of_each_part() -> None:
    text = " ".join(f"part{n}word{i}" for n in range(6) for i in range(2_000))
    cut = shortened(text)
    assert len(cut) < 24_100
    assert all(f"part{n}word" in cut for n in range(6))


def test_sentences_end_where_people_end_them() -> None:
    text = 'Dr. Ames paid 3.50 dollars. "Really?" she asked. J. Smith left. Und dann? Ja!'
    assert sentences(text) == [
        "Dr. Ames paid 3.50 dollars.",
        '"Really?" she asked.',
        "J. Smith left.",
        "Und dann?",
        "Ja!",
    ]


def test_each_check_says_what_is_wrong() -> None:
    source = FERRY["text"]
    for check, text, told in (
        (shorter(0.5), source, "at most"),
        (copied(36), " ".join(source.split()[:50]), "copies more than 36 words in a row"),
        (figures(), "The ferry carries 181 passengers.", "the number 181"),
        (names(), "It sails again, says Harold Quimby.", "names somebody"),
        (on_topic(), "Penguins waddle across frozen glaciers hunting squid beneath icebergs.", "other things"),
        (
            same_language(),
            "Die Fähre fährt wieder und die Leute freuen sich, dass es nicht so lange dauert.",
            "German",
        ),
        (gibberish(), "Ã¤Ã¶Ã¼ the ferry", "broken characters"),
    ):
        assert told in str(check(text, source)), text
        assert check("The ferry carries 180 passengers and twenty-four cars.", source) is None


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_check_raises_on_any_text(text: str, source: str) -> None:
    for check in CHECKS:
        found = check.run(text, source)
        assert found is None or found


@given(st.text(max_size=400))
def test_a_summary_is_made_of_the_words_of_the_text(text: str) -> None:
    words = set(text.split())
    assert set(summarise(text).split()) <= words


def test_the_number_of_gates_is_told_as_it_is() -> None:
    words = ["ten", "eleven", "twelve", "thirteen", "fourteen"]
    root = Path(__file__).resolve().parent.parent
    for page in ("README.md", "CHANGELOG.md", "docs/pipelines.md"):
        told = re.findall(rf"\b({'|'.join(words)}) gates", (root / page).read_text().lower())
        assert set(told) == {words[len(CHECKS) - 10]}, page
