"""Answers under deactivation and steering: Tables 1 and 4, the cross-lingual matrix and the dose-response."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.errors import LapeError
from lape.evaluation import uncertainty
from lape.evaluation.confusion import has_another_script
from lape.items.answers.inputs import (
    ACCURACIES,
    BY_LINE,
    BY_WORD,
    CONFUSION,
    Group,
    Pair,
    Resampling,
    contributions,
    load,
    mean,
    percentiles,
)
from lape.paper import PaperModel, paper_model

# The language in a row that is the mean over all languages, or over all pairs of languages.
ALL = ""

_PASSES = (BY_LINE, BY_WORD, CONFUSION)
DEACTIVATED_METRICS = (*ACCURACIES.values(), *_PASSES, "nll", "distinct_2", "chrf", "content_quality")
STEERED_METRICS = (*ACCURACIES.values(), *_PASSES, "short", "disagreement", "nll", "distinct_2", "content_quality")

_Measured = Mapping[str, np.ndarray]


def answers_deactivated(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Answers in every language: normal, under a random control, and with one language's neurons deactivated (Table 1).

    Args:
        paths: scores headers, each with its TSV beside it, and judgements headers where there are any. Each model and
            prompt needs the settings normal and deactivated-k for every language k; random is used where it was
            measured. Headers of other settings are passed over.
        resamples: number of resamples of the bootstrap over questions.
        seed: seed of the draws of the resamples.

    Returns:
        one row per model, prompt, setting, language and metric. Columns:
        - model, prompt, setting (normal, random, deactivated), deactivated (k, or empty);
        - language (of question and answer), metric;
        - answers (how many have a value), ours (their mean), low and high (its 95% interval,
          `inputs.Resampling.bounds`);
        - paper and difference (ours less paper). They are empty except for the content quality of the paper's model.

    Raises:
        LapeError: a setting is missing, comes twice or answers other questions than the others.
    """
    rows = []
    for group in _with(load(paths), "deactivated"):
        resampling = Resampling(len(group.numbers), resamples, seed)
        known = _known(group)
        printed = known.deactivated_quality().to_dict() if known else {}
        settings = {("normal", ""): "normal"} | ({("random", ""): "random"} if "random" in group.settings else {})
        settings |= {("deactivated", language): f"deactivated-{language}" for language in group.languages}
        for (kind, code), name in settings.items():
            measured = group.measure(name, _own(group))
            for metric in [metric for metric in DEACTIVATED_METRICS if metric in measured]:
                for place, language in enumerate(group.languages):
                    own = {name: values[place, None] for name, values in measured.items()}
                    paper = printed.get((code or kind, language), np.nan) if metric == "content_quality" else np.nan
                    rows.append(
                        {
                            **group.names,
                            "setting": kind,
                            "deactivated": code,
                            "language": language,
                            "metric": metric,
                            **_compared(metric, [language], own, resampling, paper),
                        }
                    )
    return pd.DataFrame(rows)


def answers_steered(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Answers in every language, normal and steered towards it (Table 4).

    Args:
        paths: as for `answers_deactivated`, with the settings normal, steered, and steered_random where it was
            measured.
        resamples: see `answers_deactivated`.
        seed: seed of the draws of the resamples and of the random sign flips.

    Returns:
        one row per model, prompt, setting, language and metric, and one for the mean over the languages. Columns:
        - model, prompt, setting, language (`ALL` in the row of the mean), metric;
        - answers, ours, low, high, paper and difference as in `answers_deactivated`. The paper has language accuracy
          and content quality;
        - change (mean difference to the normal answers to the same questions) with change_low and change_high
          (bootstrap), p_value (`uncertainty.sign_flip_test` over questions) and p_holm (Holm's correction over the
          languages of a setting and metric; the mean over the languages is not corrected). These five columns are
          empty for the setting normal, and for the harmonic mean `inputs.CONFUSION`, to which no answer adds a part.

    Raises:
        LapeError: see `answers_deactivated`.
    """
    blocks = []
    for group in _with(load(paths), "steered"):
        resampling = Resampling(len(group.numbers), resamples, seed)
        known = _known(group)
        printed = known.steered().to_dict() if known else {}
        normal = group.measure("normal", _own(group))
        rows, added = [], []
        for setting in [name for name in ("normal", "steered", "steered_random") if name in group.settings]:
            measured = group.measure(setting, _own(group))
            for metric in [metric for metric in STEERED_METRICS if metric in measured]:
                for language in [*group.languages, ALL]:
                    codes = group.languages if language == ALL else [language]
                    part = slice(None) if language == ALL else [group.languages.index(language)]
                    own = {name: values[part] for name, values in measured.items()}
                    values = own[metric]
                    differences = values - normal[metric][part] if setting != "normal" else np.full_like(values, np.nan)
                    low, high = resampling.interval(differences)
                    paper = printed.get((metric, setting, language), np.nan)
                    rows.append(
                        {
                            **group.names,
                            "setting": setting,
                            "language": language,
                            "metric": metric,
                            **_compared(metric, codes, own, resampling, paper),
                            **{"change": mean(differences), "change_low": low, "change_high": high},
                        }
                    )
                    added.append(contributions(differences))
        block = pd.DataFrame(rows)
        block["p_value"] = _p_values(block["change"], added, seed)
        block["p_holm"] = _holm(block, block["language"] != ALL, ["setting", "metric"])
        blocks.append(block)
    return pd.concat(blocks, ignore_index=True)


def cross_lingual(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How often a question in language k is answered in language m, for every pair of languages.

    The neurons of k are deactivated, and those of m are steered.

    Args:
        paths: as for `answers_deactivated`, with the settings cross-k for every language k, and cross_random-k where
            the control was measured.
        resamples: see `answers_deactivated`.
        seed: seed of the draws of the resamples and of the random sign flips.

    Returns:
        one row per model, prompt, method and pair of languages, and one for the mean over all pairs. Columns:
        - model, prompt, method (lape, matched_lape), deactivated (k), target (m). In the row of the mean, deactivated
          and target are `ALL`;
        - answers, success (share of answers in m by langdetect) with low and high, lingua_success, nll, chrf (against
          the normal answers to the questions in m);
        - control (success under the control), difference (paired, success less control) with difference_low and
          difference_high (bootstrap), p_value and p_holm (over the pairs; the mean over all pairs is not corrected).
          These six columns are empty in the rows of the control, and where there is no control.

    Raises:
        LapeError: see `answers_deactivated`.
    """
    blocks = []
    for group in _with(load(paths), "cross"):
        resampling = Resampling(len(group.numbers), resamples, seed)
        pairs = [(one, other) for one in group.languages for other in group.languages if one != other]
        both = {
            kind: _stack(group, {pair: f"{kind}-{pair[0]}" for pair in pairs})
            for kind in ("cross", "cross_random")
            if _has(group, kind)
        }
        untested = np.full((len(pairs), len(group.numbers)), np.nan)
        rows, added = [], []
        for kind, measured in both.items():
            control = both.get("cross_random", {}).get("language_accuracy", untested) if kind == "cross" else untested
            method = group.settings[f"{kind}-{group.languages[0]}"].header["method"]
            for place, (language, target) in enumerate([*pairs, (ALL, ALL)]):
                part = [place] if place < len(pairs) else slice(None)
                success = measured["language_accuracy"][part]
                differences = success - control[part]
                low, high = resampling.bounds("language_accuracy", success)
                difference_low, difference_high = resampling.interval(differences)
                rows.append(
                    {
                        **group.names,
                        "method": method,
                        "deactivated": language,
                        "target": target,
                        "answers": _count(measured["short"][part]),
                        "success": mean(success),
                        "low": low,
                        "high": high,
                        "lingua_success": mean(measured["lingua_accuracy"][part]),
                        "nll": mean(measured["nll"][part]),
                        "chrf": mean(measured["chrf"][part]),
                        "control": mean(control[part]),
                        "difference": mean(differences),
                        "difference_low": difference_low,
                        "difference_high": difference_high,
                    }
                )
                added.append(contributions(differences))
        block = pd.DataFrame(rows)
        block["p_value"] = _p_values(block["difference"], added, seed)
        block["p_holm"] = _holm(block, block["target"] != ALL, ["method"])
        blocks.append(block)
    return pd.concat(blocks, ignore_index=True)


def dose_response(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Language accuracy and fluency at every dose of steering, from none (the setting normal).

    Args:
        paths: as for `answers_deactivated`, with the settings normal, steered or cross-k, and steered and cross-k at
            other doses (steered@..., cross-k@...).
        resamples: see `answers_deactivated`.
        seed: seed of the draws of the resamples.

    Returns:
        one row per dose and pair of languages, and one row per dose for the mean over the pairs that every dose of the
        kind has. Columns:

        - model, prompt, kind (steered or cross);
        - mode, positions, strength and share (of the neurons), from the headers. Without a dose, mode and positions are
          empty and strength is 0;
        - language (of the question) and target; both are `ALL` in the rows of the mean;
        - answers, language_accuracy with low and high, lingua_accuracy, nll with nll_low and nll_high, distinct_2. The
          rows without a dose have these values of the normal answers to the same questions. In the kind cross, their
          accuracy is the share of normal answers that are in the target.

    Raises:
        LapeError: see `answers_deactivated`; or the doses have no pair of languages in common.
    """
    rows = []
    groups = load(paths)
    for group in groups:
        resampling = Resampling(len(group.numbers), resamples, seed)
        for kind in ("steered", "cross"):
            doses = _doses(group, kind)
            every = sorted({pair for pairs in doses.values() for pair in pairs}, key=_order(group))
            shared = [pair for pair in every if all(pair in pairs for pairs in doses.values())]
            if doses and not shared:
                raise LapeError(
                    f"scores of {group.model}, {group.prompt}, {kind}: no languages that every dose has; "
                    "generate all doses for the same"
                )
            undosed = {("", "", 0.0, np.nan): dict.fromkeys(every, "normal")} if doses else {}
            for dose, settings in (undosed | doses).items():
                pairs = [pair for pair in every if pair in settings]
                measured = _stack(group, {pair: settings[pair] for pair in pairs})
                for pair in [*pairs, (ALL, ALL)]:
                    averaged = shared if pair == (ALL, ALL) else [pair]
                    part = [pairs.index(one) for one in averaged]
                    values = {metric: own[part] for metric, own in measured.items()}
                    rows.append(
                        {
                            **group.names,
                            "kind": kind,
                            **dict(zip(("mode", "positions", "strength", "share"), dose, strict=True)),
                            **dict(zip(("language", "target"), pair, strict=True)),
                            **_response(values, resampling),
                        }
                    )
    if not rows:
        raise LapeError("no scores of a setting that steers: there is no dose; pass those of steered or cross")
    return pd.DataFrame(rows)


def _with(groups: Iterable[Group], kind: str) -> list[Group]:
    """The groups (of a model and prompt) that have settings of one kind."""
    found = [group for group in groups if _has(group, kind)]
    if not found:
        raise LapeError(f"no scores of a setting {kind!r}: there is no table; pass the headers of all its settings")
    return found


def _has(group: Group, kind: str) -> bool:
    return any(answers.kind == kind and not answers.dosed for answers in group.settings.values())


def _own(group: Group) -> list[Pair]:
    """Pairs in which the wanted language is the question's own, one per language."""
    return [(language, language) for language in group.languages]


def _order(group: Group):
    """A key that sorts pairs by the model's order of languages."""
    return lambda pair: [group.languages.index(language) for language in pair]


def _stack(group: Group, settings: Mapping[Pair, str]) -> _Measured:
    """Metric -> [K, N] of blocks that come from several settings."""
    measured = [group.measure(setting, [pair]) for pair, setting in settings.items()]
    return {metric: np.concatenate([one[metric] for one in measured]) for metric in group.metrics}


def _doses(group: Group, kind: str) -> dict[tuple[str, str, float, float], dict[Pair, str]]:
    """Dose (mode, positions, strength, share) -> pair of languages -> setting, sorted by dose.

    Where a setting of the sweep has the dose of the experiment's own setting, the latter is passed over.
    """
    found: dict[tuple, dict[Pair, str]] = {}
    for answers in sorted(group.settings.values(), key=lambda answers: not answers.dosed):
        if answers.kind == kind:
            steering = answers.header["steering"]
            dose = tuple(steering[name] for name in ("mode", "positions", "strength", "share"))
            for pair in answers.blocks:
                found.setdefault(dose, {}).setdefault(pair, answers.setting)
    return dict(sorted(found.items(), key=lambda item: (*item[0][:2], -item[0][3], item[0][2])))


def _compared(
    metric: str, languages: list[str], measured: _Measured, resampling: Resampling, paper: float
) -> dict[str, float]:
    """The columns answers, ours, low, high, paper and difference, from the values [K, N] of K languages."""
    if metric == CONFUSION:
        part = np.array([*map(has_another_script, languages)]) & ~np.isnan(measured[BY_LINE]).all(axis=1)
        values = measured[BY_LINE][part]
        scores, drawn = resampling.harmonic(values, measured[BY_WORD][part])
        ours, (low, high) = np.nan, (np.nan, np.nan)
        if part.any():
            ours, (low, high) = float(scores.mean()), percentiles(drawn.mean(axis=1), values.shape[1])
    else:
        values = measured[metric]
        ours, (low, high) = mean(values), resampling.bounds(metric, values)
    compared = {"paper": paper, "difference": ours - paper}
    return {"answers": _count(values), "ours": ours, "low": low, "high": high, **compared}


def _response(values: _Measured, resampling: Resampling) -> dict[str, float]:
    """The columns of `dose_response` that are measured."""
    low, high = resampling.bounds("language_accuracy", values["language_accuracy"])
    nll_low, nll_high = resampling.bounds("nll", values["nll"])
    return {
        "answers": _count(values["short"]),
        "language_accuracy": mean(values["language_accuracy"]),
        "low": low,
        "high": high,
        "lingua_accuracy": mean(values["lingua_accuracy"]),
        "nll": mean(values["nll"]),
        "nll_low": nll_low,
        "nll_high": nll_high,
        "distinct_2": mean(values["distinct_2"]),
    }


def _count(values: np.ndarray) -> int:
    return int((~np.isnan(values)).sum())


def _p_values(differences: pd.Series, added: Sequence[np.ndarray], seed: int) -> np.ndarray:
    """The p-values of mean differences, from the addend of every question in each difference.

    A question that adds nothing does not change a p-value.
    """
    return np.where(differences.isna(), np.nan, uncertainty.sign_flip_test(np.stack(added), seed))


def _holm(block: pd.DataFrame, corrected: pd.Series, family: list[str]) -> pd.Series:
    """The column p_holm: p_value with Holm's correction over each family of rows, uncorrected outside `corrected`."""
    tests = block[corrected & block["p_value"].notna()]
    adjusted = tests.groupby(family)["p_value"].transform(lambda values: uncertainty.holm(values.to_numpy()))
    return adjusted.reindex(block.index).where(corrected, block["p_value"])


def _known(group: Group) -> PaperModel | None:
    """The paper's model of the same name, if its neurons are of the same languages; its numbers can be compared."""
    model = paper_model(group.model)
    # The paper asks no English questions.
    same = model is not None and {*group.languages, "en"} == set(model.counts().index)
    return model if same else None
