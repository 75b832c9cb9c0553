"""Encryption of what is stored, for servers that others can look into.

AES-256-GCM; each record carries the id of its key, and is bound to its place (thread, namespace, checkpoint or channel
and version), so that no record can be put in the place of another. A checkpoint is bound to its parent, its run and the
version of each channel, a list to the number of its elements, a task's writes to their path and to which there are
(`_sealing`). Channel names, ids, versions and sizes stay readable: the server finds records by them. Once a saver has
keys it refuses what is not encrypted.

Who can write to the server can still take away: whole checkpoints, all writes of a task, a thread, or what was done to
it since some moment. That looks as if it had never been stored.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Final

VARIABLE: Final = "SUREFOOT_CHECKPOINT_KEYS"
"""Keys of the environment: `id:base64` of 32 bytes, separated by commas; the first encrypts, all of them decrypt."""

SEALED: Final = b"e"
_NONCE: Final = 12


class NoKey(ValueError):
    """Bytes are encrypted with a key that is not there."""

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key
        """The id of the key."""


class NotSealed(ValueError):
    """Bytes are not encrypted, and a saver with keys reads nothing that is not."""


class SealBroken(ValueError):
    """Bytes do not open with the key of their id: they were changed, or the key is another than the one that sealed."""

    def __init__(self, message: str, key: str, opened: set[bytes]) -> None:
        super().__init__(message)
        self.key, self._opened = key, opened

    @property
    def proven(self) -> bool:
        """Whether the key has opened anything else by now, which a wrong one never does."""
        return self.key.encode() in self._opened


class Encryption:
    """Keys by id; the first encrypts what is written, all of them decrypt what is read.

    What was changed, cut, exchanged or moved raises `RecordDamaged`. What was taken away as a whole, or put back to an
    earlier state as a whole, is not noticed: the newest checkpoints, all writes of a task, a thread.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Take keys of 32 bytes; raises `ValueError` for any other and for none."""
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise ImportError("encryption of checkpoints needs: pip install 'surefoot[encryption]'") from None
        if not keys:
            raise ValueError("encryption needs at least one key")
        for name, key in keys.items():
            if len(key) != 32 or not 0 < len(name.encode()) < 256:
                raise ValueError(f"the key {name!r} must have 32 bytes, such as os.urandom(32), and an id of 1 to 255")
        self._ciphers = {name.encode(): AESGCM(key) for name, key in keys.items()}
        self._current = next(iter(self._ciphers))
        self._opened: set[bytes] = set()
        """Ids of the keys that have opened something that was stored."""

    @classmethod
    def from_environment(cls, variable: str = VARIABLE) -> Encryption | None:
        """Return the encryption that a variable asks for, None without it; raises `ValueError` for a wrong one."""
        text = os.environ.get(variable, "").strip()
        if not text:
            return None
        keys: dict[str, bytes] = {}
        for number, part in enumerate(text.split(","), 1):
            name, colon, encoded = part.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except ValueError:
                key = b""
            # The text is a secret, so only its place is told.
            if not colon or not key:
                raise ValueError(f"{variable}: entry {number} is not of the form id:base64")
            if name in keys:
                raise ValueError(f"{variable}: entry {number} has the id {name!r} of an earlier one")
            keys[name] = key
        return cls(keys)

    def seal(self, data: bytes, place: bytes) -> bytes:
        """Encrypt a record for its place."""
        nonce = os.urandom(_NONCE)
        head = SEALED + bytes((len(self._current),)) + self._current
        return head + nonce + self._ciphers[self._current].encrypt(nonce, data, head + place)

    def unseal(self, sealed: bytes, place: bytes) -> bytes:
        """Decrypt a record; raises `ValueError` for one that is not encrypted, not ours, or not of this place.

        For one of a key that is not there that is a `NoKey`.
        """
        from cryptography.exceptions import InvalidTag

        if sealed[:1] != SEALED:
            raise NotSealed("it is not encrypted, and this saver reads nothing that is not")
        end = 2 + sealed[1] if len(sealed) > 1 else 2
        head, name = sealed[:end], sealed[2:end]
        if name not in self._ciphers:
            named = name.decode(errors="replace")
            raise NoKey(f"its key {named!r} is not among the keys", named)
        try:
            opened = self._ciphers[name].decrypt(sealed[end : end + _NONCE], sealed[end + _NONCE :], head + place)
        except (InvalidTag, ValueError):
            why = "it was changed, cut off or moved from elsewhere, or its key is another one of the same id"
            why = why if name not in self._opened else "it was changed, cut off or moved from elsewhere"
            raise SealBroken(why, name.decode(errors="replace"), self._opened) from None
        self._opened.add(name)
        return opened


def new_key(name: str = "k1") -> str:
    """Return an entry for the environment with a new random key."""
    return f"{name}:{base64.b64encode(os.urandom(32)).decode()}"
