"""Steering: raise a language's neurons to their mean activation on that language (section 3.3.4 of the paper)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_json, write_header, writing
from lape.artifacts.pairs import named_pair
from lape.display.layers import ranges
from lape.display.tables import Shown, Table
from lape.errors import LapeError
from lape.interventions.dose import Dose
from lape.model.sites import PLACE, Sites
from lape.neurons.set_names import known_sets
from lape.neurons.table import Neurons
from lape.statistics.sums import ActivationStatistics

if TYPE_CHECKING:
    from lape.interventions.perturbation import Perturbation


@dataclass(frozen=True, repr=False)
class SteeringValues(Shown):
    """The mean activation of every language's neurons on that language.

    Attributes:
        table: one row per language and neuron, sorted by language (in the order of `sets`), layer and place. Columns
            are language, those that say where the neuron is (see `Neurons`), mean (of the activation over the
            language's tokens; in a mixture of experts over the tokens that reached the expert) and entropy (NaN for
            neurons without one, such as a control's).
        sets: the languages.
        sites: see `Neurons`.
        origin: what messages call the values.
    """

    table: pd.DataFrame
    sets: tuple[str, ...]
    sites: Sites
    origin: str = "steering values"

    def shown(self) -> Table:
        """The languages, the numbers of their neurons, in which layers these are, and their mean activation."""
        rows = []
        for language in self.sets:
            own = self.table[self.table["language"] == language]
            counts = np.bincount(own["layer"], minlength=self.sites.layers)
            rows.append((language, len(own), float(own["mean"].mean()), ranges(np.flatnonzero(counts)), counts))
        return Table(
            f"steering values: mean activations of {len(self.table):,} neurons in a model of {self.sites}",
            ("language", "neurons", "mean", "layers, from 1", "per layer"),
            rows,
        )

    def save(self, path: str | Path, *, parameters: dict | None = None, inputs: Iterable = (), **fields) -> None:
        """Write the table as TSV, in full precision, and the header beside it.

        Args:
            path: `<name>.tsv` or `<name>.json`; both files are written.
            parameters, inputs, **fields: what the header says beside sets and sites; see
                `lape.artifacts.files.write_header`.

        Raises:
            LapeError: the path has another suffix, or cannot be written.
        """
        header, data = named_pair(path, ".tsv", "steering values")
        with writing(data) as temporary:
            self.table.to_csv(temporary, sep="\t", index=False, lineterminator="\n")
        sizes = self.table["language"].value_counts()
        write_header(
            header,
            "steering",
            **fields,
            sets=list(self.sets),
            **self.sites.description(),
            counts={language: int(sizes.get(language, 0)) for language in self.sets},
            parameters=parameters or {},
            inputs=inputs,
            outputs=[data],
        )

    @classmethod
    def load(cls, path: str | Path) -> "SteeringValues":
        """Read what `save` or the workflow wrote.

        Args:
            path: the table, `<name>.tsv`, or the header beside it, `<name>.json`.

        Raises:
            LapeError: a file is missing or of another kind, or the table holds no steering values.
        """
        header_path, _ = named_pair(path, ".tsv", "steering values")
        header = read_json(header_path, "steering")
        path = checked(header_path, header, ".tsv")
        try:
            table = pd.read_csv(
                path, sep="\t", keep_default_na=False, na_values={"entropy": [""]}, dtype={"language": str}
            )
            return cls.of(table, header, str(header_path))
        except (KeyError, ValueError, TypeError) as error:
            raise LapeError(f"{path}: is no table of steering values ({error}); run the steering step again") from error

    @classmethod
    def of(cls, table: pd.DataFrame, header: dict, origin: str) -> "SteeringValues":
        """The steering values of a table that was read.

        Args:
            table: see `SteeringValues`.
            header: what has the sets and the sites.
            origin: see `SteeringValues`.

        Raises:
            KeyError, ValueError or TypeError: the table lacks a column, or holds something else.
        """
        table = table.astype({"layer": "int64", "index": "int64", "mean": "float64", "entropy": "float64"})
        if "language" not in table:
            raise ValueError("no column language")
        return cls(table, tuple(header["sets"]), Sites.of(header), origin)

    def perturbation(self, language: str, dose: Dose) -> "Perturbation":
        """The perturbation that steers towards a language; empty at strength 0, or for a language without neurons.

        Raises:
            LapeError: the language is unknown, or the dose takes a share of neurons that have no entropy.
        """
        from lape.interventions.perturbation import Perturbation

        rows = self._rows(language)
        if dose.share < 1:
            if rows["entropy"].isna().any():
                raise LapeError(f"{self.origin}: its neurons have no entropy to rank them by; take all (share 1)")
            rows = rows.sort_values("entropy", kind="stable").head(math.ceil(round(dose.share * len(rows), 9)))
        if dose.strength == 0:
            rows = rows.head(0)
        layer = rows["layer"].to_numpy()
        place = self.sites.numbers(rows) - self.sites.starts[layer]
        indices = {int(each): place[layer == each] for each in np.unique(layer)}
        if dose.mode == "scale":
            return Perturbation(indices, "scale", 1 + dose.strength, dose.positions)
        values = (dose.strength * rows["mean"].to_numpy()).astype(np.float32)
        return Perturbation(indices, dose.mode, {each: values[layer == each] for each in indices}, dose.positions)

    def indices(self, sets: str | Sequence[str]) -> dict[int, np.ndarray]:
        """The neurons of one or several languages: layer -> sorted int64 places in the layer; see `Neurons.indices`.

        Raises:
            LapeError: a language is unknown.
        """
        return self.sites.by_layer(np.unique(self.sites.numbers(self._rows(sets))))

    def _rows(self, sets: str | Sequence[str]) -> pd.DataFrame:
        return self.table[self.table["language"].isin(known_sets(sets, self.sets, self.origin))]


def steering_values(neurons: Neurons, statistics: Mapping[str, ActivationStatistics]) -> SteeringValues:
    """The mean activation of every language's neurons on that language.

    Args:
        neurons: selected neurons, or those of a control.
        statistics: language -> statistics on the same model, for every language of the neurons.

    Raises:
        LapeError: a language has no statistics, or its statistics are of a model of another shape.
    """
    tables = []
    for position, language in enumerate(neurons.sets):
        if language not in statistics:
            raise LapeError(f"{neurons.origin}: no statistics of {language}; pass those of each of its languages")
        counted = statistics[language]
        if counted.sites != neurons.sites:
            raise LapeError(
                f"{neurons.origin}: selected in a model of {neurons.sites}, the statistics of {language} are of "
                f"another ({counted.sites}); pass those of the same model"
            )
        member = neurons.membership()[:, position]
        rows, number = neurons.table[member], neurons.numbers()[member]
        tables.append(
            pd.DataFrame(
                {
                    "language": language,
                    **{name: rows[name].to_numpy() for name in PLACE if name in rows},
                    "mean": counted.total.flat[number] / np.maximum(counted.denominator.flat[number], 1),
                    "entropy": rows["entropy"].to_numpy() if "entropy" in rows else np.nan,
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    return SteeringValues(table, neurons.sets, neurons.sites)
