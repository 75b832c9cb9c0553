"""What a saver raises.

Every operation either does its work or raises one of these; none of them answers with `None` or an empty list because
the server could not be asked.

    SaverError                    (a RuntimeError)
    ├── SaverUnavailable          the server cannot do its work
    │   ├── SaverUnreachable      it cannot be reached, or does not answer in time (a ConnectionError)
    │   ├── SaverDenied           it refuses the password, the user or the command
    │   ├── SaverFull             it answers but cannot store (disk or memory full, read-only replica)
    │   └── EmbeddedUnavailable   the private server cannot be started (no binary, unusable directory)
    ├── ThreadFormatUnknown       the thread was written in a format this version does not know
    ├── ThreadConflict            what is stored already stands against it: nothing was changed
    ├── LeaseLost                 the lease has expired, and somebody else has taken it since: nothing was written
    ├── RecordDamaged             a stored record was changed, cut off, or is not encrypted as it has to be
    │   ├── KeyMissing            it is encrypted, and its key is not among those that the saver has
    │   └── RecordTooLarge        it takes more memory unpacked than a value may
    ├── TypeNotAllowed            a stored type is not in the allow-list, or can no longer be rebuilt
    ├── ValueNotStorable          a value cannot be written in a form that is safe to read back
    ├── UnsupportedUrl            the URL is of no known form (also a ValueError)
    └── WrongLoop                 an async saver is used from a place where it cannot work

The built-in bases tell retry policies what to do. LangGraph's default one (`default_retry_on`) runs a node again after
a `ConnectionError`, and not after a `RuntimeError`: so a node with paid calls runs once where trying again cannot help,
and again after an outage.

Messages never contain a password.
"""

from __future__ import annotations


class SaverError(RuntimeError):
    """Base of everything a saver raises on its own account."""


class SaverUnavailable(SaverError):
    """The server cannot do its work."""


class SaverUnreachable(SaverUnavailable, ConnectionError):
    """The server cannot be reached, or does not answer in time; the same operation may succeed later."""


class SaverDenied(SaverUnavailable):
    """The server refuses the password, the user or the command."""


class SaverFull(SaverUnavailable):
    """The server answers but cannot store: disk or memory full, or a read-only replica."""


class EmbeddedUnavailable(SaverUnavailable):
    """The private server cannot be started: no binary for this platform, or a directory that cannot be used."""


class ThreadFormatUnknown(SaverError):
    """The thread was written in a format that this version of the package does not know."""

    def __init__(self, message: str, found: str = "") -> None:
        super().__init__(message)
        self.format = found
        """The format of the thread."""


class ThreadConflict(SaverError):
    """What is stored already stands against the operation, and nothing was changed.

    The target of a copy, or of what is put back, holds something else or is at work; a checkpoint would become its own
    ancestor; what was to be deleted is needed to rebuild the values of what stays.
    """


class LeaseLost(SaverError):
    """Another worker has taken the thread since this one took its lease, or may have, so nothing was written."""


class RecordDamaged(SaverError):
    """A stored record cannot be read: changed, cut off, moved, or not encrypted as this saver demands."""


class KeyMissing(RecordDamaged):
    """A stored record is encrypted with a key that the saver does not have."""


class RecordTooLarge(RecordDamaged):
    """A stored record takes more memory unpacked than a value may take: `SUREFOOT_MAX_VALUE_BYTES`."""


class TypeNotAllowed(SaverError):
    """A stored type is not in the allow-list, or can no longer be rebuilt from what is stored."""


class ValueNotStorable(SaverError):
    """A value cannot be written in a form that is safe to read back."""


class UnsupportedUrl(SaverError, ValueError):
    """The URL is of no form that the package knows."""


class WrongLoop(SaverError):
    """An async saver is used from an event loop or a thread where it cannot work."""
