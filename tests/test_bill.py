"""What a run cost is told, with what stands out, and nothing is said where nothing was spent."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
from cli_tools import TICKETS, Cli, write_tickets
from hypothesis import given
from hypothesis import strategies as st
from test_story import record, told

from surefoot.bill import LEAST_MICROUSD, LEAST_SECONDS, OUTLIER_ITEMS, WORST, Bill, Effort, Usual
from surefoot.story import tell
from surefoot.testing import OpenAIEndpoint, status, support_responder
from surefoot.threads import RawThread


def item(cost: int = 400, seconds: float = 1.0, **more: Any) -> dict[str, Any]:
    """Return the state of an item with one attempt."""
    return {"attempts": [{"step": "classify", "n": 1, "calls": 1, "cost_microusd": cost, "latency_ms": seconds * 1000,
                          **more}]}  # fmt: skip


def bill_of(*items: dict[str, Any], per_day: int = 1000) -> Bill:
    bill = Bill(per_day)
    for number, values in enumerate(items):
        bill.add(f"support:{number}", values)
    return bill


def test_retries_are_counted_in_attempts_calls_and_money() -> None:
    attempts = [
        {"n": 1, "calls": 1, "cost_microusd": 100, "latency_ms": 1000},
        {"n": 2, "calls": 2, "cost_microusd": 300, "latency_ms": 500, "wait_ms": 5000},
        {"n": 1, "calls": 1, "cost_microusd": 600, "visit": 1},
    ]
    assert Effort.of("k", {"attempts": attempts}) == Effort("k", 3, 1, 4, 2, 1000, 300, 6.5)
    (retries, paid), (each, projected) = bill_of({"attempts": attempts}, per_day=50_000).facts()
    assert (retries, each) == ("retries", "each item")
    assert paid == "1 of 3 attempts (33%), 2 of 4 calls, $0.0003 of the cost"
    assert projected == "$0.0010, about $1,500.00 a month at 50,000 a day"


def test_json_has_the_same_figures() -> None:
    said = bill_of(item(400), item(600, n=2), per_day=10).as_json()
    assert said == {
        "attempts": 2, "retries": 1, "calls": 2, "retry_calls": 1, "cost_microusd": 1000, "retry_microusd": 600,
        "item_microusd": 500.0, "items_per_day": 10, "month_microusd": 150_000, "outliers": [],
    }  # fmt: skip
    assert json.loads(json.dumps(said)) == said


def test_nothing_is_told_where_nothing_was_spent() -> None:
    warm_up = [item(0, 17.6, calls=0, n=2), *[item(0, 0.07, calls=0)] * 50]
    assert bill_of().facts() == []
    assert bill_of(*warm_up).facts() == []
    assert bill_of(*warm_up).outliers() == []


def test_the_worst_are_named_and_no_more() -> None:
    usual = [item(400, 1.0)] * OUTLIER_ITEMS
    found = bill_of(*usual, *(item(400 * times) for times in (6, 9, 7, 8))).outliers()
    assert [effort.cost_microusd for effort, _ in found] == [3600, 3200, 2800]
    assert len(found) == WORST
    assert found[0][1] == "cost $0.0036, the median is $0.0004"
    (slow,) = bill_of(*usual, item(400, 60)).outliers()
    assert slow[1] == "took 1 min, the median is 1 s"


def test_few_items_and_small_sums_are_no_outliers() -> None:
    assert bill_of(*[item(400)] * (OUTLIER_ITEMS - 2), item(90_000)).outliers() == []
    assert bill_of(*[item(1, 0.001)] * OUTLIER_ITEMS, item(LEAST_MICROUSD, LEAST_SECONDS)).outliers() == []


def test_threads_from_before_times_were_kept_make_no_item_slow() -> None:
    usual = Usual.of([400.0] * 30, [0.0] * 25 + [1.0] * 5)
    assert usual is not None
    assert usual.why_outlier(400, 3600) == ""


amounts = st.lists(st.tuples(st.integers(0, 10**7), st.floats(0, 10**5)), max_size=60)


@given(amounts)
def test_outliers_are_always_few_and_far_above_the_median(taken: list[tuple[int, float]]) -> None:
    bill = bill_of(*(item(cost, seconds) for cost, seconds in taken))
    found = bill.outliers()
    assert len(found) <= WORST
    assert len({effort.key for effort, _ in found}) == len(found)
    assert all(effort.cost_microusd > LEAST_MICROUSD or effort.seconds > LEAST_SECONDS for effort, _ in found)
    assert bill.month_microusd >= 0


def test_explain_says_when_a_run_stands_out_among_the_latest_of_its_pipeline() -> None:
    others = [record(key=f"support:{n}", cost_microusd=400, busy_s=1.0) for n in range(30)]
    values = item(90_000) | {"spend": {"classify": {"cost_microusd": 90_000}}}
    text = told(tell(record(), RawThread(values=values, checkpoints=1), others))
    assert "stands out: cost $0.0900, the median is $0.0004" in text
    assert "stands out" not in told(tell(record(), RawThread(values=item(), checkpoints=1), others))
    assert "stands out" not in told(tell(record(), RawThread(values=values, checkpoints=1), others[:5]))


def test_many_items_are_judged_by_one_pair_of_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    median = statistics.median
    monkeypatch.setattr(statistics, "median", lambda values: taken.append(len(values)) or median(values))
    assert bill_of(*[item(400 + n % 7) for n in range(2000)]).outliers() == []
    assert taken == [2000, 2000]


def test_the_command_line_tells_the_bill(cli: Cli, tmp_path: Path, openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = support_responder
    openai_endpoint.script(status(500))
    tickets = write_tickets(tmp_path / "t.jsonl", {name: TICKETS[name] for name in ("bug", "bill")})
    common = ("run", "support", tickets, "--namespace", "bill")
    done = cli(*common, "--per-day", "1000")
    assert done.status in (0, 3), done.err
    assert " a month at 1,000 a day" in done.out
    assert "retries" in done.out
    said = cli(*common, "--json").json["bill"]
    assert said["items_per_day"] == 50_000
    assert said["retries"] >= 1
    assert said["cost_microusd"] > 0
    assert said["month_microusd"] == round(said["cost_microusd"] / 2 * 50_000 * 30)
    story = cli("explain", "bill/support:bug", "--json").json, cli("explain", "bill/support:bill", "--json").json
    assert sum(one["retries"] for one in story) == said["retries"]


def test_an_embedded_run_says_nothing_of_money(cli: Cli, tmp_path: Path) -> None:
    tickets = write_tickets(tmp_path / "t.jsonl", {f"n{n}": TICKETS["bill"] for n in range(25)})
    done = cli("run", "support", tickets, "--namespace", "free", "--provider", "embedded")
    for word in ("a month", "stands out", "retries"):
        assert word not in done.out
