"""URLs of servers, taken apart.

`redis://`, `rediss://` and `unix://` are redis-py's own. A cluster and a service behind sentinels are several hosts,
for which there is no standard; these are the usual forms:

    redis+cluster://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]
    redis+sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]/SERVICE[/DB][?sentinel_username=...&sentinel_password=...]

With `rediss+...` all of them speak TLS; its options (`ssl_ca_certs`, ...) are those of `rediss://`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from redis.connection import SSLConnection, parse_url

from . import embedded
from .errors import UnsupportedUrl

Kind = Literal["server", "embedded", "cluster", "sentinel"]

_PLAIN: Final = ("redis", "rediss", "unix")
_ACCEPTED: Final = (
    "redis://HOST:PORT/DB, rediss://HOST:PORT/DB, unix:///PATH, redis+cluster://HOST:PORT,HOST:PORT, "
    "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE, embedded: or embedded:DIRECTORY"
)


@dataclass(frozen=True)
class Server:
    """What a URL names."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    """Of a cluster or of sentinels."""
    service: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    """What redis-py makes of user, password, database and query."""
    sentinel_options: dict[str, Any] = field(default_factory=dict)
    """The same for the sentinels themselves."""


def server_of(url: str) -> Server:
    """Take a URL apart; raises `UnsupportedUrl`, which repeats no password."""
    if url.startswith(embedded.SCHEME):
        return Server("embedded")
    scheme, _, topology = url.partition(":")[0].partition("+")
    try:
        if "://" in url and scheme in _PLAIN and not topology:
            parse_url(url)  # type: ignore[no-untyped-call]  # redis-py
            return Server("server")
        if "://" in url and scheme in ("redis", "rediss") and topology in ("cluster", "sentinel"):
            return _several(url, scheme, topology)
    except (ValueError, TypeError) as error:
        raise UnsupportedUrl(f"{without_password(url)!r} cannot be read as a URL: {error}.") from None
    raise UnsupportedUrl(f"{without_password(url)!r} is not a URL of a Redis server. Accepted: {_ACCEPTED}.")


def _several(url: str, scheme: str, topology: str) -> Server:
    """Read a URL of several hosts: all that is not a host goes through redis-py's own reading of a URL of one."""
    parts = urlsplit(url)
    user, at, listed = parts.netloc.rpartition("@")
    hosts = tuple(_host(host, 26379 if topology == "sentinel" else 6379) for host in listed.split(",") if host)
    if not hosts:
        raise ValueError("it names no host")
    path, query = parts.path.strip("/"), dict(parse_qsl(parts.query))
    sentinel_options = {k.removeprefix("sentinel_"): query.pop(k) for k in list(query) if k.startswith("sentinel_")}
    service = ""
    if topology == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise ValueError("it names no service behind its hosts")
        if path and not path.isdigit():
            raise ValueError(f"{path!r} is no number of a database")
    elif path not in ("", "0"):
        raise ValueError("a cluster has the database 0 only")
    read = parse_url(urlunsplit((scheme, f"{user}{at}localhost", f"/{path}", urlencode(query), "")))  # type: ignore[no-untyped-call]  # redis-py
    options = {name: value for name, value in read.items() if name not in ("host", "port")}
    if options.pop("connection_class", None) is SSLConnection:
        options["ssl"] = True
        sentinel_options |= {name: value for name, value in options.items() if name.startswith("ssl")}
    if topology == "cluster":
        options.pop("db", None)
        return Server("cluster", hosts, options=options)
    return Server("sentinel", hosts, service, options, sentinel_options)


def _host(text: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"{text!r} is no host")
    return parts.hostname, parts.port or default


def without_password(url: str) -> str:
    """Return the URL with any user information and query replaced, fit for a message."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return url.partition(":")[0] + ":..."
    return urlunsplit((parts.scheme, "***@" + host if host != parts.netloc else host, parts.path, "", ""))
