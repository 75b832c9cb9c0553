"""The way back from the msgpack extensions of this package to values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ormsgpack

from ._allowed import AllowList
from ._classes import class_of
from ._kinds import Kind
from ._rebuild import OtherFields, rebuilt
from ._refusals import Found
from ._standard import build_numpy, builder_of
from ._typed import CLASS, FROZENSET, MAP, NUMPY, PLAIN, SET, TUPLE

_Hook = Callable[[int, bytes], Any]


class Reader:
    """Builds the values of extensions; `hook` is what builds those inside of one."""

    def __init__(self, allowed: AllowList, hook: _Hook) -> None:
        self._allowed, self._hook = allowed, hook

    def build(self, code: int, data: bytes, found: list[Found] | None) -> Any:
        """Build one value; a class that may not be rebuilt is put to `found`, and None returned."""
        parts = ormsgpack.unpackb(data, ext_hook=self._hook, option=ormsgpack.OPT_NON_STR_KEYS)
        try:
            return self._made(code, parts, found)
        except Exception:
            if found:
                # Something inside of it may have been refused, which is reported; what is left fits nowhere.
                return None
            raise

    def _made(self, code: int, parts: Any, found: list[Found] | None) -> Any:
        if code == TUPLE:
            return tuple(parts)
        if code >= Kind.MODEL:
            return self._object(code, parts, found)
        if code in (SET, FROZENSET):
            return set(parts) if code == SET else frozenset(parts)
        if code == MAP:
            made = dict(zip(parts[::2], parts[1::2], strict=True))
            if 2 * len(made) != len(parts):
                raise ValueError("a mapping is damaged")
            return made
        if code == PLAIN:
            name, *arguments = parts
            return builder_of(name)(*arguments)
        if code == NUMPY:
            return build_numpy(*parts)
        if code == CLASS:
            return self._class(parts, found)
        raise ValueError("the kind of a value is unknown")

    def _class(self, reference: Any, found: list[Found] | None) -> type[Any] | None:
        cls = class_of(reference, self._allowed)
        if cls is None and found is not None:
            found.append(Found(str(reference[0]), str(reference[1])))
        return cls

    def _object(self, code: int, parts: Any, found: list[Found] | None) -> Any:
        reference, *rest = parts
        cls = self._class(reference, found)
        if cls is None:
            return None
        try:
            return rebuilt(cls, code, rest)
        except OtherFields as error:
            if found is None:
                raise ValueError(str(error)) from error
            found.append(Found(str(reference[0]), str(reference[1]), str(error)))
            return None
