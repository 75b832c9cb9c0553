"""A watch over many items: slow decay is found, steady quality never is, and the watch goes on from run to run."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from cli_tools import Cli
from hypothesis import given
from hypothesis import strategies as st

from nodes.drift import BASELINE, Drift, Watch
from surefoot.testing import OpenAIEndpoint, schema_in
from tasks.content import scores_of
from tasks.embedded.summary import summarise

ROOT = Path(__file__).resolve().parent.parent
ARTICLES = [json.loads(line) for line in (ROOT / "examples" / "articles.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("seed", range(10))
def test_steady_quality_raises_no_alarm(seed: int) -> None:
    dice, watch = random.Random(seed), Watch()
    assert not any(watch.add("x", dice.gauss(0.3, 0.08)) for _ in range(10_000))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("to", [0.15, 0.45])
def test_slow_decay_is_found_while_each_item_could_be_usual(seed: int, to: float) -> None:
    dice, watch = random.Random(seed), Watch()
    for _ in range(BASELINE + 200):
        assert watch.add("length", dice.gauss(0.3, 0.08)) is None
    for item in range(600):
        mean = 0.3 + (to - 0.3) * item / 600
        if (alarm := watch.add("length", dice.gauss(mean, 0.08))) is not None:
            assert (alarm.now > alarm.usual) == (to > 0.3)
            assert alarm.usual == pytest.approx(0.3, abs=0.03)
            break
    else:
        pytest.fail("three days of decay went unnoticed")


def test_one_odd_item_is_no_drift_and_what_is_no_number_is_left_out() -> None:
    dice, watch = random.Random(1), Watch()
    for item in range(5_000):
        odd = item > BASELINE and item % 500 == 499
        value = 1e9 if odd else float("nan") if item % 7 == 0 else dice.gauss(0, 1)
        assert watch.add("x", value) is None


@given(st.lists(st.floats(-5, 5), max_size=400), st.integers(0, 400))
def test_a_watch_goes_on_where_it_was_stored(values: list[float], cut: int) -> None:
    whole, first = Drift(), Drift()
    told = [whole.add({"x": value}) for value in values]
    again = [first.add({"x": value}) for value in values[:cut]]
    second = Drift.load(json.loads(json.dumps(first.dump())))
    again += [second.add({"x": value}) for value in values[cut:]]
    assert again == told
    assert Drift.load({"x": {"nonsense": 1}}).dump() == {}


def test_scores_tell_good_summaries_from_gibberish_of_the_same_length() -> None:
    text = ARTICLES[0]["text"]
    good = scores_of({"text": text, "summary": summarise(text)})
    bad = scores_of({"text": text, "summary": "things and stuff happen and things and stuff go on and on " * 3})
    assert good["words of the article"] == 1.0
    assert bad["words of the article"] < 0.4
    assert bad["variety"] < good["variety"] - 0.3
    assert scores_of({"text": text, "summary": None}) == {}


def test_decay_over_runs_is_told_by_the_command_line(
    cli: Cli, tmp_path: Path, openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.drift.BASELINE", 20)

    def short(body: dict[str, Any]) -> str:
        """Answer with the first sentence alone, which no gate refuses."""
        text = str(body["messages"]).split("<article>")[1].split("\\n")[2]
        return json.dumps({"summary": text.split(". ")[0] + "."}) if schema_in(body) else "?"

    def run(name: str, *extra: str) -> Any:
        lines = [json.dumps(article | {"id": f"{name}-{article['id']}"}) for article in ARTICLES[:20]]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
        return cli("run", "content", f"{name}.jsonl", "--namespace", "decay", *extra)

    assert run("monday", "--provider", "embedded", "--json").json["drift"] == []
    assert run("tuesday", "--provider", "embedded", "--json").json["drift"] == []
    openai_endpoint.responder = short
    told = run("wednesday", "--provider", "openai")
    assert told.status == 0, told.err
    assert "drift" in told.out
    assert "sentences went from" in " ".join(told.out.split())
