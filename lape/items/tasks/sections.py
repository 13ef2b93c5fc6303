"""The table of accuracy on tasks, laid out for people."""

import numpy as np
import pandas as pd

from lape.interventions.dose import STEERED
from lape.items.layout import Section, rounded, with_interval
from lape.items.tasks.correlation import OVER_CELLS
from lape.items.tasks.rows import DIFFERENCE, MEANS, ONE, OTHERS, OWN, SIGNIFICANT

_SCORES = {"accuracy_sum": "by log-likelihood", "accuracy_bytes": "per byte", "accuracy_calibrated": "calibrated"}
_MEANS = {OWN: "own language", OTHERS: "other languages", DIFFERENCE: "own less others"}


def downstream_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and task: the unperturbed model beside chance, means, correlations, and a matrix per method."""
    sections = []
    for (model, task), block in frame.groupby(["model", "task"], sort=False):
        title, rest = f"{model}, {task}", block[block["method"] != "none"]
        sections.append(_unperturbed(title, block[block["method"] == "none"]))
        if not rest.empty:
            sections.append(_means(title, rest[rest["cells"].isin(MEANS)]))
        if rest["cells"].isin(OVER_CELLS).any():
            sections.append(_correlations(title, rest[rest["cells"].isin(OVER_CELLS)]))
        sections += [
            _matrix(title, method, own) for method, own in rest[rest["cells"] == ONE].groupby("method", sort=False)
        ]
    return sections


def _matrix(title: str, method: str, rows: pd.DataFrame) -> Section:
    """The changes of one method, with their intervals and marks."""
    marks = np.where(rows["p_holm"] < SIGNIFICANT, "*", "")
    marks = np.where(rows["control_p_holm"] < SIGNIFICANT, np.char.add(marks.astype(str), "+"), marks)
    texts = [with_interval(*three) for three in rows[["change", "change_low", "change_high"]].to_numpy()]
    cells = rows.assign(text=[text + mark for text, mark in zip(texts, marks, strict=True)])
    cells = cells.pivot(index="switched", columns="evaluated", values="text")
    order, done = list(rows["switched"].unique()), "steered" if method.startswith(STEERED) else "deactivated"
    note = f"* differs from the unperturbed model, + from the control (p < {SIGNIFICANT}, Holm)"
    title = f"{title}, {method}: change of accuracy in points [95% interval], row {done}, column evaluated; {note}"
    return Section(title, done, cells.loc[order, order])


def _correlations(title: str, rows: pd.DataFrame) -> Section:
    """One row per method, and per choice of cells."""
    lines = {
        f"{one['method']}, {one['cells']}": {
            "Spearman's correlation [95% interval over languages]": with_interval(
                *(one[f"spearman{end}"] for end in ("", "_low", "_high")), missing="undefined"
            )
        }
        for one in rows.to_dict("records")
    }
    title = (
        f"{title}: correlation of the rise of the NLL with the loss of accuracy, over deactivated x evaluated languages"
    )
    return Section(title, "method", pd.DataFrame.from_dict(lines, orient="index"))


def _unperturbed(title: str, rows: pd.DataFrame) -> Section:
    """One row per language: the accuracy of the unperturbed model, by every score, and what chance gives."""
    score = _SCORES[f"accuracy_{rows['score'].iat[0]}"]
    cells = pd.DataFrame(
        {
            f"accuracy {score}, % [95% interval]": [
                with_interval(*three) for three in rows[["accuracy", "low", "high"]].to_numpy()
            ],
            "chance (uniform)": rows["uniform"].map(rounded).to_list(),
            "chance (majority)": rows["majority"].map(rounded).to_list(),
            "p (Holm)": rows["p_chance_holm"].map("{:.2g}".format).to_list(),
            **{name: rows[column].map(rounded).to_list() for column, name in _SCORES.items()},
            "questions": rows["questions"].map("{:,}".format).to_list(),
        },
        index=rows["evaluated"].to_list(),
    )
    return Section(f"{title}: accuracy with nothing deactivated, and chance", "language", cells)


def _means(title: str, rows: pd.DataFrame) -> Section:
    """One row per method, and per mean over its own cells and over the others."""
    lines = {}
    for one in rows.to_dict("records"):
        lines[f"{one['method']}, {_MEANS[one['cells']]}"] = {
            "accuracy, %": "" if np.isnan(one["accuracy"]) else rounded(one["accuracy"]),
            "change in points [95% interval]": with_interval(*(one[f"change{end}"] for end in ("", "_low", "_high"))),
            "p": f"{one['p_value']:.2g}",
            "less the control's [95% interval]": with_interval(
                *(one[f"above_control{end}"] for end in ("", "_low", "_high"))
            ),
            "p against the control": "" if np.isnan(one["control_p_value"]) else f"{one['control_p_value']:.2g}",
        }
    title = (
        f"{title}: mean over the switched languages themselves, over all other pairs of languages, and the difference"
    )
    return Section(title, "method", pd.DataFrame.from_dict(lines, orient="index"))
