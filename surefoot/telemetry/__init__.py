"""What runs tell while they run: structured logs and Prometheus metrics, both fed by the events of the nodes.

Off by default. `SUREFOOT_LOG_LEVEL=info` logs to stderr (`SUREFOOT_LOG_FORMAT=console` or `json`);
`SUREFOOT_METRICS_PORT=9464` serves metrics on the loopback interface. Needs the extra `telemetry`. Nothing here can
hurt a run: events are handed over through a bounded queue, and what fails is counted and dropped.
"""

from surefoot.telemetry.queue import EventQueue
from surefoot.telemetry.start import start_telemetry

__all__ = ["EventQueue", "start_telemetry"]
