"""What a wheel holds, built without its extension: the workflow's files, data beside code, the version of torch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_data import ROOT

from lape.artifacts.code import code_hash


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The Python part of a wheel, as in site-packages, and its metadata."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", folder, "build_py", "--build-lib", folder]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"LAPE_CUDA": "0"})
    assert run.returncode == 0, run.stderr
    return folder


def test_it_holds_all_that_lies_beside_the_code(built):
    def files(folder: Path) -> set[str]:
        names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
        return {name for name in names if "__pycache__" not in name and not name.endswith((".so", ".pyd"))}

    inside = files(built / "lape")
    assert {name for name in inside if not name.startswith("shipped/")} == files(ROOT / "lape")
    for name in ("config", "envs", "profiles", "rules"):
        assert {f"shipped/{name}/{file}" for file in files(ROOT / name)} <= inside
    assert "shipped/Snakefile" in inside


def test_it_asks_for_the_torch_that_its_extension_is_compiled_for(built):
    (requires,) = built.glob("*.egg-info/requires.txt")
    assert f"torch=={torch.__version__.split('+')[0]}" in requires.read_text().splitlines()


def test_the_workflow_is_found_in_it(built, tmp_path):
    code = """
import lape
from lape.artifacts.code import code_hash, code_of
from lape.artifacts.shipped import default_config, snakefile
from lape.workflow.repository import repository_files
print(lape.__file__, default_config()["run"], snakefile().is_file(), len(repository_files("rules/captions/*.rst")) > 9)
print(*code_of("lape.neurons.selection"), code_hash("lape.neurons.selection"))
"""
    environment = os.environ | {"PYTHONPATH": str(built)}
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    first, second = run.stdout.splitlines()
    assert first == f"{built}/lape/__init__.py default True True"
    assert f"{built}/lape/neurons/selection.py" in second.split()
    assert second.split()[-1] == code_hash("lape.neurons.selection")


def test_a_missing_torch_is_named(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('no torch')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "setup.py", "--version"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert run.returncode == 1 and "lape: torch is missing" in run.stderr and "Traceback" not in run.stderr
