"""Compare two runs by the claim that holds for each pair of artifacts: the same bits, or counts within a bound.

- The same bits are claimed where versions, settings, passes, inputs and machine are the same.
- Counts within `BOUNDS` are claimed where tokens, model and dtype are the same, but machine, versions, threads, batch
  size, backend or device differ. The batch size may have been asked for, or cut to the memory. There rounding differs,
  and activations next to zero change sides.
- Nothing is claimed of any other artifact whose settings or inputs differ.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.statistics.sums import ActivationStatistics

# Activations per million that may change sides. bench/rounding.py measured these: none on one CPU in either dtype, with
# other threads and batch sizes; between that CPU and an H200, 0.5 in float32 and 1,087 in bfloat16; and 2,273 between
# float32 and bfloat16 itself. The bounds leave room for machines that were not measured. Nothing is claimed of float16.
BOUNDS = {"float32": 20.0, "bfloat16": 5000.0}


@dataclass
class Agreement:
    """The outcome of a comparison of two runs.

    Attributes:
        same: artifacts that must have the same bits, and have them.
        flips: statistics that need not have the same bits -> activations per million that changed sides.
        unclaimed: artifacts of which nothing is claimed.
        faults: (path, what is wrong) for each artifact that breaks its claim.
    """

    same: list[str] = field(default_factory=list)
    flips: dict[str, float] = field(default_factory=dict)
    unclaimed: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)


class Run:
    """A finished run on disk. An artifact's name is the path of its header below the run's folder."""

    def __init__(self, path: str | Path):
        """Read a manifest and the headers that it lists.

        Raises:
            LapeError: the manifest, or a header that it lists, is missing.
        """
        self.manifest = read_json(path, "manifest")
        try:
            self._prefix = f"results/{self.manifest['config']['run']}/"
            # The paths in a manifest are relative to the folder in which the workflow ran.
            folders = Path(path).resolve().parents
            self.root = next(root for root in folders if all((root / name).exists() for name in self.manifest["files"]))
            self.headers = {self._below(name): read_json(self.root / name) for name in self.manifest["artifacts"]}
        except (KeyError, TypeError, AttributeError, StopIteration) as error:
            raise LapeError(f"{path}: is not the manifest of a run that lies there; name one in results/") from error

    def _below(self, name: str) -> str:
        return name.removeprefix(self._prefix)

    @cached_property
    def inputs(self) -> dict[str, dict[str, str]]:
        """Name of each artifact -> the hashes of its inputs. Paths in the run's folder are relative to that folder."""
        return {
            name: {self._below(source): digest for source, digest in header["inputs"].items()}
            for name, header in self.headers.items()
        }

    def data(self, name: str, as_loaded: bool = True) -> dict[str, str]:
        """Hashes of an artifact's data files. For a model they are its revision and, if asked for, how it is loaded.

        Headers and the marks of shards are no data, because they repeat the names of files.
        """
        header = self.headers[name]
        if header["artifact"] == "model":
            loaded = {"dtype": header["dtype"], **header["parameters"]} if as_loaded else {}
            return header["outputs"] | {"revision": header["revision"], **loaded}
        return {file: digest for file, digest in header["outputs"].items() if not file.endswith(".json")}

    def statistics(self, name: str) -> ActivationStatistics:
        """Load the statistics of a name."""
        return ActivationStatistics.load((self.root / self._prefix / name).with_suffix(".npz"))


def compare(one: Run, other: Run) -> Agreement:
    """Compare every artifact that both runs have, by the claim that holds for it."""
    agreement = Agreement()
    for name in sorted(one.headers.keys() & other.headers.keys()):
        if _made_alike(one, other, name):
            if one.data(name) == other.data(name):
                agreement.same.append(name)
            else:
                agreement.faults.append((name, "is not the same bits, though settings, versions and inputs are"))
        elif _countable(one, other, name):
            dtype, flips = one.headers[name]["dtype"], _flips(one.statistics(name), other.statistics(name))
            agreement.flips[name] = flips
            if not flips <= BOUNDS[dtype]:
                bound = f"in {dtype} at most {BOUNDS[dtype]:g} may"
                agreement.faults.append((name, f"{flips:.1f} of a million activations changed sides, {bound}"))
        else:
            agreement.unclaimed.append(name)
    return agreement


def _made_alike(one: Run, other: Run, name: str) -> bool:
    """Whether machine, versions, settings, passes and input data are the same, so that the bits must be the same."""
    ours, theirs = one.headers[name], other.headers[name]
    settings = ("artifact", "versions", "parameters", "device", "backend", "dtype", "processes", "batch_size")
    if any(ours.get(key) != theirs.get(key) for key in settings) or _passes(ours) != _passes(theirs):
        return False
    return one.manifest.get("machine") == other.manifest.get("machine") and _same_inputs(one, other, name)


def _passes(header: dict) -> list[int | None]:
    """Chunks per forward pass in each shard of a count. Where memory was short they are fewer than asked for."""
    return [shard.get("batch_size") for shard in header["shards"]] if header["artifact"] == "statistics" else []


def _same_inputs(one: Run, other: Run, name: str, as_loaded: bool = True) -> bool:
    ours, theirs = one.inputs[name], other.inputs[name]
    return ours.keys() == theirs.keys() and all(
        one.data(source, as_loaded) == other.data(source, as_loaded)
        if source in one.headers and source in other.headers
        else ours[source] == theirs[source]
        for source in ours
    )


def _countable(one: Run, other: Run, name: str) -> bool:
    """Whether both are counts over the same positions of the same tokens, by the same model in the same dtype."""
    ours, theirs = one.headers[name], other.headers[name]
    return (
        ours["artifact"] == theirs["artifact"] == "statistics"
        and ours.get("dtype") == theirs.get("dtype")
        and ours.get("dtype") in BOUNDS
        and ours["parameters"].get("skip_first") == theirs["parameters"].get("skip_first")
        and _same_inputs(one, other, name, as_loaded=False)
    )


def _flips(one: ActivationStatistics, other: ActivationStatistics) -> float:
    """Differences of the counts, summed over neurons, per million activations; infinite where shapes differ."""
    if one.sites != other.sites or one.tokens != other.tokens:
        return np.inf
    return float(np.abs(one.count - other.count).sum() / one.denominator.sum() * 1e6)
