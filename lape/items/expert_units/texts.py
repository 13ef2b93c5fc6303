"""Unconditional texts under expert units (Kojima et al. 2024): how many are in the target language, and how good."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import mean as average

import numpy as np
import pandas as pd

from lape.artifacts.files import read_json
from lape.errors import LapeError
from lape.evaluation import uncertainty
from lape.items.answers.inputs import (
    PROPORTIONS,
    Answers,
    Group,
    Pair,
    Resampling,
    contributions,
    generations_header,
    load,
    mean,
)
from lape.paper import expert_units as paper

# A row of all target languages.
ALL = ""
# The setting in which nothing is overwritten.
NONE = "none"
UNCONDITIONAL = "unconditional"

SHARES = ("language_accuracy", "lingua_accuracy", "fasttext_accuracy")
SHARE_METRICS = (*SHARES, "short", "nll", "distinct_2", "bleu")
SIZE_METRICS = (*SHARES, "nll")


def share(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Unconditional texts with nothing overwritten and with each language's expert units set to their median.

    Args:
        paths: scores headers, each with its TSV beside it and the texts that it scores where its inputs say; for each
            model the prompt unconditional in the setting none and in settings of the expert units. Others are passed
            over.
        resamples: of the bootstrap over seeds.
        seed: of its draws, and of random sign flips.

    Returns:
        Columns model, prompt, setting, kind (none, top, bottom, both, random), method (expert_units; empty for none),
        units (overwritten; a mean in the row of all languages), language (the target; `ALL`: the mean over the
        languages), metric, texts (that have the value), ours with low and high (95% interval,
        `answers.Resampling.bounds`), paper and difference (ours less paper), which are empty but for shares by
        langdetect of the paper's models, languages and settings; change (mean difference to none with the same seeds)
        with change_low and change_high (a share in one language: `uncertainty.paired_share_interval`; else bootstrap),
        p_value (a share in one language: McNemar's exact test; else `uncertainty.sign_flip_test` over seeds) and p_holm
        (Holm's correction over the languages of a setting and metric; the mean over the languages stands alone). Those
        five are empty for none, and for the metric bleu, which is of the texts in the target language alone: others in
        every setting.

    Raises:
        LapeError: the setting none is missing, a setting comes twice, or the settings differ in languages or seeds.
    """
    blocks = []
    for group in chosen(paths, UNCONDITIONAL, _of_units):
        block = text_rows(group, SHARE_METRICS, Resampling(len(group.numbers), resamples, seed), seed)
        # Among other languages other units are experts.
        same = {target for _, target in pairs_of(group)} == set(paper.LANGUAGES)
        shares = paper.expert_shares(group.model) if same else {}
        keys = zip(block["setting"], block["language"], block["metric"], strict=True)
        # Which identifier the paper's share is by is not known: it stands once, beside the first.
        printed = [shares.get(key[:2], np.nan) if key[2] == SHARES[0] else np.nan for key in keys]
        blocks.append(block.assign(paper=printed, difference=block["ours"] - np.array(printed)))
    return pd.concat(blocks, ignore_index=True)


def sizes(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The share of unconditional texts in the target language, and their NLL, against the number of units.

    Args:
        paths: as for `share`, of any number of units.
        resamples: as for `share`.
        seed: of its draws.

    Returns:
        Columns model, prompt, kind, units, language, metric (shares and nll), texts, ours, low and high as in `share`,
        by kind and number of units.

    Raises:
        LapeError: as `share`.
    """
    # As many units as LAPE has neurons are another number in every language.
    groups = chosen(paths, UNCONDITIONAL, lambda answers: _of_units(answers) and not answers.setting.endswith("-lape"))
    frame = pd.concat(
        [
            text_rows(group, SIZE_METRICS, Resampling(len(group.numbers), resamples, seed), seed, baselines=())
            for group in groups
        ]
    )
    columns = ["model", "prompt", "kind", "units", "language", "metric", "texts", "ours", "low", "high"]
    orders = {"model": list(frame["model"].unique()), "kind": ["none", "both", "top", "bottom", "random"]}
    frame = frame.sort_values(
        ["model", "kind", "units"],
        key=lambda column: column.map(orders[column.name].index) if column.name in orders else column,
    )
    return frame[columns].reset_index(drop=True)


def steering(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """LAPE's neurons and expert units side by side: unconditional texts steered towards each language.

    Args:
        paths: as for `share`, of any setting; lape, matched_lape and ap set neurons of the FFN to their mean
            activation.
        resamples: as for `share`.
        seed: as for `share`.

    Returns:
        Columns as in `share` but for the paper's; and lape_change ... lape_p_holm, as change ... p_holm, to the setting
        lape, which are empty for it, for none and where it is not given.

    Raises:
        LapeError: as `share`.
    """
    return pd.concat(
        [
            text_rows(group, SHARE_METRICS, Resampling(len(group.numbers), resamples, seed), seed, (NONE, "lape"))
            for group in chosen(paths, UNCONDITIONAL)
        ],
        ignore_index=True,
    )


def chosen(
    paths: Iterable[str | Path], prompt: str, wanted: Callable[[Answers], bool] = lambda answers: True
) -> list[Group]:
    """The models and prompts that have texts of a kind, with the settings that are wanted, none before the others."""
    found = []
    for group in load(paths):
        settings = [name for name, answers in group.settings.items() if name != NONE and wanted(answers)]
        if not settings or not group.prompt.startswith(prompt):
            continue
        settings = {name: group.setting(name) for name in (NONE, *settings)}
        for answers in settings.values():
            if answers.blocks.keys() != settings[NONE].blocks.keys():
                raise LapeError(
                    f"{answers.path}: has other languages than {settings[NONE].path}; generate both for the same"
                )
        found.append(replace(group, settings=settings))
    if not found:
        raise LapeError(f"no scores of texts of the prompt {prompt}: there is no table; pass none and other settings")
    return found


def pairs_of(group: Group) -> list[Pair]:
    """Source and target of every block of texts."""
    return list(group.settings[NONE].blocks)


def labelled(group: Group, answers: Answers) -> Iterator[tuple[list[int], dict]]:
    """For every target language and all of them: the places of its blocks, and the columns that say what a row is."""
    size = read_json(generations_header(answers), "generations")["size"]
    targets = [target for _, target in pairs_of(group)]
    units = [size[target] for target in targets]
    places = range(len(targets))
    header = {name: answers.header[name] or "" for name in ("setting", "kind", "method")}
    for language, number, part in zip(
        [*targets, ALL], [*units, average(units)], [*([place] for place in places), list(places)], strict=True
    ):
        yield part, {**group.names, **header, "units": number, "language": language}


def text_rows(
    group: Group, metrics: Sequence[str], resampling: Resampling, seed: int, baselines: Sequence[str] = (NONE,)
) -> pd.DataFrame:
    """What is measured of each text: its means, and their changes to each setting of `baselines`."""
    measured = {name: _measured(group, name) for name in group.settings}
    # fastText's model is not always given.
    metrics = [name for name in metrics if any(not np.isnan(values[name]).all() for values in measured.values())]
    rows, compared = [], {baseline: [] for baseline in baselines}
    for setting, answers in group.settings.items():
        labels = list(labelled(group, answers))
        for metric, (part, names) in product(metrics, labels):
            values = measured[setting][metric][part]
            low, high = resampling.bounds(metric, values)
            texts = int((~np.isnan(values)).sum())
            rows.append({**names, "metric": metric, "texts": texts, "ours": mean(values), "low": low, "high": high})
            for baseline, pairs in compared.items():
                there = baseline in measured and setting not in (NONE, baseline) and metric != "bleu"
                pairs.append((values, measured[baseline][metric][part] if there else np.full_like(values, np.nan)))
    frame = pd.DataFrame(rows)
    changes = [
        _changes(frame, pairs, resampling, seed).add_prefix("" if baseline == NONE else f"{baseline}_")
        for baseline, pairs in compared.items()
    ]
    return pd.concat([frame, *changes], axis=1)


def _changes(
    frame: pd.DataFrame, pairs: Sequence[tuple[np.ndarray, np.ndarray]], resampling: Resampling, seed: int
) -> pd.DataFrame:
    """Columns change ... p_holm of the rows of a frame, from each row's values and those of the baseline [K, N]."""
    differences = [values - baseline for values, baseline in pairs]
    single = frame["language"] != ALL
    share = single & frame["metric"].isin(PROPORTIONS)
    bounds = [
        uncertainty.paired_share_interval(values[0], baseline[0]) if one else resampling.interval(values - baseline)
        for one, (values, baseline) in zip(share, pairs, strict=True)
    ]
    means = [(mean(own), *both) for own, both in zip(differences, bounds, strict=True)]
    changes = pd.DataFrame(means, frame.index, ["change", "change_low", "change_high"])
    tested = changes["change"].notna()
    exact = tested & share
    p_values = pd.Series(np.nan, frame.index)
    p_values[exact] = [_mcnemar(differences[row]) for row in frame.index[exact]]
    flipped = frame.index[tested & ~exact]
    if len(flipped):
        added = np.stack([contributions(differences[row]) for row in flipped])
        p_values[flipped] = uncertainty.sign_flip_test(added, seed)
    families = frame[tested & single].groupby(["setting", "metric"]).groups.values()
    p_holm = p_values.copy()
    for family in families:
        p_holm[family] = uncertainty.holm(p_values[family].to_numpy())
    return changes.assign(p_value=p_values, p_holm=p_holm)


def _of_units(answers: Answers) -> bool:
    return answers.header["method"] in (None, "expert_units")


def _measured(group: Group, setting: str) -> dict[str, np.ndarray]:
    """Metric -> [K, N]. BLEU is of the texts in the target language alone, as the paper scores their quality."""
    measured = group.measure(setting, pairs_of(group))
    return measured | {"bleu": np.where(measured["language_accuracy"] == 1, measured["bleu"], np.nan)}


def _mcnemar(differences: np.ndarray) -> float:
    """McNemar's exact two-sided p-value of paired differences of values that are 0 or 1."""
    from scipy import stats

    risen, fallen = int((differences > 0).sum()), int((differences < 0).sum())
    return stats.binomtest(risen, risen + fallen).pvalue if risen + fallen else 1.0
