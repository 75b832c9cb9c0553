"""One attempt of a task: run it under its limits, and write down how it ended."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from langgraph.errors import GraphBubbleUp, InvalidUpdateError

from nodes import clock, cores, events
from nodes.call import Call, Usage, classify_error, get_guard, using_call
from nodes.call.queueing import Queueing
from nodes.context import deadline_of, ladder_start, patience_of
from nodes.decide import summarise
from nodes.errors import (
    BudgetSpent,
    CallError,
    CallTimeout,
    ConfigurationError,
    EndpointLost,
    GuardUnavailable,
    HeldBack,
    InvalidOutput,
    Permanent,
    SurefootError,
    Transient,
)
from nodes.loading import Clock
from nodes.patience import patient_until
from nodes.policy import ResolvedPolicy
from nodes.task import AnyTask
from nodes.view import View
from state import Attempt, Checked, Failure, Provenance, RunContext, RunState, Spend

REGENERATION_TEMPERATURE = 0.3
"""Added for each regeneration: an answer that a gate refused should not come back word for word."""

KEPT_BY_US: Final = frozenset({"attempts", "failures", "feedback", "provenance", "retry_decisions", "spend", "visits"})
"""Fields that a step writes about its own work."""


@dataclass(frozen=True)
class Standing:
    """Where a step stands as an attempt begins."""

    visit: int
    earlier: Sequence[Attempt] = ()
    """Attempts of this visit, oldest first."""
    pending: Failure | None = None
    """The failure that is answered by this attempt."""


def standing(state: RunState, step: str) -> Standing:
    """Return where a step stands.

    The retry node releases the failure that it sends a step back for. Whoever comes without one is no retry but
    another visit: the loop of an agent, another input on the thread, perhaps after one that was left unfinished.
    """
    failure, visit, earlier = state.failures.get(step), state.visits.get(step, 0), state.attempts_of(step)
    if failure is not None and failure.released:
        return Standing(visit, earlier, failure)
    return Standing(visit + 1) if earlier else Standing(visit)


@asynccontextmanager
async def readied(task: AnyTask, entry: str) -> AsyncIterator[Exception | None]:
    """Prepare a provider and wait for its turn on the cores: all that must be done before an attempt's time begins.

    Yields why the provider could not be prepared, None when it was.
    """
    provider, trouble = entry.partition(":")[0], None
    try:
        await task.ready(provider)
    except Exception as error:
        trouble = error
    if trouble is None and provider in task.computes:
        async with cores.turn():
            yield None
    else:
        yield trouble


@dataclass
class Trial:
    """One attempt in the making: what it may use, how it ends, what it writes."""

    task: AnyTask
    policy: ResolvedPolicy
    view: View
    context: RunContext
    at: Standing
    entry: str
    thread: str
    channels: Mapping[str, Any]
    durable: bool = False
    """Whether the step runs again after a crash, so that answers are worth keeping."""
    gated: bool = False
    """Whether a gate decides if the output counts."""

    group: str = ""
    """The group that the task is a member of; empty for a step of its own."""
    until: float | None = None
    """Seconds since the epoch by which the group has to be done."""
    trouble: Exception | None = None
    """Why the provider could not be prepared."""

    def __post_init__(self) -> None:
        self.state, self.pending, earlier = self.view.run, self.at.pending, self.at.earlier
        self.name = f"{self.group}.{self.task.name}" if self.group else self.task.name
        """What feedback, failures and money are kept under."""
        self.first_choice = ladder_start(self.task, self.context)
        self.provider, _, named_model = self.entry.partition(":")
        self.model = named_model or self.context.model or ""
        self.queueing = Queueing()
        self.started_at = clock.now()
        deadlines = [at for at in (deadline_of(self.state, self.context), self.until) if at is not None]
        self.ends = min(deadlines, default=math.inf)
        """Seconds since the epoch at which run or group end."""
        left = self.ends - self.started_at
        self.late = left <= 0
        self.timeout = max(min(self.policy.timeout, left), 0.001)
        # The guard may give a request more time than the policy, once it knows how long such calls take.
        self.ceiling = max(min(get_guard().limits.ceiling_of(self.policy.timeout), left), 0.001)
        # After a 429 the endpoint has named the time itself: coming back then is no load that it did not ask for.
        sent = [a for a in earlier if a.calls]
        self.resent = bool(sent) and sent[-1].outcome != "throttled"
        self.attempt = Attempt(
            step=self.group or self.task.name,
            member=self.task.name if self.group else "",
            visit=self.at.visit,
            n=len(earlier) + 1,
            entry=self.entry,
            provider=self.provider,
            model=named_model,
            variant=self.context.variant,
            started_at=self.started_at,
            timeout_ms=round(self.timeout * 1000),
            wait_ms=max(0, round((self.started_at - self.pending.failed_at) * 1000)) if self.pending else 0,
        )

    def call(self) -> Call:
        """Return the guarded call that the provider is given."""
        attempt, state = self.attempt, self.state
        return Call(
            step=self.name,
            thread=self.thread,
            tenant=state.tenant,
            provider=self.provider,
            model=self.model,
            n=attempt.n,
            visit=attempt.visit,
            timeout_s=self.timeout,
            feedback=state.feedback.get(self.name),
            temperature=REGENERATION_TEMPERATURE * min(attempt.visit, 3) if self.name in state.feedback else 0.0,
            max_cost_microusd=self.policy.max_cost_microusd,
            step_spent_microusd=state.spend.get(self.name, Spend()).cost_microusd,
            run_spent_microusd=state.spent_microusd,
            run_cap_microusd=self.context.max_cost_microusd,
            variant=attempt.variant,
            ceiling_s=self.ceiling,
            resent=self.resent,
            patience_s=self.patience_s(),
            remember=self.durable,
            hedge=self.policy.hedge,
        )

    def patience_s(self) -> float:
        """Return the seconds for which a request may still wait for its endpoint."""
        ours = list(self.at.earlier)
        until = patient_until(patience_of(self.policy, self.context), self.state.attempts, ours, self.started_at)
        return max(0.0, min(until, self.ends) - clock.now())

    async def run(self) -> dict[str, Any]:
        """Attempt the task once and return the update of the state."""
        inputs = self.task.read(self.view.state)
        call = self.call()
        if self.trouble is not None:
            return self.failed(self.understand(self.trouble, call.usage), call)
        if self.late:
            return self.failed(CallTimeout("the run's deadline passed before the attempt"), call)
        try:
            async with Clock(self.timeout, most=max(self.ceiling, self.timeout)) as limit:
                call.clock = self.queueing = Queueing(limit)
                with using_call(call):
                    output = await self.task.run(self.provider, inputs, call)
            fields = self.task.fields(output)
            self.check(fields)
        except GraphBubbleUp:
            # Not a failure: LangGraph's own way to leave a node, such as an interrupt.
            raise
        except asyncio.CancelledError:
            if (current := asyncio.current_task()) is None or current.cancelling():
                raise
            return self.failed(Transient("the provider cancelled its own call"), call)
        except Exception as error:
            failure = self.understand(error, call.usage)
            return self.failed(failure, call)
        if not self.gated:
            call.shown.confirm()
        return self.succeeded(self.task.input_hash(inputs), fields, call.usage)

    def check(self, fields: Mapping[str, Any]) -> None:
        """Hold what is written against the state; raises `InvalidOutput` naming the first field that does not fit."""
        for name, value in fields.items():
            if name in KEPT_BY_US:
                raise Permanent(f"step {self.task.name!r} writes {name!r}, which is written for it")
            if name not in self.channels:
                raise Permanent(f"step {self.task.name!r} writes {name!r}, which the state does not have")
            channel = self.channels[name]
            if isinstance(channel, Checked):
                try:
                    channel.check(value)
                except InvalidUpdateError as error:
                    raise InvalidOutput(f"{self.provider}: {error}") from None

    def understand(self, error: Exception, usage: Usage) -> CallError | Exception:
        """Turn an exception into what is recorded; re-raise what must stop the run."""
        if isinstance(error, TimeoutError):
            return CallTimeout(f"no answer within {self.limit(usage):g} s")
        known = error if isinstance(error, SurefootError) else classify_error(error)
        if isinstance(known, BudgetSpent | GuardUnavailable):
            raise known from None
        if isinstance(known, ConfigurationError):
            # Without a key or a model of the first choice nothing will succeed: stop and say so. A later rung of the
            # ladder that is not set up is only skipped.
            if self.entry == self.first_choice:
                raise known from None
            return Permanent(str(known))
        return known if isinstance(known, CallError) else error

    def limit(self, usage: Usage) -> float:
        """Return the time limit that held in seconds: that of the last request, the policy's where none was sent."""
        return usage.timeout_s or self.timeout

    def close(self, usage: Usage, outcome: str, error: str = "", *, held: bool = False) -> dict[str, Any]:
        """Return the part of the update that every attempt writes."""
        queued = self.queueing.queued_s
        latency = clock.now() - self.started_at - queued
        attempt = self.attempt.model_copy(
            update={
                "model": usage.model or self.attempt.model,
                "outcome": outcome,
                "held": held,
                "latency_ms": max(0, round(latency * 1000)),
                "queued_ms": round(queued * 1000),
                "timeout_ms": round(self.limit(usage) * 1000),
                "tokens_in": usage.tokens_in,
                "tokens_out": usage.tokens_out,
                "calls": usage.calls,
                "repaired": usage.repaired,
                "reasked": usage.reasked,
                "replayed": usage.replayed,
                "hedged": usage.hedged,
                "cost_microusd": usage.cost_microusd,
            }
        )
        attempt = Attempt.model_validate({**attempt.model_dump(), "error": error})
        before = self.state.spend.get(self.name, Spend())
        spend = Spend(
            calls=before.calls + usage.calls,
            tokens_in=before.tokens_in + usage.tokens_in,
            tokens_out=before.tokens_out + usage.tokens_out,
            cost_microusd=before.cost_microusd + usage.cost_microusd,
        )
        events.emit(events.AttemptEnded(self.thread, attempt))
        update: dict[str, Any] = {"attempts": [attempt], "spend": {self.name: spend}}
        if attempt.visit != self.state.visits.get(attempt.step, 0):
            update["visits"] = {attempt.step: attempt.visit}
        return update

    def failed(self, error: Exception, call: Call) -> dict[str, Any]:
        """Record a failure for the retry node, and take back what was shown of the answer."""
        usage = call.usage
        known = isinstance(error, CallError)
        outcome = error.outcome if isinstance(error, CallError) else "crashed"
        message = str(error) if known else f"{type(error).__name__}: {error}"
        call.shown.retract(outcome)
        held = isinstance(error, HeldBack | EndpointLost) and usage.calls == 0
        update = self.close(usage, outcome, message, held=held)
        failure = Failure(
            step=self.name,
            outcome=outcome,
            error=message,
            retryable=isinstance(error, CallError) and error.retryable,
            retry_after=error.retry_after if isinstance(error, CallError) else None,
            failed_at=clock.now(),
            visit=self.attempt.visit,
            escalate=isinstance(error, CallError) and error.escalates,
        )
        feedback = {self.name: message} if outcome == "invalid_output" else {}
        return update | {"failures": {self.name: failure}, "feedback": feedback}

    def succeeded(self, input_hash: str, fields: Mapping[str, Any], usage: Usage) -> dict[str, Any]:
        """Write the outputs, where they came from, and settle the failure that was pending."""
        update = self.close(usage, "ok")
        source = Provenance(
            step=self.attempt.step,
            visit=self.attempt.visit,
            attempt=self.attempt.n,
            provider=self.provider,
            model=usage.model or self.attempt.model,
            variant=self.attempt.variant,
            input_hash=input_hash,
        )
        update = {**fields, **update, "provenance": dict.fromkeys(fields, source)}
        if self.name in self.state.feedback:
            update["feedback"] = {self.name: None}
        if self.name in self.state.failures:
            update["failures"] = {self.name: None}
        if self.entry != self.first_choice:
            decision = self.pending.decision if self.pending is not None else None
            earlier = [a for a in self.at.earlier if a.entry != self.entry]
            fell = decision is not None and decision.action == "fallback"
            why = decision.reason if decision is not None and fell else summarise(self.name, earlier)
            update |= {"degraded": True, "reasons": [f"{why}; {self.entry} answered instead"]}
        return update
