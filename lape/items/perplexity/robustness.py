"""LAPE again with one thing changed: its neurons beside those of the run, and how specific their matrix is."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lape.artifacts.files import read_headers
from lape.config import model_of
from lape.errors import LapeError
from lape.items.layout import Section, rounded
from lape.items.perplexity.inputs import BASELINE
from lape.items.perplexity.scores import ALL, SCORES, scores, written
from lape.neurons.agreement import jaccard, members
from lape.neurons.table import Neurons

RUN = "run"


def robustness(paths: Sequence[str | Path], resamples: int = 2000, seed: int = 0) -> pd.DataFrame:
    """How much LAPE's neurons, and the specificity of their matrix, depend on the text and on the settings.

    Args:
        paths: headers of LAPE's neurons, and of the perplexity with each language deactivated and with none, of the run
            and of its variants. The folder of an artifact says whose it is (`lape.items.variants`). A variant without
            neurons or without a baseline of its own has those of the run.
        resamples: number of resamples of the bootstrap over chunks.
        seed: seed of the draws of the resamples.

    Returns:
        one row per model and variant, the run first (`RUN`). Columns:
        - model, variant;
        - selected, evaluated ("own", or "run" where they are the run's), and ablation (what a neuron is set to);
        - neurons, and jaccard with those of the run, over all languages;
        - languages, and the scores of `lape.items.perplexity.scores.scores` over all cells.

    Raises:
        LapeError: the run's neurons, its baseline or a row of a matrix are missing, or an artifact is damaged.
    """
    kinds = read_headers(paths, ("neurons", "perplexity"))
    neurons = {path.parent.name: Neurons.load(path) for path, one in kinds.items() if one["artifact"] == "neurons"}
    measured: dict[str, list[Path]] = {}
    for path, header in kinds.items():
        if header["artifact"] == "perplexity":
            measured.setdefault(path.parents[1].name, []).append(path)
    baselines = {
        name: path for name, found in measured.items() for path in found if kinds[path]["deactivated"] == BASELINE
    }
    lines = []
    for name, found in measured.items():
        model = model_of(name)
        for known, what in ((neurons, "LAPE's neurons"), (baselines, "the perplexity without deactivation")):
            if model not in known:
                raise LapeError(f"robustness: {what} of {model} are not among the inputs; pass the header of the run's")
        rows = [path for path in found if kinds[path]["deactivated"] != BASELINE]
        if not rows:
            continue
        matrix = scores([baselines.get(name, baselines[model]), *rows], resamples, seed)
        own, others = (members(neurons.get(each, neurons[model]))[0] for each in (name, model))
        lines.append(
            {
                **{"model": model, "variant": name.partition("@")[2] or RUN},
                "selected": "own" if name in neurons else RUN,
                "evaluated": "own" if name in baselines else RUN,
                "ablation": kinds[rows[0]].get("ablation", "zero"),
                "neurons": int(own.sum()),
                "jaccard": float(jaccard(own.sum(), others.sum(), (own & others).sum())),
                **matrix.loc[matrix["cells"] == ALL, ["languages", *SCORES]].iloc[0].to_dict(),
            }
        )
    if not lines:
        raise LapeError("robustness: no perplexity with a language deactivated is among the inputs; pass the matrices")
    return pd.DataFrame(lines)


def robustness_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model a table with one row per variant, the run first."""
    sections = []
    for model, block in frame.groupby("model", sort=False):
        lines = {
            row["variant"]: {
                "neurons from": row["selected"],
                "evaluated on": row["evaluated"],
                "set to": row["ablation"],
                "neurons": f"{row['neurons']:,}",
                "Jaccard with the run's": rounded(row["jaccard"]),
                **written(row),
            }
            for _, row in block.iterrows()
        }
        title = f"{model}: LAPE with one thing changed"
        sections.append(Section(title, "variant", pd.DataFrame.from_dict(lines, orient="index")))
    return sections
