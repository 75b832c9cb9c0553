"""Tasks: WHAT is done. A task names its inputs, its outputs and who can do it; it knows no graph and no retries."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from nodes.bridge import in_thread
from nodes.call import Call
from nodes.errors import ConfigurationError, InputError, InvalidOutput, Permanent
from nodes.loading import prepare_once
from state import describe

In = TypeVar("In", bound=BaseModel)
Out = TypeVar("Out", bound=BaseModel)

Provider: TypeAlias = Callable[[In, Call], Out | Awaitable[Out]]
"""Does a task once. A plain function is run in a thread; a coroutine function runs on the loop."""


@dataclass(frozen=True, kw_only=True)
class Task(Generic[In, Out]):
    """One piece of AI work, with its providers.

    The fields of `input` are read from the state under the same names, those of `output` are written to it. A field of
    the output that the state does not have is an error when the graph is built.
    """

    name: str
    input: type[In]
    output: type[Out]
    providers: Mapping[str, Provider[In, Out]]
    finish: Callable[[In, Out], Out] | None = None
    """Applied to the output of every provider: business rules that hold whoever did the work."""
    prepare: Mapping[str, Callable[[], Any]] = dataclasses.field(default_factory=dict)
    """What a provider needs once in a process, such as loading a model: a plain function or a coroutine function.

    It is called before the provider is first used, and no time limit of the process runs meanwhile (`nodes.loading`).
    """
    computes: frozenset[str] = frozenset()
    """Providers that do nothing but compute, in plain functions: as many run at a time as there are cores, and the
    time limit of an attempt begins when it has one (`nodes.cores`)."""
    first: str = ""
    """Entry of the ladder to begin with where the context names none for this task; empty for that of the settings."""
    version: str = "1"
    """Changes with the prompt, so that results of different prompts can be told apart."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the fields that the task reads."""
        return tuple(self.input.model_fields)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the fields that the task writes."""
        return tuple(self.output.model_fields)

    def read(self, state: Any) -> In:
        """Take the inputs out of a state, a model or a mapping; raises `InputError` naming what is missing."""
        if isinstance(state, Mapping):
            values = {name: state[name] for name in self.inputs if name in state}
        else:
            values = {name: getattr(state, name) for name in self.inputs if hasattr(state, name)}
        try:
            return self.input.model_validate(values)
        except ValidationError as error:
            raise InputError(f"task {self.name!r} cannot start: {describe(error)}") from None

    def provider(self, name: str) -> Provider[In, Out]:
        """Return a provider by name; raises `ConfigurationError` naming those that exist."""
        if name not in self.providers:
            known = ", ".join(sorted(self.providers))
            raise ConfigurationError(f"task {self.name!r} has no provider {name!r}; it has: {known}")
        return self.providers[name]

    async def run(self, provider: str, inputs: In, call: Call) -> Out:
        """Do the task once and validate what comes back; raises `InvalidOutput` for a wrong type."""
        raw: Any = await work_once(self.provider(provider), inputs, call)
        if not isinstance(raw, self.output):
            try:
                raw = self.output.model_validate(raw)
            except ValidationError as error:
                raise InvalidOutput(f"{provider}: {describe(error)}") from None
        return self.finish(inputs, raw) if self.finish else raw

    async def ready(self, provider: str) -> None:
        """Prepare a provider, the first time that it is asked for; whoever comes meanwhile waits too.

        Raises `Permanent` that says why it could not be prepared, and `ConfigurationError`.
        """
        if provider in self.prepare:
            await prepare_once(self.prepare[provider], f"{provider} for {self.name}")

    def fields(self, output: Out) -> dict[str, Any]:
        """Return the fields of the state that an output is written to."""
        return {name: getattr(output, name) for name in self.outputs}

    def input_hash(self, inputs: In) -> str:
        """Hash the inputs and the prompt version, to tell later whether an output is stale."""
        return hash_of([self.name, self.version, inputs.model_dump(mode="json")])


StepFunction: TypeAlias = Callable[[Any, Call], Any]
"""Takes the state and the guarded call, and returns an update of the state; a plain function is run in a thread."""

FUNCTION: Final = "function"
"""Name of the only provider of a `FunctionTask`."""


@dataclass(frozen=True)
class FunctionTask:
    """A function of the whole state as a task: for graphs whose nodes are functions already.

    It knows no providers. Whatever rung of a ladder is tried, the function is called, and `call.provider` and
    `call.model_name` tell which.
    """

    name: str
    function: StepFunction
    providers: Mapping[str, StepFunction] = dataclasses.field(init=False)
    outputs: ClassVar[tuple[str, ...]] = ()
    computes: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "providers", {FUNCTION: self.function})

    def provider(self, _name: str) -> StepFunction:
        """Return the function."""
        return self.function

    def read(self, state: Any) -> Any:
        """Return the state as it is."""
        return state

    async def run(self, _provider: str, inputs: Any, call: Call) -> Mapping[str, Any]:
        """Call the function; raises `Permanent` for a result that is no update of the state."""
        update: Any = await work_once(self.function, inputs, call)
        if update is None:
            return {}
        if not isinstance(update, Mapping):
            raise Permanent(
                f"step {self.name!r} has to return a dict of fields, got {type(update).__name__}; "
                "where to go next is said by `then`"
            )
        return update

    async def ready(self, _provider: str) -> None:
        """Nothing has to be prepared."""

    def fields(self, output: Mapping[str, Any]) -> dict[str, Any]:
        """Return the update."""
        return dict(output)

    def input_hash(self, _inputs: Any) -> str:
        """Return an empty text: what the function read of the state is not known."""
        return ""


AnyTask: TypeAlias = Task[Any, Any] | FunctionTask


async def work_once(function: Callable[..., Any], inputs: Any, call: Call) -> Any:
    """Call a provider: a coroutine function on the loop, any other in a thread."""
    if inspect.iscoroutinefunction(function):
        return await function(inputs, call)
    raw = await in_thread(function, inputs, call)
    return await raw if inspect.isawaitable(raw) else raw


def hash_of(value: Any) -> str:
    """Return a short stable hash of JSON-able data."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def stale_fields(changed: set[str], tasks: Mapping[str, Task[Any, Any]]) -> set[str]:
    """Return the fields that were derived, directly or not, from the changed ones."""
    stale: set[str] = set()
    frontier = set(changed)
    while frontier:
        derived = {out for task in tasks.values() if frontier & set(task.inputs) for out in task.outputs}
        frontier = derived - stale - changed
        stale |= frontier
    return stale
