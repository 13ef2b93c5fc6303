"""The build: kernels that compile without torch, and a clear choice between C++ and CUDA."""

import hashlib
import json
import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from tiny_data import ROOT

from bench import sass

KERNELS = sorted((ROOT / "csrc").glob("*.cu"))
# Of a kernel whose sources are those that were compiled for all of them, the tests compile one again.
ARCHITECTURES = ("90", "80", "100")
COMPILED = Path(__file__).with_name("compiled.json")


def headers_of(source: Path) -> set[str]:
    """Every header that a file includes, directly or through the project's own headers."""
    text = source.read_text(encoding="utf-8")
    own = set(re.findall(r'#include "(.+)"', text))
    return set(re.findall(r"#include <(.+)>", text)).union(own, *(headers_of(source.parent / name) for name in own))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.name)
def test_kernels_include_no_torch_header(kernel):
    headers = headers_of(kernel)
    assert "kernels.h" in headers
    assert not [name for name in headers if name.split("/")[0] in ("torch", "ATen", "c10", "pybind11")]


def source_hash(kernel: Path) -> str:
    """SHA-256 of a kernel and of the project's headers that it includes."""
    own = sorted(path for path in (ROOT / "csrc").iterdir() if path.name in headers_of(kernel))
    return hashlib.sha256(b"".join(path.read_bytes() for path in (kernel, *own))).hexdigest()


def counted(kernel: Path, folder: Path, log: str) -> str:
    """Check that no loop takes more instructions than before, and tell how many a bfloat16 value takes."""
    if name := sass.missing():
        return f"; instructions not counted, since {name} is not here"
    version, before = sass.read()
    if version != sass.compiler():
        return f"; instructions not compared, since those of {sass.RESULTS.name} are of nvcc {version}"
    rows = sass.measured(kernel.name, folder / "kernel.o", log)
    assert not sass.risen(rows, before)
    return "".join(f"; {name} {row['instructions']:g}" for name, row in rows.items() if name.endswith("bfloat16"))


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc on the path")
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda path: path.name)
def test_kernels_compile_without_spills(kernel, tmp_path, record_property):
    """The hash of a kernel that compiled for all architectures is kept where the environment has LAPE_KEEP.

    The instructions of its loops are compared with `bench/results/sass.json`, which `python -m bench.sass` writes.
    """
    compiled = json.loads(COMPILED.read_text(encoding="utf-8"))
    architectures = ARCHITECTURES[:1] if compiled.get(kernel.name) == source_hash(kernel) else ARCHITECTURES
    targets = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in architectures]
    command = ["nvcc", *sass.FLAGS, *targets, kernel, "-o", tmp_path / "kernel.o"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", result.stderr)
    assert len(spills) >= 3 * len(architectures)  # three dtypes on each architecture, at least
    assert set(spills) == {("0", "0")}, result.stderr
    # Shown after the test run: what CI tells of kernels that it cannot run.
    registers = [int(number) for number in re.findall(r"Used (\d+) registers", result.stderr)]
    used = f"{len(registers)} kernels of {min(registers)} to {max(registers)} registers, no spills"
    per_value = counted(kernel, tmp_path, result.stderr)
    record_property("nvcc", f"{kernel.name} for sm_{', sm_'.join(architectures)}: {used}{per_value}")
    if "LAPE_KEEP" in os.environ:
        COMPILED.write_text(
            json.dumps(compiled | {kernel.name: source_hash(kernel)}, indent=1) + "\n", encoding="utf-8"
        )


@pytest.fixture
def setup_script(monkeypatch):
    """The functions of setup.py; nothing is built."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("LAPE_CUDA", "0")
    monkeypatch.setattr("setuptools.setup", lambda **settings: None)
    script = runpy.run_path("setup.py")
    monkeypatch.delenv("LAPE_CUDA")
    return script


def test_every_source_is_built(setup_script):
    sources = {path for path in (ROOT / "csrc").iterdir() if path.suffix in (".cpp", ".cu")}
    assert sources == {ROOT / name for name in setup_script["CPP"] + setup_script["CUDA"]}


@pytest.mark.parametrize(
    ("torch_cuda", "toolkit", "reason"),
    (
        (None, (13, 0), "this torch is a CPU build"),
        ("13.0", None, "set CUDA_HOME"),
        ("12.8", (13, 0), "nvcc is CUDA 13.0 and torch was built for CUDA 12.8"),
        ("13.2", (13, 0), None),
    ),
)
def test_build_says_what_it_leaves_out(setup_script, monkeypatch, capsys, torch_cuda, toolkit, reason):
    monkeypatch.setattr(torch.version, "cuda", torch_cuda)
    monkeypatch.setattr(torch.version, "hip", None)
    assert setup_script["with_cuda"](toolkit) is (reason is None)
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert ("C++ extension only" in message and reason in message) if reason else "C++ and CUDA" in message

    monkeypatch.setenv("LAPE_CUDA", "1")
    if reason is None:
        assert setup_script["with_cuda"](toolkit)
    else:
        with pytest.raises(SystemExit, match=re.escape(reason)):
            setup_script["with_cuda"](toolkit)


def test_lape_cuda_takes_0_and_1_alone(setup_script, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setenv("LAPE_CUDA", "0")
    assert not setup_script["with_cuda"]((13, 0))
    monkeypatch.setenv("LAPE_CUDA", "yes")
    with pytest.raises(SystemExit, match="set it to 0 or 1"):
        setup_script["with_cuda"]((13, 0))
