"""Selected neurons as an artifact: a table that a person can read, and a header that says what the table is."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_json, write_header, writing
from lape.artifacts.headers import is_name
from lape.artifacts.pairs import named_pair
from lape.display.layers import panels, ranges
from lape.display.tables import Shown, Table
from lape.errors import LapeError
from lape.model.sites import PLACE, Sites
from lape.neurons.set_names import known_sets

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Fields of a header that are made anew when neurons are saved, whatever the header said that they were loaded with.
_OWN_FIELDS = ("artifact", "rule", "command", "ranks", "parameters", "inputs", "outputs", "versions")
_OWN_FIELDS += ("sets", "layers", "neurons_per_layer", "experts", "sites", "layer_numbering", "counts")


@dataclass(frozen=True, repr=False)
class Neurons(Shown):
    """Selected neurons of a model.

    `neurons["fr"]` are those of one language, `len(neurons)` is their number, and `"fr" in neurons` says whether there
    is such a language.

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
            **{key: value for key, value in self.summary.items() if key not in _OWN_FIELDS},
            "counts": self.counts(),
        }

    def __len__(self) -> int:
        """Number of neurons, each counted once."""
        return len(self.table)

    def __bool__(self) -> bool:
        """True even without a neuron, so that `if neurons:` asks whether there is a selection."""
        return True

    def __contains__(self, name: object) -> bool:
        """Whether there is a set of this name."""
        return name in self.sets

    def __iter__(self) -> Iterator[str]:
        """The names of the sets."""
        return iter(self.sets)

    def __getitem__(self, sets: str | Sequence[str]) -> "Neurons":
        """The neurons of one or several sets. Of a neuron's other sets nothing is kept.

        Raises:
            LapeError: there is no set of a name.
        """
        names = known_sets(sets, self.sets, self.origin)
        kept = [tuple(name for name in owners if name in names) for owners in self.table["languages"]]
        table = self.table.assign(languages=kept)[[bool(owners) for owners in kept]].reset_index(drop=True)
        return replace(self, table=table, sets=tuple(names), summary=self.summary | {"selected": len(table)})

    def by_layer(self) -> dict[str, np.ndarray]:
        """The number of each set's neurons in each layer, int64 [L], in the order of the sets."""
        layer = self.table["layer"].to_numpy()
        return {
            name: np.bincount(layer[member], minlength=self.layers)
            for name, member in zip(self.sets, self.membership().T, strict=True)
        }

    def overlap(self, other: "Neurons") -> pd.DataFrame:
        """How far two selections of one model agree, language by language.

        Returns:
            one row per language that both have: the number of neurons in both, in this selection alone and in the
            other alone, and the Jaccard index (shared / all of the three; NaN where there are none).

        Raises:
            LapeError: the selections are of models of different shapes, or have no language in common.
        """
        from lape.neurons.agreement import jaccard, members

        if self.sites != other.sites:
            raise LapeError(
                f"{self.origin}: selected in a model of {self.sites}, the other neurons in one of {other.sites}; "
                "compare neurons of one model"
            )
        common = [name for name in self.sets if name in other.sets]
        if not common:
            raise LapeError(
                f"{self.origin}: of {', '.join(self.sets)}, the other neurons of {', '.join(other.sets)}; compare "
                "neurons of the same languages"
            )
        here, there = members(self[common])[1:], members(other[common])[1:]
        shared, first, second = (member.sum(1) for member in (here & there, here, there))
        columns = {"shared": shared, "only here": first - shared, "only there": second - shared}
        return pd.DataFrame({**columns, "Jaccard": jaccard(first, second, shared)}, pd.Index(common, name="language"))

    def plot(self) -> "np.ndarray[Axes]":
        """Draw the number of neurons per layer, one panel per language, with matplotlib's pyplot.

        Returns:
            the axes of the panels.
        """
        return panels(self.by_layer(), "neurons")

    def shown(self) -> Table:
        """The languages, their numbers of neurons, and in which layers these are."""
        share = len(self) / self.sites.neurons
        return Table(
            f"{len(self):,} neurons ({share:.2%}) of {self.sites}",
            ("language", "neurons", "layers, from 1", "per layer"),
            [
                (name, int(counts.sum()), ranges(np.flatnonzero(counts)), counts)
                for name, counts in self.by_layer().items()
            ],
        )

    def save(
        self, path: str | Path, *, parameters: dict | None = None, inputs: Iterable | None = None, **fields
    ) -> None:
        """Write the table as TSV (UTF-8, full precision, languages joined by commas), and the header beside it.

        Args:
            path: `<name>.tsv` or `<name>.json`; both files are written.
            parameters, inputs, **fields: what the header says beside `description`; see
                `lape.artifacts.files.write_header`. Neurons that were loaded keep what their header said.

        Raises:
            LapeError: the path has another suffix, or cannot be written.
        """
        header, data = named_pair(path, ".tsv", "neurons")
        if unfit := [name for name in self.sets if not is_name(name)]:
            raise LapeError(f"{path}: no language in a file is called {unfit[0]!r}; use letters, digits, . _ and -")
        table = self.table.assign(languages=[",".join(languages) for languages in self.table["languages"]])
        with writing(data) as temporary:
            table.to_csv(temporary, sep="\t", index=False, lineterminator="\n")
        write_header(
            header,
            "neurons",
            **fields,
            **{key: value for key, value in self.description().items() if key not in fields},
            parameters=self.summary.get("parameters", {}) if parameters is None else parameters,
            inputs=self.summary.get("inputs", {}) if inputs is None else inputs,
            outputs=[data],
        )

    @classmethod
    def load(cls, path: str | Path) -> "Neurons":
        """Read what `save` or the workflow wrote.

        Args:
            path: the table, `<name>.tsv`, or the header beside it, `<name>.json`.

        Raises:
            LapeError: a file is missing or of another kind, or the table does not fit the header.
        """
        header_path, _ = named_pair(path, ".tsv", "neurons", "`lape.read_neurons` reads released .pth files")
        header = read_json(header_path, "neurons")
        path = checked(header_path, header, ".tsv")
        try:
            # Codes such as "nan" or "na" are languages, not missing values.
            table = pd.read_csv(path, sep="\t", keep_default_na=False)
            if table.empty:  # pandas cannot tell the types of its columns
                numbers = dict.fromkeys(table.columns.drop("languages"), "float64")
                table = table.astype(numbers | {name: "int64" for name in PLACE if name in table and name != "kind"})
            table["languages"] = [tuple(str(text).split(",")) for text in table["languages"]]
            return cls.of(table, header, str(header_path))
        except OSError as error:
            raise LapeError(f"{path}: cannot be read ({error.strerror}); run the select step") from error
        except (KeyError, ValueError, TypeError) as error:
            raise LapeError(f"{path}: is not a table of neurons ({error}); run the select step again") from error
        except LapeError as error:
            raise LapeError(f"{path}: {error}; select again") from error

    @classmethod
    def of(cls, table: pd.DataFrame, header: dict, origin: str) -> "Neurons":
        """The neurons of a table that was read.

        Args:
            table: see `Neurons`.
            header: what describes the table; see `description`.
            origin: see `Neurons`.

        Raises:
            LapeError, KeyError, ValueError or TypeError: the table does not fit the header. The message leaves the
                table's name and the remedy to the caller.
        """
        neurons = cls(table, tuple(header["sets"]), Sites.of(header), header, origin)
        neurons.numbers()
        strangers = set().union(*table["languages"], set()) - set(neurons.sets)
        if strangers:
            raise LapeError(f"names sets that {origin} does not have ({min(strangers)})")
        return neurons
