"""The tables of perplexity under deactivation, laid out for people."""

import numpy as np
import pandas as pd

from lape.items.layout import Section, rounded, with_interval
from lape.items.perplexity.rows import SIGNIFICANT, matrix, methods_and_controls, significant, significant_cells

_MEASURES = {
    "ppl_change": "PPL change",
    "nll_change": "NLL change (nats per token)",
    "bits_change": "change of bits per byte",
}
_CONTROL = f"the control (p < {SIGNIFICANT}, Holm over the table)"


def change_sections(frame: pd.DataFrame, measure: str = "nll_change") -> list[Section]:
    """Per model an overview, and per method the PPL change, the PPL change with intervals, and another measure.

    The control of a method in the frame has no tables of its own. It is in the overview, and the test against it marks
    the cells of its method.

    Args:
        frame: from `changes`.
        measure: the column that follows the PPL change.
    """
    sections, tested = [], int(frame["p_value"].notna().sum())
    for model, block in frame.groupby("model", sort=False):
        sections.append(_overview(model, block, tested))
        for method in methods_and_controls(block)[0]:
            own = block[block["method"] == method]
            note = f"; * suffers more than under {_CONTROL}" if own["p_holm"].notna().all() else ""
            for column, interval in (("ppl_change", False), ("ppl_change", True), (measure, False)):
                what = _MEASURES[column] + (" [95% interval]" if interval else "")
                title = f"{model}, {method}: {what}, row deactivated, column evaluated{note}"
                sections.append(Section(title, "deactivated", matrix(_written(own, column, interval), "text")))
    return sections


def bits_sections(frame: pd.DataFrame) -> list[Section]:
    """The tables of `change_sections` with bits per byte, which can be compared between models of other tokenizers."""
    return change_sections(frame, "bits_change")


def sweep_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and deactivated language: one table of PPL and one of PPL change, ratios down and languages across."""
    sections = []
    for (model, deactivated), block in frame.groupby(["model", "deactivated"], sort=False):
        share = block["ratio"].map(lambda ratio: f"{100 * ratio:g}%")
        rows = block.assign(
            share=share, ppl_text=block["ppl"].map(rounded), text=_written(block, "ppl_change", True)["text"]
        )
        neurons = rows.drop_duplicates("share").set_index("share")["neurons"].map("{:,}".format)
        for what, column in (("PPL", "ppl_text"), ("PPL change [95% interval]", "text")):
            cells = rows.pivot(index="share", columns="evaluated", values=column)
            cells = cells.loc[rows["share"].unique(), rows["evaluated"].unique()]
            cells.insert(0, "neurons", neurons)
            title = f"{model}: {what} with the neurons of {deactivated} deactivated, by share of neurons selected"
            sections.append(Section(title, "ratio", cells))
    return sections


def baseline_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model a table with one row per language."""
    formats = {"tokens": "{:,}", "nll": "{:.3f}", "ppl": "{:.2f}", "bytes": "{:,}", "bits_per_byte": "{:.3f}"}
    heads = {"nll": "NLL (nats per token)", "ppl": "PPL", "bits_per_byte": "bits per byte"}
    sections = []
    for model, block in frame.groupby("model", sort=False):
        block = block.set_index("language")
        cells = pd.DataFrame({heads.get(name, name): block[name].map(text.format) for name, text in formats.items()})
        sections.append(Section(f"{model}: perplexity with no neuron deactivated", "language", cells))
    return sections


def _written(frame: pd.DataFrame, column: str, interval: bool) -> pd.DataFrame:
    """The frame with a column `text`: the number, its interval where wanted, and an asterisk where significant."""
    texts = frame[column].map(rounded)
    if interval:
        bounds = frame[[column, f"{column}_low", f"{column}_high"]].itertuples(index=False)
        texts = pd.Series([with_interval(*three) for three in bounds], frame.index)
    if "p_holm" in frame:
        texts += np.where(significant(frame), "*", "")
    return frame.assign(text=texts)


def _overview(model: str, block: pd.DataFrame, tested: int) -> Section:
    """One row per method or control: mean NLL rises, extreme PPL changes, cells that suffer more than the control."""
    lines = {}
    for method, own in block.groupby("method", sort=False):
        diagonal = own["deactivated"] == own["evaluated"]
        above = own["nll"] - own["control_nll"]
        counts = significant_cells(own, tested)
        lines[_with_training(method, own)] = {
            "NLL rise on diagonal": f"{own.loc[diagonal, 'nll_change'].mean():.3f}",
            "off diagonal": f"{own.loc[~diagonal, 'nll_change'].mean():.3f}",
            "above control on diagonal": "" if above.isna().all() else f"{above[diagonal].mean():.3f}",
            "above control off diagonal": "" if above.isna().all() else f"{above[~diagonal].mean():.3f}",
            "smallest PPL change": rounded(own["ppl_change"].min()),
            "largest PPL change": rounded(own["ppl_change"].max()),
            "significant on diagonal": _of(counts[0], diagonal),
            "significant off diagonal": _of(counts[1], ~diagonal),
        }
    title = (
        f"{model}: every matrix in a line; mean NLL rise (nats per token), cells that suffer more than under {_CONTROL}"
    )
    return Section(title, "method", pd.DataFrame.from_dict(lines, orient="index"))


def _with_training(method: str, own: pd.DataFrame) -> str:
    """The method; for PV and its controls with the steps and examples of the training, the fewest of all languages."""
    if "training_steps" not in own or own["training_steps"].isna().all():
        return method
    steps, examples = (own[f"training_{name}"].min() for name in ("steps", "examples"))
    return f"{method} ({steps:,.0f} training steps, {examples:,.0f} examples per language)"


def _of(count: int | None, cells: pd.Series) -> str:
    return "" if count is None else f"{count} of {cells.sum()}"
