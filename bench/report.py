"""The benchmark's rows, its table, and the file that keeps them with the machine's name and versions."""

import json
import os
import platform
import re
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from bench.timing import Spread
from lape.artifacts.files import writing
from lape.kernels import ops

SECTIONS = {
    1: "Counted pass over the unhooked base forward, tokens/s",
    2: "Counted pass over other ways to count, tokens/s",
    3: "Model FLOP/s of the counted pass over the matrix-product ceiling",
    4: "Bytes/s of an operator over the copy bandwidth (ffn_edit: seconds over a copy's)",
    5: "Perplexity with 1% of the neurons deactivated over the unhooked causal LM, tokens/s",
    6: "Selection",
    7: "The workflow by stage, seconds summed over jobs",
    8: "Average precision of units",
    9: "Neurons off and steered over the same edits in other tools, tokens/s",
    10: "A pass that records the contexts of 1% of the neurons over the unhooked pass, tokens/s",
}
_PACKAGES = ("torch", "transformers", "numpy", "scikit-learn", "transformer-lens", "nnsight")


@dataclass(frozen=True)
class Row:
    """One measurement.

    Attributes:
        section: a key of SECTIONS.
        what: the model or operator, the dtype and the contender.
        measured: the spread over turns; None where nothing could be measured, and then `note` says why.
        unit: unit of the measurement; empty for a ratio.
        goal: ("at least" or "under", bound); None without a goal.
        note: absolute figures, and what a reader must know.
    """

    section: int
    what: str
    measured: Spread | None
    unit: str = ""
    goal: tuple[str, float] | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None without a measurement or without a goal."""
        if self.measured is None or self.goal is None:
            return None
        relation, bound = self.goal
        return self.measured.median >= bound if relation == "at least" else self.measured.median < bound

    def cells(self) -> list[str]:
        """The cells of the row in the table."""
        if self.measured is None:
            return [self.what, "-", "", _goal(self.goal, self.unit), "", self.note]
        spread = f"{self.measured.low:.3g}..{self.measured.high:.3g}"
        met = {True: "yes", False: "no", None: ""}[self.met]
        value = f"{_number(self.measured.median)} {self.unit}".strip()
        one = self.measured.low == self.measured.high
        return [self.what, value, "" if one else spread, _goal(self.goal, self.unit), met, self.note]


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:,.1f}"


def _goal(goal: tuple[str, float] | None, unit: str) -> str:
    return "" if goal is None else f"{goal[0]} {goal[1]:g} {unit}".strip()


def table(rows: list[Row]) -> str:
    """All rows as text, below the headings of their sections."""
    heading = ["", "median", "min..max", "goal", "met", ""]
    cells = [row.cells() for row in rows]
    widths = [max(len(row[column]) for row in [heading, *cells]) for column in range(len(heading))]

    def line(row: list[str]) -> str:
        return "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()

    lines = []
    for section in dict.fromkeys(row.section for row in rows):
        lines += ["", f"{section}. {SECTIONS[section]}", line(heading)]
        lines += [line(row_cells) for row, row_cells in zip(rows, cells, strict=True) if row.section == section]
    return "\n".join(lines[1:])


def machine(device: str) -> dict:
    """The name of the device, and the processor, cores and memory of the machine."""
    cuda = device != "cpu"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else processor(),
        "processor": processor(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        **({"memory_gib": round(torch.cuda.get_device_properties(device).total_memory / 2**30, 1)} if cuda else {}),
    }


def processor() -> str:
    """The name of the processor, where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"


def installed(package: str) -> str | None:
    """The version of a package; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> dict:
    """Versions of Python, of the packages that matter and of CUDA, and how the extension was built."""
    packages = {name: installed(name) or "not installed" for name in _PACKAGES}
    return {"python": platform.python_version(), **packages, "cuda": torch.version.cuda, "extension": ops.build_info()}


def write(folder: Path, device: str, seconds: float, rows: list[Row]) -> Path:
    """Write everything to one JSON file, which is named after the device, and return its path."""
    this = machine(device)
    path = folder / (re.sub(r"[^A-Za-z0-9]+", "-", this["device"]).strip("-") + ".json")
    content = {"machine": this, "versions": versions(), "seconds": round(seconds, 1)}
    content["sections"] = SECTIONS
    content["rows"] = [asdict(row) | {"met": row.met} for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")
    return path
