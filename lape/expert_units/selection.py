"""Expert units of every language by average precision, and the values that they are overwritten with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_json, writing
from lape.errors import LapeError
from lape.expert_units.blocks import Responses
from lape.model.linear import LinearLayer, find_units
from lape.neurons.set_names import known_sets

if TYPE_CHECKING:
    from lape.interventions.overwriting import UnitPerturbation

RANKINGS = ("top", "bottom", "random")
KINDS = ("top", "bottom", "both", "random")
# Way to rank the bottom -> function from the average precision of the response and of the negated response to a key.
# The units with the lowest key come first.
BOTTOMS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "negated": lambda precision, negated: -negated,
    "ascending": lambda precision, negated: precision,
}
_NUMBERS = {"rank": "int64", "unit": "int64", "layer": "int64", "index": "int64"}
_NUMBERS |= dict.fromkeys(("average_precision", "negated_average_precision", "median", "other_median"), "float64")


@dataclass(frozen=True)
class ExpertUnits:
    """The first units of every language in three rankings: top, bottom and random.

    The bottom has as many units more as it shares with the top, so that "both" finds as many units of each. The random
    ranking is as long as both together.

    Attributes:
        table: one row per language, ranking and rank (from 1), in this order. Columns are language, ranking, rank, unit
            (the number in the model, from 0), layer, name, part, kind, index (see `lape.model.linear`),
            average_precision, negated_average_precision, median (of the response over the language's sentences) and
            other_median (over those of the language that `other` gives).
        languages: the languages, in order.
        units: U, the number of units of the model.
        linear_layers: the linear layers of the model, in order.
        neuron_part: the part whose units feed the activation function.
        summary: the header, where the units were read from an artifact.
        origin: what messages call the units.
    """

    table: pd.DataFrame
    languages: tuple[str, ...]
    units: int
    linear_layers: tuple[LinearLayer, ...]
    neuron_part: str
    summary: dict = field(default_factory=dict)
    origin: str = "expert units"

    def save(self, path: str | Path) -> None:
        """Write the table as TSV, in full precision."""
        with writing(path) as temporary:
            self.table.to_csv(temporary, sep="\t", index=False, lineterminator="\n")

    @classmethod
    def load(cls, header_path: str | Path) -> "ExpertUnits":
        """Read an artifact of expert units by its header; the table lies beside it.

        Raises:
            LapeError: the header is missing or of another kind of artifact, the table does not fit it, or a median is
                NaN.
        """
        header_path = Path(header_path)
        header = read_json(header_path, "expert_units")
        path = checked(header_path, header, ".tsv")
        try:
            # Codes such as "nan" or "na" are languages, not missing values.
            table = pd.read_csv(path, sep="\t", keep_default_na=False, dtype={"language": str}).astype(_NUMBERS)
            layers = tuple(map(LinearLayer.of, header["linear_layers"]))
            shape = tuple(header["languages"]), header["units"], layers, header["neuron_part"]
            found = cls(table, *shape, header, str(header_path))
            fits = table["language"].isin(found.languages) & table["ranking"].isin(RANKINGS)
            fits &= table["unit"].between(0, found.units - 1)
        except (KeyError, ValueError, TypeError) as error:
            raise LapeError(
                f"{path}: is no table of expert units ({error}); run the select_units step again"
            ) from error
        if not fits.all():
            raise LapeError(
                f"{path}: names languages, rankings or units that {header_path} does not have; select again"
            )
        if not np.isfinite(table[["median", "other_median"]]).all(axis=None):
            raise LapeError(f"{path}: a median is NaN or infinite; select again")
        return found

    def other(self, language: str) -> str:
        """The language whose medians stand in for a language's own: the next of `languages`, the first after the last.

        Raises:
            LapeError: the language is unknown.
        """
        known_sets(language, self.languages, self.origin)
        return self.languages[(self.languages.index(language) + 1) % len(self.languages)]

    def chosen(self, language: str, kind: str, size: int) -> pd.DataFrame:
        """The first `size` units of a language's ranking, as rows of `table`. No unit comes twice.

        Args:
            language: one of `languages`.
            kind: "top", "bottom", "random" or "both". "both" takes half of the units from the top (one more where
                `size` is odd) and the rest from the bottom, without units that the top half has. Its largest size is
                twice the `number` of `select_units`, as far as the model has so many units.
            size: number of units.

        Raises:
            LapeError: the language or the kind is unknown, or the ranking holds fewer units.
        """
        known_sets(language, self.languages, self.origin)
        if kind not in KINDS:
            raise LapeError(f"{self.origin}: no kind {kind!r} of units; use one of {', '.join(KINDS)}")
        if kind != "both":
            return self._first(language, kind, size)
        top = self._first(language, "top", size - size // 2)
        return pd.concat([top, self._first(language, "bottom", size // 2, without=top["unit"])])

    def perturbation(
        self, language: str, kind: str, size: int, value: float | None = None, other: bool = False
    ) -> "UnitPerturbation":
        """The perturbation that overwrites a language's units.

        Args:
            language, kind, size: see `chosen`.
            value: the value that all units are set to; 0 switches them off. None sets each unit to its median response
                over the language's sentences.
            other: set each unit to its median over the sentences of another language, `other(language)`.

        Raises:
            LapeError: see `chosen`.
        """
        from lape.interventions.overwriting import UnitPerturbation

        values = {}
        rows = self.chosen(language, kind, size).sort_values("unit")
        for (layer, name), own in rows.groupby(["layer", "name"], sort=False):
            new = own["other_median" if other else "median"] if value is None else pd.Series(value, own.index)
            values[int(layer), name] = own["index"].to_numpy(np.int64), new.to_numpy(np.float32)
        return UnitPerturbation(values)

    def _first(self, language: str, ranking: str, size: int, without: pd.Series | tuple = ()) -> pd.DataFrame:
        """The first units of a ranking that are not in `without`."""
        own = self.table[(self.table["language"] == language) & (self.table["ranking"] == ranking)]
        own = own[~own["unit"].isin(without)]
        if len(own) < size:
            raise LapeError(
                f"{self.origin}: has {len(own)} {ranking} units of {language}, {size} are wanted; select more "
                "(expert_units.size), or take fewer"
            )
        return own.head(size)


def select_units(
    precision: np.ndarray,
    responses: Responses,
    *,
    neuron_part: str,
    number: int = 1000,
    seed: int = 0,
    bottom: str = "negated",
    on_chunk: Callable[[int], None] = lambda units: None,
) -> ExpertUnits:
    """Rank the units of every language (Kojima et al. 2024). Of equal units the one of lower number comes first.

    Args:
        precision: float64 [2, K, U], the average precision of `average_precision`: of the responses, and of the negated
            responses.
        responses: the responses that `precision` was computed from.
        neuron_part: see `ExpertUnits`.
        number: number of units in the top; all units, where the model has fewer. The bottom goes on until `number` of
            its units are not in the top. The random ranking has twice as many units, as "both" takes.
        seed: seed of the random ranking, which numpy's PCG64 draws. Every language has a stream of its own, which does
            not depend on the other languages.
        bottom: "negated" ranks the bottom by the average precision of the negated response, highest first. "ascending"
            ranks it by the average precision of the response, lowest first, as the authors do. Many units tie at the
            floor of the latter.
        on_chunk: called with the number of units of each chunk, for progress.

    Raises:
        LapeError: fewer than one unit is wanted, the seed is negative, `bottom` is unknown, or `precision` is of other
            responses.
    """
    if number < 1:
        raise LapeError(f"number: {number} is no number of units; select 1 or more")
    if seed < 0:
        raise LapeError(f"seed: {seed} is negative; set it to 0 or more")
    if bottom not in BOTTOMS:
        raise LapeError(f"bottom: {bottom!r} is unknown; use one of {', '.join(BOTTOMS)}")
    shape = 2, len(responses.languages), responses.units
    if precision.shape != shape:
        raise LapeError(f"average precision: is {precision.shape}, the responses give {shape}; compute it from them")
    tables = []
    for language, response, negated in zip(responses.languages, *precision, strict=True):
        keys = {"top": -response, "bottom": BOTTOMS[bottom](response, negated)}
        rankings = {ranking: np.argsort(key, kind="stable") for ranking, key in keys.items()}
        rankings["random"] = np.random.default_rng([seed, *language.encode()]).permutation(responses.units)
        # Number of units in the first n of the bottom that are not in the top: those that "both" can take.
        others = np.cumsum(~np.isin(rankings["bottom"], rankings["top"][:number]))
        sizes = {"top": number, "bottom": int(np.searchsorted(others, number)) + 1, "random": 2 * number}
        for ranking in RANKINGS:
            units = rankings[ranking][: sizes[ranking]]
            tables.append(ranked(language, ranking, units, responses.linear_layers, response, negated))
    return with_medians(tables, responses, neuron_part, on_chunk)


def ranked(
    language: str,
    ranking: str,
    units: np.ndarray,
    linear_layers: Sequence[LinearLayer],
    response: np.ndarray,
    negated: np.ndarray,
) -> pd.DataFrame:
    """One ranking of a language as rows of `ExpertUnits.table`, without the medians.

    Args:
        language, ranking: what the rows are of.
        units: numbers of the units, the first rank first.
        linear_layers: see `ExpertUnits`.
        response, negated: float64 [U], average precision of the response and of the negated response.
    """
    return pd.DataFrame(
        {
            "language": language,
            "ranking": ranking,
            "rank": np.arange(1, len(units) + 1),
            "unit": units,
            **find_units(linear_layers, units),
            "average_precision": response[units],
            "negated_average_precision": negated[units],
        }
    )


def with_medians(
    rankings: Sequence[pd.DataFrame], responses: Responses, neuron_part: str, on_chunk: Callable[[int], None]
) -> ExpertUnits:
    """Expert units from their rankings, the tables of `ranked`, and the medians of the units' responses."""
    table = pd.concat(rankings, ignore_index=True)
    table["median"], table["other_median"] = _medians(table, responses, on_chunk)
    return ExpertUnits(table, responses.languages, responses.units, responses.linear_layers, neuron_part)


def _medians(
    table: pd.DataFrame, responses: Responses, on_chunk: Callable[[int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Median response of each row's unit over the sentences of its language, and over those of the next one, float64.

    The responses are read once.
    """
    medians = np.empty((2, len(table)))
    unit, labels, languages = table["unit"].to_numpy(), responses.labels, len(responses.languages)
    member = pd.Categorical(table["language"], responses.languages).codes
    for first, chunk in responses.chunks(2**26):
        within = (unit >= first) & (unit < first + len(chunk))
        for position in range(languages):
            rows = np.flatnonzero(within & (member == position))
            for found, language in zip(medians, (position, (position + 1) % languages), strict=True):
                own = chunk[np.ix_(unit[rows] - first, np.flatnonzero(labels == language))]
                found[rows] = np.median(own.astype(np.float64), axis=1)
        on_chunk(len(chunk))
    return medians[0], medians[1]
