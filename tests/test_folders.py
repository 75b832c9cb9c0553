"""A folder as input: one run a file, and what they share in one file beside them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from cli_tools import Cli, read_rows

JOB = {"title": "Gardener", "required": ["Landscaping"], "min_years": 1}
CV = """Odalys Pemberton
odalys.pemberton@example.com

Experience
Gardener, Parks of Kleinstadt, 04/2018 - 02/2021
- Landscaping of two squares with four hundred trees, and the care of all roses in town
- Kept the machines in order and taught two apprentices to prune without fear
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "cvs"
    (made / "later").mkdir(parents=True)
    (made / "job.json").write_text(json.dumps(JOB))
    (made / "a.txt").write_text(CV)
    (made / "later" / "b.txt").write_text(CV.replace("Odalys", "Ottokar"))
    (made / ".hidden").write_text("nothing")
    return made


def run(cli: Cli, folder: Path, *more: str) -> dict[str, dict[str, object]]:
    done = cli("run", "resumes", str(folder), "--provider", "embedded", "--out", "rows.jsonl", *more)
    assert done.status in (0, 3), done.err
    return read_rows(folder.parent / "rows.jsonl")


def test_every_file_but_hidden_ones_is_an_item_by_its_name(cli: Cli, folder: Path) -> None:
    rows = run(cli, folder)
    assert set(rows) == {"a.txt", "later/b.txt"}
    assert all("Pemberton" not in json.dumps(row) for row in rows.values())


def test_a_changed_file_is_refused_under_its_id_and_a_moved_folder_is_not(cli: Cli, folder: Path) -> None:
    run(cli, folder)
    moved = folder.rename(folder.with_name("moved"))
    again = cli("run", "resumes", str(moved), "--provider", "embedded", "--json")
    assert (again.status, again.json["reused"]) == (0, 2)
    (moved / "a.txt").write_text(CV + "- Planted a wood\n")
    changed = cli("run", "resumes", str(moved), "--provider", "embedded")
    assert changed.status != 0
    assert "'a.txt' was run before with another content" in changed.err
    assert "later/b.txt" not in changed.err


def test_what_is_wrong_with_a_folder_is_one_line(cli: Cli, folder: Path) -> None:
    def told() -> str:
        done = cli("run", "resumes", str(folder))
        assert done.status == 2
        assert "Traceback" not in done.err
        return " ".join(done.err.split())

    for content, part in (
        ("{", "line 1: no valid JSON"), ('{"title": "x"}', "required"), ('{"title": "x", "required": []}', "required"),
        ("[" * 100_000, "no JSON"),
    ):  # fmt: skip
        (folder / "job.json").write_text(content)
        assert part in told()
    (folder / "job.json").unlink()
    assert "there is no" in told()
    (folder / "job.json").write_text(json.dumps(JOB))
    shutil.rmtree(folder / "later")
    (folder / "a.txt").unlink()
    assert "holds no files beside job.json" in told()
    support = cli("run", "support", str(folder))
    assert support.status == 2
    assert "is a folder, and support takes a file" in " ".join(support.err.split())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_told_by_its_run(cli: Cli, folder: Path) -> None:
    (folder / "a.txt").chmod(0)
    rows = run(cli, folder)
    assert "cannot be opened" in json.dumps(rows["a.txt"])


def test_a_dangling_link_is_told_by_its_run_or_left_out(cli: Cli, folder: Path) -> None:
    (folder / "gone.pdf").symlink_to(folder / "nowhere.pdf")
    assert "later/b.txt" in run(cli, folder)
