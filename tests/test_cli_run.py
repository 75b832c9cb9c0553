"""`surefoot run`: a file goes through once, and everything that can be wrong with it is one clear line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_tools import TICKETS, Cli, read_rows, spawn, write_tickets
from servers import free_port

from surefoot.cli import run
from surefoot.cli.outcome import finish as finish_run
from surefoot.cli.run import Order, Report
from surefoot.drive import Result
from surefoot.pipelines import pipeline
from surefoot.progress import Tally
from surefoot.runner import Summary
from surefoot.testing import OpenAIEndpoint, status, support_responder
from surefoot.threads import thread_id


def test_a_file_goes_through_and_a_second_run_does_nothing(cli: Cli, tmp_path: Path) -> None:
    tickets = write_tickets(tmp_path / "t.jsonl", TICKETS)
    common = ("run", "support", tickets, "--provider", "embedded", "--namespace", "once", "--out", "out/rows.jsonl")
    first = cli(*common)
    assert first.status == 3, first.err
    for part in ("category", "urgency", "critical", "all", "team", "waiting", "cost", "$0", "time"):
        assert part in first.out, part
    assert "surefoot inbox --namespace once" in first.out
    assert "surefoot review once/support:" in first.out
    assert "estimate" not in first.err
    rows = read_rows(tmp_path / "out/rows.jsonl")
    assert set(rows) == set(TICKETS)
    assert rows["bill"]["status"] == "done"
    assert rows["bill"]["category"] == "billing"
    assert rows["bill"]["urgency"] in ("high", "critical")
    assert rows["odd"]["status"] == "waiting"
    assert list(rows["bill"])[:6] == ["id", "thread_id", "status", "degraded", "reasons", "cost_microusd"]

    before = (tmp_path / "out/rows.jsonl").stat().st_mtime_ns
    again = cli(*common)
    assert again.status == 3
    assert "nothing had to be run" in again.out
    assert (tmp_path / "out/rows.jsonl").stat().st_mtime_ns == before

    elsewhere = cli(*common[:-1], "other.jsonl", "--json")
    assert read_rows(tmp_path / "other.jsonl") == rows
    summary = elsewhere.json
    assert (summary["items"], summary["done"] + summary["waiting"], summary["reused"]) == (4, 4, 4)
    assert summary["by"]["category"]["billing"] == 1

    changed = write_tickets(tmp_path / "changed.jsonl", TICKETS | {"bill": "Something else.", "new": TICKETS["bill"]})
    refused = cli("run", "support", changed, *common[3:])
    assert refused.status == 1
    assert "changed.jsonl:2: id 'bill' was run before with another content" in refused.err
    assert "--rerun" in refused.err
    assert "--namespace" in refused.err
    assert read_rows(tmp_path / "out/rows.jsonl") == rows | {"new": read_rows(tmp_path / "out/rows.jsonl")["new"]}

    rerun = cli("run", "support", changed, *common[3:], "--rerun")
    assert rerun.status == 3
    assert "refused" not in rerun.err


def test_bad_lines_are_told_and_the_rest_is_run(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    good = json.dumps({"id": "good", "text": TICKETS["bill"]})
    path.write_text(f'{{"id": "a", \n{{"id": "b"}}\n{good}\n{good}\n')
    found = cli("run", "support", str(path), "--provider", "embedded", "--namespace", "bad", "--json")
    assert found.status == 1
    assert found.json["done"] == 1
    assert [bad["line"] for bad in found.json["bad_lines"]] == [1, 2, 4]
    assert f"{path}:1: no valid JSON" in found.err
    assert f'{path}:2: field "text" is missing' in found.err
    assert f"{path}:4: id 'good' was already used in line 3" in found.err
    assert "3 bad lines were left out" in found.err


def test_only_bad_lines_is_a_failure(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("x\n")
    assert cli("run", "support", "t.jsonl", "--provider", "embedded").status == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "nope", "t.jsonl"), "there is no pipeline 'nope'; known: support"),
        (("run", "support", "gone.jsonl"), "there is no file gone.jsonl"),
        (("run", "support", "."), "is a folder"),
        (("run", "support", "t.txt"), "of no known kind"),
        (("run", "support", "t.jsonl", "--bogus"), "see `surefoot run --help`"),
        (("run", "support", "t.jsonl", "--parallel", "0"), "--parallel"),
        (("run", "support", "t.jsonl", "--max-cost", "-1"), "--max-cost"),
        (("run", "support", "t.jsonl", "--provider", "nobody"), "has no provider 'nobody'; it has: embedded, openai"),
        (("run", "support", "t.jsonl", "--namespace", "a:b"), "namespace 'a:b'"),
        (("run", "support", "t.jsonl", "--out", "."), "--out . is a folder"),
        (("run", "support", "t.jsonl", "--out", "t.jsonl"), "is the input itself"),
        (("run", "support", "t.jsonl", "--out", "t.txt"), "something else than rows"),
        (("run", "support", "t.jsonl", "--out", "-", "--json"), "both write to stdout"),
        (("run", "support"), "INPUT"),
        (("nope",), "No such command"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(cli: Cli, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    write_tickets(tmp_path / "t.jsonl", {"never": "run"})
    (tmp_path / "t.txt").write_text("precious")
    found = cli(*arguments)
    assert (found.status, found.out) == (2, "")
    assert told in found.err
    assert found.err.startswith("surefoot: ")
    assert found.err.count("\n") == 1
    assert (tmp_path / "t.txt").read_text() == "precious"


def test_a_file_without_read_permission_is_named(cli: Cli, tmp_path: Path, cli_url: str) -> None:
    """Root may read everything, so this runs under another user id."""
    code = """
        import os, sys, tempfile
        from surefoot.cli import main
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            path = os.path.join(folder, "t.jsonl")
            open(path, "w").write('{"id": 1, "text": "x"}')
            os.chmod(path, 0)
            import surefoot.inputs, surefoot.pipelines
            if os.geteuid() == 0:
                os.seteuid(65534)
            status = main(["run", "support", path])
            os.seteuid(os.getuid())
        sys.exit(status)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2, found.stderr
    assert "t.jsonl cannot be read: permission denied" in found.stderr
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["run", "resume", "inbox", "review", "explain", "threads", "draw", "doctor"])
def test_help_names_what_an_option_takes(cli: Cli, command: str) -> None:
    options = [line.split("  ")[1] for line in cli(command, "--help").out.splitlines() if line.startswith("  -")]
    assert options
    assert not [option for option in options if "<" in option]


@pytest.mark.parametrize(
    ("url", "status", "told"),
    [
        ("redis://:geheim@127.0.0.1:1/0", 1, "Redis at 127.0.0.1:1 cannot be reached"),
        ("http://geheim@127.0.0.1", 2, "is not a URL of a Redis server"),
        ("embedded:/proc/none", 1, "The data directory /proc/none cannot be made"),
    ],
)
@pytest.mark.parametrize("provider", ["embedded", "openai"])
def test_a_server_that_is_not_there_is_one_line_without_the_password(
    cli: Cli, tmp_path: Path, openai_endpoint: OpenAIEndpoint, provider: str, url: str, status: int, told: str
) -> None:
    write_tickets(tmp_path / "t.jsonl", {"never": "run"})
    command = ("run", "support", "t.jsonl", "--provider", provider, "--out", "rows.jsonl", "--rerun")
    found = cli(*command, SUREFOOT_REDIS_URL=url)
    assert (found.status, found.out, found.err.count("\n")) == (status, "", 1)
    assert told in found.err
    assert "geheim" not in found.err
    assert not (tmp_path / "rows.jsonl").exists()
    assert openai_endpoint.calls == 0


def test_a_wrong_password_is_one_line(cli: Cli, tmp_path: Path, password_url: str) -> None:
    wrong = password_url.replace("correct-horse", "geheim")
    tickets = write_tickets(tmp_path / "t.jsonl", {"never": "run"})
    for command in (("threads",), ("run", "support", tickets, "--provider", "embedded")):
        found = cli(*command, SUREFOOT_REDIS_URL=wrong)
        assert (found.status, found.out) == (1, "")
        assert "refuses the user or password" in found.err
        assert "geheim" not in found.err
        assert found.err.count("\n") == 1


def test_the_package_can_be_run_and_prints_commands_that_work(tmp_path: Path, cli_url: str) -> None:
    tickets = write_tickets(tmp_path / "t.jsonl", {"odd": TICKETS["odd"]})
    command = [sys.executable, "-m", "surefoot", "run", "support", tickets, "--provider", "embedded"]
    env = {**os.environ, "SUREFOOT_REDIS_URL": cli_url, "PATH": "/usr/bin:/bin"}
    found = subprocess.run([*command, "--namespace", "package"], capture_output=True, text=True, env=env, check=False)
    assert found.returncode == 3, found.stderr
    assert f"\n  {sys.executable} -m surefoot review package/support:odd\n" in found.stdout


def test_a_full_disk_keeps_the_runs_and_says_what_to_do(cli: Cli, tmp_path: Path) -> None:
    tickets = write_tickets(tmp_path / "t.jsonl", TICKETS)
    common = ("run", "support", tickets, "--provider", "embedded", "--namespace", "full", "--parallel", "1")
    found = cli(*common, "--out", "/dev/full")
    assert found.status == 1
    assert "rows cannot be written to /dev/full: no space left on device; all runs are kept" in found.err
    assert "another --out" in found.err
    again = cli(*common, "--out", "rows.jsonl")
    assert again.status == 3
    assert "before" in again.out
    assert set(read_rows(tmp_path / "rows.jsonl")) == set(TICKETS)


def test_rows_on_stdout_stand_alone_there(cli: Cli, tmp_path: Path) -> None:
    tickets = write_tickets(tmp_path / "t.jsonl", {"bill": TICKETS["bill"]})
    found = cli("run", "support", tickets, "--provider", "embedded", "--namespace", "stdout", "--out", "-")
    assert found.json["id"] == "bill"
    assert "category" in found.err


def test_limit_takes_the_first_items(cli: Cli, tmp_path: Path) -> None:
    tickets = write_tickets(tmp_path / "t.jsonl", TICKETS)
    common = ("run", "support", tickets, "--provider", "embedded", "--namespace", "limit", "--json")
    assert cli(*common, "--limit", "2").json["items"] == 2
    assert cli(*common).json["reused"] == 2


def endpoint_env(endpoint: OpenAIEndpoint, url: str) -> dict[str, str]:
    names = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SUREFOOT_MODEL", "SUREFOOT_PRICES")
    return {name: os.environ[name] for name in names} | {"SUREFOOT_REDIS_URL": url}


def test_what_would_cost_money_is_estimated_first_and_stops_at_the_cap(
    cli: Cli, tmp_path: Path, openai_endpoint: OpenAIEndpoint
) -> None:
    openai_endpoint.responder = support_responder
    tickets = write_tickets(tmp_path / "t.jsonl", TICKETS)
    common = ("run", "support", tickets, "--namespace", "paid", "--parallel", "1")
    capped = cli(*common, "--max-cost", "0.0004")
    assert capped.status == 1
    assert "estimate: about $0." in capped.err
    assert "the run will stop there" in capped.err
    assert "surefoot: stopped: " in capped.err
    assert f"surefoot run support {tickets} --parallel 1 --max-cost 0.0008 --namespace paid" in capped.out
    done = cli(*common, "--json")
    assert done.status in (0, 3)
    assert done.json["spent_microusd"] > 0
    assert "estimate" not in cli(*common, "--json").out


def test_a_refused_key_stops_the_run_with_one_reason(cli: Cli, tmp_path: Path, openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.key = "another"
    tickets = write_tickets(tmp_path / "t.jsonl", TICKETS)
    found = cli("run", "support", tickets, "--namespace", "key")
    assert found.status == 1
    assert found.err.count("surefoot: ") == 1
    assert "surefoot: stopped: " in found.err
    assert "OPENAI_API_KEY" in found.err
    assert "Nothing is lost" in found.out
    assert os.environ["OPENAI_API_KEY"] not in found.err + found.out


def test_failed_attempts_are_retried_and_told(cli: Cli, tmp_path: Path, openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.responder = support_responder
    openai_endpoint.script(status(500), status(503))
    tickets = write_tickets(tmp_path / "t.jsonl", {"bill": TICKETS["bill"]})
    assert cli("run", "support", tickets, "--namespace", "retry").status in (0, 3)
    story = cli("explain", "retry/support:bill").out
    assert "attempt 1 with openai loopback-small: transient" in story
    assert "tries again after" in story
    assert "500" in story
    assert "surefoot" not in cli("explain", "retry/support:bill").err


NEVER = "surefoot: {} was never reached: check OPENAI_BASE_URL and the network\n"


def test_an_endpoint_that_was_never_reached_is_named(
    cli: Cli, tmp_path: Path, openai_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nodes.retry.random", SimpleNamespace(random=lambda: 0.0))  # shortest waits
    host = f"127.0.0.1:{free_port()}"
    tickets = write_tickets(tmp_path / "t.jsonl", {"bill": TICKETS["bill"]})
    common = ("run", "support", tickets, "--namespace", "never")
    found = cli(*common, "--json", OPENAI_BASE_URL=f"http://{host}/v1")
    assert found.json["degraded"] == 1
    assert found.err.endswith(NEVER.format(host))
    again = cli(*common, OPENAI_BASE_URL=f"http://{host}/v1")
    assert "never reached" not in again.err


def test_an_endpoint_that_was_reached_once_is_not_called_unreachable() -> None:
    from nodes.events import AttemptEnded
    from state import Attempt
    from surefoot.pipelines import pipeline
    from surefoot.progress import Tally

    def missed(*attempts: Attempt) -> tuple[set[str], bool]:
        tally = Tally(pipeline("support"))
        for attempt in attempts:
            tally.hear(AttemptEnded("thread", attempt))
        return tally.missed, tally.reached

    gone = Attempt(outcome="transient", calls=1, error="cannot reach here:9")
    local, held = Attempt(provider="embedded"), Attempt(outcome="breaker_open", error="too many calls to here:9 fail")
    assert missed(gone, local, held) == ({"here:9"}, False)
    assert missed(gone, Attempt(calls=1))[1]
    assert missed(gone, Attempt(outcome="transient", calls=1, error="here:9 answered 500"))[1]
    assert missed(local, held) == (set(), False)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_drains_and_the_printed_command_goes_on(
    cli: Cli, cli_url: str, tmp_path: Path, openai_endpoint: OpenAIEndpoint, number: signal.Signals
) -> None:
    openai_endpoint.responder, openai_endpoint.latency_s = support_responder, 0.3
    tickets = write_tickets(tmp_path / "t.jsonl", {f"n{n}": TICKETS["bill"] for n in range(8)})
    common = ("run", "support", tickets, "--namespace", f"drain{number}", "--parallel", "2", "--out", "rows.jsonl")
    process = spawn(*common, env=endpoint_env(openai_endpoint, cli_url), cwd=tmp_path)
    while openai_endpoint.calls < 4:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 1, err
    assert "stopping: calls under way are finished and kept" in err
    assert "Traceback" not in err
    assert f"surefoot run support {tickets} --parallel 2 --out rows.jsonl --namespace drain{number}" in out
    openai_endpoint.latency_s = 0.0
    assert cli(*common).status in (0, 3)
    assert len(read_rows(tmp_path / "rows.jsonl")) == 8


def test_the_second_signal_ends_at_once(cli_url: str, tmp_path: Path, openai_endpoint: OpenAIEndpoint) -> None:
    openai_endpoint.latency_s = 20.0
    tickets = write_tickets(tmp_path / "t.jsonl", TICKETS)
    arguments = ("run", "support", tickets, "--namespace", "twice")
    process = spawn(*arguments, env=endpoint_env(openai_endpoint, cli_url), cwd=tmp_path)
    while openai_endpoint.calls < 1:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=5)
    assert process.returncode == 130
    assert "ended at once" in err


SLOW_SUMMARY = """
import sys, time
from surefoot.cli import main, outcome
def finish(report):
    sys.stderr.write("summing up\\n")
    time.sleep(30)
outcome.finish = finish
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_may_come_while_the_summary_is_made(
    cli_url: str, tmp_path: Path, openai_endpoint: OpenAIEndpoint, number: signal.Signals
) -> None:
    openai_endpoint.responder, openai_endpoint.latency_s = support_responder, 0.3
    tickets = write_tickets(tmp_path / "t.jsonl", TICKETS)
    words = [sys.executable, "-c", SLOW_SUMMARY, "run", "support", tickets, "--namespace", f"late{number}"]
    env = {**os.environ, **endpoint_env(openai_endpoint, cli_url)}
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    while openai_endpoint.calls < 1:
        time.sleep(0.02)
    process.send_signal(number)
    assert process.stderr is not None
    for line in process.stderr:
        assert "Traceback" not in line
        if line == "summing up\n":
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=5)
    assert (process.returncode, out, err) == (128 + number, "", "surefoot: ended at once; what was finished is kept\n")


def test_the_handlers_of_signals_are_put_back(cli: Cli, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    cli("run", "support", write_tickets(tmp_path / "t.jsonl", {"odd": "x"}), "--provider", "embedded")
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_killed_run_goes_on_and_has_each_row_once(
    cli: Cli, cli_url: str, tmp_path: Path, openai_endpoint: OpenAIEndpoint
) -> None:
    openai_endpoint.responder, openai_endpoint.latency_s = support_responder, 0.1
    tickets = write_tickets(tmp_path / "t.jsonl", {f"n{n}": TICKETS["bill"] for n in range(12)})
    common = ("run", "support", tickets, "--namespace", "kill", "--parallel", "3", "--out", "rows.jsonl")
    process = spawn(*common, env=endpoint_env(openai_endpoint, cli_url), cwd=tmp_path)
    rows = tmp_path / "rows.jsonl"
    while not (rows.exists() and rows.read_bytes().count(b"\n") >= 3):
        time.sleep(0.02)
    process.kill()
    process.communicate()
    with rows.open("ab") as file:
        file.write(b'{"id": "n1')
    openai_endpoint.latency_s = 0.0
    assert cli(*common).status in (0, 3)
    assert len(read_rows(rows)) == 12


@pytest.mark.parametrize(("items", "said"), [(60, False), (40, True)])
def test_only_when_nothing_is_left_was_all_of_it_done_before(
    capsys: pytest.CaptureFixture[str], items: int, said: bool
) -> None:
    """A process that was frozen finds the results of its successor, and not those that the successor works on."""
    tally, summary = Tally(pipeline("support")), Summary()
    for number in range(40):
        name = str(number)
        found = Result(
            name, thread_id("support", name), f"support:{name}", "support", "done", {"id": name}, fresh=False
        )
        tally.add(found)
        summary.count(found)
    status = finish_run(Report(Order("support", "t.jsonl"), tally, summary, items))
    told = capsys.readouterr().out
    assert ("All of it was done before" in told) is said
    assert ("not finished" in told) is not said
    assert status == (0 if said else 1)


def test_a_pipe_that_is_waited_for_is_said(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "PIPE_WAIT_S", 0.05)
    pipe = tmp_path / "t.jsonl"
    os.mkfifo(pipe)

    def write() -> None:
        time.sleep(0.5)
        write_tickets(pipe, {"bill": TICKETS["bill"]})

    writer = threading.Thread(target=write)
    writer.start()
    done = cli("run", "support", str(pipe), "--provider", "embedded", "--namespace", "pipe", "--json")
    writer.join()
    assert f"surefoot: {pipe} is a pipe: waiting for the program that writes to it" in done.err
    assert done.json["items"] == 1


def test_rows_to_a_pipe_without_a_reader_are_one_clear_line(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows")
    tickets = write_tickets(tmp_path / "t.jsonl", {"bill": TICKETS["bill"]})
    done = cli("run", "support", tickets, "--provider", "embedded", "--out", str(tmp_path / "rows"))
    assert done.status == 2
    assert "is a pipe that no program reads" in done.err


def test_a_link_for_rows_is_told_with_where_it_leads(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").symlink_to(tmp_path / "real.jsonl")
    tickets = write_tickets(tmp_path / "t.jsonl", {"bill": TICKETS["bill"]})
    done = cli("run", "support", tickets, "--provider", "embedded", "--namespace", "link", "--out", "rows.jsonl")
    assert "(a link to" in done.out
    assert set(read_rows(tmp_path / "real.jsonl")) == {"bill"}


@pytest.mark.parametrize("option", ["socket_timout=5", "ssl_ca_certs=ca.pem", "decode_responses=true"])
def test_an_unknown_option_of_the_url_is_one_clear_line(cli: Cli, option: str) -> None:
    for words in (("threads",), ("doctor",), ("inbox",)):
        told = cli(*words, SUREFOOT_REDIS_URL=f"redis://127.0.0.1:1/0?{option}")
        assert told.status in (1, 2)
        assert "Traceback" not in told.err
        assert "option" in told.out + told.err
