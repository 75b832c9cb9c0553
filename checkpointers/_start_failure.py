"""Why an embedded server did not start, as one line: what its log says, or what its disk does."""

from __future__ import annotations

import errno
import os
import re
import tempfile

_LOG_PREFIX = re.compile(r"^\d+:\w \d+ \w+ \d+ [\d:.]+ \S ")


def start_failure(directory: str, log: str) -> str:
    """Return one line that says why a server ended while it started."""
    if "No space left" in log:
        return disk_reason(OSError(errno.ENOSPC, ""), directory)
    if "Permission denied" in log or "Read-only file system" in log:
        return disk_reason(OSError(errno.EACCES, ""), directory)
    lines = [_LOG_PREFIX.sub("", line.strip()) for line in log.splitlines() if line.strip()]
    # A full disk has no room for the reason either.
    found = "" if lines else _tried(directory)
    reason = lines[-1] if lines else "it gave no reason"
    return found or f"The embedded server in {directory} ended while it started: {reason}"


def _tried(directory: str) -> str:
    """Return why nothing can be written to a directory, or an empty text."""
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(bytes(_TRIED_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return disk_reason(error, directory)
    return ""


_TRIED_BYTES = 65_536
"""More than a server writes while it starts on no data."""


def disk_reason(error: OSError, directory: str) -> str:
    """Return one line about a disk that takes nothing more, an empty text for any other failure."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "its quota is used up" if error.errno == errno.EDQUOT else f"the disk of {directory} is full"
        return f"The embedded server cannot start: {what}. Free some space, or name another directory."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"The embedded server cannot start: {directory} is not writable."
    return ""
