"""The one exception tree of Surefoot.

    SurefootError
    ├── InputError              the input of a run is missing a field or has a wrong value
    ├── StopRun                 nothing more can succeed until somebody acts: the thread stays resumable
    │   ├── ConfigurationError  a setting is wrong: key refused, unknown model, no price, no provider
    │   ├── BudgetSpent         the cap of the whole command, or of the day, is spent
    │   ├── StepFailed          a step is exhausted, and its graph says neither where to go on nor whom to ask
    │   └── GuardUnavailable    the state that guards share cannot be reached, so nothing may be sent
    ├── UnexpectedError         what no part of Surefoot expected, with its text redacted
    ├── NeedsCheckpointer       a person must be asked, but there is no saver to wait in
    ├── RetiredNode             a thread stands at a node that no longer exists
    └── CallError               one attempt failed; a step records it and the retry node decides
        ├── Throttled           429 and its kin; carries the wait that the endpoint asked for
        │   └── HeldBack        nothing was sent: the endpoint had asked for rest, or had no place free
        │       └── ThrottledLocally  the endpoint refuses most requests, so this one was held back
        ├── Transient           5xx, broken connections: the same call may succeed later
        │   └── NotConnected    no connection was made: refused, no such host, no route, no TLS
        ├── CallTimeout         no answer within the time limit
        ├── InvalidOutput       an answer that does not fit: its schema, its tool calls, or because it is empty
        ├── Truncated           an answer cut off before its end, or that nothing shows to be whole
        ├── Refused             the model declined, or a content filter did
        ├── OverBudget          the worst case of this call does not fit the caps of its step or run
        ├── Runaway             the thread sends the same again and again, or spends too fast
        ├── BreakerOpen         the circuit breaker of the endpoint refused the call
        │   ├── EndpointLost    connections fail to an endpoint that answered a moment ago: worth a wait
        │   └── EndpointDown    nothing can be reached there, or everything is rejected: not worth one
        ├── RetriesSpent        the retry budget of the endpoint is spent
        ├── HedgesSpent         the budget for second requests is spent; nobody but the hedge sees it
        └── Permanent           a request that can never succeed as it is
            └── ContextTooLong  prompt and answer together are longer than the model can take

`CallError.outcome` is the word stored in `Attempt.outcome`.

What no further attempt can change is a `RuntimeError` too: LangGraph's default `RetryPolicy`, which people set on nodes
of their own around a guarded model, does not run a node again for it.
"""

from __future__ import annotations

from typing import ClassVar

from state import Outcome


class SurefootError(Exception):
    """Base of every error that Surefoot raises on purpose."""


class InputError(SurefootError, ValueError):
    """The input of a run is unusable; the message names the field and what to send."""


class StopRun(SurefootError, RuntimeError):
    """Every further attempt would fail the same way: stop, keep the thread as it was, resume after the fix."""


class ConfigurationError(StopRun):
    """A setting is wrong (API key, model name, price, provider); the message says which and what to do."""


class BudgetSpent(StopRun):
    """The cost cap of the command, of the day, or of the tenant's day is spent."""


class StepFailed(StopRun):
    """A step is exhausted, and there is neither a node to go on with nor a saver to wait in for a person."""


class GuardUnavailable(StopRun):
    """The state that all guards share cannot be reached: without it no cap would hold, so nothing is sent."""


class UnexpectedError(SurefootError, RuntimeError):
    """An exception that no part of Surefoot expected, with its text redacted."""


class NeedsCheckpointer(SurefootError, RuntimeError):
    """A review has nowhere to wait: the graph runs without a saver."""


class RetiredNode(SurefootError, RuntimeError):
    """A thread stands at a node that was removed; the message names the node and the version that removed it."""


class CallError(SurefootError):
    """One attempt of a call failed in a way that is understood.

    `str(error)` is stored in the thread: build it from what is known to be safe (status, error code, field
    names), never from the prompt, the answer or a header.
    """

    outcome: ClassVar[Outcome]
    retryable: ClassVar[bool]
    escalates: ClassVar[bool] = False
    """Whether a person has to look at it before anything else is tried."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds that the endpoint asked to wait, or None."""


class Throttled(CallError):
    """The endpoint limits the rate of calls."""

    outcome: ClassVar[Outcome] = "throttled"
    retryable = True


class HeldBack(Throttled):
    """The guard sent nothing: the endpoint had asked for rest, or had no place free. It uses up no retry."""


class ThrottledLocally(HeldBack):
    """The endpoint refuses most requests, and this one was held back in proportion. It uses up no retry."""

    outcome = "throttled_locally"


class Transient(CallError):
    """The endpoint or the connection failed; the same call may succeed later."""

    outcome = "transient"
    retryable = True


class NotConnected(Transient):
    """No connection was made: refused, no such host, no route, no TLS. Nothing was sent, so nothing was billed."""


class CallTimeout(CallError):
    """No answer came within the time limit."""

    outcome = "timeout"
    retryable = True


class InvalidOutput(CallError):
    """The answer does not fit what was asked for: the schema, the tools, or any use at all because it is empty."""

    outcome = "invalid_output"
    retryable = True


class Truncated(CallError):
    """The answer was cut off, or nothing tells that it is whole."""

    outcome = "truncated"
    retryable = True


class Refused(CallError, RuntimeError):
    """The model or a content filter declined to answer."""

    outcome = "refused"
    retryable = False


class OverBudget(CallError, RuntimeError):
    """The worst-case cost of the call does not fit what its step or run may still spend."""

    outcome = "over_budget"
    retryable = False


class Runaway(CallError, RuntimeError):
    """The thread sends the same prompt again and again, or spends too fast: something goes round in circles."""

    outcome = "over_budget"
    retryable = False
    escalates = True


class BreakerOpen(CallError):
    """The circuit breaker of the endpoint is open."""

    outcome = "breaker_open"
    retryable = True


class EndpointLost(BreakerOpen):
    """Connections fail to an endpoint that answered a moment ago. Nothing was sent, so it uses up no retry."""


class EndpointDown(BreakerOpen, RuntimeError):
    """An endpoint has answered nothing for a while, or rejects everything: there is nothing to wait for."""

    retryable = False


class RetriesSpent(CallError, RuntimeError):
    """So many calls to the endpoint fail that retries would only add to its load."""

    outcome = "retry_budget_spent"
    retryable = False


class HedgesSpent(CallError, RuntimeError):
    """The budget for second requests is spent."""

    outcome = "breaker_open"
    retryable = False


class Permanent(CallError, RuntimeError):
    """The request can never succeed as it is (400, 403, 413, 422)."""

    outcome = "permanent"
    retryable = False


class ContextTooLong(Permanent):
    """The prompt, with the answer that was asked for, is longer than the model's context: it never fits."""
