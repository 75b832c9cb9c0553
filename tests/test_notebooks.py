"""Every notebook runs from top to bottom, inside a running event loop as in Jupyter."""

from __future__ import annotations

import ast
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert cells
    assert all(not cell["outputs"] for cell in cells), "outputs are kept out of the repository"

    async def run() -> None:
        names: dict[str, Any] = {"__name__": "__main__"}
        for number, cell in enumerate(cells):
            code = compile("".join(cell["source"]), f"{path.name}[{number}]", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            waiting = eval(code, names)  # a cell is code of ours
            if waiting is not None:
                await waiting

    asyncio.run(run())
    assert capsys.readouterr().out.strip()
