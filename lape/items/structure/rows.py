"""How alike languages are represented, layer by layer: SES beside neurons (Fig. 6) and dominance (Fig. 7)."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lape.artifacts.files import checked, read_array, read_json
from lape.errors import LapeError
from lape.evaluation.similarity import dominance, ses
from lape.items.layers import heading, with_index
from lape.items.layout import Section
from lape.items.neurons.counts import read_sets
from lape.model.sites import layer_label
from lape.neurons.set_names import known_sets
from lape.neurons.table import Neurons

ARTIFACTS = ("embeddings", "neurons")
# The fields of a header that all embeddings of a model must have in common.
_SAME = ("model_revision", "pooling", "layers", "width", "numbers")


def data(header: str | Path) -> list[Path]:
    """The array beside an embeddings header, or the TSV beside a neurons header."""
    suffix = ".npy" if read_json(header).get("artifact") == "embeddings" else ".tsv"
    return [Path(header).with_suffix(suffix)]


def similarity_by_layer(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Mean SES of aligned sentences, over all pairs of languages and for each pair, beside neurons (Fig. 6).

    Args:
        paths: embeddings headers, one for a model and language, and neurons headers, one for a model, in any order.
            Each header has its data beside it.

    Returns:
        the columns model, pooling and sentences; the columns of `lape.evaluation.similarity.ses`, with layer from 1 and
        layer_index from 0; and neurons. In the rows of all languages, neurons is the number of selected neurons in the
        layer, each counted once. In the rows of a pair, it is the number of neurons of either language.

    Raises:
        LapeError: a language or a model's neurons come twice or are missing, embeddings of a model do not fit one
            another or its neurons, or data beside a header changed.
    """
    kinds = {path: read_json(path).get("artifact") for path in paths}
    for path, kind in kinds.items():
        if kind not in ARTIFACTS:
            raise LapeError(f"{path}: is no header of embeddings or neurons; pass those alone")
    groups = _groups(path for path, kind in kinds.items() if kind == "embeddings")
    if not groups:
        raise LapeError("no embeddings: there is nothing to compare; pass the header of every language's")
    found: dict[str, Neurons] = {}
    for neurons in read_sets([path for path, kind in kinds.items() if kind == "neurons"]):
        if found.setdefault(neurons.summary["model"], neurons) is not neurons:
            raise LapeError(
                f"{neurons.origin}: a second set of neurons of {neurons.summary['model']}; pass one a model"
            )
    frames = []
    for model, headers in groups.items():
        if model not in found:
            raise LapeError(f"neurons of {model}: missing; pass the header of its neurons beside its embeddings")
        neurons, (path, header) = found[model], next(iter(headers.values()))
        revision = neurons.summary.get("model_revision")  # Neurons from a released file name no revision.
        if revision not in (None, header["model_revision"]) or neurons.layers != header["layers"]:
            raise LapeError(f"{neurons.origin}: not found on the checkpoint of {path}; select them on this model")
        frame = ses(_arrays(headers))
        frames.append(_named(frame.assign(neurons=_neurons(frame, neurons, list(headers))), header))
    return pd.concat(frames, ignore_index=True)


def dominance_by_layer(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Dominance of every language (Eq. 6, Fig. 7).

    Args:
        paths: embeddings headers, one for a model and language, each with its array beside it.

    Returns:
        the columns model, pooling and sentences, and those of `lape.evaluation.similarity.dominance`, with layer from 1
        and layer_index from 0.

    Raises:
        LapeError: a language comes twice, embeddings of a model do not fit one another, or an array changed.
    """
    groups = _groups(paths)
    frames = [_named(dominance(_arrays(headers)), next(iter(headers.values()))[1]) for headers in groups.values()]
    return pd.concat(frames, ignore_index=True)


def similarity_by_layer_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model: a table with layers down; then the pairs of languages in the layers of highest (corrected) SES."""
    sections = []
    for title, block in _blocks(frame):
        mean = block[block["language"] == ""].set_index("layer")
        cells = pd.DataFrame(
            {
                "SES": _with_interval(mean, "ses", 4),
                "misaligned": mean["misaligned"].map("{:.4f}".format),
                "corrected": _with_interval(mean, "corrected", 3),
                "neurons": mean["neurons"].map("{:,}".format),
            }
        )
        sections.append(
            Section(f"{title}: mean SES of all pairs of languages, and neurons", heading(cells.index), cells)
        )
        for column, what, digits in (("ses", "SES", 4), ("corrected", "corrected SES", 3)):
            peak = int(mean[column].idxmax())
            pairs = block[(block["layer"] == peak) & (block["language"] != "")]
            pairs = pairs.assign(text=_with_interval(pairs, column, digits))
            languages = pairs["language"].unique()
            cells = pairs.pivot(index="language", columns="other", values="text").loc[languages, languages].fillna("")
            where = f"{layer_label(peak - 1)}, where its mean is highest"
            sections.append(Section(f"{title}: {what} in {where}", "language", cells))
    return sections


def dominance_by_layer_sections(frame: pd.DataFrame) -> list[Section]:
    """Per model: layers down, targets across, means over the other languages in cells; uncorrected, then corrected."""
    sections = []
    for title, block in _blocks(frame):
        mean = block[block["language"] == ""]
        for column, what, digits in (("dominance", "dominance", 4), ("corrected", "corrected dominance", 3)):
            cells = mean.assign(text=_with_interval(mean, column, digits))
            cells = cells.pivot(index="layer", columns="target", values="text")[mean["target"].unique()]
            sections.append(Section(f"{title}: {what} of a target language, column", heading(cells.index), cells))
    return sections


def _groups(paths: Iterable[str | Path]) -> dict[str, dict[str, tuple[Path, dict]]]:
    """Model -> language -> path and content of its header, in the order given."""
    groups: dict[str, dict[str, tuple[Path, dict]]] = {}
    for path in map(Path, paths):
        header = read_json(path, "embeddings")
        headers = groups.setdefault(header["model"], {})
        if header["language"] in headers:
            raise LapeError(
                f"{path}: {header['language']} of {header['model']} a second time; pass each embeddings header once"
            )
        headers[header["language"]] = path, header
        first_path, first = next(iter(headers.values()))
        for key in _SAME:
            if header[key] != first[key]:
                raise LapeError(
                    f"{path}: has another {key} than {first_path}; embed the same questions of all languages alike"
                )
    return groups


def _arrays(headers: dict[str, tuple[Path, dict]]) -> dict[str, np.ndarray]:
    """Language -> array [L, N, d], memory-mapped."""
    return {
        language: read_array(checked(path, header, ".npy"), mmap=True) for language, (path, header) in headers.items()
    }


def _named(frame: pd.DataFrame, header: dict) -> pd.DataFrame:
    names = {"model": header["model"], "pooling": header["pooling"], "sentences": header["sentences"]}
    return with_index(frame.assign(**names, layer=frame["layer"] + 1)[[*names, *frame.columns]])


def _neurons(frame: pd.DataFrame, neurons: Neurons, languages: list[str]) -> np.ndarray:
    """The number of neurons (int64) for every row of a frame of `similarity.ses`.

    A row of all languages has the neurons of its layer, the row of a pair those of either language in the layer.
    """
    known_sets(languages, neurons.sets, neurons.origin)
    layers = neurons.table["layer"].to_numpy()
    member = neurons.membership()[:, [neurons.sets.index(language) for language in languages]].astype(np.int64)
    whole = np.bincount(layers, minlength=neurons.layers)
    shared = np.stack([member[layers == layer].T @ member[layers == layer] for layer in range(neurons.layers)])
    own = np.diagonal(shared, axis1=1, axis2=2)
    either = own[:, :, None] + own[:, None, :] - shared
    place = {language: number for number, language in enumerate(languages)}
    return np.array(
        [
            either[row.layer, place[row.language], place[row.other]] if row.language else whole[row.layer]
            for row in frame.itertuples()
        ]
    )


def _blocks(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows of each model, with a title that names the model and the pooling."""
    for model, block in frame.groupby("model", sort=False):
        pooled = {"mean": "mean over tokens", "last": "last token"}[block["pooling"].iat[0]]
        yield f"{model} ({block['sentences'].iat[0]} sentences, {pooled})", block


def _with_interval(frame: pd.DataFrame, column: str, digits: int) -> pd.Series:
    """As "0.9966 [0.9965, 0.9967]"; the bounds are left out where there are none."""
    texts = []
    for value, low, high in frame[[column, f"{column}_low", f"{column}_high"]].itertuples(index=False):
        bounds = "" if np.isnan(low) else f" [{low:.{digits}f}, {high:.{digits}f}]"
        texts.append(f"{value:.{digits}f}{bounds}".replace("-", "\N{MINUS SIGN}"))
    return pd.Series(texts, frame.index)
