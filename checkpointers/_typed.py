"""Values with their types: the msgpack extensions of this package.

What msgpack has no type for stands in an extension whose code says what it is. A value is first packed by ormsgpack
alone, which hands over each object that it does not know by its exact type; that is as fast as a serializer that keeps
no types. Only where this is not enough (keys that are no text, bytearrays, broken surrogates) or where something cannot
be stored, the value is walked through in Python, which knows where it is and can say so.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import ormsgpack
from ormsgpack import Ext, packb

from ._classes import ClassNotUsable
from ._refusals import Problem
from ._standard import Unfit

DELTA: Final = 7
"""A snapshot of a delta channel, under the code that LangGraph's serializer uses too."""
TUPLE, SET, FROZENSET, MAP, PLAIN, NUMPY, CLASS = range(16, 23)
"""A tuple; sets; a dict as a list of keys and values in turn; a standard type; numpy's; a class itself."""

FAST: Final = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)
EXACT: Final = FAST | ormsgpack.OPT_NON_STR_KEYS
NATIVE: Final = frozenset({str, int, float, bool, type(None), bytes, list, dict})
"""Types that msgpack has."""
SCALARS: Final = frozenset({str, int, float, bool})
"""Those of them that are a value as a whole, and the most frequent ones."""
_KEYS: Final = frozenset({str, int, float, bool, bytes, type(None)})
"""Types of keys that msgpack has."""


FIELDS: Final = -1
"""As the depth of a part: a dict of an object's fields, shown as attributes in a path."""
Pack = Callable[..., bytes]
"""`pack(part, depth=0)` packs a part of a value. `depth` lists around it are our own, so that no path shows them."""
Encoder = Callable[[Any, Pack], Ext]
Encoders = dict[type[Any], Encoder]


class NotFast(Exception):
    """A value has to be packed the exact way."""


def fast_pack(encoders: Encoders, encoder_of: Callable[[type[Any]], Encoder], *, keys: bool) -> Pack:
    """Return what packs a value by ormsgpack, which asks back for each object that it does not know.

    It raises any error where the exact way is needed: ormsgpack hides what was raised inside. `keys` lets it pack keys
    that are numbers and the like too, for which all dicts are looked into.
    """
    option, encoder_for = EXACT if keys else FAST, encoders.get

    def default(obj: Any) -> Ext:
        return (encoder_for(type(obj)) or encoder_of(type(obj)))(obj, pack)

    def pack(value: Any, depth: int = 0) -> bytes:  # noqa: ARG001 - the exact way uses it
        data = packb(value, default, option)
        # As `may_hold_buffers`, without a call: this is done for each object.
        if keys or b"\xc4" in data or b"\xc5" in data or b"\xc6" in data:
            check_natives(value, keys=keys)
        return data

    return pack


def may_hold_buffers(data: bytes) -> bool:
    """Tell whether bytes have a marker of msgpack's binary types, or a byte of a text or number that looks like it."""
    return b"\xc4" in data or b"\xc5" in data or b"\xc6" in data


def check_natives(value: Any, *, keys: bool = False, plain: bool = False) -> None:
    """Raise `NotFast` when the lists and dicts of a value hold what ormsgpack packs as another type.

    That is bytearrays and the like, and with `keys` keys of other types than msgpack has. `plain` says that it holds
    nothing but what ormsgpack packs by itself.
    """
    level = value if type(value) is list else [value]
    while level:
        if plain and _are_numbers(level):
            return
        kinds = set(map(type, level))
        if not kinds.isdisjoint(_AS_BYTES):
            raise NotFast
        if kinds.isdisjoint(_CONTAINERS):
            return
        containers = [one for one in level if type(one) is list or type(one) is dict]
        if keys and not all(_KEYS.issuperset(map(type, one)) for one in containers if type(one) is dict):
            raise NotFast
        level = gc.get_referents(*containers)


def _are_numbers(values: list[Any]) -> bool:
    """Tell whether a list holds numbers alone, which add up where the others cannot be added. Embeddings are long."""
    if not values or type(values[0]) not in (float, int):
        return False
    try:
        sum(values)
    except TypeError:
        return False
    return True


_AS_BYTES: Final = frozenset({bytearray, memoryview, Ext, ormsgpack.Fragment})
_CONTAINERS: Final = frozenset({list, dict})


class Exact:
    """One value on its way to bytes, walked through in Python; `problems` says what cannot be stored."""

    def __init__(
        self, encoder_of: Callable[[type[Any]], Encoder], any_encoder_of: Callable[[type[Any]], Encoder]
    ) -> None:
        self._encoder_of, self._any_encoder_of = encoder_of, any_encoder_of
        self._path: list[str] = []
        self._hidden = 0
        self.typed = False
        self.problems: list[Problem] = []

    def pack(self, value: Any, depth: int = 0) -> bytes:
        """Pack a part; what cannot be stored is noted and left out."""
        before, self._hidden = self._hidden, max(depth, 0)
        try:
            return _packed(self._fields(value) if depth == FIELDS else self._exact(value))
        finally:
            self._hidden = before

    def _fields(self, value: dict[str, Any]) -> Any:
        return {name: self._at(f".{name}", part) for name, part in value.items()}

    def _at(self, step: str, value: Any) -> Any:
        if self._hidden:
            step, self._hidden, hidden = "", self._hidden - 1, True
        else:
            hidden = False
        self._path.append(step)
        try:
            return self._exact(value)
        finally:
            self._path.pop()
            self._hidden += hidden

    def _exact(self, value: Any) -> Any:
        kind = type(value)
        if kind is list:
            return [self._at(f"[{at}]", part) for at, part in enumerate(value)]
        if kind is dict:
            return self._dict(value)
        if kind in (float, bool, bytes, type(None)) or (kind is int and -(2**63) <= value < 2**64):
            return value
        if kind is str and _is_text(value):
            return value
        self.typed = True
        hidden, self._hidden = self._hidden, 0
        path = "".join(self._path)
        try:
            return self._encoder_of(kind)(value, self.pack)
        except ClassNotUsable as error:
            named = error.cls if error.not_allowed else kind
            self.problems.append(Problem(path, named, str(error), not_allowed=error.not_allowed))
            if error.not_allowed and error.cls is kind:
                # Would it help to allow the class? Not where it holds what cannot be stored.
                self._look_into(value)
        except Unfit as error:
            self.problems.append(Problem(path, kind, error.reason, error.advice))
        except RecursionError:
            raise
        except Exception as error:
            self.problems.append(Problem(path, kind, f"it cannot be looked into ({type(error).__name__})"))
        finally:
            self._hidden = hidden
        return None

    def _look_into(self, value: Any) -> None:
        with suppress(ClassNotUsable, Unfit):
            self._any_encoder_of(type(value))(value, self.pack)

    def _dict(self, value: dict[Any, Any]) -> Any:
        if all(type(key) in _KEYS and _is_native(key) for key in value):
            return {key: self._at(f"[{key!r}]", part) for key, part in value.items()}
        self.typed = True
        flat = []
        for key, part in value.items():
            flat += [self._at("{a key}", key), self._at(f"[{_shown(key)}]", part)]
        return Ext(MAP, _packed(flat))


def _packed(tree: Any) -> bytes:
    try:
        return packb(tree, option=EXACT)
    except TypeError:
        # All that is in it can be packed; what is left is a depth that ormsgpack does not go to.
        raise RecursionError from None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_native(key: Any) -> bool:
    return _is_text(key) if type(key) is str else type(key) is not int or -(2**63) <= key < 2**64


def _shown(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 40 else f"{text[:37]}..."
