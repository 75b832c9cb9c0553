"""References to classes: what a record says of the class of an object, and the way back.

`[module, qualified name]`; a parametrized generic model has the list of its arguments as a third part.
"""

from __future__ import annotations

import functools
import operator
import types
import typing
from typing import Any

from pydantic import BaseModel

from ._allowed import AllowList, importable, name_of
from ._kinds import is_data
from ._standard import PLAIN_CLASSES

Reference = list[Any]


class ClassNotUsable(Exception):
    """Objects of a class cannot be stored, because they could not be read back."""

    def __init__(self, cls: type[Any], reason: str = "", *, not_allowed: bool = False) -> None:
        super().__init__(reason or "that is nothing that can be rebuilt from data")
        self.cls = cls
        self.not_allowed = not_allowed
        """Whether it helps to name the class in the allow-list."""


def reference_of(cls: type[Any], allowed: AllowList, *, plain: bool = False) -> Reference:
    """Return the reference of an allowed class, with `plain` of a standard one too.

    Raises `ClassNotUsable` when the reference would not lead back to the class.
    """
    if plain and PLAIN_CLASSES.get(name_of(cls)) is cls:
        return list(name_of(cls))
    if not is_data(cls):
        raise ClassNotUsable(cls, f"{cls.__qualname__} is no class of data")
    generic = getattr(cls, "__pydantic_generic_metadata__", None) or {}
    if generic.get("origin") is not None:
        reference = reference_of(generic["origin"], allowed)
        # Allowed by its origin: its own module is wherever it was given its arguments first.
        reference.append([_argument_of(argument, allowed) for argument in generic["args"]])
    elif allowed.allows(cls):
        reference = list(name_of(cls))
    else:
        raise ClassNotUsable(cls, "its class is not allowed, so that it could not be read back", not_allowed=True)
    if class_of(reference, allowed) is not cls:
        raise ClassNotUsable(cls, _why_lost(cls), not_allowed="<locals>" in cls.__qualname__)
    return reference


def _why_lost(cls: type[Any]) -> str:
    module, name = name_of(cls)
    if "<locals>" in name:
        return "its class is defined inside of a function, where no other process finds it"
    if importable(module, name, load=False) is None:
        return f"its class is not {name} of the module {module}, where it would be looked for"
    return f"{module}.{name} is another class by now (the module was loaded or run again)"


def class_of(reference: Reference, allowed: AllowList) -> type[Any] | None:
    """Return the class that a reference means; None when it is not allowed or not there."""
    module, name, *arguments = reference
    if (plain := PLAIN_CLASSES.get((module, name))) is not None:
        return plain
    cls = allowed.find(module, name)
    if cls is None or not arguments:
        return cls
    if not issubclass(cls, BaseModel):
        return None
    given = [_argument(argument, allowed) for argument in arguments[0]]
    if any(argument is _UNKNOWN for argument in given):
        return None
    found: Any = cls.__class_getitem__(tuple(given))
    return found if isinstance(found, type) else None


_UNKNOWN = object()


def _argument_of(argument: Any, allowed: AllowList) -> Any:
    """Return how an argument of a generic class is stored: a reference, or a dict of an origin with arguments."""
    if argument is Any:
        return "Any"
    if argument is None:
        argument = type(None)
    if isinstance(argument, type) and not isinstance(argument, types.GenericAlias):
        return reference_of(argument, allowed, plain=True)
    origin = typing.get_origin(argument)
    inner = [_argument_of(part, allowed) for part in typing.get_args(argument) if part is not ...]
    if origin in (typing.Union, types.UnionType):
        # They are the same, but pydantic makes a class of its own for each.
        return {"union" if origin is typing.Union else "or": inner}
    if origin is type:
        return {"type": inner}
    if isinstance(origin, type) and ... not in typing.get_args(argument):
        return {"of": reference_of(origin, allowed, plain=True), "arguments": inner}
    raise ClassNotUsable(object, f"the argument {argument!r} of a generic class cannot be stored")


def _argument(stored: Any, allowed: AllowList) -> Any:
    if stored == "Any":
        return Any
    if isinstance(stored, list):
        return class_of(stored, allowed) or _UNKNOWN
    if isinstance(stored, dict):
        how, parts = next((how, stored[how]) for how in ("union", "or", "type", "arguments") if how in stored)
        inner = tuple(_argument(part, allowed) for part in parts)
        if _UNKNOWN in inner:
            return _UNKNOWN
        if how == "union":
            return typing.Union[inner]  # noqa: UP007 - of a tuple
        if how == "or":
            return functools.reduce(operator.or_, inner)
        origin: Any = type if how == "type" else class_of(stored["of"], allowed)
        return _UNKNOWN if origin is None else origin[inner]
    return _UNKNOWN
