"""Logs and metrics tell every event, leak nothing, and never hurt a run."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
import sys
import threading
import typing
import urllib.request
from pathlib import Path
from typing import Any, get_args

import pytest
from servers import free_port
from toy import Script, toy_graph

from nodes import Policy, events, fixed
from nodes.errors import Transient
from nodes.events import CallEvent, Event
from state import Attempt, Decision, Verdict
from surefoot.telemetry import EventQueue
from surefoot.telemetry.fields import facts_of, name_of
from surefoot.telemetry.logs import LEVELS, level_of, log_to
from surefoot.telemetry.metrics import Metrics

ROOT = Path(__file__).resolve().parent.parent
SECRET = "sk-abcdefghijklmnop"


def event_types() -> list[type[Any]]:
    """Return all types of events, those of requests included."""
    listed = [kind for kind in get_args(Event) if kind is not CallEvent]
    return [*listed, *CallEvent.__subclasses__()]


def sample(kind: type[Any]) -> Any:
    """Build an event of a type whose texts all hold a secret."""
    hints = typing.get_type_hints(kind)
    made: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        made[field.name] = {
            Attempt: Attempt(
                step="classify", outcome="transient", error=f"key {SECRET}", calls=1, cost_microusd=9, n=2
            ),
            Decision: Decision(action="again", at=1.0, reason=f"key {SECRET}"),
            tuple[Verdict, ...]: (Verdict(gate="gate", check="length", passed=False, detail=f"key {SECRET}"),),
            tuple[str, ...]: ("critical",),
            str: f"key {SECRET}",
            int: 3,
            bool: True,
        }.get(hint, "closed" if "closed" in str(hint) else "ok" if "ok" in str(hint) else "throttled")
    return kind(**made)


def test_every_event_is_listed() -> None:
    assert len(event_types()) >= 12
    assert {kind.__name__ for kind in event_types()} >= {"AttemptEnded", "CallRefused", "BreakerChanged"}


@pytest.mark.parametrize("kind", event_types(), ids=lambda kind: kind.__name__)
def test_every_event_is_logged_as_one_line_of_json_without_secrets(kind: type[Any]) -> None:
    out = io.StringIO()
    log_to(out, level="debug", form="json")(sample(kind), 1_700_000_000.0)
    (line,) = out.getvalue().splitlines()
    said = json.loads(line)
    assert said["event"] == name_of(sample(kind))
    assert said["level"] in LEVELS
    assert said["timestamp"].startswith("2023-11-14T22:13:20")
    assert SECRET not in line


@pytest.mark.parametrize("kind", event_types(), ids=lambda kind: kind.__name__)
def test_every_event_makes_a_metric(kind: type[Any]) -> None:
    from prometheus_client import generate_latest

    metrics = Metrics()
    before = generate_latest(metrics.registry)
    metrics.take(sample(kind))
    assert generate_latest(metrics.registry) != before


def test_the_console_form_is_readable() -> None:
    out = io.StringIO()
    log_to(out, form="console")(sample(events.AttemptEnded), 1_700_000_000.0)
    assert "attempt_ended" in out.getvalue()
    assert "step=classify" in out.getvalue()


def test_levels_leave_out_what_is_less() -> None:
    out = io.StringIO()
    write = log_to(out, level="warning", form="json")
    fine = events.AttemptEnded("t", Attempt(step="classify"))
    assert level_of(fine) == "info"
    write(fine, 0.0)
    assert out.getvalue() == ""
    write(sample(events.AttemptEnded), 0.0)
    assert "transient" in out.getvalue()


def test_nested_records_are_flat_and_what_says_nothing_is_left_out() -> None:
    facts = facts_of(events.AttemptEnded("thread-1", Attempt(step="classify", n=2, cost_microusd=7)))
    assert facts["thread"] == "thread-1"
    assert (facts["step"], facts["n"], facts["cost_microusd"]) == ("classify", 2, 7)
    assert "error" not in facts


def run_the_toy() -> dict[str, Any]:
    policy = Policy(retries=2, backoff=fixed(0))
    return toy_graph(policy, only=Script(Transient("500"))).invoke({"text": "hi"})


def test_a_subscriber_that_raises_or_hangs_never_hurts_a_run() -> None:
    seen: list[Event] = []
    let_go = threading.Event()

    def raises(_event: Event, _at: float) -> None:
        raise RuntimeError("a subscriber's own mistake")

    def hangs(_event: Event, _at: float) -> None:
        let_go.wait(20)

    working = EventQueue(raises, lambda event, _at: seen.append(event))
    hanging = EventQueue(hangs, capacity=2)
    with events.listening(working), events.listening(hanging):
        assert run_the_toy()["word"] == "HI"
    working.close()
    assert len(seen) == working.failed >= 4
    assert hanging.dropped >= 1
    let_go.set()
    hanging.close()


def test_nothing_is_passed_on_after_the_end() -> None:
    seen: list[Event] = []
    queue = EventQueue(lambda event, _at: seen.append(event))
    with events.listening(queue):
        pass
    run_the_toy()
    queue.close()
    assert seen == []


def test_logs_quote_no_answer_and_no_unforeseen_exception() -> None:
    quote = "states the amount 1,250.00"
    told = [
        events.GateJudged("t", (Verdict(gate="gate", check="invented", passed=False, detail=quote),)),
        events.RetryDecided("t", "draft", Decision(action="escalate", reason=f"no version passed, last: {quote}")),
        events.AttemptEnded("t", Attempt(step="draft", outcome="crashed", error=f"ValueError: {quote}")),
    ]
    out = io.StringIO()
    for event in told:
        log_to(out, level="debug", form="json")(event, 0.0)
    assert "1,250" not in out.getvalue()
    assert "ValueError" in out.getvalue()
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == [name_of(event) for event in told]


def test_the_end_waits_for_a_full_queue_that_moves() -> None:
    seen: list[Event] = []
    first, go_on = threading.Event(), threading.Event()

    def slow(event: Event, _at: float) -> None:
        first.set()
        go_on.wait(20)
        seen.append(event)

    queue = EventQueue(slow, capacity=2)
    queue(sample(events.AttemptEnded))
    assert first.wait(20)
    for _ in range(2):
        queue(sample(events.AttemptEnded))
    threading.Timer(0.05, go_on.set).start()
    queue.close(timeout_s=20)
    assert (len(seen), queue.dropped) == (3, 0)


def test_what_was_lost_is_told(caplog: pytest.LogCaptureFixture) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def hangs(_event: Event, _at: float) -> None:
        begun.set()
        let_go.wait(20)

    queue = EventQueue(hangs, capacity=1)
    queue(sample(events.AttemptEnded))
    assert begun.wait(20)
    for _ in range(3):
        queue(sample(events.AttemptEnded))
    queue.close(timeout_s=0.01)
    let_go.set()
    assert "3 events were lost" in caplog.text


def test_listeners_come_and_go_from_many_threads() -> None:
    before = list(events._listeners)

    def listen() -> None:
        for _ in range(200):
            with events.listening(lambda _event: None):
                events.emit(sample(events.AttemptEnded))

    threads = [threading.Thread(target=listen) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert events._listeners == before


RUN = [sys.executable, "-m", "surefoot.cli", "run", "support", "-", "--namespace", "telemetry"]
TICKET = '{"id": "1", "text": "Please correct invoice 20931: we were charged for 42 seats."}\n'


def command(url: str, **environment: str) -> dict[str, str]:
    import os

    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "SUREFOOT_"))}
    return kept | {"SUREFOOT_REDIS_URL": url, "SUREFOOT_PROVIDER": "embedded"} | environment


def test_the_command_line_logs_json_to_stderr(shared_embedded_url: str) -> None:
    ended = subprocess.run(
        [*RUN, "--rerun"], input=TICKET, text=True, capture_output=True, cwd=ROOT, check=False, timeout=60,
        env=command(shared_embedded_url, SUREFOOT_LOG_LEVEL="info"),
    )  # fmt: skip
    lines = [json.loads(line) for line in ended.stderr.splitlines() if line.startswith("{")]
    # Only those that went well: on a busy machine the first may have to be tried twice while models load.
    steps = [line["step"] for line in lines if line["event"] == "attempt_ended" and line["outcome"] == "ok"]
    assert steps[:3] == ["classify", "urgency", "route"]
    assert "invoice 20931" not in ended.stderr


def test_metrics_are_served_on_the_loopback_interface_only(shared_embedded_url: str) -> None:
    port = free_port()
    code = (
        "import surefoot, urllib.request, sys\n"
        f"surefoot.run('support', {{'text': 'The export crashes.'}}, id='m', namespace='metrics', rerun=True)\n"
        "import time; time.sleep(0.3)\n"
        f"print(urllib.request.urlopen('http://127.0.0.1:{port}/metrics').read().decode())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True, cwd=ROOT, check=False, timeout=60,
        env=command(shared_embedded_url, SUREFOOT_METRICS_PORT=str(port)),
    )  # fmt: skip
    assert re.search(r'surefoot_attempts_total\{outcome="ok",provider="embedded",step="classify"\} 1', ended.stdout)
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SUREFOOT_LOG_LEVEL", "loud", "SUREFOOT_LOG_LEVEL"),
        ("SUREFOOT_METRICS_PORT", "99999", "SUREFOOT_METRICS_PORT"),
    ],
)
def test_a_wrong_setting_is_named(shared_embedded_url: str, name: str, value: str, said: str) -> None:
    ended = subprocess.run(
        RUN, input=TICKET, text=True, capture_output=True, cwd=ROOT, check=False, timeout=60,
        env=command(shared_embedded_url, **{name: value}),
    )  # fmt: skip
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_named(shared_embedded_url: str) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = subprocess.run(
            RUN, input=TICKET, text=True, capture_output=True, cwd=ROOT, check=False, timeout=60,
            env=command(shared_embedded_url, SUREFOOT_METRICS_PORT=str(port)),
        )  # fmt: skip
    assert ended.returncode == 2
    assert f"127.0.0.1:{port} cannot be served" in ended.stderr


def test_a_missing_library_is_named_and_the_run_goes_on(shared_embedded_url: str) -> None:
    code = (
        "import sys; sys.modules['structlog'] = sys.modules['prometheus_client'] = None\n"
        "import surefoot\n"
        "done = surefoot.run('support', {'text': 'The export crashes.'}, id='x', namespace='missing', rerun=True)\n"
        "print(done.status)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], text=True, capture_output=True, cwd=ROOT, check=False, timeout=60,
        env=command(shared_embedded_url, SUREFOOT_LOG_LEVEL="info", SUREFOOT_METRICS_PORT=str(free_port())),
    )  # fmt: skip
    assert ended.stdout.strip() in ("done", "waiting"), ended.stderr
    assert ended.stderr.count("pip install 'surefoot[telemetry]'") == 1
    assert "Traceback" not in ended.stderr
