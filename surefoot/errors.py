"""Errors of the front door."""

from __future__ import annotations

from nodes.errors import SurefootError


class UsageError(SurefootError):
    """What was asked for makes no sense as it is: an unknown pipeline or thread, an unreadable file, a wrong option."""


class ThreadBusy(SurefootError):
    """Another process is working on the thread right now."""
