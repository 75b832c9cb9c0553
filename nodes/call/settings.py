"""Settings of model calls, read from the environment and `.env` when they are first needed."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from nodes.errors import ConfigurationError
from state import has_stray_credentials

OPENAI_URL: Final = "https://api.openai.com/v1"
DEFAULT_MODEL: Final = "gpt-4.1-mini"

NO_KEY: Final = "no-key"
"""Sent to endpoints that need no key, because the client refuses to work without one."""

_NAMES: Final = (
    "SUREFOOT_PROVIDER",
    "SUREFOOT_MODEL",
    "SUREFOOT_PRICES",
    "SUREFOOT_MAX_COST_USD",
    "SUREFOOT_MAX_COST_PER_DAY_USD",
    "SUREFOOT_MAX_COST_PER_TENANT_DAY_USD",
    "SUREFOOT_CONCURRENCY",
    "SUREFOOT_RETRY_BUDGET",
    "SUREFOOT_REDIS_URL",
    "SUREFOOT_SUPPORT_TICKETS",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
)

_STRAY: Final = "has an @ behind its host: write each / in a user or password as %2F, ? as %3F, # as %23 and @ as %40"

Rate = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]


class ModelPrice(BaseModel):
    """Price of a model in USD per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    input: Rate
    output: Rate
    cached: Rate | None = None
    """Price of input tokens that the endpoint had cached; None charges them like the others."""


class CallSettings(BaseSettings):
    """What model calls need to know: provider, model, endpoint, key, prices and the cap of a command."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    provider: str = Field(default="", validation_alias="SUREFOOT_PROVIDER")
    """`openai` when a key or a base URL is set, else `embedded`, unless it is named."""
    model: str = Field(default=DEFAULT_MODEL, validation_alias="SUREFOOT_MODEL")
    api_key: SecretStr | None = Field(default=None, validation_alias="OPENAI_API_KEY")
    base_url: str | None = Field(default=None, validation_alias="OPENAI_BASE_URL", repr=False)
    prices: Annotated[dict[str, ModelPrice | Literal["free"]], NoDecode] = Field(
        default_factory=dict, validation_alias="SUREFOOT_PRICES"
    )
    """Prices by model, stronger than the list that genai-prices ships."""
    max_cost_usd: float = Field(default=1.0, ge=0, allow_inf_nan=False, validation_alias="SUREFOOT_MAX_COST_USD")
    """Cap of one command."""
    max_cost_per_day_usd: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, validation_alias="SUREFOOT_MAX_COST_PER_DAY_USD"
    )
    """Cap of all calls of a day (UTC); None sets none."""
    max_cost_per_tenant_day_usd: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, validation_alias="SUREFOOT_MAX_COST_PER_TENANT_DAY_USD"
    )
    """Cap of all calls of one tenant and day (UTC); None sets none."""
    concurrency: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
        default=None, validation_alias="SUREFOOT_CONCURRENCY"
    )
    """Requests under way at one endpoint; `auto` finds the number, None sets none."""
    retry_budget: float = Field(
        default=3.0, ge=0, le=100, allow_inf_nan=False, validation_alias="SUREFOOT_RETRY_BUDGET"
    )
    """Retries earned per success; 3 are enough for an endpoint that accepts a quarter of its requests."""
    guard_url: str = Field(default="", validation_alias="SUREFOOT_REDIS_URL", repr=False)
    """Where calls are counted for all processes: a `redis://`, `rediss://` or `unix://` address; else in this one."""

    support_tickets: str = Field(default="", validation_alias="SUREFOOT_SUPPORT_TICKETS")
    """File of labelled tickets that the embedded support model learns from, beside the shipped ones."""

    @field_validator("prices", mode="before")
    @classmethod
    def _decode_prices(cls, value: Any) -> Any:
        """Read the JSON here, so that a mistake in it is told like any other."""
        if not isinstance(value, str):
            return value
        try:
            return json.loads(value, parse_float=Decimal)
        except ValueError:
            raise ValueError('is not JSON; an example is {"my-model": {"input": 0.1, "output": 0.4}}') from None

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value.strip())
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise ValueError("is not an address such as http://127.0.0.1:8080/v1")
        if has_stray_credentials(value):
            raise ValueError(_STRAY)
        if parts.query or parts.fragment:
            # A client appends its paths to the whole of it: the query would go to another path, key and all.
            raise ValueError("has a ? or #, after which no path can follow: a key belongs into OPENAI_API_KEY")
        return value.strip().rstrip("/")

    @field_validator("guard_url")
    @classmethod
    def _ends_credentials(cls, value: str) -> str:
        if "://" in value and has_stray_credentials(value.partition("?")[0]):
            raise ValueError(_STRAY)
        return value

    @model_validator(mode="after")
    def _choose_provider(self) -> CallSettings:
        if not self.provider:
            remote = self.api_key is not None or self.base_url is not None
            # The settings are frozen for everybody else.
            object.__setattr__(self, "provider", "openai" if remote else "embedded")
        return self

    @property
    def max_cost_microusd(self) -> int:
        """Cap of one command in micro-dollars."""
        return round(self.max_cost_usd * 1_000_000)


def read_settings() -> CallSettings:
    """Read the settings anew; raises `ConfigurationError` naming the variable that is wrong, never its value."""
    try:
        return CallSettings()
    except ValidationError as error:
        raise ConfigurationError("; ".join(_complaints(error))) from None


def _complaints(error: ValidationError) -> list[str]:
    found: dict[str, str] = {}
    for item in error.errors(include_input=False, include_url=False):
        name, *inside = (str(part) for part in item["loc"]) if item["loc"] else ("settings",)
        place = f" ({inside[0]})" if inside else ""
        message = item["msg"].removeprefix("Value error, ")
        if name == "SUREFOOT_CONCURRENCY":
            place, message = "", "has to be a whole number from 1 on, or auto"
        if name == "SUREFOOT_PRICES" and inside:
            # A union tells the same mistake once for each of its members.
            message = 'needs {"input": USD, "output": USD} per million tokens, or "free"'
        found.setdefault(name + place, f"{name}{place}: {message}")
    return list(found.values())


_lock = threading.Lock()
_cached: tuple[object, CallSettings] | None = None


_instead: ContextVar[CallSettings | None] = ContextVar("surefoot_call_settings", default=None)


@contextmanager
def using_settings(settings: CallSettings) -> Iterator[None]:
    """Use other settings for all calls inside the block, in tasks that it starts and on the background loop."""
    token = _instead.set(settings)
    try:
        yield
    finally:
        _instead.reset(token)


def call_settings() -> CallSettings:
    """Return the settings, read again whenever the environment has changed; `.env` is read once.

    Raises `ConfigurationError` naming the variable that is wrong.
    """
    global _cached  # noqa: PLW0603 - one set of settings for the process, read at first use
    if (instead := _instead.get()) is not None:
        return instead
    stamp = _stamp()
    with _lock:
        if _cached is None or _cached[0] != stamp:
            _cached = (stamp, read_settings())
        return _cached[1]


async def prepare_settings() -> None:
    """Read the settings in a thread, unless they are known: reading `.env` would block the event loop.

    Call it before `call_settings` wherever a loop runs; LangGraph's development server refuses blocking calls.
    """
    if _instead.get() is None and (_cached is None or _cached[0] != _stamp()):
        await asyncio.to_thread(call_settings)


def _stamp() -> object:
    return tuple(os.environ.get(name) for name in _NAMES)


def reset_call_settings() -> None:
    """Forget the settings, so that the next use reads them."""
    global _cached  # noqa: PLW0603 - one set of settings, see call_settings
    with _lock:
        _cached = None
