"""Unconditional texts under expert units (Kojima et al. 2024): the share in the target language, and the quality."""

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
    ACCURACIES,
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
from lape.text.language_codes import base_language

# The language in a row of the mean over all target languages.
ALL = ""
# The setting in which nothing is overwritten.
NONE = "none"
UNCONDITIONAL = "unconditional"

SHARES = tuple(ACCURACIES.values())
SHARE_METRICS = (*SHARES, "short", "nll", "distinct_2", "bleu")
SIZE_METRICS = (*SHARES, "nll")
# The share of texts in the language whose medians the settings both_other and random_other take.
OTHER = "other_language"
# The kinds of settings in the table of `sizes`, and those in the table of `values`.
_SIZES = ("none", "both", "top", "bottom", "random")
_VALUES = ("none", "both", "random", "both_other", "random_other")


def share(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Unconditional texts with nothing overwritten and with each language's expert units set to their median.

    Args:
        paths: scores headers. Each has its TSV beside it, and its inputs name the file of the texts. Each model needs
            the prompt unconditional in the setting none and in settings of the expert units. Headers of other prompts
            and settings are passed over.
        resamples: number of resamples of the bootstrap over seeds.
        seed: seed of the draws of the resamples and of the random sign flips.

    Returns:
        one row per model, prompt, setting, language and metric, and one for the mean over the languages. Columns:
        - model, prompt, setting, kind (none, top, bottom, both, random), method (expert_units; empty for none);
        - units (how many are overwritten), language (the target; `ALL` in the row of the mean, where units is a mean
          too), metric;
        - texts (how many have a value), ours (their mean) with low and high (95% interval,
          `answers.inputs.Resampling.bounds`);
        - rescored (measured anew on the texts that the paper's authors released) and difference (ours less rescored).
          They are empty except for shares by langdetect of the paper's models, languages and settings;
        - change (mean difference to the texts of none with the same seeds), with change_low and change_high, p_value
          and p_holm. For a share in one language the interval is `uncertainty.paired_share_interval` and the test is
          McNemar's exact test; otherwise they are the bootstrap and `uncertainty.sign_flip_test` over seeds. p_holm is
          Holm's correction over the languages of a setting and metric; the mean over the languages is not corrected.
          These five columns are empty for none. They are empty for the metric bleu too: it only scores the texts in the
          target language, which differ from setting to setting.

    Raises:
        LapeError: the setting none is missing, a setting comes twice, or the settings differ in languages or seeds.
    """
    blocks = []
    for group in chosen(paths, UNCONDITIONAL, _of_units):
        block = text_rows(group, SHARE_METRICS, Resampling(len(group.numbers), resamples, seed), seed)
        # The experts depend on all languages of the selection: the paper's numbers hold for its own languages only.
        same = {target for _, target in pairs_of(group)} == set(paper.LANGUAGES)
        shares = paper.expert_shares(group.model) if same else {}
        keys = zip(block["setting"], block["language"], block["metric"], strict=True)
        # The identifier of these shares is not known. They stand once, beside the first identifier's.
        released = [shares.get(key[:2], np.nan) if key[2] == SHARES[0] else np.nan for key in keys]
        blocks.append(block.assign(rescored=released, difference=block["ours"] - np.array(released)))
    return pd.concat(blocks, ignore_index=True)


def sizes(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """The share of unconditional texts in the target language, and the NLL of all texts, against the number of units.

    Args:
        paths: as for `share`, with settings of any number of units.
        resamples: see `share`.
        seed: seed of the draws of the resamples.

    Returns:
        the columns model, prompt, kind, units, language, metric (shares and nll), texts, ours, low and high of `share`,
        with rows sorted by kind and number of units.

    Raises:
        LapeError: see `share`.
    """
    return _by_size(paths, resamples, seed, _SIZES, SIZE_METRICS)


def values(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Whether the units or their values make the language: expert and random units, at medians of either language.

    Args:
        paths: as for `share`, with the kinds both and random (medians on the target language), and both_other and
            random_other (medians on another language, the next in the model's order), of any number of units.
        resamples: see `share`.
        seed: seed of the draws of the resamples.

    Returns:
        the columns of `sizes`. The metric `OTHER` is the share of texts that langdetect takes for that other language.

    Raises:
        LapeError: see `share`.
    """
    return _by_size(paths, resamples, seed, _VALUES, (*SHARES, OTHER))


def _by_size(
    paths: Sequence[str | Path], resamples: int, seed: int, kinds: Sequence[str], metrics: Sequence[str]
) -> pd.DataFrame:
    """The table of some kinds of settings by number of units."""

    # Settings of as many units as LAPE has neurons are left out: their number differs from language to language.
    def wanted(answers: Answers) -> bool:
        return _of_units(answers) and answers.kind in kinds and not answers.setting.endswith("-lape")

    frame = pd.concat(
        [
            text_rows(group, metrics, Resampling(len(group.numbers), resamples, seed), seed, baselines=())
            for group in chosen(paths, UNCONDITIONAL, wanted)
        ]
    )
    columns = ["model", "prompt", "kind", "units", "language", "metric", "texts", "ours", "low", "high"]
    orders = {"model": list(frame["model"].unique()), "kind": list(kinds)}
    frame = frame.sort_values(
        ["model", "kind", "units"],
        key=lambda column: column.map(orders[column.name].index) if column.name in orders else column,
        kind="stable",
    )
    return frame[columns].reset_index(drop=True)


def steering(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """LAPE's neurons and expert units side by side: unconditional texts steered towards each language.

    Args:
        paths: as for `share`, with any settings. The settings lape, matched_lape and ap set neurons of the FFN to their
            mean activation.
        resamples: see `share`.
        seed: see `share`.

    Returns:
        the columns of `share` except rescored and difference, and five more, from lape_change to lape_p_holm: the
        change to the setting lape, with its interval and tests. These are empty for the settings lape and none, and
        where the setting lape is not given.

    Raises:
        LapeError: see `share`.
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
    """The groups whose prompt is of one kind, with the wanted settings only. The setting none comes first."""
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
    """The rows of one setting: one for every target language, and one for all of them.

    Yields:
        the places of the row's blocks among the pairs of the group, and the columns that say what the row is.
    """
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
    """The means of all metrics in every setting, and their changes to each setting of `baselines`."""
    measured = {name: _measured(group, name) for name in group.settings}
    # A metric may have no values at all, such as that of an identifier that was not asked.
    metrics = [name for name in metrics if any(not np.isnan(own.get(name, np.nan)).all() for own in measured.values())]
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
    """The columns from change to p_holm for the rows of a frame.

    Args:
        frame: the rows.
        pairs: for each row its values and those of the baseline, [K, N] each.
        resampling: gives the intervals of changes.
        seed: seed of the random sign flips.
    """
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
    p_values[exact] = [uncertainty.mcnemar(differences[row]) for row in frame.index[exact]]
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
    """Metric -> [K, N]. Only texts in the target language have a BLEU, as in the paper."""
    measured = group.measure(setting, pairs_of(group)) | {OTHER: _in_other(group, setting)}
    return measured | {"bleu": np.where(measured["language_accuracy"] == 1, measured["bleu"], np.nan)}


def _in_other(group: Group, setting: str) -> np.ndarray:
    """Whether each text is in the next target language, [K, N]; NaN where langdetect does not know that language."""
    answers, pairs = group.setting(setting), pairs_of(group)
    known = {row["target"] for row in answers.header["rows"] if row.get(SHARES[0]) is not None}
    found = []
    for pair, (_, other) in zip(pairs, [*pairs[1:], pairs[0]], strict=True):
        texts = answers.block(pair).reindex(group.numbers)["langdetect"]
        found.append((texts == base_language(other)).astype(float) if other in known else np.full(len(texts), np.nan))
    return np.array(found)
