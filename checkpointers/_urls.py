"""URLs of servers, taken apart.

`redis://`, `rediss://` and `unix://` are redis-py's own. A cluster and a service behind sentinels are several hosts,
for which there is no standard; these are the usual forms:

    redis+cluster://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]
    redis+sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]/SERVICE[/DB][?sentinel_username=...&sentinel_password=...]

With `rediss+...` all of them speak TLS; its options (`ssl_ca_certs`, ...) are those of `rediss://`.

What Python and redis-py say about a URL quotes parts of it, and a password that is not percent-encoded ends up in any
of them: the host, the port, the database. So messages here are made of our own words, the scheme and known names only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, Literal
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from redis.connection import parse_url

from . import embedded
from .errors import UnsupportedUrl

Kind = Literal["server", "embedded", "cluster", "sentinel"]

_PLAIN: Final = ("redis", "rediss", "unix")
_ACCEPTED: Final = (
    "redis://HOST:PORT/DB, rediss://HOST:PORT/DB, unix:///PATH, redis+cluster://HOST:PORT,HOST:PORT, "
    "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE, embedded: or embedded:DIRECTORY"
)


_OPTIONS: Final = frozenset(
    ("db", "username", "password", "client_name", "protocol", "health_check_interval", "socket_timeout",
     "socket_connect_timeout", "socket_read_size", "retry_on_timeout", "encoding", "encoding_errors", "lib_name",
     "lib_version", "max_connections")
)  # fmt: skip
"""Options of redis-py's URLs that every connection takes (`redis.connection.AbstractConnection`, 8.1).

Left out are those that a text cannot say, and `decode_responses`, with which stored bytes could not be read.
"""
_REFUSED: Final = frozenset(
    ("decode_responses", "retry", "retry_on_error", "legacy_responses", "parser_class", "connection_class", "ssl")
)
"""Other options of redis-py by which a URL is known to be one of its own."""
_TCP_OPTIONS: Final = frozenset({"socket_keepalive"})
_TLS_OPTIONS: Final = frozenset(
    ("ssl_ca_certs", "ssl_ca_data", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_ciphers",
     "ssl_exclude_verify_flags", "ssl_include_verify_flags", "ssl_keyfile", "ssl_min_version", "ssl_password")
)  # fmt: skip
"""Those of `redis.connection.SSLConnection` that the async one takes too."""
_NOT_OF_CLUSTERS: Final = frozenset({"retry_on_timeout", "ssl_ca_path", "ssl_password"})
"""Those that `redis.asyncio.RedisCluster` does not take."""
_ENCODE: Final = "write each / in a user or password as %2F, ? as %3F, # as %23, @ as %40, : as %3A, [ as %5B, ] as %5D"


@dataclass(frozen=True)
class Server:
    """What a URL names."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...] = ()
    """Of a cluster or of sentinels."""
    service: str = ""
    options: dict[str, Any] = field(default_factory=dict, repr=False)
    """What redis-py makes of user, password, database and query."""
    sentinel_options: dict[str, Any] = field(default_factory=dict, repr=False)
    """The same for the sentinels themselves."""


def server_of(url: str) -> Server:
    """Take a URL apart; raises `UnsupportedUrl`, which repeats nothing of it but its scheme."""
    if url.startswith(embedded.SCHEME):
        return Server("embedded")
    scheme, _, topology = url.partition(":")[0].partition("+")
    several = scheme in ("redis", "rediss") and topology in ("cluster", "sentinel")
    if "://" not in url or not ((scheme in _PLAIN and not topology) or several):
        raise UnsupportedUrl(f"{without_password(url)!r} is not a URL of a Redis server. Accepted: {_ACCEPTED}.")
    try:
        parts = _parts(url)
        return _several(parts, topology) if several else _one(url, parts)
    except _Unreadable as error:
        raise unreadable(url, str(error)) from None


class _Unreadable(Exception):
    """What is wrong with a URL, in words that repeat nothing of it."""


def unreadable(url: str, why: str = "") -> UnsupportedUrl:
    """Return the error of a URL that cannot be read; `why` may quote nothing of it."""
    return UnsupportedUrl(f"{without_password(url)!r} cannot be read as a URL: {why or _ENCODE}.")


def _parts(url: str) -> SplitResult:
    """Split a URL whose user and password end where they should."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _Unreadable(f"its host cannot be told from what is around it; {_ENCODE}") from None
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    if "@" in f"{parts.path}{parts.fragment}" or any("@" in name for name in names):
        raise _Unreadable(f"its host cannot be told from its password; {_ENCODE}")
    if parts.fragment:
        raise _Unreadable("it holds a #, which has no meaning here; write one in a password as %23")
    return parts


def _read(url: str, known: frozenset[str]) -> dict[str, Any]:
    """Return what redis-py makes of a URL of one server."""
    try:
        read: dict[str, Any] = parse_url(url)  # type: ignore[no-untyped-call]  # redis-py
    except (ValueError, TypeError) as error:
        # It names the option, which is one of ours, and not the value.
        named = next((word for word in re.findall(r"'(\w+)'", str(error)) if word in known), "")
        raise _Unreadable(f"the value of its option {named} is none" if named else _ENCODE) from None
    return read


def _one(url: str, parts: SplitResult) -> Server:
    if parts.scheme != "unix":
        _host(parts.netloc.rpartition("@")[2] or "localhost", 6379)
        if not re.fullmatch(r"/?\d*/?", parts.path):
            raise _Unreadable("what follows its host is no number of a database")
    _read(url, _checked_options(parts, "timeout"))
    return Server("server")


def _checked_options(parts: SplitResult, *more: str) -> frozenset[str]:
    """Refuse an option that no connection of this scheme takes: redis-py would fail at each connection instead.

    Return those that are known.
    """
    scheme = parts.scheme.partition("+")[0]
    known = _OPTIONS | {*more} | (_TCP_OPTIONS if scheme != "unix" else frozenset())
    known |= _TLS_OPTIONS if scheme == "rediss" else frozenset()
    known -= _NOT_OF_CLUSTERS if parts.scheme.endswith("+cluster") else frozenset()
    for number, (name, _) in enumerate(parse_qsl(parts.query, keep_blank_values=True), 1):
        if name in known:
            continue
        if name in _TLS_OPTIONS and scheme != "rediss":
            raise _Unreadable(f"its option {name} is for TLS, which only rediss:// speaks")
        if name in _REFUSED | _NOT_OF_CLUSTERS:
            raise _Unreadable(f"its option {name} cannot be set here")
        # Its name is not told: it may be a part of a password behind an ampersand.
        near = get_close_matches(name, known, 1, 0.8)
        hint = f"perhaps {near[0]} is meant" if near else f"known are {', '.join(sorted(known))}"
        raise _Unreadable(f"option {number} behind the ? is not known; {hint}")
    return known


def _several(parts: SplitResult, topology: str) -> Server:
    """Read a URL of several hosts: all that is not a host goes through redis-py's own reading of a URL of one."""
    user, at, listed = parts.netloc.rpartition("@")
    hosts = tuple(_host(host, 26379 if topology == "sentinel" else 6379) for host in listed.split(",") if host)
    if not hosts:
        raise _Unreadable("it names no host")
    theirs_known = [f"sentinel_{name}" for name in _OPTIONS | _TCP_OPTIONS] if topology == "sentinel" else []
    known = _checked_options(parts, *theirs_known)
    path, query = parts.path.strip("/"), dict(parse_qsl(parts.query))
    service = ""
    if topology == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise _Unreadable("it names no service behind its hosts")
        if path and not path.isdigit():
            raise _Unreadable("what follows its service is no number of a database")
    elif path not in ("", "0"):
        raise _Unreadable("a cluster has the database 0 only")
    own = {name: value for name, value in query.items() if not name.startswith("sentinel_")}
    theirs = {name.removeprefix("sentinel_"): value for name, value in query.items() if name not in own}
    scheme = parts.scheme.partition("+")[0]
    options = _read(urlunsplit((scheme, f"{user}{at}localhost", f"/{path}", urlencode(own), "")), known)
    sentinel_options = _read(f"redis://localhost?{urlencode(theirs)}", known) if theirs else {}
    for read in (options, sentinel_options):
        for name in ("host", "port", "connection_class"):
            read.pop(name, None)
    if scheme == "rediss":
        options["ssl"] = True
        sentinel_options |= {name: value for name, value in options.items() if name.startswith("ssl")}
    if topology == "cluster":
        options.pop("db", None)
        return Server("cluster", hosts, options=options)
    return Server("sentinel", hosts, service, options, sentinel_options)


def _host(text: str, default: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _Unreadable(f"its port is no number up to 65535; {_ENCODE}") from None
    if not host and port is None:
        raise _Unreadable(f"it names a host that is none; {_ENCODE}")
    return host or "localhost", port or default


def without_password(url: str) -> str:
    """Return what of a URL is fit for a message: its scheme, because any other part may be one of a password."""
    scheme, colon, _ = url.partition("://")
    if colon and re.fullmatch(r"[a-z]{1,16}(?:\+[a-z]{1,16})?", scheme):
        return f"{scheme}://..."
    return url if re.fullmatch(r"[\w.-]{0,40}(?::\d{1,5})?(?:/\d*)?", url) else "..."
