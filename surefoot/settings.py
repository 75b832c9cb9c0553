"""Settings of the front door, from the environment and `.env`."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Final, Literal

from dotenv import dotenv_values
from pydantic import Field, ValidationError

from nodes.call import CallSettings
from nodes.errors import ConfigurationError
from state import describe
from state.strict import nearest

OURS: Final = "SUREFOOT_"

OTHERS: Final = {
    "SUREFOOT_CHECKPOINT_KEYS", "SUREFOOT_DEBUG", "SUREFOOT_EMBEDDED_IDLE_SECONDS", "SUREFOOT_SUPPORT_TICKETS",
    "SUREFOOT_BENCH_PEERS",
}  # fmt: skip
"""Variables that are read elsewhere."""

MISSPELT: Final = 0.7
"""Least similarity to one of our variables, without their common beginning, at which a name counts as misspelt."""


class Settings(CallSettings):
    """What the runner needs beside the settings of the calls."""

    redis_url: str = Field(default="embedded:", validation_alias="SUREFOOT_REDIS_URL", repr=False)
    """Any URL of `checkpointers`; `embedded:` is a private server in the user's data directory."""
    retention_days: float = Field(default=30, ge=0, le=36_500, validation_alias="SUREFOOT_RETENTION_DAYS")
    """Days after which a finished thread is deleted; 0 keeps all. One that waits is never deleted."""
    compact: bool = Field(default=True, validation_alias="SUREFOOT_COMPACT")
    """Whether a finished thread keeps its last checkpoint alone, which tells its whole story."""
    parallel: int = Field(default=50, ge=1, le=10_000, validation_alias="SUREFOOT_PARALLEL")
    """Threads under way at the same time."""
    patience_s: float = Field(default=120, ge=0, le=86_400, validation_alias="SUREFOOT_PATIENCE_S", allow_inf_nan=False)
    """Seconds that `surefoot run` and `surefoot resume` let an item wait for endpoints that are down or fail."""
    log_level: Literal["off", "debug", "info", "warning"] = Field(default="off", validation_alias="SUREFOOT_LOG_LEVEL")
    """Events that are logged to stderr."""
    log_format: Literal["auto", "console", "json"] = Field(default="auto", validation_alias="SUREFOOT_LOG_FORMAT")
    """`auto` is readable on a terminal and JSON everywhere else."""
    metrics_port: int | None = Field(default=None, ge=0, le=65_535, validation_alias="SUREFOOT_METRICS_PORT")
    """Port of the Prometheus metrics; None serves none."""
    metrics_host: str = Field(default="127.0.0.1", validation_alias="SUREFOOT_METRICS_HOST")
    """Address of the metrics; the loopback interface unless it is named."""


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Read the settings once; raises `ConfigurationError` naming the variable that is wrong, or misspelt."""
    try:
        found = Settings()
        _refuse_misspelt()
        return found
    except ValidationError as error:
        raise ConfigurationError(f"settings: {describe(error)}") from None


def known_variables() -> set[str]:
    """Return the names of all variables that Surefoot reads."""
    fields = Settings.model_fields.values()
    return OTHERS | {str(info.validation_alias) for info in fields if str(info.validation_alias).startswith(OURS)}


def _refuse_misspelt() -> None:
    """Raise `ConfigurationError` for a variable that is nearly one of ours; one of another meaning is left alone."""
    known = known_variables()
    endings = sorted(name.removeprefix(OURS) for name in known)
    for name in {**dotenv_values(".env"), **os.environ}:
        if name.startswith(OURS) and name not in known:
            meant = nearest(name.removeprefix(OURS), endings, MISSPELT).replace("'", f"'{OURS}", 1)
            if meant:
                raise ConfigurationError(f"settings: there is no {name}{meant}")
