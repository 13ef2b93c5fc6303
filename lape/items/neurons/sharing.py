"""Neurons that several languages share: by pairs of languages, and by the number of languages."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.items.layout import Section, rounded
from lape.items.neurons.counts import blocks, read_sets


def sharing(paths: Sequence[str | Path]) -> pd.DataFrame:
    """How many of a language A's neurons belong to a language B too, |A and B| / |A|.

    Args:
        paths: neurons headers, one for a model and method, each with its TSV beside it.

    Returns:
        one row per model, method and ordered pair of languages; a language is paired with itself too. Columns: model,
        method, language (A), other (B), neurons (|A|), shared (|A and B|) and share, which is empty where A has no
        neuron.

    Raises:
        LapeError: a set comes twice, or a TSV disagrees with its header.
    """
    rows = []
    for neurons in read_sets(paths):
        names = {"model": neurons.summary["model"], "method": neurons.summary["method"]}
        member = neurons.membership().astype(np.int64)
        together = member.T @ member
        for a, language in enumerate(neurons.sets):
            for b, other in enumerate(neurons.sets):
                own, shared = int(together[a, a]), int(together[a, b])
                pair = {"language": language, "other": other, "neurons": own, "shared": shared}
                rows.append({**names, **pair, "share": shared / own if own else np.nan})
    return pd.DataFrame(rows)


def sharing_histogram(paths: Sequence[str | Path]) -> pd.DataFrame:
    """How many neurons belong to exactly 1, 2, 3 ... languages.

    Args:
        paths: see `sharing`.

    Returns:
        one row per model, method and number of languages, from 1 to all of them. Columns: model, method, languages (the
        number), neurons and share (of the model's selected neurons; empty where there are none).

    Raises:
        LapeError: see `sharing`.
    """
    frames = []
    for neurons in read_sets(paths):
        found = np.bincount(neurons.membership().sum(axis=1), minlength=len(neurons.sets) + 1)[1:]
        total = found.sum()
        frames.append(
            pd.DataFrame(
                {
                    "model": neurons.summary["model"],
                    "method": neurons.summary["method"],
                    "languages": np.arange(1, len(neurons.sets) + 1),
                    "neurons": found,
                    "share": found / total if total else np.nan,
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def sharing_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model: languages A down, the number of A's neurons and all languages B across."""
    sections = []
    for title, block in blocks(frame):
        cells = share_matrix(block).map(lambda share: "" if pd.isna(share) else rounded(share))
        own = block.drop_duplicates("language").set_index("language")["neurons"]
        cells.insert(0, "neurons", own.map("{:,}".format))
        sections.append(Section(f"{title}: share of the row's neurons that are the column's too", "language", cells))
    return sections


def histogram_sections(frame: pd.DataFrame) -> list[Section]:
    """Models down, numbers of languages across."""
    rows = {
        title: {
            str(row.languages): f"{row.neurons:,}" + ("" if pd.isna(row.share) else f" ({row.share:.1%})")
            for row in block.itertuples()
        }
        for title, block in blocks(frame)
    }
    cells = pd.DataFrame.from_dict(rows, orient="index").fillna("")
    return [Section("Number of neurons that belong to exactly so many languages", "model", cells)]


def share_matrix(block: pd.DataFrame) -> pd.DataFrame:
    """|A and B| / |A| of one model and method as a matrix, A down and B across, in the languages' order."""
    languages = block["language"].unique()
    return block.pivot(index="language", columns="other", values="share").loc[languages, languages]
