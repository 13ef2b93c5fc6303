"""A set of selected neurons: a table that a person can read, and the header that says what it is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifact import checked, read_json, writing
from lape.errors import LapeError


@dataclass(frozen=True)
class Neurons:
    """Selected neurons of a model of L layers with I neurons each.

    Attributes:
        table: one row a neuron, sorted by layer and index, with columns layer and index (both from 0) and
            languages (a tuple of the sets that the neuron belongs to); more columns say why it was selected.
        sets: names of the sets, in order: the languages, or "random" for a control.
        layers, neurons_per_layer: L and I.
        summary: what else the header records (method, threshold, entropy at the cut, ...).
        origin: what messages call them: the header's path, where they were read from one.
    """

    table: pd.DataFrame
    sets: tuple[str, ...]
    layers: int
    neurons_per_layer: int
    summary: dict = field(default_factory=dict)
    origin: str = "neurons"

    def indices(self, sets: str | Sequence[str]) -> dict[int, np.ndarray]:
        """Neurons of one or several sets: layer -> sorted int64 indices; layers without any are left out.

        Raises:
            LapeError: there is no such set.
        """
        sets = [sets] if isinstance(sets, str) else list(sets)
        for name in sets:
            if name not in self.sets:
                raise LapeError(f"{self.origin}: no set {name!r}; there are {', '.join(self.sets)}")
        chosen = self.table[[not set(languages).isdisjoint(sets) for languages in self.table["languages"]]]
        return {
            int(layer): np.sort(rows["index"].to_numpy(np.int64)) for layer, rows in chosen.groupby("layer", sort=True)
        }

    def counts(self) -> dict[str, int]:
        """Number of neurons in each set; one neuron can belong to several."""
        return {name: sum(name in languages for languages in self.table["languages"]) for name in self.sets}

    def description(self) -> dict:
        """What the header of a neurons artifact says of its table, the summary included."""
        return {
            "sets": list(self.sets),
            "layers": self.layers,
            "neurons_per_layer": self.neurons_per_layer,
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
            LapeError: missing, of another kind, or a table that does not fit its header.
        """
        header_path = Path(header_path)
        header = read_json(header_path, "neurons")
        path = checked(header_path, header, ".tsv")
        try:
            # Codes such as "nan" or "na" are languages, not missing values.
            table = pd.read_csv(path, sep="\t", keep_default_na=False)
            table["languages"] = [tuple(str(text).split(",")) for text in table["languages"]]
            shape = header["layers"], header["neurons_per_layer"]
            neurons = cls(table, tuple(header["sets"]), *shape, header, str(header_path))
            fits = (
                table["layer"].between(0, neurons.layers - 1).all()
                and table["index"].between(0, neurons.neurons_per_layer - 1).all()
                and set().union(*table["languages"], set()) <= set(neurons.sets)
            )
        except OSError as error:
            raise LapeError(f"{path}: cannot be read ({error.strerror}); run the select step") from error
        except (KeyError, ValueError, TypeError) as error:
            raise LapeError(f"{path}: is not a table of neurons ({error}); run the select step again") from error
        if not fits:
            raise LapeError(f"{path}: names layers, indices or sets that {header_path} does not have; select again")
        return neurons
