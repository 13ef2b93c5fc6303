"""A neuron set: what a run found on one model, as a folder that the hub of datasets and `lape` read.

The folder has a Parquet file for each configuration of the dataset, a card (README.md), and a header (lape.json) that
makes the run's neurons of the tables again. `lape.export.set_files` writes it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lape.artifacts.files import read_json, sha256
from lape.artifacts.headers import check_fields
from lape.artifacts.hub_errors import explain
from lape.errors import LapeError, nearest
from lape.interventions.steering import SteeringValues
from lape.neurons.table import Neurons

HEADER = "lape.json"
# The name of a repository of the hub.
REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def data_file(configuration: str) -> str:
    """Where the table of a configuration is in the folder."""
    return f"data/{configuration}.parquet"


def load_neurons(source: str | Path, method: str = "lape", revision: str | None = None) -> Neurons:
    """The neurons of a neuron set, as the run had them. No code of the set is run.

    Args:
        source: folder of the set, or name of a dataset of the hub, such as "owner/name".
        method: that found the neurons.
        revision: commit, tag or branch of the dataset; None for its newest state.

    Raises:
        LapeError: there is no such set, it has no neurons of the method, or a file is damaged.
    """
    return NeuronSet.open(source, f"neurons_{method}", revision).neurons(method)


def load_steering_values(source: str | Path, method: str = "lape", revision: str | None = None) -> SteeringValues:
    """The values of a neuron set to steer with; see `load_neurons`.

    Raises:
        LapeError: see `load_neurons`.
    """
    return NeuronSet.open(source, f"steering_{method}", revision).steering_values(method)


@dataclass(frozen=True)
class NeuronSet:
    """The folder of a neuron set, on this machine.

    Attributes:
        folder: the folder.
        header: content of its lape.json.
    """

    folder: Path
    header: dict

    @classmethod
    def open(cls, source: str | Path, configuration: str, revision: str | None = None) -> "NeuronSet":
        """Read the header of a set. Of a dataset of the hub the configuration's table is fetched with it.

        Raises:
            LapeError: see `load_neurons`.
        """
        if Path(source).is_dir():
            if revision is not None:
                raise LapeError(f"{source}: is a folder, which has no revision; leave {revision} out")
            folder = Path(source)
        else:
            folder = _fetched(str(source), configuration, revision)
        return cls(folder, read_json(folder / HEADER, "neuron_set"))

    def neurons(self, method: str) -> Neurons:
        """The neurons that a method found.

        Raises:
            LapeError: see `load_neurons`.
        """
        table, header = self._table(f"neurons_{method}"), self._description(method)
        try:
            table["languages"] = [tuple(names) for names in table["languages"]]
            return Neurons.of(table, header, str(self.folder / HEADER))
        except (LapeError, KeyError, ValueError, TypeError) as error:
            raise self._unfit(f"neurons_{method}", error) from error

    def steering_values(self, method: str) -> SteeringValues:
        """The mean activation of the method's neurons on their languages.

        Raises:
            LapeError: see `load_neurons`.
        """
        table, header = self._table(f"steering_{method}"), self._description(method)
        try:
            return SteeringValues.of(table, header, str(self.folder / HEADER))
        except (LapeError, KeyError, ValueError, TypeError) as error:
            raise self._unfit(f"steering_{method}", error) from error

    def files(self, method: str) -> list[Path]:
        """The files that the neurons of a method are read from."""
        return [self.folder / HEADER, self.folder / data_file(f"neurons_{method}")]

    def _description(self, method: str) -> dict:
        """The fields of a header of neurons; see `Neurons.description`."""
        description = self.header["methods"][method]
        check_fields(self.folder / HEADER, description)
        return description

    def _table(self, configuration: str) -> pd.DataFrame:
        """A table, after a check that it has the hash that the header names.

        Raises:
            LapeError: the set has no such table, or it is not the header's.
        """
        name, files = data_file(configuration), self.header["outputs"]
        if name not in files:
            known = [Path(each).stem for each in files if each.endswith(".parquet")]
            raise LapeError(f"{self.folder}: has no {configuration!r}{nearest(configuration, known)}")
        path = self.folder / name
        if sha256(path) != files[name]:
            raise LapeError(f"{path}: is not the file that {HEADER} was written for; fetch or export the set again")
        try:
            return pq.read_table(path).to_pandas()
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._unfit(configuration, error) from error

    def _unfit(self, configuration: str, error: Exception) -> LapeError:
        return LapeError(f"{self.folder / data_file(configuration)}: does not fit ({error}); export the set again")


def _fetched(name: str, configuration: str, revision: str | None) -> Path:
    """The folder in the hub's cache with what a set's neurons are made of."""
    import huggingface_hub

    if not REPOSITORY.fullmatch(name):
        raise LapeError(f"{name}: is no folder, and no dataset of the hub; name an existing folder, or owner/name")
    wanted = [HEADER, data_file(configuration)]
    try:
        folder = huggingface_hub.snapshot_download(name, repo_type="dataset", revision=revision, allow_patterns=wanted)
    except Exception as error:  # exceptions of the hub and of two libraries for its protocol
        reason, remedy = explain(error)
        remedy = remedy or "check name, revision, access (HF_TOKEN) and network"
        raise LapeError(f"{name}: cannot be fetched from the hub ({reason}); {remedy}") from error
    if not Path(folder, HEADER).is_file():
        raise LapeError(f"{name}: is no neuron set (it has no {HEADER}); name a dataset that `lape export set` wrote")
    return Path(folder)
