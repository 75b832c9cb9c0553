"""A folder as input: one run a file, and what they share in one file beside them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
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
    rows = run(cli, folder, "--namespace", "closed")
    assert "cannot be opened" in json.dumps(rows["a.txt"])


def told_of(cli: Cli, folder: Path) -> tuple[str, set[str], dict[str, str]]:
    """Run a folder of which something is left out; return what is told, the ids that ran, and the listed entries."""
    done = cli("run", "resumes", str(folder), "--provider", "embedded", "--out", "rows.jsonl", "--json")
    assert done.status == 1, done.err
    assert "Traceback" not in done.err
    listed = {bad["file"]: bad["reason"] for bad in done.json["bad_lines"]}
    for name, reason in listed.items():
        assert f"{folder}/{name}: {reason}" in done.err
    return done.err, set(read_rows(folder.parent / "rows.jsonl")), listed


def test_a_link_out_of_the_folder_is_not_followed(cli: Cli, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text(CV.replace("Odalys", "Zebediah"))
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "c.txt").write_text(CV.replace("Odalys", "Zebediah"))
    (folder / "out.txt").symlink_to(secret)
    (folder / "up.txt").symlink_to(Path("later/../../secret.txt"))
    (folder / "later" / "all").symlink_to(tmp_path / "secrets")
    (folder / "twice.txt").symlink_to(folder / "out.txt")
    (folder / "passwd").symlink_to("/etc/passwd")
    err, ids, listed = told_of(cli, folder)
    assert ids == {"a.txt", "later/b.txt"}
    assert set(listed) == {"out.txt", "up.txt", "later/all", "twice.txt", "passwd"}
    assert all("link out of the folder, which is not followed" in reason for reason in listed.values())
    assert "5 files were left out" in err
    assert "Zebediah" not in (tmp_path / "rows.jsonl").read_text()


def test_a_link_to_a_file_of_the_folder_is_read_under_its_own_name(cli: Cli, folder: Path) -> None:
    (folder / ".store").mkdir()
    (folder / ".store" / "1f2e").write_text(CV.replace("Odalys", "Ottilie"))
    (folder / "linked.txt").symlink_to(Path(".store/1f2e"))
    rows = run(cli, folder)
    assert set(rows) == {"a.txt", "linked.txt", "later/b.txt"}


def test_what_is_no_file_is_named_with_the_reason(cli: Cli, folder: Path) -> None:
    os.mkfifo(folder / "pipe.pdf")
    bound = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(folder)
    bound.bind("s.pdf")
    os.chdir(here)
    bound.close()
    (folder / "gone.pdf").symlink_to(folder / "nowhere.pdf")
    (folder / "self.pdf").symlink_to(folder / "self.pdf")
    (folder / "later" / "loop").symlink_to(folder)
    (folder / "zero.pdf").symlink_to("/dev/zero")
    _, ids, listed = told_of(cli, folder)
    assert ids == {"a.txt", "later/b.txt"}
    assert listed == {
        "gone.pdf": "it is a link to nothing",
        "later/loop": "it is a link to a folder, which is not followed: files are read where they are",
        "pipe.pdf": "it is a pipe, and no file",
        "s.pdf": "it is a socket, and no file",
        "self.pdf": "it is a link that leads to itself",
        "zero.pdf": "it is a link out of the folder, which is not followed: copy the file into the folder",
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device; .ci/run does")
def test_a_device_is_named_and_not_read(cli: Cli, folder: Path) -> None:
    try:
        os.mknod(folder / "zero.pdf", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this container may make no device; .ci/run runs it where it may")
    _, ids, listed = told_of(cli, folder)
    assert ids == {"a.txt", "later/b.txt"}
    assert listed == {"zero.pdf": "it is a device, and no file"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder; an ordinary user's tests run it")
def test_a_folder_that_may_not_be_opened_is_named(cli: Cli, folder: Path) -> None:
    (folder / "later").chmod(0)
    _, ids, listed = told_of(cli, folder)
    (folder / "later").chmod(0o700)
    assert ids == {"a.txt"}
    assert listed == {"later": "this folder cannot be opened: permission denied"}


def test_folders_nested_as_deep_as_the_system_allows_are_walked(cli: Cli, folder: Path) -> None:
    deep = folder
    for _ in range(60):
        deep /= "d"
        deep.mkdir()
    (deep / "c.txt").write_text(CV.replace("Odalys", "Otto"))
    (folder / ("x" * 150)).mkdir()
    (folder / ("x" * 150) / ("y" * 100 + ".txt")).write_text(CV)
    _, ids, listed = told_of(cli, folder)
    assert ids == {"a.txt", "later/b.txt", "d/" * 60 + "c.txt"}
    assert listed == {"x" * 150 + "/" + "y" * 100 + ".txt": 'field "id" is longer than 200 characters'}


def test_what_all_items_share_is_no_link_out_of_the_folder_and_no_pipe(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (folder / "job.json").rename(tmp_path / "job.json")
    (folder / "job.json").symlink_to(tmp_path / "job.json")
    told = cli("run", "resumes", str(folder))
    assert (told.status, "job.json cannot be read: it is a link out of the folder" in told.err) == (2, True)
    (folder / "job.json").unlink()
    os.mkfifo(folder / "job.json")
    told = cli("run", "resumes", str(folder))
    assert (told.status, "job.json cannot be read: it is a pipe, and no file" in told.err) == (2, True)


def test_a_folder_that_is_itself_a_link_is_the_one_that_was_asked_for(cli: Cli, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cvs-of-today").symlink_to(folder)
    done = cli("run", "resumes", str(tmp_path / "cvs-of-today"), "--provider", "embedded", "--out", "rows.jsonl")
    assert done.status in (0, 3), done.err
    assert set(read_rows(tmp_path / "rows.jsonl")) == {"a.txt", "later/b.txt"}
