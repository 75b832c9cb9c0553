"""The file of `--out` survives kills and full disks, and holds each id once."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from surefoot.errors import UsageError
from surefoot.rows import RowFile, RowsLost


def row(id: str, status: str = "done", **more: Any) -> dict[str, Any]:
    return {"id": id, "thread_id": f"t-{id}", "status": status, **more}


def ids(path: Path) -> list[tuple[str, str]]:
    return [(found["id"], found["status"]) for found in map(json.loads, path.read_text().splitlines())]


def test_rows_are_there_as_soon_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.jsonl"
    with RowFile(str(path)) as rows:
        rows.write(row("a", draft="Grüße \ud800"))
        assert json.loads(path.read_text())["draft"] == "Grüße \ud800"
        rows.write(row("b", "waiting"))
        assert ids(path) == [("a", "done"), ("b", "waiting")]


def test_a_newer_row_takes_the_place_of_the_older_and_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with RowFile(str(path)) as rows:
        for name in "abc":
            rows.write(row(name, "waiting"))
    path.chmod(0o640)
    with RowFile(str(path)) as rows:
        rows.write(row("b", "done"))
        rows.write(row("c", "waiting"))
        rows.write(row("d"))
        assert ids(path) == [("a", "waiting"), ("b", "waiting"), ("c", "waiting"), ("b", "done"), ("d", "done")]
        assert rows.written == 2
    assert ids(path) == [("a", "waiting"), ("b", "done"), ("c", "waiting"), ("d", "done")]
    assert path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.jsonl"]


def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    for _ in range(2):
        with RowFile(str(path)) as rows:
            rows.write(row("a"))
        before = path.stat()
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert rows.written == 0


@pytest.mark.parametrize("torn", [b"{", b'{"id": "b", "thr', json.dumps(row("b"))[:-1].encode()])
def test_a_torn_last_line_is_dropped(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(json.dumps(row("a")).encode() + b"\n" + torn)
    with RowFile(str(path)) as rows:
        rows.write(row("c"))
    assert ids(path) == [("a", "done"), ("c", "done")]


def test_a_whole_last_line_without_a_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text(json.dumps(row("a")))
    with RowFile(str(path)) as rows:
        rows.write(row("b"))
    assert ids(path) == [("a", "done"), ("b", "done")]


def test_duplicates_that_a_killed_run_left_are_put_in_order(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in (row("a", "waiting"), row("b"), row("a", "done"))))
    with RowFile(str(path)):
        pass
    assert ids(path) == [("a", "done"), ("b", "done")]


@pytest.mark.parametrize("content", ["hello", "id,text\n1,x\n", '{"id": "a", "text": "a ticket"}\n', "[]\n", '{"a": 1'])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "precious.txt"
    path.write_text(content)
    with pytest.raises(UsageError, match="something else than rows"):
        RowFile(str(path))
    assert path.read_text() == content


def test_the_input_a_folder_and_a_file_in_use_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("")
    link = tmp_path / "link.jsonl"
    link.symlink_to(source)
    with pytest.raises(UsageError, match="is the input itself"):
        RowFile(str(link), source=str(source))
    with pytest.raises(UsageError, match="is a folder"):
        RowFile(str(tmp_path))
    with pytest.raises(UsageError, match="cannot be written"):
        RowFile(str(source / "below.jsonl"))
    with RowFile(str(tmp_path / "out.jsonl")), pytest.raises(UsageError, match="being written by another run"):
        RowFile(str(tmp_path / "out.jsonl"))


def test_a_link_is_kept_and_its_target_rewritten(tmp_path: Path) -> None:
    target, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    link.symlink_to(target)
    for status in ("waiting", "done"):
        with RowFile(str(link)) as rows:
            rows.write(row("a", status))
    assert link.is_symlink()
    assert ids(target) == [("a", "done")]


def test_dev_full_and_dev_null_are_no_places_to_read_from() -> None:
    rows = RowFile("/dev/null")
    rows.write(row("a"))
    rows.write(row("a", "waiting"))
    rows.close()
    rows = RowFile("/dev/full")
    with pytest.raises(RowsLost, match="/dev/full: no space left on device"):
        rows.write(row("a"))
    rows.close()


def test_a_pipe_that_nobody_reads_is_told_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "rows"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="is a pipe that no program reads: start the one that reads it first"):
        RowFile(str(pipe))


def test_a_pipe_that_is_read_slowly_gets_every_row(tmp_path: Path) -> None:
    pipe, count = tmp_path / "rows", 300
    os.mkfifo(pipe)
    code = f"import sys, time; f = open({str(pipe)!r}); time.sleep(0.3); print(len(f.readlines()))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as reader:
        rows = None
        while rows is None:
            with suppress(UsageError):
                rows = RowFile(str(pipe))
        for number in range(count):
            # More than a pipe holds: the writer waits, and no row is torn.
            rows.write(row(str(number), text="x" * 1000))
        rows.close()
        assert reader.communicate()[0].strip() == str(count)


def test_a_reader_that_goes_away_is_one_clear_line(tmp_path: Path) -> None:
    pipe = tmp_path / "rows"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    rows = RowFile(str(pipe))
    rows.write(row("a"))
    os.close(reader)
    with pytest.raises(RowsLost, match="rows: broken pipe"):
        rows.write(row("b"))
    rows.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user; .ci/run does")
def test_what_another_user_put_into_a_folder_of_all_is_not_written_to(tmp_path: Path) -> None:
    shared, precious = tmp_path / "shared", tmp_path / "precious"
    shared.mkdir()
    shared.chmod(0o1777)
    precious.write_text("")
    (shared / "link.jsonl").symlink_to(precious)
    os.chown(shared / "link.jsonl", 4242, 4242, follow_symlinks=False)
    (shared / "file.jsonl").write_text("")
    os.mkfifo(shared / "pipe.jsonl")
    for name in ("file.jsonl", "pipe.jsonl"):
        os.chown(shared / name, 4242, 4242)
    for name in ("link.jsonl", "file.jsonl", "pipe.jsonl"):
        with pytest.raises(UsageError, match="belongs to another user, in a folder that all can write to"):
            RowFile(str(shared / name))
    (shared / "own.jsonl").symlink_to(precious)
    with RowFile(str(shared / "own.jsonl")) as rows:
        rows.write(row("a"))
    assert ids(precious) == [("a", "done")]


def test_a_file_of_rows_keeps_the_mode_that_it_has(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.touch(0o600)
    for status in ("waiting", "done"):
        with RowFile(str(path)) as rows:
            rows.write(row("a", status))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_full_disk_leaves_whole_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    code = f"""
        import resource
        from surefoot.rows import RowFile, RowsLost
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        rows = RowFile({str(path)!r})
        try:
            for number in range(100):
                rows.write({{"id": str(number), "thread_id": "t", "status": "done"}})
        except RowsLost as error:
            print(error)
        rows.close()
    """
    found = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert "file too large" in found.stdout
    assert 10 < len(ids(path)) < 100


def test_a_disk_that_is_full_at_the_end_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.jsonl"
    rows = RowFile(str(path))
    rows.write(row("a", "waiting"))
    rows.write(row("a", "done"))

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RowsLost, match="no space left"):
        rows.close()
    assert ids(path) == [("a", "waiting"), ("a", "done")]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_killed_writer_loses_at_most_one_line(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    code = f"""
        from surefoot.rows import RowFile
        rows = RowFile({str(path)!r})
        number = 0
        while True:
            rows.write({{"id": str(number), "thread_id": "t", "status": "done", "draft": "x" * 500}})
            number += 1
            if number == 50:
                print("enough", flush=True)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    with RowFile(str(path)) as rows:
        rows.write(row("last"))
    found = [name for name, _ in ids(path)]
    assert found == [*map(str, range(len(found) - 1)), "last"]
    assert len(found) > 50


def test_a_file_that_may_not_be_written_is_named() -> None:
    """Root may write everywhere, so the check runs under another user id."""
    with tempfile.TemporaryDirectory(prefix="sf-rows-") as folder:
        Path(folder).chmod(0o755)
        locked = Path(folder, "locked.jsonl")
        locked.write_text("")
        locked.chmod(0o444)
        code = f"""
            import os
            from surefoot.errors import UsageError
            from surefoot.rows import RowFile
            if os.geteuid() == 0:
                os.seteuid(65534)
            try:
                RowFile({str(locked)!r})
            except UsageError as error:
                print(error)
        """
        command = [sys.executable, "-c", textwrap.dedent(code)]
        found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == f"--out {locked} cannot be written: permission denied"
