"""Traces for LangSmith, where its usual variables are set: masked before they leave, with what a run needs to be found.

LangGraph and LangChain trace by themselves. This adds: personal data and secrets are masked in everything that is sent;
the run of a node carries step, attempts, outcome, provider, model and cost; verdicts of gates and decisions of people
become feedback. Where nothing is traced, nothing is sent.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from langchain_core.tracers.context import register_configure_hook, tracing_v2_callback_var

from nodes import events
from nodes.checks.personal import masked
from nodes.feedback import FeedbackSender
from state import Attempt

FLUSH_S: Final = 5.0
"""Longest wait for traces at the end of the process, in seconds."""
HIDDEN: Final = "[hidden]"
_hidden: list[Callable[[Mapping[str, Any]], Collection[str]]] = []
_log = logging.getLogger("surefoot.tracing")


def hide_in_traces(which: Callable[[Mapping[str, Any]], Collection[str]]) -> None:
    """Hide fields in traces as a whole; `which` is called with every object that is sent and returns their names.

    For texts in which a person cannot be masked by rules, such as a résumé.
    """
    if which not in _hidden:
        _hidden.append(which)


def begin_tracing() -> None:
    """Mask what the process traces from now on, and add attempts and feedback; does nothing where tracing is off.

    Importing `nodes` is enough for that: LangChain calls this before each run of a graph, ours or not. A function of
    your own under `@traceable` is traced before that: call this first. A client that masks by itself is left as it is.
    """
    if _tracing.enabled():
        _tracing.begin()


class _Tracing:
    """What is masked, and who listens for attempts and feedback."""

    def __init__(self) -> None:
        self.client: Any = None
        """The client that is masked and gets the feedback; another may be configured later."""
        self._lock = threading.Lock()
        self._listening: Any = None

    def enabled(self) -> bool:
        """Ask LangSmith itself: a `tracing_context` around the run counts as much as the variables."""
        from langsmith.utils import tracing_is_enabled

        return tracing_v2_callback_var.get() is not None or bool(tracing_is_enabled())

    def begin(self) -> None:
        """Mask the client in use, once; a setting that no client can be made of turns tracing off, with a warning."""
        import langsmith
        from langsmith.run_helpers import get_tracing_context
        from langsmith.run_trees import get_cached_client

        _die_with_the_process()
        try:
            tracer = tracing_v2_callback_var.get()
            client = tracer.client if tracer else get_tracing_context()["client"] or get_cached_client()
        except Exception as error:
            # What LangSmith says of a wrong setting quotes its value; the run itself must not stop for it.
            langsmith.configure(enabled=False)
            _log.warning("runs are not traced: LangSmith refuses %s (%s)", _blamed(str(error)), type(error).__name__)
            return
        if client is self.client:
            return
        with self._lock:
            if client is not self.client:
                _mask_client(client)
                atexit.register(client.flush, FLUSH_S)
                self._listen(client)
                self.client = client

    def _listen(self, client: Any) -> None:
        if self._listening is not None:
            self._listening.__exit__(None, None, None)
        self._listening = events.listening(functools.partial(_tell, FeedbackSender(client)))
        self._listening.__enter__()


_tracing = _Tracing()


class _BeforeEachRun:
    """Stands where LangChain expects a context variable with a handler, and looks there before it begins a run.

    The outermost graph need not be one of ours, and what it is given would leave before any of our nodes is reached.
    """

    def get(self) -> None:
        """Begin, where tracing is on; there is no handler to add."""
        begin_tracing()


register_configure_hook(_BeforeEachRun(), inheritable=False)  # type: ignore[arg-type] # has all that is used of one


def _die_with_the_process() -> None:
    """Let no thread of the client keep the process alive for as long as an endpoint does not answer."""
    os.environ.setdefault("LANGSMITH_USE_DAEMON", "true")


if any(os.environ.get(f"{brand}_TRACING{v}") == "true" for brand in ("LANGSMITH", "LANGCHAIN") for v in ("", "_V2")):
    # A graph that is not ours makes its client before we are asked.
    _die_with_the_process()


def _mask_client(client: Any) -> None:
    """Mask in place, because tracers hold the client already; parts that its owner hides are left as they are."""
    if client._anonymizer is not None:  # noqa: SLF001 - langsmith tells and takes it in no other way
        return
    parts = ("_hide_inputs", "_hide_outputs", "_hide_metadata")
    if not any(callable(getattr(client, part)) for part in parts):
        client._anonymizer = mask  # noqa: SLF001
        return
    for part in parts:
        if getattr(client, part) is False:
            setattr(client, part, mask)


def _blamed(message: str) -> str:
    """Return the names of the variables that a message is about: those that it names, else those whose value it has."""
    given = {name: value for name, value in os.environ.items() if name.startswith(("LANGSMITH_", "LANGCHAIN_"))}
    named = [name for name in given if re.search(rf"\b{re.escape(name)}\b", message)]
    quoted = [name for name, value in given.items() if value and value in message]
    return ", ".join(sorted(named or quoted or given))


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
        run.add_metadata({**_told(event.attempt, run.metadata), "surefoot_thread": event.thread})
    elif isinstance(event, events.GateJudged):
        for verdict in event.verdicts:
            _feed_back(sender, run, f"{verdict.gate}.{verdict.check}", float(verdict.passed), verdict.detail)
    elif isinstance(event, events.ReviewDecided):
        score = {"accept": 1.0, "edit": 0.5, "response": 0.5, "reject": 0.0}.get(event.decision)
        _feed_back(sender, run, "review", score, "; ".join(event.reasons), value=event.decision)


@contextmanager
def traced_stream(model: str, messages: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Trace a streamed request to a model as a run of its own; what is put into the yielded mapping is its output.

    LangChain's own models trace themselves, but also tell the pieces to whoever streams messages.
    """
    if not _tracing.enabled():
        yield {}
        return
    from langsmith import get_current_run_tree

    parent = get_current_run_tree()
    if parent is None:
        yield {}
        return
    about = {"ls_provider": "openai", "ls_model_name": model, "ls_model_type": "chat"}
    run = parent.create_child(model, "llm", inputs={"messages": list(messages)}, extra={"metadata": about})
    run.post()
    outputs: dict[str, Any] = {}
    try:
        yield outputs
    except BaseException as error:
        run.end(outputs=outputs, error=type(error).__name__)
        raise
    else:
        run.end(outputs=outputs)
    finally:
        run.patch()


def _feed_back(
    sender: FeedbackSender, run: Any, key: str, score: float | None, comment: str, value: str | None = None
) -> None:
    said = masked(comment) or None
    sender.put(run_id=run.id, trace_id=run.trace_id, key=key, score=score, value=value, comment=said)


def _told(attempt: Attempt, before: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the run of a node says after an attempt; a group has many, and none of them speaks for all."""
    about = {
        "surefoot_attempt": attempt.n,
        "surefoot_visit": attempt.visit,
        "surefoot_outcome": attempt.outcome,
        "surefoot_provider": attempt.provider,
        "surefoot_model": attempt.model,
        "surefoot_cost_microusd": attempt.cost_microusd,
    }
    told = {"surefoot_step": attempt.step}
    if not attempt.member:
        return told | about
    one = {"member": attempt.member} | {name.removeprefix("surefoot_"): value for name, value in about.items()}
    spent = before.get("surefoot_cost_microusd", 0) + attempt.cost_microusd
    return told | {
        "surefoot_attempts": [*before.get("surefoot_attempts", ()), one],
        "surefoot_cost_microusd": spent,
    }
