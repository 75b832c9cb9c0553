"""`surefoot run --chaos`: a rehearsal on a local endpoint that misbehaves; no key, no network, no cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def rehearsal(profile: str, pipeline: str) -> Iterator[Counter[str]]:
    """Let all model calls inside the block go to a misbehaving local endpoint; yields the counts of its faults.

    The settings of the calls are replaced, whatever keys and addresses the environment holds; the endpoint answers as
    the embedded models would, and a request costs what one of the default model would cost.
    Raises `UsageError` for an unknown profile or pipeline.
    """
    from pydantic import SecretStr

    from nodes.call.settings import CallSettings, using_settings
    from surefoot.errors import UsageError
    from surefoot.testing import KEY, Injector, misbehaving_endpoint, profile_of
    from surefoot.testing.simulated import RESPONDERS, prepare

    chosen = profile_of(profile)
    if pipeline not in RESPONDERS:
        raise UsageError(f"--chaos cannot rehearse {pipeline!r} yet; it can: {', '.join(RESPONDERS)}")
    prepare(pipeline)
    with misbehaving_endpoint(chosen) as endpoint:
        injector = Injector(chosen)
        endpoint.chaos, endpoint.responder = injector, RESPONDERS[pipeline]
        settings = CallSettings.model_construct(provider="openai", api_key=SecretStr(KEY), base_url=endpoint.url)
        with using_settings(settings):
            yield injector.injected
