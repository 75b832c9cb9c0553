"""Errors of the front door."""

from __future__ import annotations

from nodes.errors import SurefootError


class UsageError(SurefootError):
    """What was asked for makes no sense as it is: an unknown pipeline or thread, an unreadable file, a wrong option."""


class Refused(SurefootError):
    """The id of an item was run before with another content."""


class ThreadBusy(SurefootError):
    """Another process is working on the thread right now."""


def taken_over(thread: str) -> ThreadBusy:
    """Return the error of a process that was frozen for so long that another one went on with its thread."""
    return ThreadBusy(
        f"thread {thread} was taken over by another process while this one was frozen; that one's result counts"
    )
