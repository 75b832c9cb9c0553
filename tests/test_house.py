"""What the repository promises about itself: layers, names, start-up, lock file."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ["state", "tasks", "nodes", "graphs", "checkpointers", "surefoot"]


def run_python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**os.environ, **env}, check=False
    )


def test_the_lock_file_is_hashed_and_free_of_urls() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    pins = re.findall(r"^[A-Za-z0-9_.-]+==", lock, re.MULTILINE)
    assert len(pins) > 50
    assert lock.count("--hash=sha256:") >= len(pins)


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    for extra in project["project"]["optional-dependencies"].values():
        wanted += extra
    locked = {
        name.lower()
        for name in re.findall(r"^([A-Za-z0-9_.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    }
    for spec in wanted:
        name = re.split(r"[\[<>=;! ]", spec, maxsplit=1)[0].lower()
        assert name in locked, f"{name} is not in requirements.lock: run `make lock`"


def test_every_room_is_typed_and_shipped() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert sorted(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == sorted(ROOMS)
    for room in ROOMS:
        assert (ROOT / room / "py.typed").exists(), room


def test_modules_stay_small() -> None:
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            lines = len(path.read_text().splitlines())
            assert lines <= 320, f"{path.relative_to(ROOT)} has {lines} lines: is it one thing?"


def test_importing_surefoot_imports_nothing_heavy() -> None:
    done = run_python(
        "import surefoot, sys; print([m for m in ('langgraph', 'sklearn', 'redis', 'openai') if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_importing_a_graph_connects_nowhere_and_needs_no_scikit_learn() -> None:
    code = """
import socket, sys
def refuse(*a, **k): raise SystemExit("a connection was opened at import")
socket.socket.connect = refuse
socket.create_connection = refuse
import graphs.support
assert "sklearn" not in sys.modules, "scikit-learn was imported"
assert "surefoot" not in sys.modules, "a graph imports the front door"
"""
    done = run_python(code, OPENAI_API_KEY="sk-test")
    assert done.returncode == 0, done.stderr


def test_public_names_stay() -> None:
    import checkpointers
    import nodes
    import surefoot

    assert {"RedisSaver", "AsyncRedisSaver", "open_saver"} <= set(checkpointers.__all__)
    assert {"run", "arun", "resume", "aresume", "pending", "apending", "explain", "aexplain"} <= set(surefoot.__all__)
    assert {"add_step", "add_retry", "add_gate", "add_review", "Policy", "Task", "fixed", "exponential"} <= set(
        nodes.__all__
    )
    raised = {"UsageError", "InputError", "RunFailed", "ThreadBusy"}
    assert raised | {"Custom", "Part", "Token", "Result"} <= set(surefoot.__all__)
    for name in surefoot.__all__:
        assert getattr(surefoot, name) is not None


def test_an_unknown_name_of_surefoot_is_an_attribute_error() -> None:
    import surefoot

    with pytest.raises(AttributeError, match="no_such_name"):
        surefoot.no_such_name  # noqa: B018 - the access is the test


GOLDEN_NODES = {
    "support": {
        "validate", "classify", "urgency", "route", "assess", "draft", "gate", "retry", "human_review", "finish",
    }
}  # fmt: skip


def test_no_node_disappears_while_threads_may_stand_at_it() -> None:
    """Remove a node only by replacing it with `add_retired`: LangGraph ends such a thread as if it had succeeded."""
    from graphs.support import graph

    assert GOLDEN_NODES["support"] <= set(graph.nodes) - {"__start__"}


def test_the_drawing_shows_every_route_and_fits_a_page() -> None:
    from graphs.support import graph

    drawing = graph.get_graph().draw_mermaid()
    lines = drawing.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 100
    for node in GOLDEN_NODES["support"]:
        assert node in drawing
    assert re.search(r"retry -\.-?.*> draft|retry -\..*-> draft", drawing)


def test_no_graph_has_a_checkpointer_or_a_langgraph_retry_policy() -> None:
    from graphs.support import graph

    assert graph.checkpointer is None
    assert not any(node.retry_policy for node in graph.nodes.values())


def test_metadata_and_limits_survive_attaching_a_saver() -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    from graphs.support import VERSION, graph

    attached = graph.copy(update={"checkpointer": InMemorySaver()})
    assert attached.config is not None
    assert attached.config["metadata"]["graph_version"] == VERSION
    assert attached.config["recursion_limit"] == 200


def test_the_lock_holds_the_hashes_of_every_platform() -> None:
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / "requirements.lock").read_text())
    hashes = {entry.split("==")[0].split("[")[0]: entry.count("--hash=") for entry in entries if "==" in entry}
    assert len(hashes) > 100
    for name in ("cffi", "cryptography", "numpy", "pydantic-core", "pyyaml", "scikit-learn", "scipy"):
        assert hashes[name] > 10, f"{name}: run `make lock` with an index that lists all files"
    assert sum(count == 1 for count in hashes.values()) <= 3
