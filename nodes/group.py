"""A group: tasks side by side in one superstep, each with attempts, retries and a record of its own.

Members share a deadline and a join, so they are tasks of one node and not branches of the graph: a branch that waits
for a retry would hold its siblings up, and a deferred join runs early on partial data. A process that is killed in the
middle runs the group again; answers that were paid for come from the call ledger.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from langchain_core.runnables import RunnableConfig
from langgraph.graph import StateGraph

from nodes import bridge, clock, events
from nodes.attempt import Standing, Trial, readied
from nodes.call import prepare_settings
from nodes.context import deadline_of, ladder_start, patience_of, run_context
from nodes.decide import Again, Escalate, Fallback, decide, decision_made
from nodes.errors import ConfigurationError, InputError
from nodes.loading import loaded_since
from nodes.patience import patient_until
from nodes.policy import Policy, ResolvedPolicy
from nodes.step import Route, route_function
from nodes.task import Task
from nodes.view import View, Viewer
from state import Attempt, Decision, Failure, RunContext, RunState

LISTS: Final = ("attempts", "retry_decisions", "reasons")
"""Fields whose updates are lists; those of the members are put one after the other."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One task of a group, and how it deals with failure.

    One whose inputs are missing or do not fit is not run. Exhausted, it leaves its fields as they are: the result is
    degraded and says why. With `on_exhausted="escalate"` the reason is an escalation too, under the name `group.task`,
    for the review that the graph has after the group.
    """

    task: Task[Any, Any]
    policy: Policy = field(default_factory=Policy)


@dataclass(frozen=True)
class Ended:
    """How a member ended."""

    member: str
    fields: Mapping[str, Any] | None
    """What it writes, None when it has failed or was not waited for."""
    reason: str = ""
    """Why it has failed."""


Enough: TypeAlias = Callable[[Any, Mapping[str, Ended]], bool]
"""Takes the state and the members that have ended, and tells whether the others need not be waited for."""

Finish: TypeAlias = Callable[[Any, Mapping[str, Ended]], Mapping[str, Any]]
"""Takes the state and all members that have ended, and returns fields that follow from them."""


def add_group(
    builder: StateGraph[Any, Any, Any, Any],
    name: str,
    members: Sequence[Member],
    *,
    then: Route,
    deadline: float | None = None,
    only_missing: bool = False,
    enough: Enough | None = None,
    finish: Finish | None = None,
) -> None:
    """Add a node that runs all members at the same time and goes on with what they have.

    `deadline` bounds the group in seconds. With `only_missing`, members whose fields are there are not run again: for
    a graph that comes back after an edit, and begins each turn with `begin_turn`. `enough` may end the group early,
    `finish` may add fields in the same superstep.
    Raises `ValueError` for two members of one name, two that write one field, or a field that the state does not have.
    """
    _check_members(builder, name, members)
    viewer = Viewer(builder)

    async def group(view: View, config: RunnableConfig) -> dict[str, Any]:
        await prepare_settings()
        context = run_context()
        crew = _Crew(name, view, config, context, builder.channels, deadline)
        wanted = [member for member in members if not only_missing or _lacks(view, member)]
        return await crew.run(wanted, enough, finish)

    choose, targets = route_function(then)
    viewer.add_node(name, group, metadata={"members": ", ".join(member.task.name for member in members)})
    viewer.add_routes(name, lambda view: choose(view.state), list(targets))


def missing_members(state: RunState, group: str) -> dict[str, str]:
    """Return the members of a group that gave nothing in its last visit, with the last error of each."""
    ours = [a for a in state.attempts if a.step == group and a.visit == state.visits.get(group, 0)]
    last = {a.member: a for a in ours}
    return {member: a.error for member, a in last.items() if a.outcome != "ok"}


def _lacks(view: View, member: Member) -> bool:
    return any(view.get(output) is None for output in member.task.outputs)


def _check_members(builder: StateGraph[Any, Any, Any, Any], name: str, members: Sequence[Member]) -> None:
    writers: dict[str, str] = {}
    names = [member.task.name for member in members]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"group {name!r}: members need names of their own, got {names}")
    for member in members:
        for output in member.task.outputs:
            if output not in builder.channels:
                raise ValueError(
                    f"group {name!r}: {member.task.name!r} writes {output!r}, which the state does not have"
                )
            if output in writers:
                raise ValueError(f"group {name!r}: {writers[output]!r} and {member.task.name!r} both write {output!r}")
            writers[output] = member.task.name


class _Crew:
    """One run of a group."""

    def __init__(
        self,
        name: str,
        view: View,
        config: RunnableConfig,
        context: RunContext,
        channels: Mapping[str, Any],
        deadline: float | None,
    ) -> None:
        self.name, self.view, self.context, self.channels = name, view, context, channels
        self.thread, self.durable = bridge.thread_of(config), bridge.has_saver(config)
        visit = view.run.visits.get(name, 0)
        self.visit = visit + any(a.step == name and a.visit == visit for a in view.run.attempts)
        self.deadline, self.began, self.waited = deadline, clock.now(), 0.0
        """Seconds that the members have, since when, and for how many of them one of them waited for a core."""
        self.update: dict[str, Any] = {"visits": {name: self.visit}}
        self.ended: dict[str, Ended] = {}

    @property
    def until(self) -> float | None:
        """Return when the group has to be done: no time counts in which something loaded or waited for a core."""
        return None if self.deadline is None else self.began + self.deadline + loaded_since(self.began) + self.waited

    async def run(self, members: Sequence[Member], enough: Enough | None, finish: Finish | None) -> dict[str, Any]:
        """Pursue all members and return the update; raises what must stop the whole run."""
        tasks: dict[asyncio.Future[Ended], str] = {
            asyncio.ensure_future(self._pursue(member)): member.task.name for member in members
        }
        stopped: list[Exception] = []
        running: set[asyncio.Future[Ended]] = set(tasks)
        try:
            while running and not (enough and self.ended and enough(self.view.state, self.ended)):
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    error = task.exception()
                    if isinstance(error, Exception):
                        stopped.append(error)
                        self.ended[tasks[task]] = Ended(tasks[task], None, str(error))
                    else:
                        self.ended[tasks[task]] = task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._stop(stopped, alone=bool(members) and len(stopped) == len(members))
        if finish is not None:
            self._merge(dict(finish(self.view.state, self.ended)))
        return self.update

    def _stop(self, stopped: Sequence[Exception], *, alone: bool) -> None:
        """Raise what stops the run: a spent cap, and a wrong setting when no member could work.

        One member whose provider is not set up is missing like any other that failed.
        """
        for error in stopped:
            if alone or not isinstance(error, ConfigurationError):
                raise error
        for error in stopped:
            self._merge({"degraded": True, "reasons": [f"{self.name}: {error}"]})

    async def _pursue(self, member: Member) -> Ended:
        """Attempt one member until it has its fields or is exhausted."""
        task, policy = member.task, member.policy.resolve(self.view.state)
        try:
            task.read(self.view.state)
        except InputError as error:
            self._merge({"degraded": True, "reasons": [f"{self.name}: {error}"]})
            return Ended(task.name, None, str(error))
        entry = ladder_start(task, self.context)
        run, at, waited = self.view.run, Standing(self.visit), 0.0
        while True:
            asked = clock.now()
            async with readied(task, entry) as trouble:
                waited += max(0.0, clock.now() - asked - loaded_since(asked))
                self.waited = max(self.waited, waited)
                trial = Trial(
                    task, policy, View(run, self.view.state), self.context, at, entry, self.thread, self.channels,
                    self.durable, group=self.name, until=self.until, trouble=trouble,
                )  # fmt: skip
                written = await trial.run()
            failure: Failure | None = written.pop("failures", {}).get(trial.name)
            feedback = written.pop("feedback", {})
            attempts = [*at.earlier, *written["attempts"]]
            run = run.model_copy(
                update={
                    "spend": run.spend | written["spend"],
                    "feedback": {k: v for k, v in (run.feedback | feedback).items() if v is not None},
                }
            )
            self._merge(written)
            if failure is None:
                return Ended(task.name, {name: written[name] for name in task.outputs})
            settled = self._decide(policy, attempts, failure)
            if settled.decision is None or settled.decision.action in ("escalate", "give_up"):
                return self._give_up(trial.name, task.name, settled)
            entry, at = settled.decision.provider, Standing(self.visit, attempts, settled)
            await asyncio.sleep(max(0.0, settled.decision.at - clock.now()))

    def _decide(self, policy: ResolvedPolicy, attempts: Sequence[Attempt], failure: Failure) -> Failure:
        """Choose what follows a failure, as the retry node would, and keep the choice."""
        now = clock.now()
        deadlines = [at for at in (deadline_of(self.view.run, self.context), self.until) if at is not None]
        jitter = random.random()  # noqa: S311 - spreads retries over time, guards nothing
        patient = patient_until(patience_of(policy, self.context), self.view.run.attempts, attempts, now)
        deadline = min(deadlines) if deadlines else None
        match decide(policy, attempts, failure, now, deadline=deadline, patient_until=patient, jitter=jitter):
            case Again(at, provider):
                decision = Decision(action="again", at=at, provider=provider, reason=failure.error)
            case Fallback(to, reason):
                decision = Decision(action="fallback", at=now, provider=to, reason=reason)
            case Escalate(reason):
                decision = Decision(action="escalate", reason=reason)
            case other:
                decision = Decision(action="give_up", reason=other.reason)
        made = decision_made(failure, attempts, decision, now, decision.provider)
        self._merge({"retry_decisions": [made]})
        events.emit(events.RetryDecided(self.thread, failure.step, decision))
        return failure.model_copy(update={"decision": decision, "released": True})

    def _give_up(self, name: str, member: str, failure: Failure) -> Ended:
        reason = failure.decision.reason if failure.decision is not None else failure.error
        self._merge({"degraded": True, "reasons": [reason]})
        if failure.decision is not None and failure.decision.action == "escalate":
            self._merge({"escalations": {name: reason}})
        return Ended(member, None, reason)

    def _merge(self, written: Mapping[str, Any]) -> None:
        """Put an update to those of the other members."""
        for name, value in written.items():
            if name in LISTS:
                self.update[name] = [*self.update.get(name, ()), *value]
            elif isinstance(value, dict) and isinstance(self.update.get(name), dict):
                self.update[name] = {**self.update[name], **value}
            else:
                self.update[name] = value
