"""Selected neurons as an artifact: a table that a person can read, and a header that says what the table is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_json, writing
from lape.errors import LapeError
from lape.neurons.set_names import known_sets

# The columns that say where a neuron is.
PLACE = ("layer", "expert", "index")


@dataclass(frozen=True)
class Neurons:
    """Selected neurons of a model of L layers with I neurons each.

    Attributes:
        table: one row per neuron, sorted by layer, expert and index. Columns are layer, expert (in a mixture of experts
            alone), index within the FFN or the expert (all from 0), and languages (a tuple of the sets that the neuron
            belongs to). More columns say why the neuron was selected.
        sets: names of the sets, in order. They are the languages.
        layers, neurons_per_layer: L and I, over all experts.
        summary: further fields of the header: method, threshold, entropy at the cut, ...
        origin: what messages call the neurons: the path of the header that they were read from, if any.
        experts: number of experts in a layer; 1 in a dense FFN.
    """

    table: pd.DataFrame
    sets: tuple[str, ...]
    layers: int
    neurons_per_layer: int
    summary: dict = field(default_factory=dict)
    origin: str = "neurons"
    experts: int = 1

    def indices(self, sets: str | Sequence[str]) -> dict[int, np.ndarray]:
        """The neurons of one or several sets: layer -> sorted int64 places in that layer.

        The place of neuron j of expert e is e * I / experts + j. Layers without a neuron are left out.

        Raises:
            LapeError: there is no set of a name.
        """
        sets = known_sets(sets, self.sets, self.origin)
        chosen = np.array([not set(languages).isdisjoint(sets) for languages in self.table["languages"]], bool)
        layers, places = self.table["layer"].to_numpy()[chosen], self.places()[chosen]
        return {int(layer): np.sort(places[layers == layer]) for layer in np.unique(layers)}

    def places(self) -> np.ndarray:
        """The place of each row's neuron in its layer, int64 [rows]."""
        return places(self.table, self.neurons_per_layer, self.experts)

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
            "layers": self.layers,
            "neurons_per_layer": self.neurons_per_layer,
            "experts": self.experts,
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
                table = table.astype(numbers | {name: "int64" for name in PLACE if name in table})
            table["languages"] = [tuple(str(text).split(",")) for text in table["languages"]]
            shape = header["layers"], header["neurons_per_layer"]
            neurons = cls(table, tuple(header["sets"]), *shape, header, str(header_path), header.get("experts", 1))
            places = pd.Series(neurons.places())
            fits = (
                table["layer"].between(0, neurons.layers - 1).all()
                and table["index"].between(0, neurons.neurons_per_layer // neurons.experts - 1).all()
                and places.between(0, neurons.neurons_per_layer - 1).all()
                and set().union(*table["languages"], set()) <= set(neurons.sets)
            )
        except OSError as error:
            raise LapeError(f"{path}: cannot be read ({error.strerror}); run the select step") from error
        except (KeyError, ValueError, TypeError) as error:
            raise LapeError(f"{path}: is not a table of neurons ({error}); run the select step again") from error
        if not fits:
            raise LapeError(f"{path}: names layers, indices or sets that {header_path} does not have; select again")
        return neurons


def places(table: pd.DataFrame, neurons_per_layer: int, experts: int) -> np.ndarray:
    """The place of each row's neuron in its layer, int64 [rows]; the inverse of `located`."""
    index = table["index"].to_numpy(np.int64)
    return index if experts == 1 else table["expert"].to_numpy(np.int64) * (neurons_per_layer // experts) + index


def located(chosen: np.ndarray, neurons_per_layer: int, experts: int) -> dict[str, np.ndarray]:
    """The columns layer, expert and index of some neurons; the inverse of `places`.

    Args:
        chosen: int64 [rows], layer * neurons_per_layer + place.
        neurons_per_layer, experts: see `Neurons`.
    """
    layer, place = np.divmod(chosen, neurons_per_layer)
    if experts == 1:
        return {"layer": layer, "index": place}
    expert, index = np.divmod(place, neurons_per_layer // experts)
    return {"layer": layer, "expert": expert, "index": index}
