"""Selected neurons as an artifact: a table that a person can read, and a header that says what the table is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_json, writing
from lape.errors import LapeError
from lape.model.sites import PLACE, Sites
from lape.neurons.set_names import known_sets


@dataclass(frozen=True)
class Neurons:
    """Selected neurons of a model.

    Attributes:
        table: one row per neuron, sorted by layer, expert and index. Columns are layer, kind (where a model has sites
            of several kinds, see `lape.model.sites.KINDS`), expert (where a layer has several FFNs: the number of the
            expert or FFN within the layer), index within the FFN or the expert (all from 0), and languages (a tuple of
            the sets that the neuron belongs to). More columns say why the neuron was selected.
        sets: names of the sets, in order. They are the languages.
        sites: where the model's neurons are.
        summary: further fields of the header: method, threshold, entropy at the cut, ...
        origin: what messages call the neurons: the path of the header that they were read from, if any.
    """

    table: pd.DataFrame
    sets: tuple[str, ...]
    sites: Sites
    summary: dict = field(default_factory=dict)
    origin: str = "neurons"

    @property
    def layers(self) -> int:
        """Number of the model's layers."""
        return self.sites.layers

    def indices(self, sets: str | Sequence[str]) -> dict[int, np.ndarray]:
        """The neurons of one or several sets: layer -> sorted int64 places in that layer.

        The places of a layer number its neurons expert by expert, from 0. Layers without a neuron are left out.

        Raises:
            LapeError: there is no set of a name.
        """
        sets = known_sets(sets, self.sets, self.origin)
        chosen = np.array([not set(languages).isdisjoint(sets) for languages in self.table["languages"]], bool)
        return self.sites.by_layer(self.numbers()[chosen])

    def numbers(self) -> np.ndarray:
        """The number of each row's neuron in the model, int64 [rows]."""
        return self.sites.numbers(self.table)

    def membership(self) -> np.ndarray:
        """Whether each neuron belongs to each set, bool [rows, K]."""
        rows = [[name in languages for name in self.sets] for languages in self.table["languages"]]
        return np.array(rows, bool).reshape(-1, len(self.sets))

    def counts(self) -> dict[str, int]:
        """Number of neurons in each set. A neuron can belong to several sets."""
        return dict(zip(self.sets, self.membership().sum(axis=0).tolist(), strict=True))

    def description(self) -> dict:
        """The fields of a header that describe the table, `summary` included."""
        return {
            "sets": list(self.sets),
            **self.sites.description(),
            "layer_numbering": "from 0",
            **self.summary,
            "counts": self.counts(),
        }

    def save(self, path: str | Path) -> None:
        """Write the table as TSV: UTF-8, full precision, languages joined by commas."""
        table = self.table.assign(languages=[",".join(languages) for languages in self.table["languages"]])
        with writing(path) as temporary:
            table.to_csv(temporary, sep="\t", index=False, lineterminator="\n")

    @classmethod
    def load(cls, header_path: str | Path) -> "Neurons":
        """Read a neurons artifact by its header; the table lies beside it.

        Raises:
            LapeError: the header is missing or of another kind of artifact, or the table does not fit it.
        """
        header_path = Path(header_path)
        header = read_json(header_path, "neurons")
        path = checked(header_path, header, ".tsv")
        try:
            # Codes such as "nan" or "na" are languages, not missing values.
            table = pd.read_csv(path, sep="\t", keep_default_na=False)
            if table.empty:  # pandas cannot tell the types of its columns
                numbers = dict.fromkeys(table.columns.drop("languages"), "float64")
                table = table.astype(numbers | {name: "int64" for name in PLACE if name in table and name != "kind"})
            table["languages"] = [tuple(str(text).split(",")) for text in table["languages"]]
            neurons = cls(table, tuple(header["sets"]), Sites.of(header), header, str(header_path))
            neurons.numbers()
            strangers = set().union(*table["languages"], set()) - set(neurons.sets)
        except OSError as error:
            raise LapeError(f"{path}: cannot be read ({error.strerror}); run the select step") from error
        except (KeyError, ValueError, TypeError) as error:
            raise LapeError(f"{path}: is not a table of neurons ({error}); run the select step again") from error
        except LapeError as error:
            raise LapeError(f"{path}: {error}; select again") from error
        if strangers:
            raise LapeError(f"{path}: names sets that {header_path} does not have ({min(strangers)}); select again")
        return neurons
