"""Accuracy on tasks under deactivation, with its intervals and tests. The questions are the sample."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.evaluation import uncertainty
from lape.evaluation.choices import SCORES
from lape.items.answers.inputs import Resampling, contributions
from lape.items.perplexity.inputs import control_in
from lape.items.tasks.inputs import BASELINE, Setting, chances, load

SIGNIFICANT = 0.05  # A difference is significant where Holm's p is below.
# What a row is of: one language, or the mean over the deactivated languages themselves, or over all other pairs.
ONE, OWN, OTHERS = "one", "own", "others"
# Tests whose p-values are corrected together: whether models are above chance, and what deactivation does.
_FAMILIES = (("p_chance",), ("p_value", "control_p_value"))


def task_accuracy(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Accuracy per model, task, deactivated and evaluated language, beside the unperturbed model's and the control's.

    Args:
        paths: accuracy headers, each with its TSV beside it: of each model and task the baseline, and for each method
            a row per language. Where the inputs hold the method's control, the method is compared with it.
        resamples: number of resamples of the bootstrap over questions, for means over languages.
        seed: seed of the draws of the resamples and of random sign flips.

    Returns:
        one row per model, task, method, deactivated and evaluated language, and per method two rows of means. Columns:
        - model, task, method (none: nothing is deactivated), deactivated, evaluated;
        - cells (`ONE`; `OWN` and `OTHERS` in the rows of means, which name no language);
        - questions (per language), score, accuracy with low and high (percent, Wilson's interval), and accuracy by
          every score of `lape.evaluation.choices.SCORES`;
        - uniform and majority (percent): the accuracy of a uniform draw, and of the place that is right most often;
          p_chance (exact one-sided binomial test of the unperturbed model against the larger of the two);
        - change (points, against the unperturbed model) with change_low, change_high and p_value;
        - control_method, control_accuracy, above_control (points: the change less the control's) with
          above_control_low, above_control_high and control_p_value;
        - p_chance_holm: Holm's correction over the tests against chance; p_holm and control_p_holm: over all other
          tests of one language in the table. Tests of means are not corrected.

        Of one language, intervals of differences are Newcombe's for paired shares and tests are McNemar's exact ones.
        Of means, they are the bootstrap over questions and sign flips; a question counts in all languages at once.

    Raises:
        LapeError: see `lape.items.tasks.inputs.load`.
    """
    rows = []
    for (model, task), settings in load(paths).items():
        base = settings["none", BASELINE]
        compare = _Comparison(base.right().shape[1], resamples, seed)
        names = {"model": model, "task": task}
        rows += [names | row for row in _unperturbed(base)]
        methods = list(dict.fromkeys(method for method, _ in settings if method != "none"))
        for method in methods:
            own = {language: settings[method, language] for language in base.header["languages"]}
            control = control_in(method, methods)
            against = control and {language: settings[control, language] for language in own}
            rows += [
                names | {"method": method, "control_method": control or ""} | row
                for row in _deactivated(base, own, against, compare)
            ]
    return _corrected(pd.DataFrame(rows))


class _Comparison:
    """Compares the answers to the same questions in two settings."""

    def __init__(self, questions: int, resamples: int, seed: int):
        self._resampling, self._seed = Resampling(questions, resamples, seed), seed

    def __call__(self, values: np.ndarray, other: np.ndarray) -> tuple[float, float, float, float]:
        """Difference in points with its 95% interval, and its p-value; of the mean over K cells, [K, N] each."""
        differences = values - other
        if len(values) == 1:
            bounds = uncertainty.paired_share_interval(values[0], other[0])
            p_value = uncertainty.mcnemar(differences[0])
        else:
            bounds = self._resampling.interval(differences)
            p_value = float(uncertainty.sign_flip_test(contributions(differences)[None], self._seed)[0])
        return (100 * float(differences.mean()), *(100 * bound for bound in bounds), p_value)


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
            {"method": "none", "deactivated": BASELINE, "evaluated": language, "cells": ONE, "control_method": ""}
            | _measures([(base, place)])
            | {"uniform": 100 * uniform, "majority": 100 * majority, "p_chance": p_chance}
        )
    return rows


def _deactivated(
    base: Setting, own: dict[str, Setting], control: dict[str, Setting] | None, compare: _Comparison
) -> list[dict]:
    """The rows of one method: every deactivated and evaluated language, and the two means."""
    languages = base.header["languages"]
    places = [(row, column) for row in range(len(languages)) for column in range(len(languages))]
    single = [([place], ONE, languages[place[0]], languages[place[1]]) for place in places]
    means = [([p for p in places if (p[0] == p[1]) == diagonal], kind, "", "") for diagonal, kind in _MEANS]
    rows = []
    for some, kind, deactivated, evaluated in single + means:
        cells = [(own[languages[row]], column) for row, column in some]
        values, normal = _stacked(cells), np.stack([base.right()[column] for _, column in some])
        change = compare(values, normal)
        above = (np.nan,) * 4
        control_accuracy = np.nan
        if control is not None:
            others = [(control[languages[row]], column) for row, column in some]
            above, control_accuracy = compare(values, _stacked(others)), _accuracy(others)
        rows.append(
            {"deactivated": deactivated, "evaluated": evaluated, "cells": kind, **_measures(cells)}
            | dict(zip(("change", "change_low", "change_high", "p_value"), change, strict=True))
            | {"control_accuracy": control_accuracy}
            | dict(
                zip(("above_control", "above_control_low", "above_control_high", "control_p_value"), above, strict=True)
            )
        )
    return rows


_MEANS = ((True, OWN), (False, OTHERS))


def _stacked(cells: Sequence[tuple[Setting, int]]) -> np.ndarray:
    return np.stack([setting.right()[place] for setting, place in cells])


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
    opening = ["model", "task", "method", "deactivated", "evaluated", "cells"]
    ordered = frame[[*opening, *(name for name in frame.columns if name not in opening)]]
    return ordered.assign(**{name.replace("p_value", "p") + "_holm": values for name, values in holm.items()})
