"""Feedback for LangSmith, sent by a thread of its own: its client waits for an answer to each."""

from __future__ import annotations

import atexit
import logging
import queue
import threading
import time
import warnings
from typing import Any, Final

QUEUED: Final = 1_000
"""Most pieces of feedback that wait; more is dropped, because a run must not wait for its trace."""
PAUSE_S: Final = 30.0
"""Seconds in which nothing is tried after a failure."""
FLUSH_S: Final = 2.0
"""Longest wait at the end of the process, in seconds."""
_log = logging.getLogger("surefoot.tracing")


class FeedbackSender:
    """Sends feedback in the background, as often as an endpoint takes it; never raises and never blocks."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self._waiting: queue.Queue[dict[str, Any]] = queue.Queue(QUEUED)
        self._pause_until = 0.0
        self._thread = threading.Thread(target=self._send_all, name="surefoot-feedback", daemon=True)
        self._thread.start()
        atexit.register(self.flush)

    def put(self, **feedback: Any) -> None:
        """Queue the arguments of `langsmith.Client.create_feedback`."""
        if time.monotonic() < self._pause_until:
            return
        try:
            self._waiting.put_nowait(feedback)
        except queue.Full:
            self._gave_up("the queue is full")

    def flush(self, timeout_s: float = FLUSH_S) -> None:
        """Wait until all is sent, or has failed, or the seconds are over."""
        end = time.monotonic() + timeout_s
        while self._waiting.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)

    def _send_all(self) -> None:
        while True:
            feedback = self._waiting.get()
            try:
                if time.monotonic() >= self._pause_until:
                    self._send(feedback)
            except Exception as error:
                self._gave_up(type(error).__name__)
            finally:
                self._waiting.task_done()

    def _send(self, feedback: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            # It asks for the id of the project, which takes another request; the id of the run is enough.
            warnings.simplefilter("ignore")
            self.client.create_feedback(**feedback, stop_after_attempt=1)

    def _gave_up(self, why: str) -> None:
        if time.monotonic() >= self._pause_until:
            _log.warning("feedback does not reach LangSmith (%s): none is sent for %d s", why, PAUSE_S)
        self._pause_until = time.monotonic() + PAUSE_S
