"""Run notebooks from top to bottom and store their outputs: `python notebooks/execute.py [NOTEBOOK...]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent


def execute(path: Path) -> Any:
    """Return a notebook with the outputs of a fresh kernel; raises `CellExecutionError` for a cell that fails."""
    notebook = nbformat.read(path, as_version=4)
    # In the folder of the notebook, where Jupyter and editors start a kernel.
    with tempfile.TemporaryDirectory(prefix="sf-nb-") as directory:
        # Not over TCP: what a kernel on a port is told, others on the machine may read.
        kernel = AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{directory}/kernel")
        NotebookClient(notebook, km=kernel, timeout=120, resources={"metadata": {"path": str(HERE)}}).execute()
    for cell in notebook.cells:
        # When a cell ran is of no interest, and would change with every run.
        cell.metadata.pop("execution", None)
    return notebook


if __name__ == "__main__":
    for name in [Path(name) for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")):
        nbformat.write(execute(name), name)
        sys.stdout.write(f"{name.name}\n")
