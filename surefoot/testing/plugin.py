"""The fixture `openai_endpoint`: a misbehaving endpoint, with the environment of the test pointing at it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from surefoot.testing.endpoint import KEY, MODEL, PRICES, OpenAIEndpoint


@pytest.fixture(scope="session")
def _running_endpoint() -> Iterator[OpenAIEndpoint]:
    server = OpenAIEndpoint().start()
    yield server
    server.stop()


@pytest.fixture
def openai_endpoint(_running_endpoint: OpenAIEndpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIEndpoint]:
    """Yield the endpoint, with the environment pointing at it and everything learned of endpoints forgotten."""
    from nodes.call import reset_call_settings, reset_contacts, set_guard

    _running_endpoint.reset()
    monkeypatch.setenv("OPENAI_BASE_URL", _running_endpoint.url)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("SUREFOOT_MODEL", MODEL)
    monkeypatch.setenv("SUREFOOT_PRICES", json.dumps(PRICES))
    for name in ("SUREFOOT_PROVIDER", "SUREFOOT_MAX_COST_USD"):
        monkeypatch.delenv(name, raising=False)
    reset_call_settings()
    reset_contacts()
    set_guard(None)
    yield _running_endpoint
    _running_endpoint.reset()
    set_guard(None)
    reset_contacts()
