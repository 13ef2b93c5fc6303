"""Accuracy on tasks with languages off and on, with its intervals and tests. The questions are the sample."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import read_json
from lape.evaluation import uncertainty
from lape.evaluation.choices import SCORES
from lape.items.answers.inputs import Resampling, contributions
from lape.items.perplexity import inputs as perplexity
from lape.items.tasks.correlation import correlations
from lape.items.tasks.inputs import BASELINE, Setting, chances, load

SIGNIFICANT = 0.05  # A difference is significant where Holm's p is below.
# What a row is of: one language, the mean over the switched languages themselves or over all other pairs, or the first
# of these means less the second; or, in `OVER_CELLS`, a correlation over cells.
ONE, OWN, OTHERS, DIFFERENCE = "one", "own", "others", "difference"
MEANS = (OWN, OTHERS, DIFFERENCE)
# Tests whose p-values are corrected together: whether models are above chance, and what a setting does.
_FAMILIES = (("p_chance",), ("p_value", "control_p_value"))


def downstream(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Accuracy per model, task, switched and evaluated language, beside the unperturbed model's and the control's.

    Args:
        paths: accuracy headers, each with its TSV beside it: of each model and task the baseline, and for each method
            a row per language. Where the inputs hold the method's control, the method is compared with it. Beside
            them perplexity headers of the methods with their baseline, for the correlations.
        resamples: number of resamples of the bootstrap over questions or languages.
        seed: seed of the draws of the resamples and of random sign flips.

    Returns:
        one row per model, task, method, switched and evaluated language; per method three rows of means; and where
        there are perplexities two rows of a correlation. Columns:
        - model, task, method (none: nothing is switched; steered_<method>: the language is on, else it is off),
          switched, evaluated;
        - cells (`ONE`; those of `MEANS` and of `OVER_CELLS` in rows that name no language);
        - questions (per language), score, accuracy with low and high (percent, Wilson's interval), and accuracy by
          every score of `lape.evaluation.choices.SCORES`;
        - uniform and majority (percent): the accuracy of a uniform draw, and of the place that is right most often;
          p_chance (exact one-sided binomial test of the unperturbed model against the larger of the two);
        - change (points, against the unperturbed model) with change_low, change_high and p_value;
        - control_method, control_accuracy, above_control (points: the change less the control's) with
          above_control_low, above_control_high and control_p_value;
        - nll_change (rise of the mean NLL per token, nats; NaN without perplexities), and spearman with spearman_low
          and spearman_high; see `lape.items.tasks.correlation.correlations`;
        - p_chance_holm: Holm's correction over the tests against chance; p_holm and control_p_holm: over all other
          tests of one language in the table. Tests of means are not corrected.

        Of one language, intervals of differences are Newcombe's for paired shares and tests are McNemar's exact ones.
        Of means, they are the bootstrap over questions and sign flips; questions of one id count at once.

    Raises:
        LapeError: see `lape.items.tasks.inputs.load` and `lape.items.perplexity.inputs.load`.
    """
    kinds: dict[str, list] = {"accuracy": [], "perplexity": []}
    for path in paths:
        kinds["perplexity" if read_json(path).get("artifact") == "perplexity" else "accuracy"].append(path)
    rises, rows = _rises(kinds["perplexity"]), []
    for (model, task), settings in load(kinds["accuracy"]).items():
        base = settings["none", BASELINE]
        compare = _Comparison(base.right().shape[1], resamples, seed)
        names = {"model": model, "task": task}
        rows += [names | row for row in _unperturbed(base)]
        methods = list(dict.fromkeys(method for method, _ in settings if method != "none"))
        for method in methods:
            own = {language: settings[method, language] for language in base.header["languages"]}
            control = perplexity.control_in(method, methods)
            against = control and {language: settings[control, language] for language in own}
            found = [
                row | {"nll_change": rises.get((model, method, row["switched"], row["evaluated"]), np.nan)}
                for row in _switched(base, own, against, compare)
            ]
            found += correlations([row for row in found if row["cells"] == ONE], resamples, seed)
            rows += [names | {"method": method, "control_method": control or ""} | row for row in found]
    return _corrected(pd.DataFrame(rows))


def _rises(paths: Sequence[str | Path]) -> dict[tuple[str, str, str, str], float]:
    """Model, method, deactivated and evaluated language -> the rise of the mean NLL per token, nats."""
    measured = perplexity.load(paths)
    base = perplexity.baselines(measured)
    return {
        (row.header["model"], row.header["method"], row.header["deactivated"], language): measures["nll"]
        - base[row.header["model"]].measures[language]["nll"]
        for row in measured
        for language, measures in row.measures.items()
    }


class _Comparison:
    """Compares the answers to the same questions in two settings."""

    def __init__(self, questions: int, resamples: int, seed: int):
        self._resampling, self._seed = Resampling(questions, resamples, seed), seed

    def one(self, values: np.ndarray, other: np.ndarray) -> tuple[float, float, float, float]:
        """Difference in points with its 95% interval, and its p-value, of one language [N]."""
        bounds = uncertainty.paired_share_interval(values, other)
        return _points((values - other).mean(), bounds, uncertainty.mcnemar(values - other))

    def mean(self, differences: np.ndarray) -> tuple[float, float, float, float]:
        """The same, of the mean over K cells of the differences of every question [K, N]."""
        p_value = float(uncertainty.sign_flip_test(contributions(differences)[None], self._seed)[0])
        return _points(differences.mean(), self._resampling.interval(differences), p_value)


def _points(value: float, bounds: tuple[float, float], p_value: float) -> tuple[float, float, float, float]:
    return 100 * float(value), 100 * bounds[0], 100 * bounds[1], p_value


def _accuracy(cells: Sequence[tuple[Setting, int]], score: str | None = None) -> float:
    """The mean accuracy of some cells, in percent."""
    return 100 * float(np.mean([setting.right(score)[place] for setting, place in cells]))


def _measures(cells: Sequence[tuple[Setting, int]]) -> dict:
    """The columns that describe the answers of one cell, or the mean over several."""
    setting, place = cells[0]
    right = setting.right()[place]
    low, high = uncertainty.share_interval(int(right.sum()), len(right)) if len(cells) == 1 else (np.nan, np.nan)
    return {
        "questions": len(right),
        "score": setting.score,
        **{"accuracy": _accuracy(cells), "low": 100 * low, "high": 100 * high},
        **{f"accuracy_{score}": _accuracy(cells, score) for score in SCORES},
    }


def _unperturbed(base: Setting) -> list[dict]:
    from scipy.special import bdtrc

    rows = []
    for place, language in enumerate(base.header["languages"]):
        uniform, majority = chances(base, language)
        right = base.right()[place]
        # The chance of so many right answers or more.
        p_chance = float(bdtrc(right.sum() - 1, len(right), max(uniform, majority))) if right.sum() else 1.0
        rows.append(
            {"method": "none", "switched": BASELINE, "evaluated": language, "cells": ONE, "control_method": ""}
            | _measures([(base, place)])
            | {"uniform": 100 * uniform, "majority": 100 * majority, "p_chance": p_chance}
        )
    return rows


def _switched(
    base: Setting, own: dict[str, Setting], control: dict[str, Setting] | None, compare: _Comparison
) -> list[dict]:
    """The rows of one method: every switched and evaluated language, and the means."""
    languages, normal = base.header["languages"], base.right()
    values = np.stack([own[language].right() for language in languages])  # [switched, evaluated, questions]
    others = values + np.nan if control is None else np.stack([control[language].right() for language in languages])
    rows = []
    for place in np.ndindex(values.shape[:2]):
        compared = compare.one(values[place], normal[place[1]])
        above = (np.nan,) * 4 if control is None else compare.one(values[place], others[place])
        cells = [(own[languages[place[0]]], place[1])]
        rows.append(
            {"switched": languages[place[0]], "evaluated": languages[place[1]], "cells": ONE, **_measures(cells)}
            | {"control_accuracy": 100 * float(others[place].mean())}
            | _compared(compared, above)
        )
    diagonal = np.eye(len(languages), dtype=bool)
    for kind in MEANS:
        row = {"switched": "", "evaluated": "", "cells": kind, "questions": values.shape[2], "score": base.score}
        if kind != DIFFERENCE:
            some = diagonal if kind == OWN else ~diagonal
            row |= _measures([(own[languages[line]], column) for line, column in np.argwhere(some)])
            row |= {"control_accuracy": 100 * float(others[some].mean())}
        above = (np.nan,) * 4 if control is None else compare.mean(_of_cells(values - others, diagonal, kind))
        rows.append(row | _compared(compare.mean(_of_cells(values - normal, diagonal, kind)), above))
    return rows


def _of_cells(differences: np.ndarray, diagonal: np.ndarray, kind: str) -> np.ndarray:
    """What a mean of `MEANS` is over, [K, N], of the differences [languages, languages, N]."""
    if kind == DIFFERENCE:
        return (differences[diagonal].mean(axis=0) - differences[~diagonal].mean(axis=0))[None]
    return differences[diagonal if kind == OWN else ~diagonal]


def _compared(change: tuple, above: tuple) -> dict:
    """The columns of two comparisons: with the unperturbed model, and with the control."""
    names = ("change", "change_low", "change_high", "p_value")
    names += ("above_control", "above_control_low", "above_control_high", "control_p_value")
    return dict(zip(names, (*change, *above), strict=True))


def _corrected(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame in the order of its columns, with Holm's correction of each family of tests of one language."""
    single = frame["cells"] == ONE
    holm = {}
    for family in _FAMILIES:
        tested = [(name, row) for name in family for row in frame.index[single & frame[name].notna()]]
        adjusted = uncertainty.holm(np.array([frame.at[row, name] for name, row in tested]))
        holm |= {name: pd.Series(np.nan, frame.index) for name in family}
        for (name, row), value in zip(tested, adjusted, strict=True):
            holm[name][row] = value
    opening = ["model", "task", "method", "switched", "evaluated", "cells"]
    ordered = frame[[*opening, *(name for name in frame.columns if name not in opening)]]
    return ordered.assign(**{name.replace("p_value", "p") + "_holm": values for name, values in holm.items()})
