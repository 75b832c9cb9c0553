"""Shared fixtures, and an environment that is the same on every machine."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings as hypothesis_settings

pytest_plugins = ["servers", "surefoot.testing.plugin", "cli_tools", "guard_tools"]

for _name in [n for n in os.environ if n.startswith(("SUREFOOT_", "OPENAI_", "LANGSMITH_", "LANGCHAIN_"))]:
    if not _name.startswith("SUREFOOT_TEST_"):
        del os.environ[_name]

# The same examples on every run, so that a red test is about the change at hand; `make fuzz` looks for new ones. No
# deadlines: what an example takes on a busy machine says nothing about the code.
hypothesis_settings.register_profile("fixed", derandomize=True, database=None, deadline=None)
hypothesis_settings.register_profile("fuzz", max_examples=5_000, deadline=None)
hypothesis_settings.load_profile(os.environ.get("SUREFOOT_TEST_HYPOTHESIS", "fixed"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests, which share its servers, in one worker; pages of the documentation share nothing."""
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(autouse=True)
def _fresh_settings() -> None:
    """Forget settings that another test has read from its environment."""
    from nodes.call import reset_call_settings, set_sealer
    from surefoot.settings import settings

    set_sealer(None)
    reset_call_settings()
    settings.cache_clear()


@pytest.fixture(autouse=True)
def _fresh_guard(request: pytest.FixtureRequest) -> None:
    """Forget what earlier tests taught the guard of a shared server about the endpoint that all tests share."""
    from checkpointers import connect

    for name in {"shared_embedded_url", "cli_url"} & set(request.fixturenames):
        with connect(request.getfixturevalue(name)) as client:
            if keys := client.keys("surefoot:guard:*"):
                client.delete(*keys)
