"""Traces for LangSmith, where its usual variables are set: masked before they leave, with what a run needs to be found.

LangGraph and LangChain trace by themselves. This adds: personal data and secrets are masked in everything that is sent;
the run of a node carries step, attempt, outcome, provider, model and cost; verdicts of gates and decisions of people
become feedback. Where nothing is traced, nothing is sent.
"""

from __future__ import annotations

import atexit
import functools
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from nodes import events
from nodes.checks.personal import masked
from nodes.feedback import FeedbackSender

FLUSH_S: Final = 5.0
"""Longest wait for traces at the end of the process, in seconds."""
HIDDEN: Final = "[hidden]"
_hidden: list[Callable[[Mapping[str, Any]], Collection[str]]] = []


def hide_in_traces(which: Callable[[Mapping[str, Any]], Collection[str]]) -> None:
    """Hide fields in traces as a whole; `which` is called with every object that is sent and returns their names.

    For texts in which a person cannot be masked by rules, such as a résumé.
    """
    if which not in _hidden:
        _hidden.append(which)


def begin_tracing() -> None:
    """Mask what the process traces from now on, and add attempts and feedback; does nothing where tracing is off.

    A client of one's own that masks already (`langsmith.configure(client=...)`) is left as it is.
    """
    if _enabled():
        _begin()


@functools.cache
def _begin() -> Any:
    """Return what keeps the listener listening: the cache holds it for as long as the process lives."""
    # Its threads would keep the process alive for as long as an endpoint does not answer.
    os.environ.setdefault("LANGSMITH_USE_DAEMON", "true")
    import langsmith
    from langsmith.run_trees import get_cached_client

    client = get_cached_client(anonymizer=mask)
    if client._anonymizer is None:  # noqa: SLF001 - langsmith tells it in no other way
        client = langsmith.Client(anonymizer=mask)
        langsmith.configure(client=client)
    atexit.register(client.flush, FLUSH_S)
    listening = events.listening(functools.partial(_tell, FeedbackSender(client)))
    listening.__enter__()
    return listening


def _enabled() -> bool:
    """Ask LangSmith itself: a `tracing_context` around the run counts as much as the variables."""
    from langsmith.utils import tracing_is_enabled

    return bool(tracing_is_enabled())


def mask(value: Any) -> Any:
    """Return JSON-able data with personal data and secrets replaced in every text; keys stay."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, Mapping):
        hidden = {name for which in _hidden for name in which(value)}
        return {key: HIDDEN if key in hidden and item else mask(item) for key, item in value.items()}
    return [mask(item) for item in value] if isinstance(value, (list, tuple)) else value


def _tell(sender: FeedbackSender, event: events.Event) -> None:
    from langsmith import get_current_run_tree

    run = get_current_run_tree()
    if run is None:
        return
    if isinstance(event, events.AttemptEnded):
        attempt = event.attempt
        run.add_metadata(
            {
                "surefoot_step": attempt.step,
                "surefoot_attempt": attempt.n,
                "surefoot_visit": attempt.visit,
                "surefoot_outcome": attempt.outcome,
                "surefoot_provider": attempt.provider,
                "surefoot_model": attempt.model,
                "surefoot_cost_microusd": attempt.cost_microusd,
                "surefoot_thread": event.thread,
            }
        )
    elif isinstance(event, events.GateJudged):
        for verdict in event.verdicts:
            _feed_back(sender, run, f"{verdict.gate}.{verdict.check}", float(verdict.passed), verdict.detail)
    elif isinstance(event, events.ReviewDecided):
        score = {"accept": 1.0, "edit": 0.5, "response": 0.5, "reject": 0.0}.get(event.decision)
        _feed_back(sender, run, "review", score, "; ".join(event.reasons), value=event.decision)


def _feed_back(
    sender: FeedbackSender, run: Any, key: str, score: float | None, comment: str, value: str | None = None
) -> None:
    said = masked(comment) or None
    sender.put(run_id=run.id, trace_id=run.trace_id, key=key, score=score, value=value, comment=said)
