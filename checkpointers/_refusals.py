"""What is said of a value that is not stored or not rebuilt: what it is, and the one thing that helps."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from ._allowed import importable
from ._kinds import is_data
from .errors import ValueNotStorable


class Problem(NamedTuple):
    """A part of a value that cannot be stored."""

    path: str
    """Where it is in the value, such as `['steps'][1].owner`; empty for the value itself."""
    cls: type[Any]
    reason: str
    advice: str = ""
    """What to do about it; empty for what is true of all that is no data."""
    not_allowed: bool = False
    """Whether it helps to name the class in the allow-list."""


class Found(NamedTuple):
    """A class that a record names and that was not rebuilt."""

    module: str
    name: str
    reason: str = ""
    """Why not, when it is allowed."""


_NO_DATA: Final = (
    "Store what it is made from instead: plain data, a dataclass or a pydantic model of it; make the object itself "
    "where it is used"
)


def refused_writing(problems: Sequence[Problem]) -> ValueNotStorable:
    """Return the error of a value that cannot be stored; it names the first part and the line for all classes."""
    # A class that is not allowed comes after what no list helps with.
    first = min(problems, key=lambda problem: problem.not_allowed)
    where = f"at {first.path} it holds" if first.path else "it is"
    text = f"{where} {_article(first.cls)}, and {first.reason}."
    more = len({problem.path for problem in problems if problem.not_allowed == first.not_allowed}) - 1
    if more:
        text += f" The same value has {more} more such part{'s' if more > 1 else ''}."
    if first.not_allowed:
        names = [(one.cls.__module__, one.cls.__qualname__) for one in problems if one.not_allowed]
        return ValueNotStorable(f"{text} Pass the class when the saver is made: {allow_line(names)}")
    return ValueNotStorable(f"{text} {first.advice or _NO_DATA}.")


def _article(cls: type[Any]) -> str:
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def allow_line(names: Iterable[tuple[str, str]]) -> str:
    """Return the line that allows classes, with the imports that it needs."""
    listed = sorted({(module, name.rpartition("<locals>.")[2].partition("[")[0]) for module, name in names})
    local = {name.rpartition("<locals>.")[2] for _module, name in names if "<locals>" in name}
    line = f"RedisSaver.from_url(url, allow=[{', '.join(name for _module, name in listed)}])"
    imports = dict.fromkeys(
        f"from {module} import {name.partition('.')[0]}"
        for module, name in listed
        if module != "__main__" and name not in local
    )
    return line + (f"  # {'; '.join(imports)}" if imports else "")


def refused_reading(found: Sequence[Found]) -> str:
    """Return what to say of classes that a record names and that were not rebuilt.

    A record may name anything, when another program wrote it: only classes of data are ever offered to be allowed.
    """
    unknown, helped, texts = False, [], []
    for one in sorted(set(found)):
        cls = importable(one.module, one.name, load=False) if _is_name(one) else None
        full = f"{one.module}.{one.name}"
        if one.reason:
            texts.append(
                f"{full}: {one.reason}. Keep its old fields, give new ones a default, or let the class take both forms"
            )
        elif cls is not None and is_data(cls):
            helped.append(one)
        elif "<locals>" in one.name and one.module in sys.modules and _is_name(one):
            texts.append(
                f"{full}, a class that is defined inside of a function: define it at the top level of its module, or "
                "pass the class itself in allow="
            )
        elif cls is None and _may_be_gone(one):
            texts.append(
                f"{full}, which is not there now: import its module if it is yours, keep the old name importable if "
                "it was renamed or moved, and pass the class in allow="
            )
        else:
            unknown = True
    if helped:
        names = ", ".join(f"{one.module}.{one.name}" for one in helped)
        line = allow_line([(one.module, one.name) for one in helped])
        texts.insert(0, f"{names}. Pass the class when the saver is made: {line}")
    if unknown:
        texts.append(
            "something that is no class of data. No saver stores that: the record was changed, and nothing in it "
            "should be trusted. `quarantine` puts the thread aside"
        )
    return f"The checkpoint holds a type that may not be rebuilt: {'; and '.join(texts)}"


def _is_name(one: Found) -> bool:
    parts = (*one.module.split("."), *one.name.partition("[")[0].split("."))
    return all(part.isidentifier() or part == "<locals>" for part in parts)


def _may_be_gone(one: Found) -> bool:
    """Tell whether a name that leads to no class now may have been one of a program's own."""
    if not _is_name(one) or one.module.partition(".")[0] in {*sys.stdlib_module_names, *sys.builtin_module_names}:
        return False
    loaded: Any = sys.modules.get(one.module)
    return loaded is None or not hasattr(loaded, one.name.partition(".")[0])
