"""Every notebook runs from top to bottom in a kernel of its own, and what is stored of its outputs is small."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from servers import embedded_directory

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FOREIGN = ("OPENAI_", "LANGSMITH_", "LANGCHAIN_", "SUREFOOT_")


def executing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("execute", ROOT / "notebooks" / "execute.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with embedded_directory() as directory:
        monkeypatch.setenv("SUREFOOT_REDIS_URL", f"embedded:{directory}")
        run = executing().execute(path)
    for cell in run.cells:
        for output in cell.get("outputs", ()):
            assert output.output_type in ("stream", "display_data", "execute_result")
            assert output.get("name") != "stderr", output.text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_stored_is_small_and_says_nothing_of_a_machine(path: Path) -> None:
    text = path.read_text()
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in cells), "run it with `make notebooks`"
    assert len(text) < 64_000
    assert not re.search(r"/(home|root|Users|work|tmp)/", text)
    assert not re.search(r"\bsk-[A-Za-z0-9]{8}", text)


def test_there_is_one_for_each_way_of_use() -> None:
    assert {path.stem for path in NOTEBOOKS} == {
        "adopt_one_node", "breaking_things", "first_run", "own_pipeline", "review_and_resume",
    }  # fmt: skip
