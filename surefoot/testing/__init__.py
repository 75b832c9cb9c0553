"""Test your own graphs as Surefoot is tested: a real endpoint on the loopback interface that misbehaves on demand.

    from surefoot.testing import misbehaving_endpoint, throttle

    with misbehaving_endpoint("flaky") as endpoint:      # or a Profile of your own
        ...                                              # point a client at endpoint.url
        assert endpoint.calls <= 12

In pytest: `pytest_plugins = ["surefoot.testing.plugin"]` gives the fixture `openai_endpoint`, with the environment
pointing at it. In other processes: `python -m surefoot.testing --profile flaky` prints its address.
Needs the extra `testing`.
"""

try:
    import starlette  # noqa: F401 - asked for here, so that what is missing is named
    import uvicorn  # noqa: F401 - see above
except ImportError as error:
    raise ImportError(
        f"surefoot.testing needs {error.name}: pip install 'surefoot[testing]'", name=error.name
    ) from None

from surefoot.testing.answers import DRAFT, Responder, calls_tool, default_responder, schema_in, support_responder
from surefoot.testing.endpoint import KEY, MODEL, PRICES, OpenAIEndpoint, Recorded, misbehaving_endpoint
from surefoot.testing.faults import (
    Fault,
    body,
    chunk,
    completion,
    content_filter,
    cut_stream,
    drip,
    empty,
    fenced,
    hang,
    html,
    prose,
    refusal,
    says,
    status,
    stream_of,
    throttle,
    throttle_ms,
    throttle_until,
    truncated,
)
from surefoot.testing.profiles import PROFILES, Injector, Profile, profile_of

__all__ = [
    "DRAFT",
    "KEY",
    "MODEL",
    "PRICES",
    "PROFILES",
    "Fault",
    "Injector",
    "OpenAIEndpoint",
    "Profile",
    "Recorded",
    "Responder",
    "body",
    "calls_tool",
    "chunk",
    "completion",
    "content_filter",
    "cut_stream",
    "default_responder",
    "drip",
    "empty",
    "fenced",
    "hang",
    "html",
    "misbehaving_endpoint",
    "profile_of",
    "prose",
    "refusal",
    "says",
    "schema_in",
    "status",
    "stream_of",
    "support_responder",
    "throttle",
    "throttle_ms",
    "throttle_until",
    "truncated",
]
