"""The table of accuracy on tasks, laid out for people."""

import numpy as np
import pandas as pd

from lape.items.layout import Section, rounded, with_interval
from lape.items.tasks.rows import ONE, OWN, SIGNIFICANT

_SCORES = {"accuracy_sum": "by log-likelihood", "accuracy_bytes": "per byte", "accuracy_calibrated": "calibrated"}


def task_accuracy_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model and task: the unperturbed model beside chance, the means of every method, and a matrix per method."""
    sections = []
    for (model, task), block in frame.groupby(["model", "task"], sort=False):
        normal, rest = block[block["method"] == "none"], block[block["method"] != "none"]
        sections.append(_unperturbed(f"{model}, {task}", normal))
        if not rest.empty:
            sections.append(_means(f"{model}, {task}", rest[rest["cells"] != ONE]))
        for method, own in rest[rest["cells"] == ONE].groupby("method", sort=False):
            marks = np.where(own["p_holm"] < SIGNIFICANT, "*", "")
            marks = np.where(own["control_p_holm"] < SIGNIFICANT, np.char.add(marks.astype(str), "+"), marks)
            texts = [with_interval(*three) for three in own[["change", "change_low", "change_high"]].to_numpy()]
            cells = own.assign(text=[text + mark for text, mark in zip(texts, marks, strict=True)])
            cells = cells.pivot(index="deactivated", columns="evaluated", values="text")
            order = list(own["deactivated"].unique())
            note = f"* differs from the unperturbed model, + from the control (p < {SIGNIFICANT}, Holm)"
            title = f"{model}, {task}, {method}: change of accuracy in points [95% interval], row deactivated, "
            sections.append(Section(f"{title}column evaluated; {note}", "deactivated", cells.loc[order, order]))
    return sections


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
        name = f"{one['method']}, {'own language' if one['cells'] == OWN else 'other languages'}"
        lines[name] = {
            "accuracy, %": rounded(one["accuracy"]),
            "change in points [95% interval]": with_interval(*(one[f"change{end}"] for end in ("", "_low", "_high"))),
            "p": f"{one['p_value']:.2g}",
            "less the control's [95% interval]": with_interval(
                *(one[f"above_control{end}"] for end in ("", "_low", "_high"))
            ),
            "p against the control": "" if np.isnan(one["control_p_value"]) else f"{one['control_p_value']:.2g}",
        }
    title = f"{title}: mean over the deactivated languages themselves, and over all other pairs of languages"
    return Section(title, "method", pd.DataFrame.from_dict(lines, orient="index"))
