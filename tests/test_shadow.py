"""A file of the user's under the name of one of our packages is named, whoever meets it first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from surefoot.shadow import PACKAGES, Shadow, shadows


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_nothing_is_shadowed_here() -> None:
    assert shadows() == []


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("form", ["{}.py", "{}/__init__.py"])
def test_a_file_beside_the_script_is_named(tmp_path: Path, package: str, form: str) -> None:
    path = tmp_path / form.format(package)
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    script = tmp_path / "mine.py"
    script.write_text("from surefoot.shadow import refuse_shadows\nrefuse_shadows()")
    found = python(tmp_path, "mine.py")
    last = found.stderr.strip().splitlines()[-1]
    assert found.returncode == 1
    assert f"{path} shadows surefoot's package '{package}': rename it" in last
    assert last.endswith("or move your script to another folder: Python looks beside the script first")


@pytest.mark.parametrize("package", PACKAGES)
def test_an_import_of_surefoot_names_it_from_whatever_folder_the_script_is_started(
    tmp_path: Path, package: str
) -> None:
    (tmp_path / "mine").mkdir()
    path = tmp_path / "mine" / f"{package}.py"
    path.write_text("")
    (tmp_path / "mine" / "script.py").write_text("import surefoot")
    found = python(tmp_path, "mine/script.py")
    told = f"{path} shadows surefoot's package '{package}': rename it, or move your script to another folder"
    assert told in found.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("module", ["surefoot", "surefoot.cli", "surefoot.testing"])
@pytest.mark.parametrize("switch", ["-m", "-Xutf8 -um"])
def test_the_command_line_says_it_in_one_line(tmp_path: Path, module: str, switch: str) -> None:
    (tmp_path / "state.py").write_text("")
    found = python(tmp_path, *switch.split(), module, "draw", "support")
    assert found.returncode == 2
    assert found.stderr.startswith(f"surefoot: {tmp_path / 'state.py'} shadows")
    assert found.stderr.count("\n") == 1


def test_another_module_with_our_name_among_its_words_is_no_command_line(tmp_path: Path) -> None:
    (tmp_path / "state.py").write_text("")
    (tmp_path / "other.py").write_text("import surefoot")
    found = python(tmp_path, "-m", "other", "-m", "surefoot")
    assert found.returncode == 1
    assert "ShadowedPackage" in found.stderr


def test_a_module_that_is_imported_already_is_found(tmp_path: Path) -> None:
    (tmp_path / "nodes.py").write_text("")
    found = python(tmp_path, "-c", "import nodes, sys; sys.path.pop(0); import surefoot")
    assert found.returncode == 1
    assert "nodes.py shadows surefoot's package 'nodes'" in found.stderr


def test_a_folder_without_an_init_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    found = python(tmp_path, "-c", "from surefoot.shadow import shadows; print(shadows())")
    assert found.stdout.strip() == "[]"


def test_the_module_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    code = """
import sys
before = set(sys.modules)
from surefoot.shadow import shadows
shadows()
new = {name.partition('.')[0] for name in set(sys.modules) - before}
print(sorted(new - set(sys.stdlib_module_names)))
"""
    assert python(tmp_path, "-c", code).stdout.strip() == "['surefoot']"


def test_a_shadow_says_what_to_do() -> None:
    told = str(Shadow("state", "/home/me/state.py"))
    assert told.startswith("/home/me/state.py shadows")
    assert "rename it, or run from a folder" in told
