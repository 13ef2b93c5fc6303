"""PV by the number of training steps: what zeroing its parameters does to their language and to the others."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.errors import LapeError
from lape.evaluation.uncertainty import student_reach
from lape.items.layout import Section, rounded, with_interval
from lape.items.perplexity.inputs import Measurement, baselines, load, paired

# The language in a row of the mean over all deactivated languages.
ALL = ""


def learning_curve(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The rise of the deactivated language and of the others under PV's parameters, by the steps of the training.

    Args:
        paths: perplexity headers: every model's baseline, PV's rows after some numbers of training steps, and rows of
            its controls. Each has its TSV beside it.

    Returns:
        one row per model, method, number of steps and deactivated language, and one for the mean over the languages.
        Columns:
        - model, method (pv or a control), steps and examples (of the training of the language's copy; in the row of
          the mean the largest), deactivated (`ALL` in the row of the mean);
        - own and others (mean NLL rises, nats per token; of the others the mean over languages) and difference (own
          less others). In the row of the mean each has bounds, such as own_low and own_high (95%, Student's t over
          languages: what other languages could give), which are empty in the other rows.

    Raises:
        LapeError: a row comes twice, or tells no number of training steps.
    """
    measured, frames = load(paths), []
    for model, base in baselines(measured).items():
        lines = {}
        for row in measured:
            if row.header["model"] == model and row is not base:
                training = row.header.get("training")
                if not training:
                    raise LapeError(f"{row}: tells no training steps; pass rows of PV, or run `lape perplexity` again")
                key = row.header["method"], training["steps"], row.header["deactivated"]
                if key in lines:
                    raise LapeError(f"{row}, after {key[1]} steps: comes twice; pass each perplexity header once")
                lines[key] = {**_rises(row, base), "examples": training["examples"]}
        if lines:
            frames.append(_with_means(model, lines))
    if not frames:
        raise LapeError("no perplexity with parameters set to zero: there is no curve; pass PV's rows")
    return pd.concat(frames, ignore_index=True)


def learning_curve_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model one row per method and number of steps, means over languages; then the languages' own rises."""
    sections = []
    for model, block in frame.groupby("model", sort=False):
        block = block.assign(row=block["method"] + ", " + block["steps"].map("{:,} steps".format))
        means = block[block["deactivated"] == ALL].set_index("row")
        cells = pd.DataFrame({"examples per language": means["examples"].map("{:,}".format)})
        for column, head in (("own", "own language"), ("others", "other languages"), ("difference", "difference")):
            bounds = means[[column, f"{column}_low", f"{column}_high"]].itertuples(index=False)
            cells[f"{head} [95% interval]"] = [with_interval(*three) for three in bounds]
        sections.append(Section(f"{model}: mean NLL rises (nats per token) under PV's parameters", "method", cells))
        each = block[block["deactivated"] != ALL].assign(text=lambda rows: rows["own"].map(rounded))
        cells = each.pivot(index="row", columns="deactivated", values="text")
        cells = cells.loc[each["row"].unique(), each["deactivated"].unique()]
        sections.append(Section(f"{model}: NLL rise of the deactivated language (nats per token)", "method", cells))
    return sections


def _rises(row: Measurement, base: Measurement) -> dict[str, float]:
    """Mean NLL rises of the deactivated language and of the others."""
    rises = {}
    for language in row.languages:
        (tokens, _, nll), (_, _, unperturbed) = paired(row, base, language)
        rises[language] = (nll - unperturbed).sum() / tokens.sum()
    own = rises.pop(row.header["deactivated"])
    others = float(np.mean(list(rises.values()))) if rises else np.nan
    return {"own": float(own), "others": others, "difference": float(own) - others}


def _with_means(model: str, lines: dict[tuple[str, int, str], dict]) -> pd.DataFrame:
    """The rows of one model: by method, steps and language in the order given, each group followed by its mean."""
    names = ["method", "steps", "deactivated"]
    frame = pd.DataFrame([dict(zip(names, key, strict=True)) | line for key, line in lines.items()])
    order = {method: place for place, method in enumerate(sorted(frame["method"].unique(), key=lambda m: m != "pv"))}
    rows = []
    for (_, steps), block in frame.groupby([frame["method"].map(order), "steps"]):
        rows += block.to_dict("records")
        mean = {"method": block["method"].iat[0], "steps": steps, "deactivated": ALL}
        mean["examples"] = block["examples"].max()
        for column in ("own", "others", "difference"):
            values = block[column]
            low, high = np.array([values.mean()] * 2) + student_reach(len(block)) * values.sem()
            mean |= {column: values.mean(), f"{column}_low": low, f"{column}_high": high}
        rows.append(mean)
    columns = [f"{column}{end}" for column in ("own", "others", "difference") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows).assign(model=model)[["model", "method", "steps", "examples", "deactivated", *columns]]
