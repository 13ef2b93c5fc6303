"""Expert units that half of the sentences select: how precise they are on the other half, which selects its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_array, read_json
from lape.errors import LapeError
from lape.items.layout import Section

# A half of the sentences -> the other half.
_OTHER = {1: 2, 2: 1}


def data(header: str | Path) -> list[Path]:
    """The array of average precision beside a header."""
    return [Path(header).with_suffix(".npy")]


def held_out(paths: Sequence[str | Path], size: int | None = None) -> pd.DataFrame:
    """Average precision of expert units on the sentences that select them and on others, and how stable they are.

    The sentences of each language are cut into two halves. The units of highest average precision on one half are high
    there by chance, too. The other half has no part in their selection. Of equal units the one of lower number comes
    first.

    Args:
        paths: average_precision_half headers, two per model, each with its array beside it.
        size: number of units per language; all units where the model has fewer; None: 1,000.

    Returns:
        one row per model, language and selecting half. Columns:
        - model, language, half (1 or 2: the selecting one), units;
        - selecting and held_out (mean average precision of the units on the selecting half, and on the other half),
          drop (selecting less held_out), chance (share of the language in the sentences of the other half);
        - shared (units that the other half selects for the language, too), overlap (shared / units) and expected
          (overlap by chance, units / U).

    Raises:
        LapeError: a model lacks a half or has one twice, its halves are of other responses, or `size` is below 1.
    """
    size = 1000 if size is None else size
    if size < 1:
        raise LapeError(f"size {size}: is no number of units; give 1 or more")
    rows = []
    for model, halves in _by_model(paths).items():
        values = {
            half: read_array(checked(path, header, ".npy"), mmap=True)[0] for half, (path, header) in halves.items()
        }
        for place, language in enumerate(halves[1][1]["languages"]):
            own = {half: np.asarray(precision[place]) for half, precision in values.items()}
            chosen = {half: np.argsort(-precision, kind="stable")[:size] for half, precision in own.items()}
            shared = len(np.intersect1d(chosen[1], chosen[2]))
            for half, units in chosen.items():
                header = halves[_OTHER[half]][1]
                selecting, other = own[half][units].mean(), own[_OTHER[half]][units].mean()
                rows.append(
                    {
                        "model": model,
                        "language": language,
                        "half": half,
                        "units": len(units),
                        "selecting": selecting,
                        "held_out": other,
                        "drop": selecting - other,
                        "chance": header["positives"][language] / header["sentences"],
                        "shared": shared,
                        "overlap": shared / len(units),
                        "expected": len(units) / header["units"],
                    }
                )
    return pd.DataFrame(rows)


def held_out_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model one row per language, each number the mean over the two selecting halves."""
    sections = []
    for model, block in frame.groupby("model", sort=False):
        means = block.groupby("language", sort=False)[
            ["selecting", "held_out", "drop", "chance", "overlap", "expected"]
        ].mean()
        cells = pd.DataFrame(
            {
                "selecting half": means["selecting"].map("{:.3f}".format),
                "other half": means["held_out"].map("{:.3f}".format),
                "drop": means["drop"].map("{:.3f}".format),
                "chance": means["chance"].map("{:.3f}".format),
                "shared by both selections": means["overlap"].map("{:.1%}".format),
                "by chance": means["expected"].map("{:.1%}".format),
            }
        )
        title = f"{model}: mean average precision of {block['units'].max():,} units"
        sections.append(Section(title, "language", cells))
    return sections


def _by_model(paths: Sequence[str | Path]) -> dict[str, dict[int, tuple[Path, dict]]]:
    """Model -> half -> path and header, in the order of the halves."""
    found: dict[str, dict[int, tuple[Path, dict]]] = {}
    for path in map(Path, paths):
        header = read_json(path, "average_precision_half")
        halves, half = found.setdefault(header["model"], {}), header["parameters"]["half"]
        if half in halves:
            raise LapeError(f"{path}: a second half {half} of {header['model']}; pass each half once")
        halves[half] = path, header
    for model, halves in found.items():
        if missing := _OTHER.keys() - halves:
            raise LapeError(f"average precision of {model}: half {min(missing)} is missing; pass its header, too")
        (path, other), (_, header) = halves[2], halves[1]
        if other["inputs"] != header["inputs"]:
            raise LapeError(f"{path}: is of other responses than {halves[1][0]}; run `lape average_precision` again")
    return {model: dict(sorted(halves.items())) for model, halves in found.items()}
