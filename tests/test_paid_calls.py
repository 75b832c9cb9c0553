"""The benchmark of kill -9 during paid calls, in small: its worker is killed three times in 42 calls."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def paid_calls() -> ModuleType:
    """Load the benchmark script: benchmarks are no package."""
    spec = importlib.util.spec_from_file_location("paid_calls", ROOT / "benchmarks" / "paid_calls.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_worker_killed_at_random_repeats_no_settled_call(paid_calls: ModuleType) -> None:
    report = paid_calls.measure(calls=42, kills=3, parallel=4, seed=7)
    assert report.faults == []
    assert (report.distinct_calls, report.settled_calls, report.items_done) == (42, 42, 14)
    assert report.kills == 3
    assert report.settled_at_kills > 0
    assert report.requests == 42 + report.repeats_in_flight
    assert report.told_usd + report.lost_usd == pytest.approx(report.billed_usd)


def test_the_benchmark_finds_what_it_looks_for(paid_calls: ModuleType) -> None:
    """A book with one call of each kind: in flight, settled and sent again, sent twice in one life."""
    report, till = paid_calls.Report(seed=1, parallel=1), paid_calls.Till(1)
    till.endpoint.stop()
    till.sent = [paid_calls.Sent(body, life) for body, life in [("a", 0), ("b", 0), ("c", 0), ("a", 1), ("b", 1),
                                                                 ("d", 1), ("d", 1)]]  # fmt: skip
    paid_calls.judge(report, till, [{0}, {0, 4, 5}])
    assert (report.repeats_of_settled, report.repeats_in_flight, report.repeats_unexplained) == (1, 1, 1)
    assert len(report.faults) == 2
