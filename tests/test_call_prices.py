"""Money: exact, integer, never less than what will be billed; and the settings that say what a model costs."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.call import Price, TokenUsage, call_settings, estimate_microusd, price, reset_call_settings
from nodes.call.prices import Rates
from nodes.call.settings import CallSettings
from nodes.errors import ConfigurationError

NAMES = (
    "SUREFOOT_PROVIDER",
    "SUREFOOT_MODEL",
    "SUREFOOT_PRICES",
    "SUREFOOT_MAX_COST_USD",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    reset_call_settings()
    yield
    reset_call_settings()


def test_listed_price_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise AssertionError("a price look-up went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    mini = price("gpt-4.1-mini")
    assert mini.actual(TokenUsage(1000, 100)) == 400 + 160
    assert mini.actual(TokenUsage(1000, 100, cached=1000)) == 100 + 160
    assert not mini.free
    assert price("openai/gpt-4.1-mini").actual(TokenUsage(1000, 100)) == 560
    assert price("gpt-4.1-mini-2025-04-14").tiers == mini.tiers


def test_prices_of_the_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUREFOOT_PRICES", json.dumps({"gpt-4.1-mini": {"input": 0.1, "output": 1}, "My-Model": "free"}))
    assert price("gpt-4.1-mini").actual(TokenUsage(1000, 100)) == 200
    assert price("gateway/gpt-4.1-mini").actual(TokenUsage(1000, 100)) == 200
    assert price("my-model").free
    assert price("my-model").worst_case(10_000, 10_000) == 0


def test_a_model_without_a_price_stops_and_says_what_to_set() -> None:
    with pytest.raises(ConfigurationError) as caught:
        price("house/llm-7b")
    message = str(caught.value)
    assert '\'{"house/llm-7b": {"input": 0.1, "output": 0.4}}\'' in message
    assert '\'{"house/llm-7b": "free"}\'' in message
    assert "SUREFOOT_PRICES" in message


def test_a_dearer_tier_prices_all_tokens() -> None:
    sonnet = price("gemini-2.5-pro")
    assert len(sonnet.tiers) > 1
    start = sonnet.tiers[1].above
    below, above = sonnet.actual(TokenUsage(start, 0)), sonnet.actual(TokenUsage(start + 1, 0))
    assert above > below * 1.5


def test_estimate_is_about_four_characters_a_token() -> None:
    assert estimate_microusd("", 4000, 100) == estimate_microusd("gpt-4.1-mini", 4000, 100) == 560


rates = st.decimals(0, 100, places=4)
prices = st.builds(
    lambda i, o, c, r: Price("m", (Rates(0, i, o, c, i), Rates(1000, i * 2, o * 2, c, i)), r),
    rates,
    rates,
    rates,
    rates,
)


@given(
    p=prices,
    tokens=st.integers(0, 5000),
    out=st.integers(0, 500),
    cached=st.integers(-5, 6000),
    slack=st.integers(0, 500),
)
def test_the_worst_case_is_a_bound(p: Price, tokens: int, out: int, cached: int, slack: int) -> None:
    actual = p.actual(TokenUsage(tokens, out, cached))
    assert isinstance(actual, int)
    assert 0 <= actual <= p.worst_case(tokens, out + slack)


def test_fractions_are_exact_and_rounded_up() -> None:
    tenth = Price("m", (Rates(0, Decimal("0.1"), Decimal(0), Decimal("0.1"), Decimal("0.1")),))
    assert tenth.actual(TokenUsage(30, 0)) == 3
    assert tenth.actual(TokenUsage(31, 0)) == 4


def test_provider_follows_key_and_address(monkeypatch: pytest.MonkeyPatch) -> None:
    assert call_settings().provider == "embedded"
    monkeypatch.setenv("OPENAI_API_KEY", "")
    assert call_settings().provider == "embedded"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/")
    assert call_settings().provider == "openai"
    assert call_settings().base_url == "http://127.0.0.1:9/v1"
    monkeypatch.setenv("SUREFOOT_PROVIDER", "embedded")
    assert call_settings().provider == "embedded"


def test_dot_env_is_read() -> None:
    Path(".env").write_text("OPENAI_API_KEY=sk-from-file-123456\nSUREFOOT_MODEL=gpt-4.1\nSUREFOOT_PARALLEL=3\n")
    assert (call_settings().model, call_settings().provider) == ("gpt-4.1", "openai")


def test_the_same_settings_are_not_read_twice() -> None:
    assert call_settings() is call_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUREFOOT_PRICES", "{not json"),
        ("SUREFOOT_PRICES", '{"m": {"input": -1, "output": 1}}'),
        ("SUREFOOT_PRICES", '{"m": "cheap"}'),
        ("SUREFOOT_PRICES", '["m"]'),
        ("SUREFOOT_MAX_COST_USD", "lots"),
        ("SUREFOOT_MAX_COST_USD", "-1"),
        ("SUREFOOT_MAX_COST_USD", "nan"),
        ("OPENAI_BASE_URL", "user:hunter2@host"),
        ("OPENAI_BASE_URL", "http://user:hunter2@host:port/v1"),
    ],
)
def test_a_bad_value_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-value")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name) as caught:
        call_settings()
    for secret in ("hunter2", "sk-very-secret-value", "lots", "cheap"):
        assert secret not in str(caught.value)


def test_repr_never_shows_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-value")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:hunter2@host/v1")
    shown = repr(call_settings()) + str(call_settings())
    assert "very-secret" not in shown
    assert "hunter2" not in shown


def test_settings_can_be_extended(monkeypatch: pytest.MonkeyPatch) -> None:
    class More(CallSettings):
        extra_one: int = 3

    monkeypatch.setenv("SUREFOOT_MODEL", "gpt-4.1")
    assert (More().model, More().extra_one, More().max_cost_microusd) == ("gpt-4.1", 3, 1_000_000)
