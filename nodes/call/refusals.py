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
    ThrottledLocally,
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
            return RetriesSpent(
                f"too few requests to {where} succeed: its retry budget is spent (SUREFOOT_RETRY_BUDGET)"
            )
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
            return BreakerOpen(
                f"the circuit breaker of {where} is open for {request.model}: {_health(told)}", retry_after=wait
            )
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


def error_of_wait(told: dict[str, Any], request: Request) -> CallError | StopRun:
    """Return the error of a request that waited in vain."""
    match told["why"]:
        case "endpoint" if told["what"] == "unreachable":
            return error_of(told | {"r": "unreachable"}, request)
        case "endpoint" if told["what"] == "rejects":
            return error_of(told | {"r": "open", "rejects": 1}, request)
        case "endpoint" | "budget" | "throttle":
            return ThrottledLocally(
                f"held back: {request.endpoint} refuses most requests for {request.model}: {_health(told)}"
            )
        case "command":
            return HeldBack("the cap of the command is reserved by calls in flight")
        case "money":
            return HeldBack("the cap of the day is reserved by calls in flight")
    return HeldBack(f"no place at {request.endpoint} became free in time")


def _health(told: dict[str, Any]) -> str:
    """Say what really happened at an endpoint."""
    began, failed, last = int(told["began"]), int(told["failed"]), told["last"]
    counted = f"{failed} of the last {began} requests failed" if failed else "no request was accepted"
    return f"{counted}, last: {last}" if last else counted


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
        case ThrottledLocally():
            return "throttled_locally"
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
