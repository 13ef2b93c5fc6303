"""Do two runs agree as they must? The same bits, or counts within a bound; which of the two, their settings say.

Same versions, settings, passes and inputs on the same machine: the data of an artifact are the same to the bit. Another
machine or version, number of threads, batch size (asked for or cut to the memory), backend or device: rounding differs,
and activations next to zero change sides; on the same tokens and model, in the same dtype, the counts differ no more
than `BOUNDS` says. Of all else that was made otherwise, or from data that differ, nothing is claimed.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.statistics.sums import ActivationStatistics

# Most activations in a million that may change sides. bench/rounding.py measured none on one CPU, in either dtype, by
# threads and batch size; between it and an H200 0.5 in float32 and 1,087 in bfloat16, whose rounding itself moves 2,273
# beside float32. The bounds leave room for what was not measured. Of float16 nothing is claimed.
BOUNDS = {"float32": 20.0, "bfloat16": 5000.0}


@dataclass
class Agreement:
    """What two runs share.

    Attributes:
        same: artifacts that had to be the same bits, and are.
        flips: activations in a million that changed sides, of each of the statistics that need not be the same bits.
        unclaimed: artifacts of which nothing is claimed.
        faults: (path, what is wrong) of what breaks its claim.
    """

    same: list[str] = field(default_factory=list)
    flips: dict[str, float] = field(default_factory=dict)
    unclaimed: list[str] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)


class Run:
    """A finished run on disk; its artifacts go by their header's path below the run's folder."""

    def __init__(self, path: str | Path):
        """Read a manifest and the headers that it lists.

        Raises:
            LapeError: no manifest, or a header that it lists is missing.
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
        """Hashes of what each artifact was made from; paths in the run's folder as `headers` has them."""
        return {
            name: {self._below(source): digest for source, digest in header["inputs"].items()}
            for name, header in self.headers.items()
        }

    def data(self, name: str, as_loaded: bool = True) -> dict[str, str]:
        """Hashes of an artifact's data; of a model its revision, and how it is loaded, if asked for.

        Headers and marks of shards are no data: they repeat the names of files.
        """
        header = self.headers[name]
        if header["artifact"] == "model":
            loaded = {"dtype": header["dtype"], **header["parameters"]} if as_loaded else {}
            return header["outputs"] | {"revision": header["revision"], **loaded}
        return {file: digest for file, digest in header["outputs"].items() if not file.endswith(".json")}

    def statistics(self, name: str) -> ActivationStatistics:
        """Statistics by their header's name."""
        return ActivationStatistics.load((self.root / self._prefix / name).with_suffix(".npz"))


def compare(one: Run, other: Run) -> Agreement:
    """Compare the artifacts that two runs share, one claim for each."""
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
    """Whether machine, versions, settings, passes and input data are the same, so that the outcome must be."""
    ours, theirs = one.headers[name], other.headers[name]
    settings = ("artifact", "versions", "parameters", "device", "backend", "dtype", "processes", "batch_size")
    if any(ours.get(key) != theirs.get(key) for key in settings) or _passes(ours) != _passes(theirs):
        return False
    return one.manifest.get("machine") == other.manifest.get("machine") and _same_inputs(one, other, name)


def _passes(header: dict) -> list[int | None]:
    """Chunks of a pass in each shard of a count: fewer than were asked for where memory was short."""
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
    """Differences of the counts, summed over neurons, in a million activations; infinite where shapes differ."""
    if one.count.shape != other.count.shape or one.tokens != other.tokens:
        return np.inf
    return float(np.abs(one.count - other.count).sum() / one.denominator.sum() * 1e6)
