"""Addresses with passwords: none is printed, logged, traced or kept in a repr, whatever characters it holds."""

from __future__ import annotations

import base64
import json
import logging
import pprint
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from cli_tools import Cli, write_tickets
from langchain_core.load import dumps
from servers import binary, config_of, free_port, put_values, tcp_server

from checkpointers import RedisSaver, UnsupportedUrl, connect, open_saver
from checkpointers._clients import make_async_client, make_client
from checkpointers._urls import _NOT_OF_CLUSTERS, _OPTIONS, _TCP_OPTIONS, _TLS_OPTIONS, server_of, without_password
from graphs.support import graph
from nodes.call import call_settings, reset_call_settings
from nodes.call.chat import chat_model
from nodes.call.endpoint import endpoint_for, host_of
from nodes.call.redis_line import make_client as make_guard_client
from nodes.errors import ConfigurationError
from state import mask_url, redact
from surefoot.settings import Settings
from surefoot.testing import OpenAIEndpoint

FIRST, SECOND = "zebra", "otter"
"""The two halves of each password: neither may be seen."""
CHARACTERS = "/@#?%:[]&= "
PASSWORDS = [f"{FIRST}{char}{SECOND}" for char in CHARACTERS] + [
    f"/{FIRST}{SECOND}",
    f"{FIRST}℀{SECOND}",
    f"{FIRST}//{SECOND}",
]
FORMS = (
    "redis://:{}@127.0.0.1:1/0", "rediss://ida:{}@127.0.0.1:1/0", "redis://{}@127.0.0.1:1", "unix://:{}@/nowhere/s",
    "redis+cluster://:{}@127.0.0.1:1", "redis+sentinel://:{}@127.0.0.1:1/main/0?sentinel_password={}",
    "redis://127.0.0.1:1/0?password={}", "redis://127.0.0.1:1/0?username={}", "redis://127.0.0.1:1/0?zzz={}",
    "redis+nonsense://:{}@h", "ida:{}@127.0.0.1:1", "redis:{}@127.0.0.1",
)  # fmt: skip


def has_none(text: str) -> bool:
    return FIRST not in text and SECOND not in text


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("form", FORMS)
def test_a_saver_tells_no_part_of_the_password_of_a_url(form: str, password: str) -> None:
    url = form.format(password, password)
    assert has_none(without_password(url))
    with pytest.raises(Exception) as caught:
        use(url)
    error = caught.value
    assert has_none(str(error) + repr(error) + repr(error.__cause__))


def use(url: str) -> None:
    """Do what prints something of a URL, to a server that is not there."""
    assert has_none(repr(server_of(url)))
    client = make_client(url) if "cluster" not in url else make_async_client(url)
    assert has_none(repr(open_saver(url)) + repr(client))
    with RedisSaver.from_url(url) as saver:
        assert has_none(repr(saver))
        saver.get(config_of("t"))


@pytest.mark.parametrize(
    "url",
    [
        # A password that ends with a number sign (celery/celery#7864).
        "redis://:zebra-otter#@127.0.0.1:6379/0",
        # One with a comma, at which a compose file has cut the variable (FuzzyGrim/Yamtrack#554).
        "redis://ida:zebra-otter", "redis+cluster://:zebra,otter@127.0.0.1:1,127.0.0.1:2",
        # One with slashes, as some clouds make them (jazzband/django-redis#114).
        "redis://:zebra/otter+zebra//otter=@127.0.0.1:6379/0", "rediss://zebra/otter=@127.0.0.1:6380",
    ],
)  # fmt: skip
def test_passwords_that_broke_the_urls_of_others_are_not_shown(url: str) -> None:
    with pytest.raises(Exception) as caught:
        use(url)
    assert has_none(str(caught.value) + repr(caught.value))
    assert has_none(mask_url(url) + redact(f"no: {url}"))


@pytest.mark.parametrize("password", ["pa/ss", "p@ss", "p#ss", "p?ss", "p%ss", "p:ss", "p[ss]", "p s"])
def test_a_password_that_is_percent_encoded_works_whatever_it_holds(password: str) -> None:
    port = free_port()
    with tcp_server(binary(), port=port) as url:
        with connect(url) as client:
            client.config_set("requirepass", password)
        with RedisSaver.from_url(f"redis://:{quote(password, safe='')}@127.0.0.1:{port}/0") as saver:
            put_values(saver, config_of("t"), a=1)
            assert saver.get(config_of("t")) is not None
        with RedisSaver.from_url(f"redis://127.0.0.1:{port}/0?password={quote(password, safe='')}") as saver:
            assert saver.get(config_of("t")) is not None


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://:pa/ss@h:1", "write each / in a user or password as %2F"),
        ("redis://pa/ss@h", "write each / in a user or password as %2F"),
        ("redis://:12/34@h", "write each / in a user or password as %2F"),
        ("redis://h/reports", "no number of a database"),
        ("redis://h#0", "it holds a #"),
        ("redis://h?socket_timout=5", "option 1 behind the ? is not known; perhaps socket_timeout is meant"),
        ("redis://h?decode_responses=true", "its option decode_responses cannot be set here"),
        ("redis://h?socket_timeout=soon", "the value of its option socket_timeout is none"),
        ("redis://h?ssl_ca_certs=ca.pem", "ssl_ca_certs is for TLS"),
        ("redis+cluster://h?sentinel_password=x", "option 1 behind the ? is not known; known are"),
        ("redis+sentinel://h/main?sentinel_pasword=x", "perhaps sentinel_password is meant"),
    ],
)
def test_what_is_wrong_with_a_url_is_one_clear_line(url: str, why: str) -> None:
    with pytest.raises(UnsupportedUrl) as caught:
        open_saver(url)
    assert why in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def url_with(kind: str, option: str) -> str:
    values = {"ssl_cert_reqs": "none", "ssl_min_version": "771", "retry_on_timeout": "yes", "protocol": "2"}
    value = values.get(option, "no" if option in ("ssl_check_hostname", "socket_keepalive") else "1")
    if option.startswith("ssl_") and option.endswith("flags"):
        value = "VERIFY_X509_STRICT"
    host = "/nowhere" if kind == "unix" else "127.0.0.1:1"
    path = "/main" if kind.endswith("sentinel") else ""
    return f"{kind}://{host}{path}?{option}={value}"


def taken(kind: str) -> set[str]:
    names = set(_OPTIONS) | (_TCP_OPTIONS if kind != "unix" else set())
    names |= _TLS_OPTIONS if kind.startswith("rediss") else set()
    return (names | {"timeout"} if "+" not in kind else names) - (_NOT_OF_CLUSTERS if "cluster" in kind else set())


KINDS = ("redis", "rediss", "unix", "rediss+sentinel", "rediss+cluster")
KNOWN = [(kind, name) for kind in KINDS for name in sorted(taken(kind))]


@pytest.mark.parametrize(("kind", "option"), KNOWN)
def test_every_option_that_is_taken_is_one_of_the_client(kind: str, option: str) -> None:
    """An option that no connection knows would fail at each of them, long after the URL was taken."""
    url = url_with(kind, option)
    if kind.endswith("cluster"):
        # A sync client of a cluster connects when it is made.
        node = make_async_client(url).nodes_manager.startup_nodes["127.0.0.1:1"]  # type: ignore[union-attr]
        node.connection_class(**node.connection_kwargs)
        return
    for client in (make_client(url), make_async_client(url)):
        client.connection_pool.make_connection()  # type: ignore[union-attr]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    reset_call_settings()
    yield monkeypatch
    reset_call_settings()


def test_settings_show_no_address_with_a_password(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("SUREFOOT_REDIS_URL", "redis://ida:zebra@h")
    fresh.setenv("OPENAI_BASE_URL", "http://ida:otter@h/v1")
    for settings in (Settings(), call_settings()):
        assert has_none(repr(settings) + str(settings) + pprint.pformat(settings))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_BASE_URL", "http://ida:zebra/otter@h/v1"),
        ("OPENAI_BASE_URL", "http://zebra/otter@h/v1"),
        ("OPENAI_BASE_URL", "http://h/v1?api-key=zebra"),
        ("OPENAI_BASE_URL", "http://h/v1#zebra"),
        ("SUREFOOT_REDIS_URL", "redis://zebra/otter@h"),
    ],
)
def test_an_address_that_would_be_misread_is_refused(fresh: pytest.MonkeyPatch, name: str, value: str) -> None:
    fresh.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name) as caught:
        call_settings()
    assert has_none(str(caught.value))


@pytest.mark.parametrize("url", ["redis://:zebra?otter@h", "redis://h?zebra=otter", "redis://h:zebra"])
def test_the_guard_refuses_such_a_url_before_it_sends_anything(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_guard_client(url, 1, 1.0)
    assert has_none(str(caught.value))


def test_the_host_in_messages_is_no_part_of_a_password() -> None:
    assert host_of("http://ida:zebra@api.example:8080/v1") == "api.example:8080"
    assert host_of("http://zebra/otter@api.example/v1") == "the endpoint"


@pytest.mark.parametrize("name", ["SUREFOOT_REDIS_URL", "OPENAI_BASE_URL"])
@pytest.mark.parametrize(
    "password", ["zebra/otter", "zebra@otter", "zebra#otter", "zebra?otter", "zebra%2Fotter", "zebra"]
)
def test_no_command_prints_a_password_of_an_address(cli: Cli, name: str, password: str) -> None:
    scheme, rest = ("redis", "/0") if name == "SUREFOOT_REDIS_URL" else ("http", "/v1")
    url = f"{scheme}://ida:{password}@127.0.0.1:1{rest}"
    tickets = Path("t.jsonl")
    write_tickets(tickets, {"1": "I cannot log in"})
    key = {"OPENAI_API_KEY": "sk-abcdefgh1234"} if name == "OPENAI_BASE_URL" else {}
    for words in (
        ("doctor",),
        ("doctor", "--json"),
        ("threads",),
        ("run", "support", str(tickets)),
        ("inbox", "--json"),
    ):
        told = cli(*words, **{name: url, **key})
        assert has_none(told.out + told.err), words
        assert "Traceback" not in told.err


def test_user_and_password_of_an_endpoint_reach_it_and_nothing_else(
    openai_endpoint: OpenAIEndpoint, fresh: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    fresh.setenv("OPENAI_BASE_URL", openai_endpoint.url.replace("://", "://ida:zebra%2Fotter@"))
    reset_call_settings()
    assert graph.invoke({"id": "1", "text": "I cannot log in"})["outcome"]
    assert openai_endpoint.calls
    basic = {request.authorization.removeprefix("Basic ") for request in openai_endpoint.requests}
    assert [base64.b64decode(value).decode() for value in basic] == ["ida:zebra/otter"]
    assert has_none(caplog.text)


async def test_a_chat_model_holds_no_password_of_its_address(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("OPENAI_BASE_URL", "http://ida:zebra@127.0.0.1:1/v1")
    endpoint = endpoint_for("m")
    model = await chat_model(endpoint)
    assert has_none(repr(endpoint) + repr(model) + dumps(model) + json.dumps(model._get_ls_params(), default=str))
    assert (
        endpoint.key_id
        != endpoint_for("m", call_settings().model_copy(update={"base_url": "http://127.0.0.1:1/v1"})).key_id
    )


def test_a_client_that_is_given_shows_no_password_in_errors() -> None:
    client: Any = redis.Redis.from_url("redis://ida:zebra@127.0.0.1:1/0")
    with pytest.raises(Exception, match="cannot be reached") as caught:
        RedisSaver(client).get(config_of("t"))
    assert has_none(str(caught.value) + repr(caught.value.__cause__))
