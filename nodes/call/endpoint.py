"""Which endpoint a call goes to, and what has been learned about it."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from nodes.call.bell import Bell
from nodes.call.reports import read_report
from nodes.call.settings import NO_KEY, OPENAI_URL, CallSettings, call_settings
from nodes.errors import ConfigurationError
from state import has_stray_credentials

CONTACT_WAIT_S: Final = 5.0
"""Longest wait for the first call to an endpoint. A refused key or parameter is told within milliseconds; whoever
waited longer would only inherit the latency of somebody else's answer."""


@dataclass(frozen=True)
class Endpoint:
    """Address, key and model of a call."""

    url: str = field(repr=False)
    host: str
    """Host and port, for messages; never user name or password."""
    model: str
    key: str = field(repr=False)
    credentials: str = field(default="", repr=False)
    """User and password of the address, as they stood there: `ida:pw`. HTTP clients log addresses as they are, and
    traces hold them, so the address itself goes without."""

    @property
    def key_id(self) -> str:
        """Identify address and key without telling them."""
        whole = self.url.replace("://", f"://{self.credentials}@", 1) if self.credentials else self.url
        return hashlib.blake2b(f"{whole}\n{self.key}".encode(), digest_size=12).hexdigest()

    @property
    def authorization(self) -> str:
        """Value of the header that user and password of the address make; empty without any (RFC 7617)."""
        if not self.credentials:
            return ""
        user, _, password = self.credentials.partition(":")
        return "Basic " + base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()


def endpoint_for(model: str, settings: CallSettings | None = None) -> Endpoint:
    """Return the endpoint of a model; raises `ConfigurationError` without a key and without an address."""
    settings = settings or call_settings()
    key = settings.api_key.get_secret_value().strip() if settings.api_key else ""
    if not key and settings.base_url is None:
        raise ConfigurationError(
            "no model endpoint is set: set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint of your own, "
            "or use the embedded provider"
        )
    if not key.isascii() or not key.isprintable():
        raise ConfigurationError("OPENAI_API_KEY holds characters that no key has: set it again")
    url = settings.base_url or OPENAI_URL
    parts = urlsplit(url)
    credentials, _, place = parts.netloc.rpartition("@")
    return Endpoint(
        urlunsplit(parts._replace(netloc=place)), host_of(url), model or settings.model, key or NO_KEY, credentials
    )


def host_of(url: str) -> str:
    """Return host and port of an address, without user name and password; neither where these cannot be told apart."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "the endpoint"
    if has_stray_credentials(url):
        return "the endpoint"
    host = parts.hostname or "the endpoint"
    return f"{host}:{port}" if port else host


def chat_endpoint(settings: CallSettings | None = None) -> str:
    """Return host and port that model calls go to, for messages."""
    settings = settings or call_settings()
    return host_of(settings.base_url or OPENAI_URL)


@dataclass(frozen=True)
class Abilities:
    """What an endpoint does with a model, as far as it is known; it begins with the best."""

    schema: Literal["json_schema", "json_object", "text"] = "json_schema"
    prompted: bool = False
    """Whether the schema has to stand in the prompt, because the endpoint does not enforce it."""
    temperature: bool = True
    logprobs: bool = True
    stream_usage: bool = True
    """Whether it tells the usage at the end of a stream; else answers come in one piece, for money must be counted."""
    limit: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"

    def without(self, other: Abilities) -> Abilities:
        """Return what is left when two calls learned about different parameters at the same time."""
        return Abilities(
            schema=max(self.schema, other.schema, key=_SCHEMA_FORMS.index),
            prompted=self.prompted or other.prompted,
            temperature=self.temperature and other.temperature,
            logprobs=self.logprobs and other.logprobs,
            stream_usage=self.stream_usage and other.stream_usage,
            limit=other.limit,
        )


_SCHEMA_FORMS: Final = ("json_schema", "json_object", "text")
_SCHEMA_WORDS: Final = re.compile(
    r"response[_ ]?format|json[_ ]?schema|json[_ ]?object|structured[ _-]?output|guided|grammar", re.IGNORECASE
)
_ABOUT_THE_VALUE: Final = re.compile(
    r"too (?:large|long|high|big|many|small|low)|exceed|greater|less than|at (?:most|least)|maximum|minimum|"
    r"out of range|\bmust be\b|between|positive"
)
"""Words of a complaint about how much was asked for: under another name it is as much."""
_UNNAMED: Final = re.compile(
    r"(unknown|unrecogni[sz]ed|unsupported|unexpected|extra)\b.{0,40}\b(param|argument|field|input|key|propert)|"
    r"extra (fields|inputs)|not permitted",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Complaint:
    """What an endpoint said against the parameters of a request; for matching only, it is never stored."""

    param: str
    text: str


def complaint_of(error: BaseException) -> Complaint | None:
    """Return the complaint of an endpoint that rejected a request (400 or 422), else None."""
    if getattr(error, "status_code", None) not in {400, 422}:
        return None
    report = read_report(getattr(error, "body", None) or str(error), 400)
    if report.fault not in (None, "parameter"):
        # About the prompt, the answer, the account or the model, whatever parameters its words name.
        return None
    return Complaint(report.param, f"{report.text} {' '.join(report.codes)}")


def weaker(abilities: Abilities, sent: dict[str, Any], complaint: Complaint) -> Abilities | None:
    """Return what to try after a complaint about one of the parameters that were sent, or None.

    The token limit is renamed only for an endpoint that does not know its name.
    """
    # A named parameter is believed before the words around it, which may quote the prompt.
    words = complaint.param or complaint.text
    if "logprob" in words and "logprobs" in sent:
        return replace(abilities, logprobs=False)
    if "stream" in words and "stream_options" in sent:
        return replace(abilities, stream_usage=False)
    if "temperature" in words and "temperature" in sent:
        return replace(abilities, temperature=False)
    unknown = not _ABOUT_THE_VALUE.search(complaint.text)
    if "max_completion_tokens" in words and "max_completion_tokens" in sent and unknown:
        return replace(abilities, limit="max_tokens")
    if "max_tokens" in words and "extra_body" in sent and unknown:
        return replace(abilities, limit="max_completion_tokens")
    unnamed = not complaint.param and _UNNAMED.search(words)
    if "response_format" in sent and (_SCHEMA_WORDS.search(words) or unnamed):
        step: Literal["json_object", "text"] = "json_object" if abilities.schema == "json_schema" else "text"
        return replace(abilities, schema=step, prompted=True)
    return None


@dataclass
class _Contact:
    known: bool = False
    busy: bool = False


class Contacts:
    """What this process has learned about endpoints; the first call to one goes alone.

    So a refused key costs one request and not one for each call in parallel, and one call finds out for all of them
    what the endpoint can do. The same holds for the first use of a parameter that endpoints may not know.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contacts: dict[tuple[str, ...], _Contact] = {}
        self._abilities: dict[tuple[str, str], Abilities] = {}
        self._bell = Bell()

    def abilities(self, endpoint: Endpoint) -> Abilities:
        """Return what is known of an endpoint and a model."""
        with self._lock:
            return self._abilities.get((endpoint.key_id, endpoint.model), Abilities())

    def learn(self, endpoint: Endpoint, abilities: Abilities) -> None:
        """Remember what an endpoint and a model can do."""
        key = (endpoint.key_id, endpoint.model)
        with self._lock:
            self._abilities[key] = self._abilities.get(key, Abilities()).without(abilities)

    def known(self, endpoint: Endpoint, features: Iterable[str]) -> None:
        """Let everybody go: the endpoint has answered in a way that tells what it is."""
        with self._lock:
            for key in _contact_keys(endpoint, features):
                self._contacts.setdefault(key, _Contact()).known = True
        self._bell.ring()

    @asynccontextmanager
    async def first(self, endpoint: Endpoint, features: Iterable[str], wait_s: float) -> AsyncIterator[None]:
        """Go alone while the endpoint is unknown; wait for another one's first call at most `wait_s` seconds."""
        led: list[_Contact] = []
        give_up_at = time.monotonic() + wait_s
        try:
            # Everybody takes them in the same order, so nobody waits for somebody who waits for him.
            for key in _contact_keys(endpoint, features):
                if (contact := await self._lead(key, give_up_at)) is not None:
                    led.append(contact)  # noqa: PERF401 - a cancelled wait must not lose those already led
            yield
        finally:
            if led:
                with self._lock:
                    for contact in led:
                        contact.busy = False
                self._bell.ring()

    async def _lead(self, key: tuple[str, ...], give_up_at: float) -> _Contact | None:
        """Return the contact that this caller leads; None when it is known or the wait is over."""
        with self._lock:
            contact = self._contacts.setdefault(key, _Contact())
            if contact.known:
                return None
        with self._bell.listening() as ear:
            while True:
                with self._lock:
                    if contact.known:
                        return None
                    if not contact.busy:
                        contact.busy = True
                        return contact
                left = give_up_at - time.monotonic()
                if left <= 0:
                    return None
                await ear.heard(left)


def _contact_keys(endpoint: Endpoint, features: Iterable[str]) -> list[tuple[str, ...]]:
    key, model = endpoint.key_id, endpoint.model
    return [(key,), (key, model), *((key, model, name) for name in sorted(features))]
