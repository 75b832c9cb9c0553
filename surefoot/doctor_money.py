"""What `surefoot doctor` finds out about the caps of the day: what is spent, what is reserved, what nobody knows.

A call whose process died ended without a word: it may have been billed or not. What it had reserved counts against the
cap, but is shown apart, and an operator who has seen the provider's bill settles it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from surefoot.doctor import Finding
from surefoot.errors import UsageError
from surefoot.words import count, microusd_of, money, one_line

if TYPE_CHECKING:
    from nodes.call import CapReport
    from surefoot.store import Store

OPTION: Final = "--settle-unknown"
FULL: Final = 0.8
"""Part of a cap from which it is nearly spent."""


def amounts_of(settle: Sequence[str]) -> dict[str, int]:
    """Read what unknown calls did cost, as `0.012` or `TENANT=0.012`; returns micro-dollars by cap.

    Raises `UsageError` for anything else.
    """
    found = {}
    for text in settle:
        tenant, given, dollars = text.rpartition("=")
        try:
            amount = float(dollars)
        except ValueError:
            raise UsageError(
                f"{OPTION} takes US dollars, such as 0.012, or TENANT=USD for a tenant's cap; got "
                f"{one_line(text, 40)!r}"
            ) from None
        found[f"tenant:{tenant}" if given else "day"] = microusd_of(amount, OPTION)
    return found


async def examine_money(store: Store, settle: Sequence[str] = ()) -> list[Finding]:
    """Look at the caps of the day, after settling what is asked for; raises `UsageError` for what cannot be settled."""
    asked = amounts_of(settle)
    reports = {report.name: report for report in await store.guard.caps()}
    settled = _chosen(asked, reports)
    if settled:
        reports = {report.name: report for report in await store.guard.caps(settled)}
    found = [_of_day(reports["day"])] if "day" in reports else []
    if tenants := [report for report in reports.values() if report.name != "day"]:
        found.append(_of_tenants(tenants))
    if not found:
        found = [Finding(name="caps of the day", level="ok", told="nothing spent under a cap of the day (UTC)")]
    if settled:
        told = ", ".join(f"{_label(name)} {money(cost)}" for name, cost in settled.items())
        found[0] = found[0].model_copy(update={"told": f"settled: {told}. {found[0].told}"})
    return found


def _chosen(asked: Mapping[str, int], reports: Mapping[str, CapReport]) -> dict[str, int]:
    """Return what is to be settled: for all caps when nothing was billed at all."""
    chosen = dict(asked)
    if asked.get("day") == 0:
        chosen = {name: 0 for name, report in reports.items() if report.unknown_calls} | chosen
        if not ("day" in reports and reports["day"].unknown_calls):
            del chosen["day"]
    for name, cost in chosen.items():
        report = reports.get(name)
        if report is None or not report.unknown_calls:
            with_some = [n.removeprefix("tenant:") for n, r in reports.items() if r.unknown_calls and n != "day"]
            known = f"; tenants with some: {', '.join(map(one_line, with_some))}" if with_some else ""
            raise UsageError(f"{OPTION}: no call under {_label(name)} has an unknown outcome today (UTC){known}")
        if cost > report.unknown:
            raise UsageError(
                f"{OPTION}: the unknown calls under {_label(name)} cost {money(report.unknown)} at most, "
                f"{money(cost)} is more"
            )
    return chosen


def _label(name: str) -> str:
    return "the cap of the day" if name == "day" else f"the cap of tenant {one_line(name.removeprefix('tenant:'), 40)}"


def _of_day(report: CapReport) -> Finding:
    return Finding(
        name="cap of the day",
        level="warn" if report.unknown or _nearly_full(report) else "ok",
        told=f"{report.date} (UTC): {_parts(report)}",
        advice=_advice([report]),
        amounts=_amounts(report),
    )


def _of_tenants(reports: Sequence[CapReport]) -> Finding:
    worst = sorted(reports, key=lambda r: (-r.unknown, -r.spent, r.name))
    shown = [r for r in worst if r.unknown or _nearly_full(r)]
    told = f"{count(len(reports), 'tenant')} with calls on {reports[0].date} (UTC)"
    for report in shown[:3]:
        told += f"; {one_line(report.name.removeprefix('tenant:'), 40)}: {_parts(report)}"
    more = f"; and {len(shown) - 3} more" if len(shown) > 3 else ""
    amounts = {
        f"{report.name.removeprefix('tenant:')} {part}": amount
        for report in reports
        for part, amount in _amounts(report).items()
    }
    level = "warn" if shown else "ok"
    return Finding(
        name="caps of tenants", level=level, told=told + more, advice=_advice(reports), amounts=amounts
    )  # fmt: skip


def _parts(report: CapReport) -> str:
    told = f"{money(report.spent)} spent, {money(report.reserved)} reserved by calls under way"
    if report.unknown_calls:
        whose = f"{count(report.unknown_calls, 'call')} whose process died"
        told += f", {money(report.unknown)} unknown ({whose})"
    return told + ("" if report.limit is None else f", of {money(report.limit)}")


def _nearly_full(report: CapReport) -> bool:
    return report.limit is not None and report.spent + report.unknown > FULL * report.limit


def _advice(reports: Sequence[CapReport]) -> str:
    lost = [report for report in reports if report.unknown_calls]
    if not lost:
        return "raise the cap, or go on tomorrow (UTC)" if any(map(_nearly_full, reports)) else ""
    of = "" if lost[0].name == "day" else "TENANT="
    return (
        "unknown counts as if it had been billed, until midnight (UTC): look at the provider's bill, then "
        f"`surefoot doctor {OPTION} {of}USD`, or {OPTION} 0 when nothing was"
    )


def _amounts(report: CapReport) -> dict[str, int]:
    found = {
        "spent_microusd": report.spent,
        "reserved_microusd": report.reserved,
        "unknown_microusd": report.unknown,
        "unknown_calls": report.unknown_calls,
    }
    return found if report.limit is None else found | {"limit_microusd": report.limit}
