"""The tables of answers under deactivation and steering, laid out for people."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from lape.items.answers.inputs import METRICS
from lape.items.answers.rows import ALL
from lape.items.layout import Section, rounded, with_interval
from lape.items.perplexity.rows import SIGNIFICANT

# The label of the mean over languages. It has a space so that it cannot be the name of a language.
MEAN = "all (mean)"


def answers_deactivated_sections(frame: pd.DataFrame) -> list[Section]:
    """One table per model, prompt and metric: settings down, languages across, the paper's numbers where it has any."""
    # The suffix keeps the row of a language called "normal" apart from the row of the setting normal.
    deactivated = frame["setting"].where(frame["deactivated"] == "", frame["deactivated"] + " deactivated")
    sections = []
    for title, metric, block in _metrics(frame.assign(row=deactivated)):
        printed = block["paper"].notna().any()
        for column in ("ours", "paper", "difference") if printed else ("ours",):
            cells = text_matrix(block.assign(text=block[column].map(_number)), "row", "language")
            what = {"ours": "", "paper": ", the paper's", "difference": ", ours less the paper's"}[column]
            what = f"{METRICS[metric]}{what}; row deactivated, column language of question and answer"
            sections.append(Section(f"{title}: {what}", "setting", cells))
    return sections


def answers_steered_sections(frame: pd.DataFrame) -> list[Section]:
    """One table per model, prompt and metric: settings down, languages and their mean across, intervals and changes."""
    return change_sections(frame, METRICS, "normal")


def change_sections(
    frame: pd.DataFrame, titles: Mapping[str, str], baseline: str, known: tuple[str, str] = ("paper", "paper")
) -> list[Section]:
    """Tables laid out as by `answers_steered_sections`, of any metrics and of changes from any setting.

    Args:
        frame: has the columns of `lape.items.answers.rows.answers_steered`.
        titles: metric -> what a title calls it.
        baseline: the setting from which changes are measured.
        known: the column of numbers to compare with, and what a row calls it.
    """
    sections = []
    for title, metric, block in _metrics(frame.assign(language=frame["language"].replace(ALL, MEAN))):
        rows = {}
        for setting, own in block.groupby("setting", sort=False):
            own = own.set_index("language")
            rows[setting] = pd.Series(
                [with_interval(*three) for three in own[["ours", "low", "high"]].itertuples(index=False)], own.index
            )
            if own["change"].notna().any():
                three = own[["change", "change_low", "change_high"]].itertuples(index=False)
                marks = np.where(own["p_holm"] < SIGNIFICANT, "*", "")
                changes = [with_interval(*one) + mark for one, mark in zip(three, marks, strict=True)]
                rows[f"{setting} less {baseline}"] = pd.Series(changes, own.index)
            column, name = known
            if own[column].notna().any():
                rows[f"{setting}, {name}"] = own[column].map(_number)
                rows[f"{setting}, difference"] = own["difference"].map(_number)
        what = f"{titles[metric]} [95% interval]"
        if block["p_holm"].notna().any():
            what += f"; * differs from {baseline} (p < {SIGNIFICANT}, Holm over the languages)"
        sections.append(Section(f"{title}: {what}", "setting", pd.DataFrame(rows).T))
    return sections


def cross_lingual_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and prompt: one matrix of success for LAPE, one for its control, and a table of their means."""
    sections = []
    for title, own in groups(frame):
        for method, block in own[own["target"] != ALL].groupby("method", sort=False):
            marks = np.where(beats_control(block), "*", "")
            cells = success_matrix(block.assign(text=block["success"].map(_number) + marks), "text").fillna("")
            tested = block["control"].notna().any()
            note = f"; * more often than the control (p < {SIGNIFICANT}, Holm over the pairs)" if tested else ""
            what = "share of answers in the target language, row deactivated, column target"
            sections.append(Section(f"{title}, {method}: {what}{note}", "deactivated", cells))
        lines = {}
        for one in own[own["target"] == ALL].itertuples():
            lines[one.method] = {
                "success [95% interval]": with_interval(one.success, one.low, one.high),
                "less the control": with_interval(one.difference, one.difference_low, one.difference_high),
                "p": "" if np.isnan(one.p_value) else f"{one.p_value:.2g}",
                "success by lingua": _number(one.lingua_success),
                "NLL (nats per token)": _number(one.nll),
                "chrF": _number(one.chrf),
                "answers": f"{one.answers:,}",
            }
        what = "mean over all pairs of languages; chrF against the normal answers in the target language"
        sections.append(Section(f"{title}: {what}", "method", pd.DataFrame.from_dict(lines, orient="index")))
    return sections


def dose_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model, prompt and kind: a row per dose with the mean over languages; then accuracy and NLL by language."""
    sections = []
    for title, own in groups(frame.assign(dose=_doses(frame))):
        for kind, block in own.groupby("kind", sort=False):
            mean, single = block[block["target"] == ALL].set_index("dose"), block[block["target"] != ALL]
            cells = pd.DataFrame(
                {
                    "language accuracy [95% interval]": [
                        with_interval(one.language_accuracy, one.low, one.high) for one in mean.itertuples()
                    ],
                    "by lingua": mean["lingua_accuracy"].map(_number).to_list(),
                    "NLL, nats per token [95% interval]": [
                        with_interval(one.nll, one.nll_low, one.nll_high) for one in mean.itertuples()
                    ],
                    "distinct-2": mean["distinct_2"].map(_number).to_list(),
                    "answers": mean["answers"].map("{:,}".format).to_list(),
                },
                index=mean.index,
            )
            dose = "mode, positions, strength, share of the neurons"
            sections.append(Section(f"{title}, {kind}: mean over the languages at every dose ({dose})", "dose", cells))
            column = "language" if kind == "steered" else "target"
            # The mean is over the pairs that every dose has, so other pairs are left out here too.
            pairs = single.groupby(["language", "target"], sort=False)["dose"].transform("nunique")
            single = single[pairs == single["dose"].nunique()]
            for metric in ("language_accuracy", "nll"):
                # In the kind cross a target has several languages of questions: the mean over them is shown.
                means = single.groupby(["dose", column], sort=False)[metric].mean().reset_index(name="value")
                cells = text_matrix(means.assign(text=means["value"].map(_number)), "dose", column)
                what = f"{METRICS[metric]} by {'language' if kind == 'steered' else 'target language'}"
                sections.append(Section(f"{title}, {kind}: {what}", "dose", cells))
    return sections


def success_matrix(block: pd.DataFrame, column: str) -> pd.DataFrame:
    """One column of a frame of one model and method as a matrix, deactivated x target; NaN on the diagonal."""
    languages = block["deactivated"].unique()
    return block.pivot(index="deactivated", columns="target", values=column).reindex(index=languages, columns=languages)


def beats_control(frame: pd.DataFrame) -> pd.Series:
    """Whether each row of a frame of `rows.cross_lingual` succeeds more often than the control: p_holm < 0.05.

    No row does where there is no control.
    """
    return (frame["p_holm"] < SIGNIFICANT) & (frame["difference"] > 0)


def groups(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of every model and prompt, with a title."""
    for (model, prompt), block in frame.groupby(["model", "prompt"], sort=False):
        yield f"{model}, {prompt} prompt", block


def _metrics(frame: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """The rows of every model, prompt and metric."""
    for title, own in groups(frame):
        for metric, block in own.groupby("metric", sort=False):
            yield title, metric, block


def _doses(frame: pd.DataFrame) -> list[str]:
    """The dose of each row in words."""
    return [
        f"{one.mode}, {one.positions}, {one.strength:g}, {100 * one.share:g}%" if one.mode else "none (normal)"
        for one in frame[["mode", "positions", "strength", "share"]].itertuples()
    ]


def text_matrix(block: pd.DataFrame, row: str, column: str) -> pd.DataFrame:
    """The column `text` as a matrix, its rows and columns in the order in which they come; a missing cell is blank."""
    cells = block.pivot(index=row, columns=column, values="text").fillna("")
    return cells.loc[block[row].unique(), block[column].unique()]


def _number(value: float) -> str:
    return "" if pd.isna(value) else rounded(value)
