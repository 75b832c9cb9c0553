"""What a run tells in the end: a table, a few facts, and the commands that go on."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surefoot.cli.screen import DONE, FAILED, WAITING, console, say, table, write_json
from surefoot.words import count, duration, label, money, one_line, shell, wrap

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from surefoot.cli.run import Report
    from surefoot.progress import Tally

MAX_FAILURES = 4
"""Most kinds of failed attempts that are named."""

MAX_COLUMNS = 8
"""Most values that make columns of a table."""


def finish(report: Report) -> int:
    """Print how a run ended and return its exit status."""
    if report.order.as_json:
        write_json(as_json(report))
        _troubles(report)
        return status_of(report)
    # Rows on stdout must stay alone there.
    screen = console(stderr=report.order.out == "-")
    _outcome(report, screen)
    _troubles(report)
    for line in _ways_on(report):
        screen.print(line, soft_wrap=True)
    return status_of(report)


def status_of(report: Report) -> int:
    """Return the exit status of a run."""
    if unfinished(report) or report.bad or report.summary.refused or report.summary.failed or report.out_error:
        return FAILED
    return WAITING if report.summary.waiting else DONE


def unfinished(report: Report) -> int:
    """Return how many items were not taken as far as they could go."""
    summary = report.summary
    return report.items - summary.done - summary.waiting - summary.failed - len(summary.refused)


def as_json(report: Report) -> dict[str, Any]:
    """Return the summary as one JSON-able object."""
    summary, tally = report.summary, report.tally
    return {
        "pipeline": report.order.pipeline,
        "items": report.items,
        "done": summary.done,
        "waiting": summary.waiting,
        "failed": summary.failed,
        "unfinished": unfinished(report),
        "reused": summary.reused,
        "degraded": tally.degraded,
        "failed_attempts": {f"{provider} {outcome}": number for (provider, outcome), number in tally.failures.items()},
        "spent_microusd": summary.spent_microusd,
        "seconds": round(summary.seconds, 3),
        "bill": tally.bill.as_json(),
        "injected": report.injected,
        "drift": [asdict(alarm) for alarm in report.alarms],
        "stopped": summary.stopped or report.out_error,
        "bad_lines": [
            {"line": bad.line, "reason": bad.reason} | ({"file": bad.file} if bad.file else {}) for bad in report.bad
        ],
        "refused": [{"line": bad.line, "reason": bad.reason} for bad in summary.refused],
        "waiting_threads": tally.waiting,
        "failed_threads": tally.failed,
        "by": {
            name: {value or "none": number for value, number in values.items()} for name, values in tally.values.items()
        },
        "out": report.order.out,
        "status": status_of(report),
    }


def _outcome(report: Report, screen: Console) -> None:
    from rich.padding import Padding
    from rich.text import Text

    tally, summary = report.tally, report.summary
    screen.print()
    if any(value is not None for pair in tally.pairs for value in pair):
        screen.print(Padding(cross_table(tally), (0, 0, 0, 1), expand=False))
        screen.print()
    facts = _facts(report)
    column = max(len(name) for name, _ in facts)
    for name, value in facts:
        for number, line in enumerate(wrap(value, screen.width - column - 3)):
            screen.print(Text(f" {name if number == 0 else '':{column}}  ", style="dim") + Text(line, style="default"))
    # Of all items, not of those that this process still had: another one may have taken some over.
    if summary.reused and summary.reused == report.items:
        screen.print("\n All of it was done before, nothing had to be run.")


def cross_table(tally: Tally) -> Table:
    """Return the counts of the first enumerable field by the second."""
    (first, rows), (second, columns), *_ = tally.choices.items()
    made = table(**{f"{label(first)} / {label(second)}": {"overflow": "fold"}})
    shown: list[str | None] = [value for value in columns[:MAX_COLUMNS] if tally.values[second][value]]
    shown += [None] if tally.values[second][None] else []
    for column in shown:
        made.add_column(label(column) if column else f"no {label(second)}", justify="right", no_wrap=True)
    made.add_column("all", justify="right", no_wrap=True, style="bold")
    listed: list[str | None] = [value for value in rows if tally.values[first][value]]
    listed += [None] if tally.values[first][None] else []
    for row in listed:
        cells = [tally.pairs[row, column] for column in shown]
        name = label(row) if row else f"no {label(first)}"
        made.add_row(name, *(f"{cell:,}" if cell else "·" for cell in cells), f"{tally.values[first][row]:,}")
    totals = [f"{tally.values[second][column]:,}" for column in shown]
    made.add_row("all", *totals, f"{tally.total:,}", style="bold")
    return made


def _facts(report: Report) -> list[tuple[str, str]]:
    tally, summary = report.tally, report.summary
    facts = []
    # The first two are in the table, if there are two.
    for name in list(tally.values)[2 if len(tally.values) > 1 else 0 :]:
        counted = [(value, number) for value, number in tally.values[name].items() if value is not None]
        order = tally.choices[name].index
        told = ", ".join(f"{label(value)} {number:,}" for value, number in sorted(counted, key=lambda p: order(p[0])))
        facts += [(label(name), told)] if told else []
    facts.append(("done", _share(summary.done, report.items)))
    if summary.waiting:
        facts.append(("waiting", f"{_share(summary.waiting, report.items)} for a person"))
    if summary.failed:
        facts.append(("failed", _share(summary.failed, report.items)))
    if left := unfinished(report):
        facts.append(("not finished", _share(left, report.items)))
    if tally.degraded:
        (often, times), *_ = tally.why.most_common(1) or [("", 0)]
        most = f", {times:,} of them because {one_line(often, 160)}" if often else ""
        facts.append(("degraded", f"{_share(tally.degraded, report.items)}{most}; each row says why"))
    for alarm in report.alarms:
        moved = f"{alarm.score} went from {alarm.usual:.3g} to {alarm.now:.3g} over {count(alarm.items, 'item')}"
        facts.append(("drift", f"{moved}, each of which passed its gates: look at some of them"))
    if tally.failures:
        failed = tally.failures.most_common(MAX_FAILURES)
        parts = [f"{provider} {label(outcome)} {number:,}" for (provider, outcome), number in failed]
        left = tally.failures.total() - sum(number for _, number in failed)
        told = ", ".join([*parts, *([f"others {left:,}"] if left else [])])
        facts.append(("failed attempts", f"{tally.failures.total():,} ({told})"))
    facts += tally.bill.facts()
    if report.injected is not None:
        told = ", ".join(f"{name} {number:,}" for name, number in sorted(report.injected.items()))
        facts.append(("injected", told or "no fault came up"))
    simulated = report.injected is not None
    facts.append(("simulated cost" if simulated else "cost", money(summary.spent_microusd)))
    again = f", {summary.reused:,} were done before" if 0 < summary.reused < tally.total else ""
    facts.append(("time", duration(summary.seconds) + again))
    if report.order.out not in (None, "-"):
        facts.append(("rows", f"{_named(report.order.out)}, {count(report.rows, 'row')} new or changed"))
    return facts


def _named(out: str | None) -> str:
    """Name a file of rows; of a link also the file that it leads to, which is the one that was written."""
    path = Path(out or "")
    return f"{out} (a link to {os.path.realpath(path)})" if path.is_symlink() and path.exists() else f"{out}"


def _share(number: int, total: int) -> str:
    return f"{number:,} of {total:,} ({number / total:.0%})" if total else f"{number:,}"


def _troubles(report: Report) -> None:
    """Say on stderr what went wrong, most general first."""
    order, summary = report.order, report.summary
    source = "stdin" if order.source == "-" else order.source
    for refused in sorted(summary.refused, key=lambda bad: bad.line):
        say(f"{source}:{refused.line}: {refused.reason}")
    for error, number in report.tally.errors.most_common(5):
        say(f"surefoot: {count(number, 'item')}: {one_line(error)}")
    if report.tally.missed and not report.tally.reached and report.injected is None:
        said = " and ".join(sorted(report.tally.missed))
        say(f"surefoot: {said} was never reached: check OPENAI_BASE_URL and the network")
    if report.bad:
        what = ("file was", "files were") if any(bad.file for bad in report.bad) else ("bad line was", "bad lines were")
        say(f"surefoot: {count(len(report.bad), *what)} left out")
    if summary.refused:
        say(f"surefoot: {count(len(summary.refused), 'item was', 'items were')} refused, for the reasons above")
    if summary.stopped:
        say(f"surefoot: stopped: {summary.stopped}")
    if report.out_error:
        say(f"surefoot: {report.out_error}; all runs are kept: free the way, or run it again with another --out")


def _ways_on(report: Report) -> list[str]:
    """Return the commands that go on from here."""
    order, tally = report.order, report.tally
    lines = []
    if unfinished(report):
        lines += [
            "",
            "This runs all items again:" if order.rerun else "Nothing is lost. This goes on where it stopped:",
        ]
        lines.append(f"  {order.command(report.higher_cap) if order.source != '-' else shell('resume', '--all')}")
    if tally.failed:
        lines += ["", "Why an item failed:", f"  {shell('explain', tally.failed[0])}"]
    for effort, why in tally.bill.outliers():
        lines += ["", f"{effort.key} stands out: {why}", f"  {shell('explain', effort.key)}"]
    if tally.waiting:
        lines += ["", f"{count(len(tally.waiting), 'item waits', 'items wait')} for a person. Look and answer with:"]
        only = ["--namespace", order.namespace] if order.namespace else []
        lines += [f"  {shell('inbox', *only)}", f"  {shell('review', tally.waiting[0])}"]
    return lines
