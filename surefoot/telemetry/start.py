"""Starting what the settings ask for, once in a process."""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack

from nodes.errors import ConfigurationError
from nodes.events import listening
from surefoot.settings import Settings, settings
from surefoot.telemetry.queue import EventQueue, Subscriber

_log = logging.getLogger("surefoot.telemetry")
_lock = threading.Lock()
_started = False


def start_telemetry() -> None:
    """Start logs and metrics as the settings say; the second call in a process does nothing.

    Where the extra `telemetry` is missing a warning says so and the run goes on without. Raises `ConfigurationError`
    when the port is taken.
    """
    global _started  # noqa: PLW0603 - one telemetry for the process
    with _lock:
        wanted = settings()
        if _started or (wanted.log_level == "off" and wanted.metrics_port is None):
            return
        stop = _start(wanted)
        atexit.register(stop)
        _started = True


def _start(wanted: Settings) -> Callable[[], None]:
    subscribers: list[Subscriber] = []
    stack = ExitStack()
    try:
        if wanted.log_level != "off":
            from surefoot.telemetry.logs import log_to

            subscribers.append(log_to(level=wanted.log_level, form=wanted.log_format))
        if wanted.metrics_port is not None:
            subscribers.append(_serve(wanted.metrics_host, wanted.metrics_port, stack))
    except ImportError as error:
        stack.close()
        _log.warning(
            "telemetry is off, %s is missing: pip install 'surefoot[telemetry]', or unset SUREFOOT_LOG_LEVEL and "
            "SUREFOOT_METRICS_PORT",
            error.name,
        )
        return stack.close
    queue = EventQueue(*subscribers)
    stack.callback(queue.close)
    stack.enter_context(listening(queue))
    return stack.close


def _serve(host: str, port: int, stack: ExitStack) -> Subscriber:
    from prometheus_client import start_http_server

    from surefoot.telemetry.metrics import Metrics

    metrics = Metrics()
    try:
        server, _thread = start_http_server(port, addr=host, registry=metrics.registry)
    except OSError as error:
        raise ConfigurationError(
            f"SUREFOOT_METRICS_PORT: {host}:{port} cannot be served ({error.strerror}): choose another port"
        ) from None
    stack.callback(server.shutdown)
    return metrics.subscriber()
