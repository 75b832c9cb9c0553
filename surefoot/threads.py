"""What the runner knows of a thread beside its checkpoints: key, input hash, context, status."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from checkpointers import follows
from state import RunContext, redact
from surefoot.errors import UsageError

if TYPE_CHECKING:
    from langgraph.checkpoint.base import Checkpoint, CheckpointTuple

NAMESPACE = uuid.UUID("6f1c1d52-7d0e-5b8e-9a52-2f0b1f6a4c11")
"""Root of all thread ids; changing it would orphan every stored thread."""

MAX_NAMESPACE = 60

CONTEXT: Final = "surefoot_context"
"""Key of a checkpoint's metadata that holds the context of its run, so that whoever goes on with it has the same."""

Status = Literal["running", "stalled", "waiting", "done", "failed"]


def thread_id(pipeline: str, item_id: str, namespace: str = "") -> str:
    """Return the thread id of an item: a UUID, because the LangGraph API server accepts nothing else."""
    return str(uuid.uuid5(NAMESPACE, f"{namespace}\0{pipeline}\0{item_id}"))


def readable_key(pipeline: str, item_id: str, namespace: str = "") -> str:
    """Return the key that people use for a thread: `support:48291`, or `trial/support:48291` in a namespace."""
    key = f"{pipeline}:{item_id}"
    return f"{namespace}/{key}" if namespace else key


def check_namespace(namespace: str) -> None:
    """Raise `UsageError` for a namespace that keys could not be told apart with."""
    if ":" in namespace or "/" in namespace or not namespace.isprintable() or len(namespace) > MAX_NAMESPACE:
        raise UsageError(
            f"namespace {namespace[:40]!r}: choose one of at most {MAX_NAMESPACE} characters without a colon, a slash "
            "and control characters"
        )


def id_of_key(key: str) -> str:
    """Return the thread id that a readable key or a UUID stands for."""
    try:
        return str(uuid.UUID(key))
    except ValueError:
        name, _, item_id = key.partition(":")
        namespace, _, pipeline = name.rpartition("/")
        return thread_id(pipeline, item_id, namespace)


class ThreadRecord(BaseModel):
    """One line of `surefoot threads`."""

    model_config = ConfigDict(hide_input_in_errors=True)

    thread_id: str
    key: str
    pipeline: str
    spec: str = ""
    """Where the graph of a pipeline is that is not shipped, as it was named when the thread was begun."""
    item_id: str
    namespace: str = ""
    input_hash: str = ""
    graph_version: str = ""
    status: Status = "running"
    created_at: float = 0.0
    updated_at: float = 0.0
    cost_microusd: int = 0
    busy_s: float = 0.0
    """Seconds in attempts and in waits between them; people's time does not count."""
    degraded: bool = False
    error: str = ""
    """One redacted line about what stopped the thread."""
    waits_for: Literal["", "person", "time"] = ""
    until: float | None = None
    """When a review is due or a wait ends, in seconds since the epoch."""
    tier: str = ""
    reasons: list[str] = Field(default_factory=list)
    default_action: str = ""
    expires: bool = False
    """Whether the thread and this record are deleted after the time for which finished threads are kept."""
    foreign: bool = False
    """Whether another program began it: listed and explained, and resumed only when it is named."""
    unreadable: str = ""
    """One line about why this process cannot read the thread; where it stands is known all the same."""
    damage: Literal["", "record", "newer_record", "key"] = ""
    """What of this record could not be read: the whole, what a newer version wrote, or what is encrypted."""
    context: RunContext = Field(default_factory=RunContext)
    """What the run was started with; LangGraph does not persist it."""


def context_text(context: RunContext) -> str:
    """Return what a context names, as it is kept in metadata; empty where it names nothing.

    How long an item may wait, and how long a wait may hold a slot, is the affair of who runs it.
    """
    kept = set(RunContext.model_fields) - {"max_inline_wait_s", "patience_s"}
    named = context.model_dump_json(exclude_defaults=True, include=kept)
    return "" if named == "{}" else named


def stored_context(metadata: Mapping[str, Any]) -> RunContext:
    """Return the context that a checkpoint's metadata tells; one that does not fit any more counts as none."""
    try:
        return RunContext.model_validate_json(str(metadata.get(CONTEXT) or "{}"))
    except ValidationError:
        return RunContext()


def completed(context: RunContext, other: RunContext) -> RunContext:
    """Return a context, and what it does not name itself as another one names it."""
    left = other.model_fields_set - context.model_fields_set
    return context.model_copy(update={name: getattr(other, name) for name in left})


@dataclass
class RawThread:
    """A thread as it is stored, readable even when its state no longer fits the schema."""

    values: dict[str, Any] = field(default_factory=dict)
    next: list[str] = field(default_factory=list)
    interrupts: list[dict[str, Any]] = field(default_factory=list)
    """Pending interrupts: `{"id": ..., "value": ..., "response_schema": ...}`."""
    errors: list[str] = field(default_factory=list)
    checkpoints: int = 0
    created_at: str = ""
    graph_version: str = ""
    context: RunContext = field(default_factory=RunContext)
    """What its last run was given, whoever gave it."""

    @property
    def exists(self) -> bool:
        """Whether anything was ever stored."""
        return self.checkpoints > 0


def told_interrupt(item: Any) -> dict[str, Any]:
    """Return an interrupt as plain data."""
    return {"id": item.id, "value": item.value, "response_schema": getattr(item, "response_schema", None)}


def raw_thread(found: CheckpointTuple) -> RawThread:
    """Read state, next nodes, interrupts and errors out of a checkpoint and its pending writes."""
    stored = found.checkpoint["channel_values"]
    values = {name: value for name, value in stored.items() if not name.startswith(("branch:", "join:", "__"))}
    interrupts: list[dict[str, Any]] = []
    errors: list[str] = []
    for _task, channel, value in found.pending_writes or []:
        if channel == "__interrupt__":
            interrupts += map(told_interrupt, value)
        elif channel == "__error__":
            errors.append(redact(str(value)))
    return RawThread(
        values=values,
        next=_next_nodes(found.checkpoint),
        interrupts=list({item["id"]: item for item in interrupts}.values()),
        errors=errors,
        checkpoints=int(found.metadata.get("step", -1)) + 2,
        created_at=found.checkpoint["ts"],
        graph_version=str(found.metadata.get("graph_version", "")),
        context=stored_context(found.metadata),
    )


def _next_nodes(checkpoint: Checkpoint) -> list[str]:
    """Return the nodes that are to run next: whether there are any is what the savers say, asked about each cause."""
    stored, seen = checkpoint["channel_values"], checkpoint.get("versions_seen", {})

    def alone(values: dict[str, Any], nodes: dict[str, Any]) -> bool:
        return follows({**checkpoint, "channel_values": values, "versions_seen": nodes})

    triggers = [name for name, value in stored.items() if alone({name: value}, {})]
    rest = {name: value for name, value in stored.items() if name not in triggers}
    nodes = [node for name in triggers for node in _triggered_by(name, stored[name])]
    nodes += [node for node, versions in seen.items() if alone(rest, {node: versions})]
    return list(dict.fromkeys(nodes))


def _triggered_by(channel: str, value: Any) -> list[str]:
    """Return the nodes that a channel of an edge, a join or of sends is for."""
    if channel == "__pregel_tasks":
        return [str(getattr(send, "node", channel)) for send in value]
    return [channel.rpartition(":")[2]]
