"""What the answers of the shared rules mean: errors for the caller, events for listeners."""

from __future__ import annotations

from typing import Any

from nodes import events
from nodes.call.guard import Request
from nodes.call.hold import usd
from nodes.errors import (
    BreakerOpen,
    BudgetSpent,
    CallError,
    ConfigurationError,
    EndpointDown,
    EndpointLost,
    GuardUnavailable,
    HedgesSpent,
    HeldBack,
    OverBudget,
    RetriesSpent,
    Runaway,
    StopRun,
    Throttled,
)


def error_of(told: dict[str, Any], request: Request) -> CallError | StopRun:
    """Return the error that a refusal is raised as."""
    where, wait = request.endpoint, told.get("retry_ms", 0) / 1000
    match told["r"]:
        case "halted":
            return ConfigurationError(told["error"])
        case "runaway" if told["what"] == "same":
            return Runaway(f"this thread has sent the same prompt {told['limit']} times already: it runs in a circle")
        case "runaway":
            return Runaway(
                f"this thread has spent {usd(int(told['spent']))} within a minute, more than {usd(int(told['limit']))}"
            )
        case "retries_spent":
            return RetriesSpent(f"too many calls to {where} fail: its retry budget is spent")
        case "hedges_spent":
            return HedgesSpent(f"the budget for second requests to {where} is spent")
        case "unreachable" if told["lately"]:
            return EndpointLost(f"connections to {where} fail, though it answered a moment ago", retry_after=wait)
        case "unreachable":
            return EndpointDown(f"{where} cannot be reached: no connection was made to it lately", retry_after=wait)
        case "open" if told["rejects"]:
            return EndpointDown(
                f"{where} rejects every request to {request.model}: its breaker is open", retry_after=wait
            )
        case "open":
            return BreakerOpen(f"{where} fails too often with {request.model}: its breaker is open", retry_after=wait)
        case "resting":
            return HeldBack(f"{where} asked to be left alone for {wait:.1f} s more", retry_after=wait)
        case "unknown_out":
            return OverBudget(
                f"the call may cost {usd(request.worst_microusd)}, and its {told['cap']} has {usd(int(told['left']))} "
                f"left, but calls whose process died may have cost {usd(int(told['unknown']))} of it"
            )
        case "spent_out":
            return BudgetSpent(_spent_out(told, request))
    raise AssertionError(f"the guard answered {told['r']!r}")


def _spent_out(told: dict[str, Any], request: Request) -> str:
    everybody = told["cap"] == "day"
    variable = "SUREFOOT_MAX_COST_PER_DAY_USD" if everybody else "SUREFOOT_MAX_COST_PER_TENANT_DAY_USD"
    whose = "the day's cap" if everybody else "the tenant's cap of the day"
    unknown = int(told["unknown"])
    lost = f" and {usd(unknown)} unknown (reserved by calls whose process died)" if unknown else ""
    settle = ", settle the unknown with `surefoot doctor --settle-unknown USD`" if unknown else ""
    return (
        f"{whose} is {usd(int(told['limit']))}, of which {usd(int(told['spent']))} is spent{lost}; the next call may "
        f"cost {usd(request.worst_microusd)}: raise {variable}{settle}, or resume tomorrow (UTC)"
    )


def waited(told: dict[str, Any]) -> str:
    """Say what a request waited for in vain."""
    match told["why"]:
        case "command":
            return "the cap of the command is reserved by calls in flight"
        case "money":
            return "the cap of the day is reserved by calls in flight"
    return "no place at the endpoint became free in time"


def cause_of(error: CallError | StopRun) -> events.RefusalCause:
    """Name the cause of a refusal, for events."""
    match error:
        case Runaway():
            return "runaway"
        case RetriesSpent():
            return "retries_spent"
        case HedgesSpent():
            return "hedges_spent"
        case BreakerOpen():
            return "breaker_open"
        case Throttled():
            return "throttled"
        case GuardUnavailable():
            return "unavailable"
        case ConfigurationError():
            return "halted"
    return "over_budget"


def event_of(note: dict[str, Any], request: Request) -> events.Event:
    """Return the event of a change that the rules have made."""
    place = events.place_of(request)
    match note["e"]:
        case "breaker":
            return events.BreakerChanged(*place, note["before"], note["after"], note["why"])
        case "reach":
            where, _, step, thread = place
            return events.BreakerChanged(where, "", step, thread, note["before"], note["after"], note["why"])
        case "limit":
            return events.LimitChanged(*place, int(note["before"]), int(note["after"]))
    return events.RetryBudgetChanged(*place, empty=bool(note["empty"]))
