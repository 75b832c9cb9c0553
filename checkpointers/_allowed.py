"""The allow-list: which classes of a program may be rebuilt from the store, and how a record names them.

A record names a class by its module and its qualified name. Only a module that the list names is ever imported, and
only a class that holds data is ever rebuilt: see `_kinds`.
"""

from __future__ import annotations

import builtins
import importlib
import sys
import types
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from langgraph.checkpoint.serde._msgpack import SAFE_MSGPACK_TYPES  # what LangGraph's own serializer always rebuilds
from pydantic import BaseModel

from ._kinds import is_data

AllowedType = type[Any] | tuple[str, ...]
Name: TypeAlias = tuple[str, str]
"""Module and qualified name of a class."""

_LIBRARY: Final = frozenset(
    {
        *((name[0], name[1]) for name in SAFE_MSGPACK_TYPES),
        ("langgraph.store.base", "SearchItem"),
        ("langchain_core.messages.base", "TextAccessor"),  # `message.text` is one
        ("langchain_core.runnables.utils", "AddableDict"),  # what the output of a streamed chain is
        ("langchain_core.documents.base", "Blob"),
        ("langchain_core.prompt_values", "ChatPromptValue"),
        ("langchain_core.prompt_values", "StringPromptValue"),
        ("langchain_core.outputs.generation", "Generation"),
        ("langchain_core.outputs.generation", "GenerationChunk"),
        ("langchain_core.outputs.chat_generation", "ChatGeneration"),
        ("langchain_core.outputs.chat_generation", "ChatGenerationChunk"),
        ("langchain_core.outputs.llm_result", "LLMResult"),
        ("langchain_core.outputs.chat_result", "ChatResult"),
        ("langchain_core.agents", "AgentAction"),
        ("langchain_core.agents", "AgentActionMessageLog"),
        ("langchain_core.agents", "AgentFinish"),
    }
)
"""Classes of LangGraph and LangChain that hold data alone; they are allowed without being named."""


def name_of(cls: type[Any]) -> Name:
    """Return how a record names a class."""
    return cls.__module__, cls.__qualname__


class AllowList:
    """The classes that a saver may rebuild; those of a longer list are beside the ones of the list that it extends.

    An allowed class brings the classes of its fields, its nested classes, and the subclasses of all these that are
    defined in the same module.
    """

    def __init__(self, allow: Iterable[Any] = (), extends: AllowList | None = None) -> None:
        self.extends = extends
        self.names: set[tuple[str, ...]] = set()
        self._modules: set[str] = set()
        self._classes: dict[Name, type[Any]] = {}
        self._found: dict[Name, type[Any]] = {}
        """What names led to before, which they may not do any more."""
        self.add(allow)

    def add(self, allow: Iterable[Any]) -> None:
        """Allow more: classes, annotations that mention some, and `(module, name)` of others."""
        for entry in allow:
            if isinstance(entry, tuple):
                self.names.add(tuple(entry))
                self._modules.add(entry[0])
            else:
                for cls in classes_in(entry):
                    self._add(cls)
                if isinstance(entry, type) and entry.__module__ != "builtins":
                    self._add(entry)

    def _add(self, cls: type[Any]) -> None:
        name = name_of(cls)
        # By its bare name too, which is what LangGraph's own serializer stores and passes.
        self.names |= {name, (cls.__module__, cls.__name__)}
        self._modules.add(cls.__module__)
        self._classes[name] = cls

    def _lists(self) -> Iterator[AllowList]:
        at: AllowList | None = self
        while at is not None:
            yield at
            at = at.extends

    def has(self, module: str, name: str) -> bool:
        """Tell whether a class is allowed by its name, by its bare name, or as part of an allowed one."""
        if module == "builtins":
            found = getattr(builtins, name, None)
            return isinstance(found, type) and issubclass(found, BaseException)
        parts = name.split(".")
        asked = {(module, name), (module, parts[-1]), *((module, ".".join(parts[:n])) for n in range(1, len(parts)))}
        return not asked.isdisjoint(_LIBRARY) or any(not asked.isdisjoint(one.names) for one in self._lists())

    def allows(self, cls: type[Any]) -> bool:
        """Tell whether a class may be rebuilt."""
        return any(
            self.has(*name_of(base))
            for base in cls.__mro__
            if base is cls or (base.__module__ == cls.__module__ and is_data(base))
        )

    def find(self, module: str, name: str) -> type[Any] | None:
        """Return the allowed class of data that a record names; None when there is none."""
        known = self._found.get((module, name))
        if known is not None and importable(module, name, load=False) is known:
            return known
        if not self.has(module, name) and not any(module in one._modules for one in self._lists()):  # noqa: SLF001
            return None
        cls = self._resolve(module, name)
        if cls is None or not is_data(cls) or not (self.has(module, name) or self.allows(cls)):
            return None
        self._found[module, name] = cls
        return cls

    def _resolve(self, module: str, name: str) -> type[Any] | None:
        found = importable(module, name, load=True)
        if found is None:
            # Defined in a function, or under another name than its own.
            given = (one._classes.get((module, name)) for one in self._lists())  # noqa: SLF001 - lists of one kind
            found = next((cls for cls in given if cls is not None), None)
        return found

    def __contains__(self, key: object) -> bool:
        """Tell whether LangGraph's serializer may build what an old record names."""
        if not isinstance(key, tuple) or len(key) != 2:
            return False
        if key in _LIBRARY:
            return True
        if not any(key in one.names for one in self._lists()):
            return False
        found = importable(*key, load=True)
        return found is not None and is_data(found)


class AnyClass(AllowList):
    """Allows every class that is there: to find out whether allowing one would help. Nothing is ever read with it."""

    def allows(self, cls: type[Any]) -> bool:
        """Allow it, and have it found."""
        self._classes[name_of(cls)] = cls
        return True

    def find(self, module: str, name: str) -> type[Any] | None:
        """Return the class as it was met."""
        return self._classes.get((module, name))


def importable(module: str, name: str, *, load: bool) -> type[Any] | None:
    """Return the class that a module holds under a qualified name; `load` imports the module when it is not yet."""
    found: Any = sys.modules.get(module)
    if found is None and load:
        try:
            found = importlib.import_module(module)
        except Exception:
            return None
    first, *rest = name.split(".")
    found = getattr(found, first, None)
    for part in rest:
        found = vars(found).get(part) if isinstance(found, type) else None
    return found if isinstance(found, type) else None


def type_names(allow: Collection[AllowedType]) -> set[tuple[str, ...]]:
    """Return `(module, name)` of the given classes and of every class that their fields mention."""
    return AllowList(allow).names


def classes_in(annotation: Any) -> Iterable[type[Any]]:
    """Return the classes of data that an annotation mentions, and those that their fields mention in turn."""
    found: dict[type[Any], None] = {}
    _collect(annotation, found, set())
    return [cls for cls in found if is_data(cls)]


def _collect(annotation: Any, found: dict[type[Any], None], seen: set[int]) -> None:
    if not isinstance(annotation, type) or isinstance(annotation, types.GenericAlias):
        if id(annotation) not in seen:
            seen.add(id(annotation))
            for part in _parts_of(annotation):
                _collect(part, found, seen)
    elif annotation.__module__ != "builtins" and annotation not in found:
        found[annotation] = None
        generic = getattr(annotation, "__pydantic_generic_metadata__", None) or {}
        for part in (generic.get("origin"), *generic.get("args", ()), *_hints_of(annotation)):
            _collect(part, found, seen)


def _parts_of(annotation: Any) -> Iterable[Any]:
    """Return what an annotation that is no class is made of: its arguments and origin, what it is a name for."""
    parts = [part for part in get_args(annotation) if not isinstance(part, (str, int, bytes))]
    if isinstance(annotation, TypeVar):
        parts += [annotation.__bound__, *annotation.__constraints__]
    named = (getattr(annotation, "__supertype__", None), getattr(annotation, "__value__", None))
    return [*parts, get_origin(annotation), *named]


def _hints_of(cls: type[Any]) -> Iterable[Any]:
    """Return the annotations of a class's fields, a model's private ones too."""
    if issubclass(cls, BaseModel):
        hints = [field.annotation for field in cls.__pydantic_fields__.values()]
        private = cls.__private_attributes__
        return [*hints, *(hint for name, hint in _resolved(cls).items() if name in private)] if private else hints
    if isinstance(fields := getattr(cls, "__fields__", None), dict):
        return [getattr(field, "outer_type_", None) for field in fields.values()]
    marks = ("__dataclass_fields__", "_fields", "__total__", "__attrs_attrs__")
    return _resolved(cls).values() if any(hasattr(cls, mark) for mark in marks) else ()


def _resolved(cls: type[Any]) -> dict[str, Any]:
    with suppress(Exception):  # an annotation is any expression
        return get_type_hints(cls, localns=dict(vars(cls)))
    # A name that is imported for type checkers alone must not hide the others.
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, annotation in vars(base).get("__annotations__", {}).items():
            alone = type("alone", (), {"__annotations__": {name: annotation}, "__module__": base.__module__})
            with suppress(Exception):
                hints |= get_type_hints(alone, localns=dict(vars(base)))
    return hints
