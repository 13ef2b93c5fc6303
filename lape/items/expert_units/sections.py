"""The tables of expert units and of the texts under them, laid out for people."""

import numpy as np
import pandas as pd

from lape.items.answers.sections import MEAN, change_sections, groups, text_matrix
from lape.items.expert_units.texts import ALL, NONE, OTHER
from lape.items.layers import heading
from lape.items.layout import Section, rounded, with_interval

# The column of numbers to compare with, and what a row calls it: they are not printed in the paper.
RESCORED = ("rescored", "re-scored")
# Kind of a setting -> which units it overwrites, and by which medians.
VALUES = {
    "both": "expert units, own medians",
    "random": "random units, own medians",
    "both_other": "expert units, another language's medians",
    "random_other": "random units, another language's medians",
}
_TITLES = {
    "language_accuracy": "share of texts in the target language (langdetect)",
    "lingua_accuracy": "share of texts in the target language (lingua)",
    "fasttext_accuracy": "share of texts in the target language (fastText)",
    "heliport_accuracy": "share of texts in the target language (HeLI-OTS)",
    OTHER: "share of texts in the other language (langdetect), the next one in the table",
    "short": "share of texts too short to identify",
    "nll": "mean NLL of a text under the unmodified model (nats per token)",
    "distinct_2": "distinct-2 of a text's tokens",
    "bleu": "BLEU against held-out sentences, of the texts in the target language",
    "corpus_bleu": "BLEU of all translations",
    "corpus_chrf": "chrF of all translations",
}


def share_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and metric: settings down, target languages and their mean across, with changes to the setting none."""
    return change_sections(frame, _TITLES, NONE, RESCORED)


def steering_sections(frame: pd.DataFrame) -> list[Section]:
    """The numbers of overwritten units, then the tables of `share_sections`, then the changes of shares to LAPE's."""
    frame = frame.assign(rescored=np.nan, difference=np.nan)
    shares = frame[frame["metric"] == "language_accuracy"].replace({"language": {ALL: MEAN}})
    sections = []
    for title, block in groups(shares):
        cells = text_matrix(block.assign(text=block["units"].map(_whole)), "setting", "language")
        sections.append(Section(f"{title}: units or neurons that are overwritten", "setting", cells))
    sections += share_sections(frame)
    to_lape = {f"lape_{name}": name for name in ("change", "change_low", "change_high", "p_value", "p_holm")}
    compared = frame.drop(columns=to_lape.values()).rename(columns=to_lape)
    compared = compared[compared["change"].notna() & (compared["metric"] == "language_accuracy")]
    return sections + change_sections(compared, _TITLES, "lape", RESCORED)


def sizes_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and metric: kinds and numbers of units down, target languages and their mean across."""
    labels = frame["kind"] + " " + frame["units"].map(_whole)
    frame = frame.assign(
        language=frame["language"].replace(ALL, MEAN),
        row=labels.where(frame["kind"] != NONE, NONE),
        text=[with_interval(*three) for three in frame[["ours", "low", "high"]].itertuples(index=False)],
    )
    return [
        Section(f"{title}: {_TITLES[metric]} [95% interval]", "units", text_matrix(block, "row", "language"))
        for title, own in groups(frame)
        for metric, block in own.groupby("metric", sort=False)
    ]


def values_sections(frame: pd.DataFrame) -> list[Section]:
    """The tables of `sizes_sections`, with the kinds of units in words."""
    return sizes_sections(frame.replace({"kind": VALUES}))


def translation_sections(frame: pd.DataFrame) -> list[Section]:
    """The tables of `share_sections` for each corpus."""
    return share_sections(frame.assign(rescored=np.nan, difference=np.nan))


def overlap_sections(frame: pd.DataFrame) -> list[Section]:
    """One table with a row per model and ranking, over all pairs of languages; then a matrix of the pairs for each."""
    every = frame[frame["language"] == ALL]
    cells = pd.DataFrame(
        {
            "units": every["units"].map(_whole).to_list(),
            "mean overlap": every["overlap"].map(_share).to_list(),
            "highest": every["highest"].map(_share).to_list(),
            "by chance": every["expected"].map(_share).to_list(),
            "paper": ["" if np.isnan(value) else f"< {_share(value)}" for value in every["paper"]],
        },
        index=every["model"] + ", " + every["ranking"],
    )
    sections = [Section("Units that two languages share, over all pairs of languages", "ranking", cells)]
    for (model, ranking), block in frame[frame["language"] != ALL].groupby(["model", "ranking"], sort=False):
        cells = text_matrix(block.assign(text=block["overlap"].map(_share)), "language", "other")
        title = f"{model}, {ranking}: share of a language's units that are the other's too"
        sections.append(Section(title, "language", cells))
    return sections


def precision_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model: languages down; average precision of each ranking, chance and re-scored numbers across."""
    sections = []
    for model, block in frame.groupby("model", sort=False):
        rows = {}
        for language, own in block.groupby("language", sort=False):
            own = own.set_index("ranking")
            top, bottom, random = (own.loc[ranking] for ranking in ("top", "bottom", "random"))
            rows[language] = {
                "top": f"{_precise(top['mean'])} [{_precise(top['lowest'])}, {_precise(top['highest'])}]",
                "bottom": _precise(bottom["mean"]),
                "bottom, negated": _precise(bottom["negated_mean"]),
                "random": _precise(random["mean"]),
                "chance": _precise(top["chance"]),
            }
            if block["rescored"].notna().any():
                rows[language] |= {
                    "top, re-scored": _precise(top["rescored"]),
                    "difference": rounded(top["difference"]),
                }
        title = f"{model}: mean average precision of {block['units'].max():,} units [lowest, highest]"
        sections.append(Section(title, "language", pd.DataFrame.from_dict(rows, orient="index")))
    return sections


def layer_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and ranking: parts down and languages across, over all layers; then layers down, languages across."""
    sections = []
    for (model, ranking), block in frame.groupby(["model", "ranking"], sort=False):
        title = f"{model}, {ranking}: number of units"
        block = block.assign(place=block["kind"] + " " + block["part"])
        corners = {"place": "part of a layer", "layer": heading(block["layer"])}
        for row, what in (("place", "part of a layer"), ("layer", "layer")):
            sums = block.groupby([row, "language"], sort=False)[["count", "expected"]].sum()
            cells = text_matrix(sums.reset_index().assign(text=sums["count"].map(_whole).to_list()), row, "language")
            cells["by chance"] = sums["expected"].groupby(row, sort=False).mean().map(rounded)
            sections.append(Section(f"{title} by {what}", corners[row], cells))
    return sections


def histogram_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model one row per language: units above round values of average precision, chance, and the cut of the top."""
    sections = []
    for model, block in frame.groupby("model", sort=False):
        rows = {}
        for language, own in block.groupby("language", sort=False):
            above = {f"from {low:.1f}": own.loc[own["low"] > low - 1e-9, "count"].sum() for low in np.arange(0, 1, 0.1)}
            rows[language] = {name: f"{count:,}" for name, count in above.items()}
            rows[language] |= {"chance": _precise(own["chance"].iat[0]), "cut": _precise(own["cut"].iat[0])}
        title = f"{model}: units of so high an average precision or higher; cut: the lowest of the top"
        sections.append(Section(title, "language", pd.DataFrame.from_dict(rows, orient="index")))
    return sections


def _whole(value: float) -> str:
    """A number of units, which may be a mean over languages."""
    return f"{value:,.0f}"


def _share(value: float) -> str:
    """A share that may be far below one percent."""
    return f"{value:.1%}" if value >= 0.001 or value == 0 else f"{value:.0e}"


def _precise(value: float) -> str:
    return "" if pd.isna(value) else f"{value:.3f}"
