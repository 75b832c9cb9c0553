"""Settings of the front door, from the environment and `.env`."""

from __future__ import annotations

from functools import lru_cache

from pydantic import Field, ValidationError

from nodes.call import CallSettings
from nodes.errors import ConfigurationError
from state import describe


class Settings(CallSettings):
    """What the runner needs beside the settings of the calls."""

    redis_url: str = Field(default="embedded:", validation_alias="SUREFOOT_REDIS_URL")
    """`redis://`, `rediss://`, `unix://`, `embedded:` or `embedded:DIRECTORY`."""
    parallel: int = Field(default=50, ge=1, le=10_000, validation_alias="SUREFOOT_PARALLEL")
    """Threads under way at the same time."""


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Read the settings once; raises `ConfigurationError` naming the variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        raise ConfigurationError(f"settings: {describe(error)}") from None
