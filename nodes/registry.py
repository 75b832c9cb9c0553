"""Plain functions as tasks: what they need is read from their signature, what they give from its return type.

    def title(text: str) -> str: ...
    def tags(text: str, title: str = "") -> list[str]: ...

`tags` needs the field `text` of the input, and takes what `title` gave; a parameter with a default may be missing.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, create_model

from nodes.bridge import in_thread
from nodes.call import Call
from nodes.errors import InvalidOutput
from nodes.gate import Check
from nodes.policy import Policy
from nodes.task import Task
from state import Checked, RunState
from state.forms import form, required_of

CALL: Final = "call"
"""Name of the parameter that takes the guarded call; a function without it is not given one."""


@dataclass(frozen=True)
class Work:
    """One function of a pattern with its policy."""

    name: str
    task: Task[Any, Any]
    policy: Policy
    kind: Any
    """Type of what it gives."""
    needs: tuple[str, ...]
    """Names that have to be there: fields of the input, or other works."""
    takes: tuple[str, ...]
    """Names that it takes where they are there."""


def work(
    function: Callable[..., Any] | Task[Any, Any],
    *,
    name: str = "",
    fallback: Sequence[Callable[..., Any] | str] = (),
    checks: Sequence[Check] = (),
    version: str = "1",
    **policy: Any,
) -> Work:
    """Register a function; `policy` takes the fields of `Policy`, such as `retries=2, timeout=20, max_cost=0.01`.

    `fallback` lists other functions to try once it is exhausted, or `"provider:model"` to be called again with that in
    `call.provider` and `call.model_name`. `checks` judge its output as text, against its inputs: a violation is an
    attempt that failed, and the next one is told in `call.feedback`.
    A `Task` is taken with its providers; it writes one field, of its own name, and its ladder names providers.
    Raises `ValueError` for a function whose signature does not say what it needs.
    """
    if isinstance(function, Task):
        return _work_of(function, Policy(**{"fallback": tuple(fallback)} | policy))
    name = name or getattr(function, "__name__", "")
    if not name.isidentifier() or name == CALL:
        raise ValueError(f"work: a function needs a name that can be a field, got {name!r}; pass name=...")
    needs, takes, hints = _signature(function, name)
    kind = hints.get("return", Any)
    given = _model(
        f"{name}_in", needs={n: hints.get(n, Any) for n in needs}, takes={n: hints.get(n, Any) for n in takes}
    )
    output = _model(f"{name}_out", needs={name: kind}, takes={})
    functions = {name: function}
    for other in fallback:
        key = other.partition(":")[0] if isinstance(other, str) else other.__name__
        functions[key] = function if isinstance(other, str) else other
        if not isinstance(other, str):
            _check_fallback(other, {*needs, *takes}, name)
    providers = {key: _provider(name, one, tuple(checks)) for key, one in functions.items()}
    ladder = tuple(other if isinstance(other, str) else other.__name__ for other in fallback)
    task: Task[Any, Any] = Task(name=name, input=given, output=output, providers=providers, first=name, version=version)
    return Work(name, task, Policy(**{"fallback": ladder} | policy), kind, needs, takes)


def _work_of(task: Task[Any, Any], policy: Policy) -> Work:
    if task.outputs != (task.name,):
        raise ValueError(f"work: task {task.name!r} has to write one field of its own name, it writes {task.outputs}")
    fields = task.input.model_fields
    needs = tuple(name for name, field in fields.items() if field.is_required())
    info = task.output.model_fields[task.name]
    kind = Annotated[info.annotation, info] if info.metadata else info.annotation
    return Work(task.name, task, policy, kind, needs, tuple(name for name in fields if name not in needs))


def levels(works: Sequence[Work], inputs: Iterable[str]) -> list[list[Work]]:
    """Sort works into levels: those of one run side by side, after those of the levels before.

    Raises `ValueError` for two of one name, for a name that nothing gives, and for a cycle, which it names.
    """
    known, by_name = set(inputs), {one.name: one for one in works}
    if len(by_name) < len(works):
        names = [one.name for one in works]
        raise ValueError(f"two works are called {next(n for n in names if names.count(n) > 1)!r}")
    if taken := sorted(known & by_name.keys()):
        raise ValueError(f"{taken[0]!r} is a field of the input and a work: give one of them another name")
    for one in works:
        for need in (*one.needs, *one.takes):
            if need not in known and need not in by_name:
                there = ", ".join(sorted(known | by_name.keys()))
                raise ValueError(f"{one.name!r} needs {need!r}, which nothing gives; there are: {there}")
    order = TopologicalSorter({one.name: {n for n in (*one.needs, *one.takes) if n in by_name} for one in works})
    try:
        order.prepare()
    except CycleError as error:
        raise ValueError(f"works wait for each other: {' -> '.join(reversed(error.args[1]))}") from None
    found = []
    while order.is_active():
        ready = order.get_ready()
        found.append([by_name[name] for name in ready])
        order.done(*ready)
    return found


def schemas_of(name: str, given: type[BaseModel], works: Sequence[Work]) -> tuple[type[RunState], type[BaseModel]]:
    """Return the state of a pattern and the schema of its input: each field with the channel that checks it.

    Raises `ValueError` for a field or a work with the name of a field that every run has.
    """
    if taken := sorted((given.model_fields.keys() | {one.name for one in works}) & RunState.model_fields.keys()):
        raise ValueError(f"{taken[0]!r} is a field of every run: give the input or the work another name")
    asked, asked_form = asked_fields(given)
    made: dict[str, Any] = {one.name: checked_field(one.kind) for one in works}
    title = name.title().replace("_", "")
    return create_model(f"{title}State", __base__=RunState, **(asked | made)), create_model(
        f"{title}Input", __config__=asked_form, **asked
    )


def asked_fields(given: type[BaseModel]) -> tuple[dict[str, Any], ConfigDict]:
    """Return the fields of an input for `create_model`, and the configuration that makes its JSON schema a form."""
    fields = {name: checked_field(info.annotation, info.description) for name, info in given.model_fields.items()}
    return fields, form(*required_of(given))


def checked_field(kind: Any, description: str | None = None) -> tuple[Any, Any]:
    """Return a field for `create_model` whose channel checks each update; it is None until it is written."""
    return Annotated[kind | None, Checked], Field(default=None, description=description)


def _signature(function: Callable[..., Any], name: str) -> tuple[tuple[str, ...], tuple[str, ...], dict[str, Any]]:
    needs: list[str] = []
    takes: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise ValueError(f"work {name!r}: {parameter} does not say what it needs; name each input as a parameter")
        if parameter.name != CALL:
            (needs if parameter.default is parameter.empty else takes).append(parameter.name)
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise ValueError(f"work {name!r}: the annotation {error.name!r} is not defined where the function is") from None
    return tuple(needs), tuple(takes), hints


def _model(title: str, needs: Mapping[str, Any], takes: Mapping[str, Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {name: (kind, ...) for name, kind in needs.items()}
    fields |= {name: (kind | None, None) for name, kind in takes.items()}
    config = ConfigDict(arbitrary_types_allowed=True, hide_input_in_errors=True)
    return create_model(title, __config__=config, **fields)


def _check_fallback(function: Callable[..., Any], known: set[str], name: str) -> None:
    needs, _, _ = _signature(function, function.__name__)
    if unknown := sorted(set(needs) - known):
        raise ValueError(
            f"work {name!r}: its fallback {function.__name__!r} needs {unknown[0]!r}, which {name!r} does not"
        )


def _provider(name: str, function: Callable[..., Any], checks: tuple[Check, ...]) -> Any:
    """Return a provider that calls a function with what it takes, by name, and checks what it gives."""
    parameters = inspect.signature(function).parameters

    async def provide(given: BaseModel, call: Call) -> dict[str, Any]:
        there = {field: value for field in type(given).model_fields if (value := getattr(given, field)) is not None}
        named: dict[str, Any] = {field: value for field, value in there.items() if field in parameters}
        if CALL in parameters:
            named[CALL] = call
        called = partial(function, **named)
        value = await called() if inspect.iscoroutinefunction(function) else await in_thread(called)
        if inspect.isawaitable(value):
            value = await value
        await _judge(checks, value, there)
        return {name: value}

    return provide


async def _judge(checks: Sequence[Check], value: Any, there: Mapping[str, Any]) -> None:
    source = "\n".join(str(entry) for entry in there.values())
    for check in checks:
        if (detail := await in_thread(check.run, str(value), source)) is not None:
            raise InvalidOutput(f"{check.name}: {detail}")
