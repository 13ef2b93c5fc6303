"""Perplexity artifacts, read for the tables: the measures of their headers and the chunks that lie beside them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_json
from lape.errors import LapeError
from lape.neurons.controls import PREFIXES

BASELINE = "baseline"


def control_in(method: str, known: Collection[str]) -> str | None:
    """The control of a method among some names: the activity-matched one, else the layer-matched one; None for none."""
    return next((name for name in (f"{prefix}{method}" for prefix in PREFIXES) if name in known), None)


def bare(method: str) -> str:
    """The method whose control it is, or the method itself."""
    return next((method.removeprefix(prefix) for prefix in PREFIXES if method.startswith(prefix)), method)


@dataclass(frozen=True)
class Measurement:
    """One row of a matrix: every language's likelihood with one set deactivated.

    Attributes:
        path: the perplexity header.
        header: the content of the header.
    """

    path: Path
    header: dict

    @property
    def languages(self) -> list[str]:
        return self.header["languages"]

    @cached_property
    def measures(self) -> dict[str, dict]:
        """Evaluated language -> tokens, bytes, nll, ppl, bits_per_byte."""
        return {row["evaluated"]: row for row in self.header["rows"]}

    @cached_property
    def chunks(self) -> dict[str, np.ndarray]:
        """Evaluated language -> [3, N]: tokens, bytes and NLL (summed, in nats) of every chunk, in their order."""
        path = checked(self.path, self.header, ".tsv")
        try:
            frame = pd.read_csv(path, sep="\t", na_filter=False, dtype={"evaluated": str})
            frame = frame.sort_values("chunk", kind="stable")
            return {
                language: block[["tokens", "bytes", "nll"]].to_numpy(float).T
                for language, block in frame.groupby("evaluated", sort=False)
            }
        except OSError as error:
            raise LapeError(f"{path}: cannot be read ({error.strerror}); run `lape perplexity` again") from error
        except (ValueError, KeyError) as error:
            raise LapeError(f"{path}: is not a table of chunks ({error}); run `lape perplexity` again") from error

    def __str__(self) -> str:
        method, deactivated = self.header["method"], self.header["deactivated"]
        row = BASELINE if deactivated == BASELINE else f"{method}, {deactivated} deactivated"
        return f"perplexity of {self.header['model']}, {row}"


def load(paths: Iterable[str | Path]) -> list[Measurement]:
    """Read perplexity headers.

    Raises:
        LapeError: a path is no perplexity header, a cell is missing or names a language that is not the model's, or
            the headers of a model disagree on its languages.
    """
    languages: dict[str, list[str]] = {}
    found = []
    for path in map(Path, paths):
        one = Measurement(path, read_json(path, "perplexity"))
        model = one.header["model"]
        if languages.setdefault(model, one.languages) != one.languages:
            raise LapeError(f"{path}: {model} has other languages here than in the other inputs; measure one list")
        for name in (one.header["deactivated"], *one.measures):
            if name not in (BASELINE, *one.languages):
                raise LapeError(f"{path}: {name!r} is not among its languages; run `lape perplexity` again")
        for name in one.languages:
            if name not in one.measures:
                raise LapeError(f"{one}, {name} evaluated: missing; run `lape perplexity` for that set again")
        found.append(one)
    return found


def baselines(measurements: Sequence[Measurement]) -> dict[str, Measurement]:
    """Model -> its baseline, in the order of the models.

    Raises:
        LapeError: a model has none, or two.
    """
    found: dict[str, Measurement] = {}
    for one in measurements:
        if one.header["deactivated"] == BASELINE and found.setdefault(one.header["model"], one) is not one:
            raise LapeError(f"{one}: comes twice; pass each perplexity header once")
    models = dict.fromkeys(one.header["model"] for one in measurements)
    for model in models:
        if model not in found:
            raise LapeError(f"perplexity of {model}, {BASELINE}: missing; run `lape perplexity` without neurons")
    return {model: found[model] for model in models}


def matrices(measurements: Sequence[Measurement]) -> dict[tuple[str, str], dict[str, Measurement]]:
    """(model, method) -> deactivated language -> its row, the languages in the model's order.

    The matrices of a model follow one another.

    Raises:
        LapeError: a row is missing or comes twice, or there is no matrix.
    """
    found: dict[tuple[str, str], dict[str, Measurement]] = {}
    for model, base in baselines(measurements).items():
        for one in measurements:
            if one.header["model"] != model or one is base:
                continue
            rows = found.setdefault((model, one.header["method"]), {})
            if rows.setdefault(one.header["deactivated"], one) is not one:
                raise LapeError(f"{one}: comes twice; pass each perplexity header once")
    for (model, method), rows in found.items():
        languages = next(iter(rows.values())).languages
        missing = [language for language in languages if language not in rows]
        if missing:
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise LapeError(
                f"perplexity of {model}, {method}, {missing[0]} deactivated: missing{more}; "
                "run `lape perplexity` for that set"
            )
        ratios = {row.header.get("ratio") for row in rows.values()}
        if len(ratios) > 1:
            raise LapeError(
                f"perplexity of {model}, {method}: rows of the ratios {', '.join(map(str, ratios))} are no matrix; "
                "pass those of one"
            )
        found[model, method] = {language: rows[language] for language in languages}
    if not found:
        raise LapeError("no perplexity with a set deactivated: there is no matrix; pass every language's header")
    return found


def paired(one: Measurement, other: Measurement, evaluated: str) -> tuple[np.ndarray, np.ndarray]:
    """The chunks of one language in two runs, [3, N] each, after a check that both runs read the same tokens.

    Raises:
        LapeError: the runs read different tokens.
    """
    both = []
    for run in (one, other):
        if evaluated not in run.chunks:
            raise LapeError(f"{run.path.with_suffix('.tsv')}: has no chunk of {evaluated}; run `lape perplexity` again")
        both.append(run.chunks[evaluated])
    if not np.array_equal(both[0][:2], both[1][:2]):
        what = f"{one}, {evaluated} evaluated: measured on other chunks than {other.path}"
        raise LapeError(f"{what}; run both again on the same tokens")
    return both[0], both[1]
