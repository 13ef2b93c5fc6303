"""CPU seconds from the call of a command until it works, beside those of another checkout.

    python -m bench.startup [--turns 7] [--beside FOLDER] [--only table statistics ...]

Every measurement is a process of its own, of which user and system time count. These grow less than the clock on a
machine that has other work to do, though they grow too: the least of some turns is nearest to an idle core. The two
checkouts take turns, and so do the commands, each after one call that fills the caches. FOLDER is built like this
one, with its libraries in FOLDER/.venv; without one there, those that run this are taken.

Commands that load a model do so on one of three layers and a few hundred tokens, so that all the seconds are start-up.
"""

import argparse
import contextlib
import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.report import machine, versions
from bench.timing import Spread
from lape.artifacts.files import write_json
from lape.errors import LapeError

ROOT = Path(__file__).resolve().parent.parent
# Of the stages that the tests run on a tiny model, those whose artifacts the measured commands read.
_NEEDED = ("corpus", "model", "tokens", "valid", "statistics", "select", "questions", "table")


@dataclass(frozen=True)
class Case:
    """What is started.

    Attributes:
        name: what --only calls it.
        what: what the table calls it.
        words: of the command line, behind Python; "STAGE:name" stands for a command line of the tests.
        goal: CPU seconds that it should stay under; None where the project has set none.
    """

    name: str
    what: str
    words: tuple[str, ...]
    goal: float | None = None


CASES = (
    Case("python", "Python alone", ("-c", "pass")),
    Case("torch", "`import torch`", ("-c", "import torch")),
    Case("model", "transformers' code of one architecture", ("-c", "import transformers.models.llama.modeling_llama")),
    Case("library", "`import lape`", ("-c", "import lape"), 0.3),
    Case("help", "`lape --help`", ("-m", "lape", "--help"), 0.3),
    Case("table", "`lape table`", ("STAGE:table",), 1.5),
    Case("figure", "`lape figure`", ("STAGE:figure",), 1.5),
    Case("statistics", "`lape statistics`", ("STAGE:statistics",), 4),
    Case("perplexity", "`lape perplexity`", ("STAGE:perplexity",), 4),
    Case("generate", "`lape generate`", ("STAGE:normal",), 4),
)


@dataclass(frozen=True)
class Checkout:
    """A copy of the repository, and the interpreter with its libraries."""

    folder: Path
    python: str

    @classmethod
    def of(cls, folder: Path) -> "Checkout":
        """A checkout with its own libraries, or where it has none with those that run this.

        Raises:
            LapeError: the folder is none. Python would import an installed `lape` in its place.
        """
        folder = folder.resolve()
        if not (folder / "lape" / "cli.py").is_file():
            raise LapeError(f"{folder}: is no checkout of the repository; give --beside one that is built")
        own = folder / ".venv" / "bin" / "python"
        return cls(folder, str(own) if own.is_file() else sys.executable)

    def seconds(self, words: Iterable[str], data: Path) -> float:
        """User and system seconds of a command that runs in the folder `data`.

        Raises:
            LapeError: it failed.
        """
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as `make` does: what is compiled once is kept
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [self.python, *words], cwd=data, env=environment, stdout=subprocess.DEVNULL, stderr=errors
            )
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                errors.seek(0)
                last = (errors.read().decode().strip() or f"exit status {process.returncode}").splitlines()[-1]
                raise LapeError(f"{' '.join(words)}: failed ({last}); run it in {self.folder}")
        return used.ru_utime + used.ru_stime

    def commit(self) -> str | None:
        """The commit that is checked out, with "-dirty" where tracked files differ; None outside git."""
        describe = ["git", "-C", str(self.folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        done = subprocess.run(describe, capture_output=True, text=True)
        return done.stdout.strip() or None


def measured(cases: Iterable[Case], checkouts: dict[str, Checkout], turns: int, data: Path) -> list[dict]:
    """One row a case: its goal, and of each checkout the spread of its CPU seconds over the turns."""
    cases = list(cases)
    seconds = {(case, name): np.empty(turns) for case in cases for name in checkouts}
    for turn in range(-1, turns):  # the first call fills the caches and is not kept
        for (case, name), found in seconds.items():
            used = checkouts[name].seconds(_words(case, data, f"{name}-{turn}"), data)
            if turn >= 0:
                found[turn] = used
    return [
        {"case": case.name, "what": case.what, "goal": case.goal}
        | {name: asdict(Spread.of(seconds[case, name])) for name in checkouts}
        for case in cases
    ]


def _words(case: Case, data: Path, folder: str) -> list[str]:
    """The command line of one call, whose output goes into a folder of its own: nothing may be there already."""
    first, *_ = case.words
    if not first.startswith("STAGE:"):
        return [*case.words]
    words = helper("stages").arguments(first.removeprefix("STAGE:"))
    words[-1] = f"outputs/{folder}/{words[-1]}"
    (data / words[-1]).parent.mkdir(parents=True, exist_ok=True)
    return ["-m", "lape", *words]


def helper(name: str):
    """A module of the tests' helpers: `stages` knows a command line for each stage, and makes its tiny inputs."""
    helpers = str(ROOT / "tests" / "helpers")
    if helpers not in sys.path:
        sys.path.append(helpers)
    return importlib.import_module(name)


def markdown(rows: list[dict], names: Iterable[str]) -> str:
    """The table of bench/README.md."""
    names = list(names)
    lines = [
        "| | " + " | ".join(f"{name}, least | median" for name in names) + " | goal |",
        "|---|" + "---|---|" * len(names) + "---|",
    ]
    for row in rows:
        cells = [f"{row[name][key]:.2f}" for name in names for key in ("low", "median")]
        lines.append(f"| {row['what']} | {' | '.join(cells)} | {'' if row['goal'] is None else row['goal']} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [case.name for case in CASES]
    parser.add_argument("--turns", type=int, default=7, help="of each checkout and command")
    parser.add_argument(
        "--beside", type=Path, metavar="FOLDER", help="another checkout, measured in turn with this one"
    )
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="commands; default: all")
    parser.add_argument("--output", type=Path, default=Path("bench/results/startup.json"))
    arguments = parser.parse_args()
    try:
        _run(arguments)
    except LapeError as error:
        raise SystemExit(f"bench: {error}") from None


def _run(arguments: argparse.Namespace) -> None:
    checkouts = {"before": Checkout.of(arguments.beside)} if arguments.beside else {}
    checkouts["now"] = Checkout.of(ROOT)
    cases = [case for case in CASES if case.name in arguments.only]
    with tempfile.TemporaryDirectory() as folder:
        if any(case.words[0].startswith("STAGE:") for case in cases):
            with contextlib.chdir(folder):
                helper("stages").finish(Path(folder), _NEEDED)
        rows = measured(cases, checkouts, arguments.turns, Path(folder))
    commits = {name: checkout.commit() for name, checkout in checkouts.items()}
    content = {"machine": machine("cpu"), "versions": versions(), "commits": commits, "turns": arguments.turns}
    write_json(arguments.output, {**content, "unit": "CPU seconds, user and system", "rows": rows})
    print(markdown(rows, checkouts))


if __name__ == "__main__":
    main()
